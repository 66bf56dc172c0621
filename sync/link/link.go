package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// Link is the sync link. Run owns its sockets and goroutines; the other methods
// may be called at any time, Send by one goroutine at a time.
type Link struct {
	log      *slog.Logger
	netNS    int
	buffer   int
	received chan *pfstate.Batch[Packet]
	batches  pfstate.Batches[Packet]
	statuses chan Status
	wake     chan struct{} // the configuration changed
	broken   chan error    // the reader of the open socket gave up
	counters counters
	tx       sender

	out atomic.Pointer[outlet] // for Send: nil unless the link is up

	mu     sync.Mutex
	config Config
	status Status
	open   *socket // written by Run only
	opened Config  // of the last socket, zero when it had another; Run's alone
}

// Option changes what New makes.
type Option func(*Link)

// NetNS puts the link into the network namespace of that file descriptor, which
// must stay open until Run has returned.
func NetNS(fd int) Option { return func(l *Link) { l.netNS = fd } }

// Buffer asks for socket buffers of that many bytes instead of 8 MiB each way.
func Buffer(bytes int) Option { return func(l *Link) { l.buffer = bytes } }

const (
	defaultBuffer = 8 << 20 // 300 000 packets at full rate came through without loss; at the default 208 KiB a sixth was lost
	queuedBatches = 4       // read ahead of the consumer; the rest waits in the socket's buffer
	retryAfter    = time.Second
)

// New makes a link that is not configured and does nothing until Run.
func New(log *slog.Logger, opts ...Option) *Link {
	l := &Link{
		log:      log,
		buffer:   defaultBuffer,
		received: make(chan *pfstate.Batch[Packet], queuedBatches),
		batches:  pfstate.NewBatches[Packet](2 * queuedBatches),
		statuses: make(chan Status, 1),
		wake:     make(chan struct{}, 1),
		broken:   make(chan error, 1),
	}
	for _, o := range opts {
		o(l)
	}
	l.tx.init()
	return l
}

// Received delivers packets in the order of arrival. The consumer frees each
// batch. When it is slow, packets wait, then are lost, in the kernel, which counts them.
func (l *Link) Received() <-chan *pfstate.Batch[Packet] { return l.received }

