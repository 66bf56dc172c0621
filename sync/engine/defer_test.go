package engine_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// holder is a Holder played by the test.
type holder struct {
	packets chan *pfstate.Batch[hold.Packet]
	once    sync.Once

	mu   sync.Mutex
	let  []uint32 // since they were last asked for
	arms bool
}

func newHolder() *holder { return new(holder) }

// Packets makes the channel in the bubble.
func (h *holder) Packets() <-chan *pfstate.Batch[hold.Packet] {
	h.once.Do(func() { h.packets = make(chan *pfstate.Batch[hold.Packet], 1) })
	return h.packets
}

func (h *holder) Release(ids []uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.let = append(h.let, ids...)
}

func (h *holder) Arm(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arms = on
}

// armed tells whether packets are held, once the engine is idle.
func (h *holder) armed() bool {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.arms
}

// first is the first packet of a state as it leaves the firewall.
func first(id uint32, s pfstate.State) hold.Packet {
	_, reply := s.Tuples()
	return hold.Packet{ID: id, Tuple: reply.Reversed(), Proto: s.Proto}
}

// holds lets packets be held.
func (h *holder) holds(packets ...hold.Packet) {
	h.packets <- &pfstate.Batch[hold.Packet]{Items: packets}
	synctest.Wait()
}

// wentOn compares the packets that were let go since it was last asked.
func (h *holder) wentOn(t *testing.T, want ...uint32) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.let, want) {
		t.Errorf("went on: %d, want %d", h.let, want)
	}
	h.let = nil
}

// deferring runs test with an engine in sync with one Linux peer, and defer on.
func deferring(t *testing.T, test func(*rig, *linux, *holder)) {
	t.Helper()
	deferringAs(t, engine.Config{}, test)
}

func deferringAs(t *testing.T, c engine.Config, test func(*rig, *linux, *holder)) {
	t.Helper()
	h := newHolder()
	c.Holder = h
	pairedAs(t, c, func(r *rig, p *linux) {
		r.defers(0)
		if !h.armed() {
			t.Fatal("no packets are held")
		}
		r.forget()
		test(r, p, h)
	})
}

// defers configures defer with that delay.
func (r *rig) defers(delay time.Duration) {
	r.configure(func(s *engine.Settings) { s.Up, s.Defer, s.DeferDelay = true, true, delay })
	synctest.Wait()
}

func ack(s pfstate.State) messagesOf {
	return func(w *wire.Writer) { w.ID(wire.ActInsAck, s.ID) }
}

// applied is the table's word that an order with Notify was carried out.
func applied(op pfstate.WriteKind, s pfstate.State) pfstate.Change {
	return pfstate.Change{Kind: pfstate.Applied, Op: op, State: s}
}

// Whatever comes first, the event or the packet: the state is told at once, the packet waits for the peer.
func TestFirstPacketWaitsForThePeer(t *testing.T) {
	for _, packetFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("packet first %t", packetFirst), func(t *testing.T) {
			deferring(t, func(r *rig, p *linux, h *holder) {
				s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
				if packetFirst {
					h.holds(first(7, s))
					r.table(created(s))
				} else {
					r.table(created(s))
					h.holds(first(7, s))
				}
				r.expect("INS 0000000000000001/aaaaaaaa 1:0 ack")
				time.Sleep(3 * time.Millisecond)
				h.wentOn(t)
				p.send(0, ack(s), nil)
				h.wentOn(t, 7)
				time.Sleep(time.Second)
				h.wentOn(t)
				r.counted("deferred=1", "deferacked=1", "defertimedout=0", "deferhold.5000=1", "deferhold.2000=0", "deferhold.sum=3000")

				r.table(updated(udp(us, 1, pfstate.Multiple, pfstate.Single)))
				r.expect("UPD_C 0000000000000001/aaaaaaaa 2:1")
			})
		})
	}
}

// The acknowledgement may come before the packet is read.
func TestAckBeforeThePacketIsRead(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
		r.table(created(s))
		p.send(0, ack(s), nil)
		h.wentOn(t)
		h.holds(first(7, s))
		h.wentOn(t, 7)
		r.counted("deferacked=1", "defertimedout=0")
	})
}

