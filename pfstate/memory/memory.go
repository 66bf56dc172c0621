// Package memory is a state table without a kernel: for nodes that only watch,
// for tests, and for simulations. It needs channels and timers and nothing else,
// so it works inside a testing/synctest bubble.
//
// It behaves as the kernel's table does towards the sync engine: an entry is
// named by protocol, original tuple and routing domain; no two entries share a
// tuple; what the engine writes is silent; a table whose changes nobody reads
// drops them and says Overrun. It takes states that the kernel cannot hold. Its
// local traffic counts as forwarded (pfstate.Forwarding), and it has no mute entries.
package memory

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// DefaultQueue is how many changes wait for a reader before they are dropped.
const DefaultQueue = 1 << 16

// batchSize is how many changes go out in one batch at most.
const batchSize = 256

var errOverrun = errors.New("memory table: changes were not read in time")

// Config says how a table is limited and how its states are named.
type Config struct {
	Creator uint32 // creatorid of states made here
	Limit   int    // states, 0: no limit
	Queue   int    // changes that may wait for a reader, 0: DefaultQueue

	// ID names an entry that is new in the table; ref is its Change.Ref. nil: a
	// number that counts up, with Creator.
	ID func(s *pfstate.State, ref uint32) pfstate.ID
}

// Table is a state table in memory. It satisfies the sync engine's interface.
// Create, Update and Delete are the local traffic; any goroutine may call them,
// at any time, and none of them waits.
type Table struct {
	config  Config
	changes chan *pfstate.Batch[pfstate.Change]
	writes  chan *pfstate.Batch[pfstate.Write]
	stock   pfstate.Batches[pfstate.Change]
	wake    chan struct{}

	mu      sync.Mutex // held for a moment only
	entries map[tuple]*entry
	due     deadlines
	ref     uint32
	pending []pfstate.Change // from head on
	head    int
	overrun bool
	dumps   []*dump
	traffic bool      // there was some since the last hint
	hinted  time.Time // when that was
}

// tuple is what entries are found by, each under both of its directions.
type tuple struct {
	pfstate.Tuple
	proto uint8
	zone  uint16
}

type entry struct {
	orig, reply tuple
	state       pfstate.State
	ref         uint32
	injected    bool // made by a Write
	deadline    time.Time
	place       int // in due
}

// dump is one on its way: the entries that were there when it began.
type dump struct {
	begun bool
	left  []*entry
}

// New makes an empty table.
func New(c Config) *Table {
	if c.Queue == 0 {
		c.Queue = DefaultQueue
	}
	if c.ID == nil {
		c.ID = func(_ *pfstate.State, ref uint32) pfstate.ID {
			return pfstate.ID{State: uint64(ref), Creator: c.Creator}
		}
	}
	return &Table{
		config:  c,
		changes: make(chan *pfstate.Batch[pfstate.Change]),
		writes:  make(chan *pfstate.Batch[pfstate.Write]),
		stock:   pfstate.NewBatches[pfstate.Change](8),
		wake:    make(chan struct{}, 1),
		entries: make(map[tuple]*entry),
	}
}

// Changes has what happened in the table, and the answers to Writes. Free each
// batch. It is never closed.
func (t *Table) Changes() <-chan *pfstate.Batch[pfstate.Change] { return t.changes }

// Writes takes orders; the table frees the batch. While more
// than Config.Queue changes wait for a reader it takes none.
func (t *Table) Writes() chan<- *pfstate.Batch[pfstate.Write] { return t.writes }

// States are copies of all states, in no order, with their remaining time.
func (t *Table) States() []pfstate.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	list := make([]pfstate.State, 0, len(t.due))
	for _, e := range t.due {
		list = append(list, e.at(now))
	}
	return list
}

// Len is the number of states.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.due)
}

// Create is the first packet of a connection: Created is reported, or Updated if
// the connection is there. ErrTableFull, ErrClash and ErrUnsupported (no
// addresses) say why not. The state's ID is replaced by the table's.
func (t *Table) Create(s pfstate.State) error { return t.act(pfstate.WriteInsert, s) }

// Update is a packet that moves a connection on; ErrNoState if it is not there.
func (t *Table) Update(s pfstate.State) error { return t.act(pfstate.WriteUpdate, s) }

// Delete removes a connection as an operator would; ErrNoState if it is not there.
func (t *Table) Delete(s pfstate.State) error { return t.act(pfstate.WriteDelete, s) }

