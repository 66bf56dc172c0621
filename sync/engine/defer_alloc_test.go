package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// feedHolder is a Holder without a lock, for measuring.
type feedHolder struct {
	packets chan *pfstate.Batch[hold.Packet]
	batches pfstate.Batches[hold.Packet]
	let     chan int // packets in one Release
	armed   chan bool
}

func (h *feedHolder) Packets() <-chan *pfstate.Batch[hold.Packet] { return h.packets }
func (h *feedHolder) Release(ids []uint32)                        { h.let <- len(ids) }
func (h *feedHolder) Arm(on bool)                                 { h.armed <- on }

// firstPackets is a feed that holds packets, of connections that come again and again.
type firstPackets struct {
	*feed
	holder            *feedHolder
	made, ready, over []pfstate.Change
	held              []hold.Packet
	ids               []pfstate.ID
	writer            wire.Writer
	buf               []byte
}

func newFirstPackets(t testing.TB, n int) *firstPackets {
	h := &feedHolder{
		packets: make(chan *pfstate.Batch[hold.Packet], 1), batches: pfstate.NewBatches[hold.Packet](2),
		let: make(chan int, 64), armed: make(chan bool, 1),
	}
	f, e := newFeedAs(t, engine.Config{Holder: h})
	p := &firstPackets{feed: f, holder: h}
	f.greet()
	f.deliver(p.ack())
	for taken := uint64(0); taken < 3; { // these, and the one of newFeed
		all, err := e.Counters()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(c pfstate.Counter) bool { return c.Name == "ipackets" })
		taken = all[i].Value
	}
	for i := range n {
		s := tcp(us, i+1, synSent, closed)
		p.made, p.ready, p.over = append(p.made, created(s)), append(p.ready, applied(pfstate.WriteUpdate, s)), append(p.over, deleted(s))
		p.held, p.ids = append(p.held, first(uint32(i+1), s)), append(p.ids, s.ID)
	}
	s := engine.DefaultSettings()
	s.Up, s.Defer, s.DeferDelay = true, true, time.Minute
	if err := e.Configure(s); err != nil {
		t.Fatal(err)
	}
	if !<-h.armed {
		t.Fatal("no packets are held")
	}
	return p
}

// ack acknowledges all connections, and that it has heard everything. Its memory is that of
// the last one.
func (p *firstPackets) ack() link.Packet {
	p.writer.Reset(1480)
	for _, id := range p.ids {
		p.writer.ID(wire.ActInsAck, id)
	}
	p.said++
	w := wire.BeginTrailer(append(p.buf[:0], p.writer.Finish()...), 0, theirEpoch, p.said)
	w.Heard([]wire.Heard{{Epoch: p.epoch.Load(), Seq: p.last.Load()}})
	p.buf = w.End()
	return link.Packet{Src: theirAddr, TTL: 255, Payload: p.buf}
}

// cycle lets the connections begin, each with its packet, be acknowledged and end.
func (p *firstPackets) cycle() {
	p.report(p.made)
	b := p.holder.batches.Take()
	b.Items = append(b.Items, p.held...)
	p.holder.packets <- b
	for n := 0; n < len(p.held); { // the table is told to expect the answers elsewhere
		n += <-p.orders
	}
	c := p.batches.Take()
	c.Items = append(c.Items, p.ready...)
	p.changes <- c
	p.deliver(p.ack())
	for n := 0; n < len(p.held); {
		n += <-p.holder.let
	}
	p.report(p.over)
}

// From the kernel's event and packet to the peer, and back to the packet, nothing is
// allocated per connection.
func TestHeldPacketsAllocateNothing(t *testing.T) {
	p := newFirstPackets(t, inBatch)
	for range 50 {
		p.cycle() // everything grows to its size
	}
	// The maps of graves grow and are turned; that is not per connection.
	if n := testing.AllocsPerRun(50, p.cycle); n > inBatch/10 {
		t.Errorf("%v allocations for %d first packets", n, inBatch)
	}
}

// BenchmarkHeldPackets is the engine's share of holding a packet: one connection at a time.
func BenchmarkHeldPackets(b *testing.B) {
	p := newFirstPackets(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		p.cycle()
	}
}