// Any word of the peer on the state shows that it knows it: a BSD may send an update in place of the ack.
func TestUpdatesLetPacketsGo(t *testing.T) {
	s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
	for name, word := range map[string]messagesOf{
		"UPD_C": func(w *wire.Writer) { w.UpdC(upd(s)) },
		"UPD":   func(w *wire.Writer) { w.State(wire.ActUpd, &s) },
	} {
		t.Run("linux "+name, func(t *testing.T) {
			deferring(t, func(r *rig, p *linux, h *holder) {
				r.table(created(s))
				h.holds(first(7, s))
				p.send(0, word, nil)
				h.wentOn(t, 7)
				r.counted("deferacked=1")
			})
		})
		t.Run("openbsd "+name, func(t *testing.T) {
			h := newHolder()
			askingAs(t, engine.Config{Holder: h}, nil, func(r *rig) {
				r.answered() // by a BSD
				r.base = r.counters()
				r.defers(0)
				r.table(created(s))
				h.holds(first(7, s))
				h.wentOn(t)
				r.deliver(word)
				h.wentOn(t, 7)
				r.counted("deferacked=1")
			})
		})
	}
}

func TestPacketWaitsNoLongerThanTheDelay(t *testing.T) {
	for _, c := range []struct{ set, want time.Duration }{{0, 20 * time.Millisecond}, {300 * time.Millisecond, 300 * time.Millisecond}} {
		t.Run(c.want.String(), func(t *testing.T) {
			deferring(t, func(r *rig, p *linux, h *holder) {
				r.defers(c.set)
				r.table(created(udp(us, 1, pfstate.Single, pfstate.NoTraffic)))
				h.holds(first(7, udp(us, 1, 0, 0)))
				time.Sleep(c.want - time.Microsecond)
				h.wentOn(t)
				time.Sleep(time.Microsecond)
				h.wentOn(t, 7)
				// One of which no event tells is let go as well.
				h.holds(first(8, udp(us, 2, 0, 0)))
				time.Sleep(c.want)
				h.wentOn(t, 8)
				r.counted("defertimedout=2", "deferacked=0")
			})
		})
	}
}

// The answer to a TCP connection may go by another firewall, and the initiator's next packet be here before
// the news of it: the table is told to expect that, while the packet is held.
func TestTableExpectsTheAnswerElsewhere(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		s := tcp(us, 1, synSent, closed)
		r.table(created(s))
		r.wrote() // not before the packet is there: the answer might be, too
		h.holds(first(7, s))
		w := r.ordered()
		if len(w) != 1 || w[0].Kind != pfstate.WriteUpdate || !w[0].Notify || w[0].State.Src.State != estab || w[0].State.Dst.State != synSent {
			t.Fatalf("ordered %+v", w)
		}
		p.send(0, ack(s), nil)
		h.wentOn(t)
		r.table(applied(pfstate.WriteUpdate, w[0].State))
		h.wentOn(t, 7)

		s = tcp(us, 2, synSent, closed)
		r.table(created(s))
		h.holds(first(8, s))
		refused := applied(pfstate.WriteUpdate, s)
		refused.Kind, refused.Err = pfstate.Refused, pfstate.ErrNoState
		r.table(refused)
		h.wentOn(t)
		p.send(0, ack(s), nil)
		h.wentOn(t, 8)
		r.counted("deferacked=2")
	})
}

// Nothing is held without a peer that lives and hears us, and what is held goes on when the last one is lost.
func TestNothingIsHeldWithoutAPeer(t *testing.T) {
	h := newHolder()
	askingAs(t, engine.Config{Holder: h}, nil, func(r *rig) {
		r.defers(0)
		time.Sleep(time.Second)
		if h.armed() {
			t.Error("armed without a peer")
		}
		r.table(created(udp(us, 1, pfstate.Single, pfstate.NoTraffic)))
		if sent, _ := r.told(); !slices.Contains(sent, "INS 0000000000000001/aaaaaaaa 1:0") {
			t.Errorf("sent %q", sent)
		}
		p := r.linux(theirAddr, them, theirEpoch)
		p.deaf = true
		p.beacon()
		time.Sleep(time.Second)
		if h.armed() {
			t.Error("armed with a peer that does not hear us")
		}
		p.deaf = false
		p.beacon()
		time.Sleep(300 * time.Millisecond)
		if !h.armed() {
			t.Error("not armed with a peer that hears us")
		}
		r.defers(5 * time.Second)
		time.Sleep(2200 * time.Millisecond)
		h.holds(first(7, udp(us, 2, 0, 0)))
		time.Sleep(2 * time.Second)
		h.wentOn(t, 7)
		if h.armed() {
			t.Error("armed with a peer that has fallen silent")
		}
		r.counted("deferpassed=1")
		h.holds(first(8, udp(us, 3, 0, 0))) // was on its way
		h.wentOn(t, 8)
	})
}