// Configure sets interface and peer; without a Syncdev the link is off. It is Run that
// acts on it; Statuses tells when. An interface that is missing, down or has no
// address is no error, one that can never do what c asks is.
func (l *Link) Configure(c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	if c.Syncdev != "" {
		if err := l.checkInterface(c); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.config = c
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

func (l *Link) checkInterface(c Config) error {
	q, err := ifwatch.OpenQuery(l.netNS)
	if err != nil {
		return fmt.Errorf("syncdev %s: %w", c.Syncdev, err)
	}
	defer q.Close()
	i, err := q.ByName(c.Syncdev)
	switch {
	case errors.Is(err, ifwatch.ErrNoInterface) && c.Syncdev == IPsecOnly:
		return c.checkIPsec()
	case errors.Is(err, ifwatch.ErrNoInterface):
		return nil
	}
	if err != nil {
		return fmt.Errorf("syncdev %s: %w", c.Syncdev, err)
	}
	addrs, err := c.addresses(q, i)
	if err != nil {
		return fmt.Errorf("syncdev %s: %w", c.Syncdev, err)
	}
	return c.refuse(c.refusal(i, addrs))
}

// addresses are those of i that are of the syncpeer's family.
func (c Config) addresses(q *ifwatch.Query, i ifwatch.Interface) ([]ifwatch.Address, error) {
	if c.Peer().Is4() {
		return i.IPv4, nil
	}
	return q.IPv6(i.Index)
}

// Run keeps the link in the state that its configuration and the interface allow,
// until ctx ends. It returns an error only when the kernel does not tell of interfaces.
func (l *Link) Run(ctx context.Context) error {
	events, err := ifwatch.Subscribe(l.netNS, ifwatch.IPv6)
	if err != nil {
		return fmt.Errorf("sync link: %w", err)
	}
	defer events.Close()
	query, err := ifwatch.OpenQuery(l.netNS)
	if err != nil {
		return fmt.Errorf("sync link: %w", err)
	}
	defer query.Close()
	ctx, cancel := context.WithCancel(ctx)
	changes := make(chan ifwatch.Event, 64)
	watched := make(chan error, 1)
	go func() { watched <- events.Run(ctx, changes); cancel() }()

	l.follow(ctx, query, changes)
	cancel()
	if err := <-watched; err != nil {
		return fmt.Errorf("sync link: %w", err)
	}
	return nil
}

// follow asks for the interface whenever it may have changed and acts on the answer.
func (l *Link) follow(ctx context.Context, query *ifwatch.Query, changes <-chan ifwatch.Event) {
	defer func() {
		l.closeSocket()
		s := Status{Config: l.Status().Config}
		l.publish(s)
	}()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	look := true
	for ctx.Err() == nil {
		if look && l.refresh(ctx, query) {
			retry.Reset(retryAfter)
		}
		look = true
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-retry.C:
		case e := <-changes:
			look = l.concerns(e)
			for range len(changes) {
				look = l.concerns(<-changes) || look
			}
		case err := <-l.broken:
			l.counters.readErrors.Add(1)
			s := l.Status()
			s.Up, s.Reason = false, "socket: "+err.Error()
			l.closeSocket()
			l.publish(s)
			retry.Reset(retryAfter)
			look = false // not at once: it may break again
		}
	}
}

// concerns tells whether e may change what refresh finds. A removed interface takes
// the socket with it at once: its successor may have the same index. So does the loss of an
// address of IPv6: an mtu below 1280 ends IPv6 on the interface, and with it, for good, what the
// socket has joined. Both may also have been among lost events.
func (l *Link) concerns(e ifwatch.Event) bool {
	if l.open == nil {
		return true
	}
	lost := e.Index == 0
	if !lost && e.Index != l.open.index {
		return false
	}
	if peer := l.open.config.Peer(); lost || e.Gone || e.Less6 && peer.Is6() && peer.IsMulticast() {
		l.closeSocket()
	}
	return true
}

// refresh brings socket and status in line with configuration and interface. It
// reports whether it is worth trying again without an event.
func (l *Link) refresh(ctx context.Context, query *ifwatch.Query) (again bool) {
	l.mu.Lock()
	c := l.config
	l.mu.Unlock()
	s := Status{Config: c}
	defer func() { l.publish(s) }()

	if l.opened != c {
		l.closeSocket()
		l.opened = Config{}
	}
	if c.Syncdev == "" {
		return false
	}
	i, err := query.ByName(c.Syncdev)
	if errors.Is(err, ifwatch.ErrNoInterface) && c.Syncdev == IPsecOnly {
		return l.refreshIPsec(ctx, c, &s)
	}
	if err != nil {
		l.closeSocket()
		s.Reason = "interface: " + err.Error()
		if errors.Is(err, ifwatch.ErrNoInterface) {
			s.Reason = err.Error()
		}
		return !errors.Is(err, ifwatch.ErrNoInterface)
	}
	addrs, err := c.addresses(query, i)
	if err != nil {
		l.out.Store(nil)
		s.Reason = "interface: " + err.Error()
		return true
	}
	addr, homeless := source(addrs, c.Peer())
	s.Index, s.MTU, s.Addr = i.Index, i.MTU, addr
	if s.Reason = c.refusal(i, addrs); s.Reason != "" {
		l.closeSocket()
		return false
	}
	switch {
	case !i.Up:
		s.Reason = "down"
	case !i.Running:
		s.Reason = "no carrier"
	default:
		s.Reason = homeless // the kernel would send from 0.0.0.0
	}
	if homeless != "" && c.Peer().Is6() { // nothing can be joined
		l.closeSocket()
		return false
	}
	if l.open != nil && l.open.index != i.Index {
		l.closeSocket()
	}
	if l.open == nil {
		if err := l.openSocket(ctx, c, i, nil); err != nil {
			s.Reason = "socket: " + err.Error()
			return true
		}
	}
	s.ReceiveBuffer = l.open.rcvbuf
	l.offer(&s)
	return false
}

// offer lets Send use the socket if nothing speaks against it.
func (l *Link) offer(s *Status) {
	if s.Up = s.Reason == ""; s.Up {
		l.out.Store(l.open.outlet(s.Addr))
	} else {
		l.out.Store(nil)
	}
}
