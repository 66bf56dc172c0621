package conntrack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// DefaultReadBuffer lets events wait that long: 300,000 of them came through at
// 245,000/s without a loss.
const DefaultReadBuffer = 8 << 20

// Config says which table to open and how its states are named.
type Config struct {
	NetNS      int      // file descriptor of a network namespace, 0: that of the calling thread; used by Open only
	Creator    uint32   // creatorid of states made here
	Key        [16]byte // keeps ids the same over restarts and hard to guess; keep it on disk
	Log        *slog.Logger
	ReadBuffer int // of the event socket in bytes, 0: DefaultReadBuffer
}

// Table is the kernel's state table. It satisfies the sync engine's interface:
// read Changes, send to Writes, and let Run work.
type Table struct {
	mapping
	log    *slog.Logger
	counts counts

	out       outbox
	writes    chan *pfstate.Batch[pfstate.Write]
	dumpOrder chan struct{}

	events *socket
	dumper *socket
	writer *socket
	evict  *socket // its deletions are reported: the engine knows those states
	nft    *nftables.Conn
	chunk  chunk
	hooks  time.Time // when the NAT hooks were last known to be there

	home        home
	empty, mute bool // when it was opened
	forwarded   forwarded
	limit       int
	incarnation string

	changes pfstate.Batches[pfstate.Change]
	close   sync.Once
}

// Open opens the kernel's table of a namespace. Events are kept from now on, up
// to ReadBuffer. It needs CAP_NET_ADMIN, and CAP_SYS_ADMIN for another namespace.
func Open(c Config) (*Table, error) {
	t := &Table{
		mapping:   newMapping(c.Key, c.Creator),
		log:       c.Log,
		writes:    make(chan *pfstate.Batch[pfstate.Write]),
		dumpOrder: make(chan struct{}, 1),
		changes:   pfstate.NewBatches[pfstate.Change](12),
	}
	t.out.ch = make(chan *pfstate.Batch[pfstate.Change], 8)
	t.out.gone = make(map[uint64]struct{})
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if c.ReadBuffer == 0 {
		c.ReadBuffer = DefaultReadBuffer
	}
	if err := t.open(c); err != nil {
		t.Close()
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	return t, nil
}

func (t *Table) open(c Config) (err error) {
	if err := t.home.keep(c.NetNS); err != nil {
		return err
	}
	// Listen first: what happens from here on is not missed. Joining also loads
	// the kernel modules that the sysctls below belong to.
	if t.events, err = dial(c.NetNS, 64, 4<<10); err != nil {
		return err
	}
	if t.writer, err = dial(c.NetNS, 64, 4<<10); err != nil { // its port id is for the filter
		return err
	}
	if err := t.listen(c.ReadBuffer); err != nil {
		return err
	}
	if t.dumper, err = dial(c.NetNS, 1, 64<<10); err != nil {
		return err
	}
	// Answers wait here until a whole send is carried out.
	if err := t.writer.conn.SetReadBuffer(2 << 20); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	if t.evict, err = dial(c.NetNS, 1, 4<<10); err != nil {
		return err
	}
	if err := inNS(c.NetNS, t.look); err != nil {
		return err
	}
	if t.nft, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(c.NetNS)); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t.ensureNATHooks()
	t.rememberMute()
	return nil
}

func (t *Table) listen(buffer int) error {
	conn := t.events.conn
	if err := conn.SetReadBuffer(buffer); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	granted, err := conn.ReadBuffer()
	if err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	t.counts[readBuffer].Store(uint64(granted))
	if granted < buffer {
		t.log.Warn("receive buffer of conntrack events is small; raise net.core.rmem_max",
			"wanted", buffer, "granted", granted)
	}
	// Makes the kernel keep and repeat DESTROY events that did not fit.
	if err := conn.SetOption(netlink.BroadcastError, true); err != nil {
		return fmt.Errorf("broadcast errors: %w", err)
	}
	if err := t.skip(); err != nil {
		return err
	}
	for _, group := range []uint32{groupNew, groupUpdate, groupDestroy} {
		if err := conn.JoinGroup(group); err != nil {
			return fmt.Errorf("event group %d: %w", group, err)
		}
	}
	return nil
}

