package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Limit is how many packets the kernel holds at most, as in pf; those behind go on.
const Limit = 128

// lookEvery is how often the counters of the rules are read while they are there.
const lookEvery = time.Second

// Where tells where packets are caught.
type Where uint8

const (
	Nowhere  Where = iota // no packets are diverted
	Unproved              // they are, but none has come by yet
	Late                  // behind conntrack's confirmation: the connection is known before its packet
	Early                 // before it: the packet brings its connection along
	Wrong                 // before it, and the kernel does not tell of the connection: nothing is held
)

func (w Where) String() string {
	return [...]string{"off", "waiting for a first packet", "behind confirmation", "with its connection", "rule order wrong"}[w]
}

// Config says where packets are held.
type Config struct {
	NetNS int // file descriptor of a network namespace, 0: that of the calling thread
	Log   *slog.Logger

	common bool // the table shall belong to nobody
}

// Holder holds packets. Packets, Release and Arm are for one goroutine, which must read
// Packets while Run works.
type Holder struct {
	cfg     Config
	log     *slog.Logger
	rules   *rules
	packets chan *pfstate.Batch[Packet]
	batches pfstate.Batches[Packet]

	wanted chan struct{} // armed or mark has changed
	armed  atomic.Bool
	mark   atomic.Pointer[Mark]
	queue  atomic.Pointer[queue] // once packets were wanted

	where     atomic.Uint32
	failed    atomic.Pointer[error] // why none can be held
	received  atomic.Uint64
	diverted  atomic.Uint64 // by the rules, as far as counted
	verdicts  atomic.Uint64 // packets let go
	badTell   atomic.Uint64 // verdicts that the kernel did not take
	unreading atomic.Uint64 // packets whose headers could not be read
	restored  atomic.Uint64 // times the rules were found removed
	close     sync.Once
}

// Open takes the place of our chain, which diverts nothing yet. Where it comes to stand
// is decided now: open it before anything in the namespace tracks connections.
func Open(c Config) (*Holder, error) {
	h := &Holder{
		cfg: c, log: c.Log, packets: make(chan *pfstate.Batch[Packet], 16), batches: pfstate.NewBatches[Packet](32),
		wanted: make(chan struct{}, 1),
	}
	h.mark.Store(&Mark{})
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if h.rules, err = openRules(c.NetNS, c.common); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	return h, nil
}

// Prepare binds the queue, which otherwise Run does when it is wanted. Its error tells
// why this kernel cannot hold packets.
func (h *Holder) Prepare() error {
	if h.queue.Load() != nil {
		return nil
	}
	q, err := openQueue(h.cfg.NetNS)
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	if !h.queue.CompareAndSwap(nil, q) {
		return q.close()
	}
	return nil
}

// Packets has what is held. Free each batch.
func (h *Holder) Packets() <-chan *pfstate.Batch[Packet] { return h.packets }

// Arm diverts packets from now on, or no more; it does not wait until that is so.
func (h *Holder) Arm(on bool) {
	if h.armed.Swap(on) != on {
		h.changed()
	}
}

// Exclude holds no connections with that mark from now on. It may be called by any goroutine.
func (h *Holder) Exclude(m Mark) {
	if *h.mark.Swap(&m) != m {
		h.changed()
	}
}

func (h *Holder) changed() {
	select {
	case h.wanted <- struct{}{}:
	default: // it will be looked at
	}
}

// Release lets packets go on.
func (h *Holder) Release(ids []uint32) {
	q := h.queue.Load()
	if q == nil || len(ids) == 0 {
		return
	}
	if err := q.release(ids); err != nil {
		h.badTell.Add(uint64(len(ids)))
		h.log.Debug("packets cannot be let go", "err", err)
		return
	}
	h.verdicts.Add(uint64(len(ids)))
}

// Where tells where packets are caught, and why none can be, if that is so.
func (h *Holder) Where() (Where, error) {
	if err := h.failed.Load(); err != nil && *err != nil {
		return Nowhere, *err
	}
	return Where(h.where.Load()), nil
}

// Bypassed is how many first packets went on without being held, because the
// queue was full or nobody read it; it is up to a second old.
func (h *Holder) Bypassed() uint64 {
	diverted, received := h.diverted.Load(), h.received.Load()
	return max(diverted, received) - received
}