// Of two peers the living one's acknowledgement suffices.
func TestOneOfTwoPeersSuffices(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		other := r.linux(netip.MustParseAddr("192.168.254.252"), 0xcccccccc, 0xffff)
		other.beacon()
		for range 8 {
			time.Sleep(time.Second)
			p.beacon()
		}
		if states := r.status().PeerList; len(states) != 2 || states[0].State == states[1].State || !h.armed() {
			t.Fatalf("peers %+v, armed %t", states, h.armed())
		}
		s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
		r.table(created(s))
		h.holds(first(7, s))
		p.send(0, ack(s), nil)
		h.wentOn(t, 7)
	})
}

// A peer that hears us and acknowledges nothing is not waited for again and again.
func TestPeersThatNeverAcknowledge(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		const some = hold.Limit
		for n := range some {
			r.table(created(udp(us, n+1, pfstate.Single, pfstate.NoTraffic)))
		}
		time.Sleep(25 * time.Millisecond)
		s := udp(us, some+1, pfstate.Single, pfstate.NoTraffic)
		h.holds(first(1, s))
		h.wentOn(t, 1)
		r.forget()
		r.table(created(s))
		r.expect(fmt.Sprintf("INS %v 1:0 ack", s.ID))
		p.send(0, ack(s), nil) // it does, after all
		h.holds(first(2, udp(us, some+2, 0, 0)))
		h.wentOn(t)
	})
}

func TestOldestGoesOnWhenTooManyAreHeld(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		r.defers(time.Second)
		var want []uint32
		for n := uint32(1); n <= hold.Limit; n++ {
			h.holds(first(n, udp(us, int(n), 0, 0)))
			if n > hold.Limit-16 {
				want = append(want, n-(hold.Limit-16))
			}
		}
		h.wentOn(t, want...)
		r.counted("deferqueuefull=16", "deferred=128")
	})
}

// Packets of states that are none of the peers' business go on as soon as that is known, whatever comes first.
func TestNoSyncStatesAreNotHeld(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		if err := r.engine.SetFilter(marked(1)); err != nil {
			t.Fatal(err)
		}
		r.dump()
		r.forget()
		for n, eventFirst := range []bool{true, false} {
			s := tcp(us, n+1, synSent, closed)
			private := created(s)
			private.Mark = 1
			if eventFirst {
				r.table(private)
			}
			h.holds(first(uint32(n), s))
			if !eventFirst {
				r.table(private)
			}
			h.wentOn(t, uint32(n))
		}
		r.expect()
		r.wrote()
		r.counted("deferpassed=2", "deferacked=0")
	})
}

// The answer waits for the table, and then for nothing: neither for what is queued, nor for the pace of that.
func TestAckAnswersTheTable(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, synSent, closed)
		s.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.wrote("insert 0000000000000001/bbbbbbbb 2:0")
		time.Sleep(5 * time.Millisecond)
		r.expect()
		var news []pfstate.Change
		for n := range 3000 {
			news = append(news, created(tcp(us, n+10, estab, estab)))
		}
		r.backlog(news, []pfstate.Change{applied(pfstate.WriteInsert, s)})
		if sent, _ := r.told(); len(sent) < 100 || sent[0] != "INS_ACK 0000000000000001/bbbbbbbb" {
			t.Errorf("sent %d messages, first %.300q", len(sent), sent)
		}
		r.counted("oacts.INS ST ACK=1")

		s = tcp(them, 2, synSent, closed)
		s.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.Refused, Op: pfstate.WriteInsert, State: s, Err: errors.New("no")})
		r.expect()
	})
}

// The order of a state that a peer waits for does not wait for all others.
func TestDeferredInsertsReachTheTableFirst(t *testing.T) {
	within(t, func(r *rig) {
		b := r.packets.Take()
		for n := 0; n < 3000; n += 3 {
			b.Items = append(b.Items, packet(func(w *wire.Writer) {
				for j := range 3 {
					w.State(wire.ActIns, ptr(tcp(them, n+j+2, estab, estab)))
				}
			}))
		}
		last := tcp(them, 5000, synSent, closed)
		last.Flags |= pfstate.FlagAck
		b.Items = append(b.Items, packet(func(w *wire.Writer) { w.State(wire.ActIns, &last) }))
		r.received <- b
		writes := r.ordered()
		at := slices.IndexFunc(writes, func(w pfstate.Write) bool { return w.State.ID == last.ID })
		if len(writes) != 3001 || at != 0 || !writes[0].Notify {
			t.Errorf("of %d orders it is number %d, the first is %+v", len(writes), at, writes[0])
		}
	})
}

