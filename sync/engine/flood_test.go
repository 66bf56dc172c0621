package engine_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const million = 1_000_000

var badAddr = netip.MustParseAddr("192.168.254.66")

// forged is the nth of a million states that somebody made up.
func forged(n int) pfstate.State {
	s := udp(0xbad00000, n+1, pfstate.Multiple, pfstate.Multiple)
	orig := pfstate.Tuple{Src: made(n), Dst: netip.AddrFrom4([4]byte{192, 0, 2, 99}), SrcPort: 5000, DstPort: 53}
	s.SetTuples(orig, orig.Reversed(), 0)
	return s
}

// pour lets n messages come in, as many to a packet as fit; write adds the ith.
func (r *rig) pour(n int, finish func(packet []byte) link.Packet, write func(*wire.Writer, int) bool) {
	var w wire.Writer
	w.Reset(1400)
	b := r.packets.Take()
	hand := func() {
		b.Items = append(b.Items, finish(slices.Clone(w.Finish())))
		if w.Reset(1400); len(b.Items) >= 64 {
			r.received <- b
			b = r.packets.Take()
		}
	}
	for i := range n {
		if !write(&w, i) {
			hand()
			write(&w, i)
		}
	}
	hand()
	r.received <- b
	synctest.Wait()
}

func fromBSD(payload []byte) link.Packet {
	return link.Packet{Src: badAddr, TTL: 255, Payload: payload}
}