// Counters are the holder's, in a fixed order.
func (h *Holder) Counters() []pfstate.Counter {
	return []pfstate.Counter{
		{Name: "hold_received", Help: "first packets handed over by the kernel", Value: h.received.Load()},
		{Name: "hold_released", Help: "first packets let go", Value: h.verdicts.Load()},
		{Name: "hold_bypassed", Help: "first packets that were not held because the queue was full or nobody read it", Value: h.Bypassed()},
		{Name: "hold_unread", Help: "first packets let go because their headers could not be read", Value: h.unreading.Load()},
		{Name: "hold_restored", Help: "times the rules that hold first packets were found removed, and made anew", Value: h.restored.Load()},
		{Name: "hold_errors", Help: "first packets that the kernel did not let go", Value: h.badTell.Load()},
	}
}

// Run diverts packets as Arm says, until ctx ends; then it lets all go on and leaves
// nothing behind.
func (h *Holder) Run(ctx context.Context) error {
	defer h.Close()
	g, running := errgroup.WithContext(ctx)
	bound := make(chan *queue, 1)
	g.Go(func() error { return h.watch(running, bound) })
	g.Go(func() error {
		select {
		case <-running.Done():
			return running.Err()
		case q := <-bound:
			return h.read(running, q)
		}
	})
	if err := g.Wait(); ctx.Err() == nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

// read hands over packets until ctx ends.
func (h *Holder) read(ctx context.Context, q *queue) error {
	stop := context.AfterFunc(ctx, q.interrupt)
	defer stop()
	for {
		b := h.batches.Take()
		if err := q.receive(b); err != nil {
			b.Free()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		h.received.Add(uint64(len(b.Items)))
		for i := range b.Items {
			if b.Items[i].Proto == 0 {
				h.unreading.Add(1)
			}
		}
		select {
		case h.packets <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch installs and removes the rules, and reads their counters meanwhile.
func (h *Holder) watch(ctx context.Context, bound chan<- *queue) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	installed := false
	var mark *Mark // of the rules
	defer func() {
		if installed {
			h.disarm()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.wanted:
			want, except := h.armed.Load(), h.mark.Load()
			if installed && (!want || except != mark) {
				h.disarm()
				installed = false
			}
			if want && !installed {
				installed, mark = h.arm(bound, *except), except
			}
		case <-look.C:
			if installed && !h.look() {
				h.restored.Add(1)
				h.log.Warn("rules that hold packets were removed, making them again", "table", TableName)
				installed = h.arm(bound, *mark)
			}
		}
	}
}

func (h *Holder) arm(bound chan<- *queue, except Mark) bool {
	err := h.Prepare()
	q := h.queue.Load()
	if err == nil && !h.rules.there() {
		err = h.rules.place() // behind which others it comes now is to be seen
	}
	if err == nil {
		err = h.rules.install(q.num, except, q.glue)
	}
	h.failed.Store(&err)
	if err != nil {
		h.log.Error("first packets cannot be held", "err", err)
		return false
	}
	select {
	case bound <- q:
	default: // it is being read
	}
	h.where.Store(uint32(Unproved))
	h.log.Info("first packets are held until a peer knows their connection", "queue", q.num)
	return true
}

func (h *Holder) disarm() {
	h.look()
	h.where.Store(uint32(Nowhere))
	if err := h.rules.remove(); err != nil {
		h.log.Warn("rules that hold packets cannot be removed", "err", err)
		return
	}
	h.log.Info("first packets are held no more")
}

// look tells whether the rules are still there.
func (h *Holder) look() bool {
	err := h.count()
	if errors.Is(err, errChanged) {
		return false
	}
	if err != nil {
		h.log.Debug("counters of first packets", "err", err)
	}
	return true
}

// count finds out where packets are caught, and how many.
func (h *Holder) count() error {
	late, early, err := h.rules.counts()
	if err != nil {
		return err
	}
	h.diverted.Store(h.rules.diverted(late, early))
	now := Unproved
	switch {
	case early > 0 && !h.rules.glue:
		now = Wrong
	case early > 0:
		now = Early
	case late > 0:
		now = Late
	}
	if old := Where(h.where.Swap(uint32(now))); now == Wrong && old != Wrong {
		h.log.Error("defer: rule order wrong, nothing is held: rules that track connections were loaded before pfsyncd was started, " +
			"and this kernel does not tell of a connection before it is confirmed; flush them, start pfsyncd, then load them")
	}
	return nil
}

// Close closes a holder that is not running.
func (h *Holder) Close() error {
	var err error
	h.close.Do(func() {
		if q := h.queue.Load(); q != nil {
			// The rules are gone; whatever came before that goes on.
			b := &pfstate.Batch[Packet]{}
			for q.drain(b) == nil && len(b.Items) > 0 {
				b.Items = b.Items[:0]
			}
			err = errors.Join(q.releaseAll(), q.close())
		}
		err = errors.Join(err, h.rules.close())
	})
	return err
}
