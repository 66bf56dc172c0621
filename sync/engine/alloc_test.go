package engine_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// feed is an engine on channels without a clock of its own, for measuring.
type feed struct {
	changes  chan *pfstate.Batch[pfstate.Change]
	received chan *pfstate.Batch[link.Packet]
	statuses chan link.Status
	writes   chan *pfstate.Batch[pfstate.Write]
	sent     chan int // messages in the packets of one Send
	orders   chan int // writes in one batch
	ended    chan struct{}
	said     uint64        // sequence of the Linux peer's last packet
	epoch    atomic.Uint64 // of the engine, once it has sent something,
	last     atomic.Uint64 // and its last packet
	wireB    atomic.Uint64 // bytes sent, with IP and Ethernet headers
	wireP    atomic.Uint64 // packets

	batches pfstate.Batches[pfstate.Change]
	packets pfstate.Batches[link.Packet]
}

func (f *feed) Changes() <-chan *pfstate.Batch[pfstate.Change] { return f.changes }
func (f *feed) Writes() chan<- *pfstate.Batch[pfstate.Write]   { return f.writes }
func (f *feed) Received() <-chan *pfstate.Batch[link.Packet]   { return f.received }
func (f *feed) Statuses() <-chan link.Status                   { return f.statuses }
func (f *feed) Show([][]byte)                                  {}
func (f *feed) Send(payloads [][]byte) (int, error) {
	n := 0
	for _, p := range payloads {
		f.wireP.Add(1)
		f.wireB.Add(uint64(14 + 20 + len(p)))
		n += compactCount(p)
		if t, err := wire.ParseTrailer(wire.Behind(p)); err == nil {
			f.epoch.Store(t.Epoch)
			f.last.Store(t.Seq)
		}
		h, rest, _ := wire.ParseHeader(p)
		for len(rest) > 0 {
			s, next, err := h.NextSection(rest)
			if err != nil {
				return 0, err
			}
			n, rest = n+s.Count, next
		}
	}
	if n > 0 { // not for the trailer alone
		f.sent <- n
	}
	return len(payloads), nil
}

// compactCount is the number of compact messages in a packet.
func compactCount(p []byte) (n int) {
	t, err := wire.ParseTrailer(wire.Behind(p))
	if err != nil {
		return 0
	}
	for rest := t.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			return n
		}
		rest = next
		switch typ {
		case wire.AttrDelete:
			n += (len(body) - wire.CompactLen) / wire.DeletedLen
		case wire.AttrInsert, wire.AttrState, wire.AttrUpdate:
			for b := body[wire.CompactLen:]; len(b) > 0; b = b[1+int(b[0]):] {
				n++
			}
		}
	}
	return n
}

// Listened: nobody watches pfsync0.
func (f *feed) Listened() bool { return false }

// greet lets a Linux peer say that it is there, and that it understands compact messages.
func (f *feed) greet() { f.deliver(f.linux(nil)) }

// linux is the next packet of that peer.
func (f *feed) linux(add func(*wire.CompactWriter)) link.Packet {
	var w wire.Writer
	w.Reset(1480)
	f.said++
	t := wire.BeginTrailer(slices.Clone(w.Finish()), 0, theirEpoch, f.said)
	t.Hello(wire.Hello{Creator: them, Features: wire.FeatureCompact})
	if add != nil {
		var c wire.CompactWriter
		c.Reset(1380)
		add(&c)
		t.Compact(c.Bytes())
	}
	return link.Packet{Src: netip.AddrFrom4(theirAddr.As4()), TTL: 255, Payload: t.End()}
}

// newFeed starts an engine that is up, on a link that is up, with no bulk request open.
func newFeed(t testing.TB) *feed {
	f, _ := newFeedAs(t, engine.Config{})
	return f
}