func (t *Table) act(kind pfstate.WriteKind, s pfstate.State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.poke()
	now := time.Now()
	orig, reply, err := tuples(&s)
	if err != nil {
		return err
	}
	e := t.find(orig)
	switch {
	case kind == pfstate.WriteDelete && e != nil:
		t.remove(e)
		t.report(pfstate.Change{Kind: pfstate.Deleted, Ref: e.ref, State: e.at(now)})
		return nil
	case kind == pfstate.WriteInsert && e == nil:
		e, err = t.insert(orig, reply, &s, now)
		if err == nil {
			t.traffic = true
			t.report(pfstate.Change{Kind: pfstate.Created, Ref: e.ref, State: e.at(now)})
		}
		return err
	case e == nil:
		return pfstate.ErrNoState
	}
	if err := t.update(e, reply, &s, now); err != nil {
		return err
	}
	t.traffic = true
	t.report(pfstate.Change{Kind: pfstate.Updated, Ref: e.ref, State: e.at(now)})
	return nil
}

// Run works until ctx ends and returns nil.
func (t *Table) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var out *pfstate.Batch[pfstate.Change]
	for {
		next, room := t.advance()
		timer.Reset(next)
		if out == nil {
			out = t.take()
		}
		var changes chan *pfstate.Batch[pfstate.Change]
		if out != nil {
			changes = t.changes
		}
		writes := t.writes
		if !room {
			writes = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case changes <- out:
			out = nil
		case b := <-writes:
			t.apply(b.Items)
			b.Free()
		case <-t.wake:
		case <-timer.C:
		}
	}
}

// advance removes what has expired, hints at traffic, and tells how long neither
// will be due.
func (t *Table) advance() (next time.Duration, room bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	next = time.Hour
	for len(t.due) > 0 {
		e := t.due[0]
		if left := e.deadline.Sub(now); left > 0 {
			next = min(next, left)
			break
		}
		t.remove(e)
		t.report(pfstate.Change{Kind: pfstate.Deleted, Expired: true, Ref: e.ref, State: e.at(now)})
	}
	room = t.waiting() < t.config.Queue
	if t.traffic && room { // a hint that has to wait is not lost: the next says as much
		if left := pfstate.ForwardingEvery - now.Sub(t.hinted); left > 0 {
			return min(next, left), room
		}
		t.traffic, t.hinted = false, now
		t.pending = append(t.pending, pfstate.Change{Kind: pfstate.Forwarding})
	}
	return next, room
}

// report queues a change made by traffic or time; too many become one Overrun.
func (t *Table) report(c pfstate.Change) {
	if t.waiting() >= t.config.Queue {
		t.overrun = true
		return
	}
	t.pending = append(t.pending, c)
}

func (t *Table) waiting() int { return len(t.pending) - t.head }

func (t *Table) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take makes a batch of what waits, nil if nothing does.
func (t *Table) take() *pfstate.Batch[pfstate.Change] {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting() == 0 {
		t.pending, t.head = t.pending[:0], 0
		t.stepDump()
	}
	if t.waiting() == 0 && t.overrun {
		t.overrun = false
		t.pending = append(t.pending, pfstate.Change{Kind: pfstate.Overrun, Err: errOverrun})
	}
	n := min(t.waiting(), batchSize)
	if n == 0 {
		return nil
	}
	b := t.stock.Take()
	b.Items = append(b.Items, t.pending[t.head:t.head+n]...)
	t.head += n
	return b
}

// stepDump queues the next part of the first dump ordered. What was removed
// since the dump began has been reported, and is left out.
func (t *Table) stepDump() {
	if len(t.dumps) == 0 {
		return
	}
	d := t.dumps[0]
	if !d.begun {
		d.begun = true
		d.left = append(d.left, t.due...)
		t.pending = append(t.pending, pfstate.Change{Kind: pfstate.DumpBegin})
	}
	now := time.Now()
	n := min(len(d.left), batchSize)
	for _, e := range d.left[:n] {
		if e.place >= 0 {
			t.pending = append(t.pending, pfstate.Change{Kind: pfstate.Seen, Injected: e.injected, Ref: e.ref, State: e.at(now)})
		}
	}
	if d.left = d.left[n:]; len(d.left) == 0 {
		t.pending = append(t.pending, pfstate.Change{Kind: pfstate.DumpEnd})
		t.dumps = t.dumps[1:]
	}
}

// at is the entry's state as it stands now.
func (e *entry) at(now time.Time) pfstate.State {
	s := e.state
	s.Expire = max(0, e.deadline.Sub(now))
	return s
}

// deadlines is a heap of the entries by deadline.
type deadlines []*entry

var _ heap.Interface = (*deadlines)(nil)

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

func (d *deadlines) Push(x any) {
	e := x.(*entry)
	e.place = len(*d)
	*d = append(*d, e)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	e.place = -1
	return e
}