// sealed puts p's trailer behind a packet.
func (p *linux) sealed(payload []byte) link.Packet {
	p.seq++
	w := wire.BeginTrailer(payload, 0, p.epoch, p.seq)
	return link.Packet{Src: p.addr, TTL: 255, Payload: w.End()}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// serves checks that an honest peer is served as if nothing else were there.
func (p *linux) serves(first int) {
	p.r.t.Helper()
	var states []pfstate.State
	for n := range 5 {
		states = append(states, tcp(them, first+n, estab, estab))
	}
	p.r.forget()
	p.tell(wire.ActIns, states...)
	if n := len(p.r.ordered()); n != len(states) {
		p.r.t.Errorf("%d of an honest peer's %d states were ordered", n, len(states))
	}
	p.beacon()
	p.is(fmt.Sprintf("linux up %d yes", len(p.answers)))
}

// One peer may have so many states here; all BSDs together as many as one of them.
func TestStatesOfAPeerAreLimited(t *testing.T) {
	pairedAs(t, engine.Config{PeerStates: 10}, func(r *rig, p *linux) {
		for n := range 20 {
			s := forged(n)
			bsd := packet(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
			bsd.Src = made(n)
			r.packet(bsd)
		}
		r.counted("peerlimit=10")
		for n := range 20 {
			p.tell(wire.ActIns, tcp(them, n+1, estab, estab))
		}
		r.counted("peerlimit=20")
		p.beacon()
		p.is("linux up 10 yes 10 of its states are refused here")
		if n := r.status().Imported; n != 20 {
			t.Errorf("%d states, want 10 of each kind of peer", n)
		}
		p.end(tcp(them, 1, estab, estab)) // there is room again
		p.end(tcp(them, 20, estab, estab))
		p.tell(wire.ActIns, tcp(them, 30, estab, estab))
		p.beacon()
		p.is("linux up 10 yes 9 of its states are refused here")
		r.counted("peerlimit=20", "drifts=0")
	})
}

// A million forged messages of any kind leave memory bounded, and an honest peer
// in sync.
func TestFloodOfForgedMessages(t *testing.T) {
	const limit = 10000
	for _, c := range []struct {
		name  string
		linux bool // with a trailer
		write func(*wire.Writer, int) bool
	}{
		{"inserts", false, func(w *wire.Writer, n int) bool { s := forged(n); return w.State(wire.ActIns, &s) }},
		{"inserts with a trailer", true, func(w *wire.Writer, n int) bool { s := forged(n); return w.State(wire.ActIns, &s) }},
		{"updates", false, func(w *wire.Writer, n int) bool { s := forged(n); return w.UpdC(upd(s)) }},
		{"ends", true, func(w *wire.Writer, n int) bool { return w.ID(wire.ActDelC, forged(n).ID) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			pairedAs(t, engine.Config{PeerStates: limit}, func(r *rig, p *linux) {
				q := r.linux(badAddr, 0xbad, 0xbad)
				finish := fromBSD
				if c.linux {
					finish = q.sealed
				}
				r.forget()
				before := heap()
				r.pour(million, finish, c.write)
				if n := r.status().Imported; n > limit {
					t.Errorf("%d states, at most %d are allowed", n, limit)
				}
				p.beacon()
				sent, _ := r.told()
				if len(sent) > 1<<14 {
					t.Errorf("%d messages in answer", len(sent))
				}
				sent = nil
				r.forget()
				if grown := int64(heap()) - int64(before); grown > 64<<20 {
					t.Errorf("memory grew by %d MB", grown>>20)
				}
				p.serves(1)
			})
		})
	}
}

// stays checks that what flood brings in, each millisecond for two seconds, is
// answered by so many messages a second at most, that memory stays bounded, and an
// honest peer in sync. least is a counter that it must move.
func (r *rig) stays(p *linux, most int, least string, flood func(*linux)) {
	r.t.Helper()
	var changes []pfstate.Change
	for n := range 100 {
		changes = append(changes, created(tcp(us, n+1, estab, estab)))
	}
	r.table(changes...)
	q := r.linux(badAddr, 0xbad, 0xbad)
	r.forget()
	before := heap()
	for second := range 2 {
		messages := 0
		for range 1000 {
			flood(q)
			time.Sleep(time.Millisecond)
			sent, _ := r.told()
			messages += len(sent)
			r.takeRaw()
		}
		if messages > most {
			r.t.Errorf("second %d: %d messages in answer, want at most %d", second, messages, most)
		}
		p.beacon()
	}
	if r.counters()[least] == 0 {
		r.t.Errorf("%s is 0: this was no flood", least)
	}
	if grown := int64(heap()) - int64(before); grown > 64<<20 {
		r.t.Errorf("memory grew by %d MB", grown>>20)
	}
	p.serves(1000)
	time.Sleep(2 * time.Second) // what is left to be answered
	p.beacon()
	p.serves(2000)
}

// A million requests, within two seconds, are answered at a bounded rate.
func TestFloodOfRequests(t *testing.T) {
	zero := pfstate.ID{}
	for _, c := range []struct {
		name  string
		most  int // messages in a second
		least string
		flood func(*rig, *linux) // a two-thousandth of it
	}{
		{"update requests", 1<<15 + 100, "reqflood", func(r *rig, _ *linux) {
			r.pour(million/2000, fromBSD, func(w *wire.Writer, n int) bool {
				return w.ID(wire.ActUpdReq, pfstate.ID{State: uint64(n%100) + 1, Creator: us})
			})
		}},
		{"bulk requests", 150_000, "bulkrepeated", func(r *rig, _ *linux) {
			r.pour(million/2000, fromBSD, func(w *wire.Writer, _ int) bool { return w.ID(wire.ActUpdReq, zero) })
		}},
		{"questions of one who does not hear us", 0, "reqrefused", func(r *rig, q *linux) {
			q.deaf = true
			epoch, _ := r.named()
			q.send(0, nil, func(w *wire.TrailerWriter) {
				for range 25 {
					w.AskDigests(epoch)
					w.Resend(epoch, []wire.Range{{First: 1, Count: 1000}})
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				r.stays(p, c.most, c.least, func(q *linux) { c.flood(r, q) })
			})
		})
	}
}

// requests are.
func TestFloodOfQuestions(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.stays(p, 150_000, "ipackets", func(q *linux) {
			epoch, _ := r.named()
			for i := range 5 {
				var ids []pfstate.ID
				for n := range 100 {
					ids = append(ids, pfstate.ID{State: uint64(100*i + n), Creator: 0xbad})
				}
				q.ask(func(w *wire.TrailerWriter) { w.Ask(epoch, ids) })
			}
		})
	})
}