func newFeedAs(t testing.TB, c engine.Config) (*feed, *engine.Engine) {
	f := &feed{
		changes: make(chan *pfstate.Batch[pfstate.Change], 1), received: make(chan *pfstate.Batch[link.Packet], 1),
		statuses: make(chan link.Status, 1), writes: make(chan *pfstate.Batch[pfstate.Write]),
		sent: make(chan int, 64), orders: make(chan int, 64), ended: make(chan struct{}),
		batches: pfstate.NewBatches[pfstate.Change](2), packets: pfstate.NewBatches[link.Packet](2),
	}
	ctx, stop := context.WithCancel(context.Background())
	c.Creator, c.Log = us, slog.New(slog.DiscardHandler)
	e := engine.New(c, f, f, f)
	go func() { defer close(f.ended); e.Run(ctx) }()
	go func() {
		for {
			select {
			case b := <-f.writes:
				n := len(b.Items)
				b.Free()
				f.orders <- n
			case <-f.ended:
				return
			}
		}
	}()
	t.Cleanup(func() { stop(); <-f.ended })
	<-f.orders // the first dump
	b := f.batches.Take()
	b.Items = append(b.Items, pfstate.Change{Kind: pfstate.DumpBegin}, pfstate.Change{Kind: pfstate.DumpEnd})
	f.changes <- b
	up := engine.DefaultSettings()
	up.Up = true
	if err := e.Configure(up); err != nil {
		t.Fatal(err)
	}
	f.statuses <- link.Status{Config: link.Config{Syncdev: "sis2"}, Up: true, MTU: 1500, Addr: ourAddr}
	<-f.sent // the bulk request
	f.deliver(packet(func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd}) }))
	return f, e
}

func packet(build func(*wire.Writer)) link.Packet {
	var w wire.Writer
	w.Reset(1480)
	build(&w)
	return link.Packet{Src: netip.AddrFrom4(theirAddr.As4()), TTL: 255, Payload: slices.Clone(w.Finish())}
}

func (f *feed) deliver(p link.Packet) {
	b := f.packets.Take()
	b.Items = append(b.Items, p)
	f.received <- b
}

// report tells of changes and waits until they have all been sent.
func (f *feed) report(changes []pfstate.Change) {
	b := f.batches.Take()
	b.Items = append(b.Items, changes...)
	f.changes <- b
	for n := 0; n < len(changes); {
		n += <-f.sent
	}
}

const inBatch = 100

func changesOf(kind pfstate.ChangeKind) (all []pfstate.Change) {
	for n := range inBatch {
		all = append(all, pfstate.Change{Kind: kind, State: tcp(us, n+1, estab, estab)})
	}
	return all
}

// From the table to the link nothing is allocated per state.
func TestChangesAllocateNothing(t *testing.T) {
	for _, compact := range []bool{false, true} {
		f := newFeed(t)
		if compact {
			f.greet()
		}
		changesAllocateNothing(t, f)
	}
}

func changesAllocateNothing(t *testing.T, f *feed) {
	t.Helper()
	born, moved, ended := changesOf(pfstate.Created), changesOf(pfstate.Updated), changesOf(pfstate.Deleted)
	cycle := func() {
		f.report(born)
		f.report(moved)
		f.report(ended)
	}
	for range 50 {
		cycle() // everything grows to its size
	}
	// The maps of graves grow and are turned; that is not per state.
	if n := testing.AllocsPerRun(50, cycle); n > inBatch/10 {
		t.Errorf("%v allocations for %d changes", n, 3*inBatch)
	}
}

// Nor from the link to the table.
func TestPacketsAllocateNothing(t *testing.T) {
	f := newFeed(t)
	var ins, upds, dels []link.Packet
	for n := range inBatch {
		s := tcp(them, n+1, estab, estab)
		ins = append(ins, packet(func(w *wire.Writer) { w.State(wire.ActIns, &s) }))
		upds = append(upds, packet(func(w *wire.Writer) { w.UpdC(upd(s)) }))
		dels = append(dels, packet(func(w *wire.Writer) { w.ID(wire.ActDelC, s.ID) }))
	}
	cycle := func() {
		for _, ps := range [][]link.Packet{ins, upds, dels} {
			b := f.packets.Take()
			b.Items = append(b.Items, ps...)
			f.received <- b
			for n := 0; n < len(ps); {
				n += <-f.orders
			}
		}
	}
	for range 50 {
		cycle()
	}
	if n := testing.AllocsPerRun(50, cycle); n > inBatch/10 {
		t.Errorf("%v allocations for %d messages", n, 3*inBatch)
	}
}

func BenchmarkChanges(b *testing.B) {
	f := newFeed(b)
	born, ended := changesOf(pfstate.Created), changesOf(pfstate.Deleted)
	b.ReportAllocs()
	for b.Loop() {
		f.report(born)
		f.report(ended)
	}
	b.ReportMetric(2*inBatch*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