// The kernel may give a new entry the place, and so the id, of one with the same addresses: its
// predecessor's end is told first, and the peer begins anew.
func TestReusedIDs(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		s := tcp(us, 1, synSent, closed)
		r.table(created(s))
		r.table(updated(tcp(us, 1, pfstate.TCPTimeWait, pfstate.TCPTimeWait)))
		r.forget()
		r.table(deleted(s), created(s))
		r.expect("DEL_C 0000000000000001/aaaaaaaa", "INS 0000000000000001/aaaaaaaa 2:0 ack")
	})
	within(t, func(r *rig) {
		s := tcp(them, 1, pfstate.TCPTimeWait, pfstate.TCPTimeWait)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.forget()
		s = tcp(them, 1, synSent, closed)
		s.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.wrote("delete 0000000000000001/bbbbbbbb 10:10", "insert 0000000000000001/bbbbbbbb 2:0")
		r.table(applied(pfstate.WriteInsert, s))
		r.expect("INS_ACK 0000000000000001/bbbbbbbb")
	})
}

// Where the kernel gives the connection with the packet, the state is told before it is in the table, once;
// if it never comes there, it is found out.
func TestConnectionsGivenWithThePacket(t *testing.T) {
	s := tcp(us, 1, synSent, closed)
	queued := func(ct []byte, c *pfstate.Change) (confirmed, ok bool) {
		*c = created(s)
		return false, string(ct) == "ct"
	}
	deferringAs(t, engine.Config{Queued: queued}, func(r *rig, p *linux, h *holder) {
		packet := first(7, s)
		packet.CT = []byte("ct")
		h.holds(packet)
		r.expect("INS 0000000000000001/aaaaaaaa 2:0 ack")
		r.wrote() // no entry yet
		p.send(0, ack(s), nil)
		h.wentOn(t, 7)
		r.wrote("update 0000000000000001/aaaaaaaa 4:2") // it is there now
		r.table(created(s))
		r.expect()
		time.Sleep(2 * time.Second)
		r.counted("deferacked=1", "deferred=1")
		r.forget()

		s = tcp(us, 2, synSent, closed)
		packet = first(8, s)
		packet.CT = []byte("ct")
		h.holds(packet)
		p.beacon()
		time.Sleep(1500 * time.Millisecond)
		p.beacon()
		h.wentOn(t, 8)
		probes := slices.DeleteFunc(r.ordered(), func(w pfstate.Write) bool { return w.Kind == pfstate.WriteUpdate })
		if len(probes) != 1 || probes[0].Kind != pfstate.WriteProbe || probes[0].State.ID != s.ID {
			t.Fatalf("ordered %+v", probes)
		}
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.Absent, Op: pfstate.WriteProbe, Probe: probes[0].Probe, State: s})
		r.expect("DEL_C 0000000000000002/aaaaaaaa")
	})
}

// A SYN that is sent again, or the next datagram, has a connection of its own while the first packet's is not confirmed; the
// kernel joins them. It is told once.
func TestPacketsOfOneConnectionThatIsNotConfirmed(t *testing.T) {
	s := tcp(us, 1, synSent, closed)
	queued := func(ct []byte, c *pfstate.Change) (confirmed, ok bool) {
		again := s
		again.ID.State += uint64(ct[0])
		*c = created(again)
		return false, true
	}
	deferringAs(t, engine.Config{Queued: queued}, func(r *rig, p *linux, h *holder) {
		packets := []hold.Packet{first(7, s), first(8, s)}
		packets[0].CT, packets[1].CT = []byte{0}, []byte{1}
		h.holds(packets...)
		r.expect("INS 0000000000000001/aaaaaaaa 2:0 ack")
		p.send(0, ack(s), nil)
		h.wentOn(t, 7, 8)
		r.table(created(s))
		r.expect()
		r.counted("deferacked=2", "deferred=2")
	})
}

func TestDeferIsTurnedOff(t *testing.T) {
	deferring(t, func(r *rig, p *linux, h *holder) {
		s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
		h.holds(first(7, s))
		r.configure(func(s *engine.Settings) { s.Up = true })
		h.wentOn(t, 7)
		if h.armed() {
			t.Error("still armed")
		}
		r.table(created(s))
		r.expect("INS 0000000000000001/aaaaaaaa 1:0")
	})
}