// look reads what /proc has of the table. It runs in the table's namespace.
func (t *Table) look() (err error) {
	if err := t.tellAll(); err != nil {
		return err
	}
	if loose, err := readSysctl(sysctlLoose); err == nil && loose != 0 {
		t.log.Warn("connections are picked up in the middle, often reversed; set the sysctl to 0 on all firewalls",
			"sysctl", "net.netfilter.nf_conntrack_tcp_loose", "value", loose)
	}
	limit, err := readSysctl(sysctlMax)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.limit = int(limit)
	if t.incarnation, err = t.name(); err != nil {
		return err
	}
	if err := t.forwarded.open(); err != nil {
		return err
	}
	t.timeouts, err = readTimeouts()
	return err
}

// Changes has what happened in the table, and the answers to Writes. Free each
// batch. A reader who is slow for long makes the kernel drop events, and gets
// an Overrun. The channel is never closed.
func (t *Table) Changes() <-chan *pfstate.Batch[pfstate.Change] { return t.out.ch }

// Writes takes orders, one batch at a time, when the batch before is done. The
// table frees it. Whoever sends must keep reading
// Changes meanwhile. Dumps that are ordered while another waits to begin are
// one dump.
func (t *Table) Writes() chan<- *pfstate.Batch[pfstate.Write] { return t.writes }

// Run works until ctx ends, then closes the table and returns nil; or until a
// socket fails, and returns that error.
func (t *Table) Run(ctx context.Context) error {
	defer t.Close()
	g, running := errgroup.WithContext(ctx)
	woken := make(chan struct{})
	stop := context.AfterFunc(running, func() {
		defer close(woken)
		t.events.interrupt()
		t.dumper.interrupt()
	})
	g.Go(func() error { return t.readEvents(running) })
	g.Go(func() error { return t.readDumps(running) })
	g.Go(func() error { return t.carryOut(running) })
	g.Go(func() error { return t.watchForwarding(running) })
	err := g.Wait()
	if !stop() {
		<-woken
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("conntrack: %w", err)
}

// Close closes the sockets of a table that is not running.
func (t *Table) Close() error {
	var err error
	t.close.Do(func() {
		for _, s := range []*socket{t.events, t.dumper, t.writer, t.evict} {
			if s != nil {
				err = errors.Join(err, s.close())
			}
		}
		err = errors.Join(err, t.forwarded.close(), t.home.close())
		if t.nft != nil {
			err = errors.Join(err, t.nft.CloseLasting())
		}
	})
	return err
}

// ended is the end of a goroutine whose receive ended: that of Run, or else the
// socket's own, which must not pass for it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// outbox is the common way out of the three goroutines that report changes. It
// keeps a Seen from following the Deleted of its entry.
type outbox struct {
	ch chan *pfstate.Batch[pfstate.Change]

	mu       sync.Mutex // held while a batch is handed over; all waits end with ctx
	watching int        // dumps and probes that are on their way
	gone     map[uint64]struct{}
}

// watch begins or (-1) ends a time in which Seen may be reported.
func (o *outbox) watch(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watching += n; o.watching == 0 {
		clear(o.gone)
	}
}

// send hands a batch over and reports false when ctx ended. It owns the batch.
func (o *outbox) send(ctx context.Context, b *pfstate.Batch[pfstate.Change]) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watching > 0 {
		o.filter(b)
	}
	if len(b.Items) == 0 {
		b.Free()
		return ctx.Err() == nil
	}
	select {
	case o.ch <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// filter notes what is deleted and takes out what was seen before that.
func (o *outbox) filter(b *pfstate.Batch[pfstate.Change]) {
	kept := 0
	for i := range b.Items {
		c := &b.Items[i]
		switch c.Kind {
		case pfstate.Deleted:
			o.gone[c.State.ID.State] = struct{}{}
		case pfstate.Seen:
			if _, gone := o.gone[c.State.ID.State]; !gone {
				break
			}
			if c.Op != pfstate.WriteProbe {
				continue
			}
			c.Kind = pfstate.Absent
		}
		if kept != i {
			b.Items[kept] = *c
		}
		kept++
	}
	b.Items = b.Items[:kept]
}

// extend makes room for one more change and returns it, with the last use's rubbish in it.
func extend(b *pfstate.Batch[pfstate.Change]) *pfstate.Change {
	n := len(b.Items)
	if n < cap(b.Items) {
		b.Items = b.Items[:n+1]
	} else {
		b.Items = append(b.Items, pfstate.Change{})
	}
	return &b.Items[n]
}
