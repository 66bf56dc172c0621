package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

var (
	oneKey   = bytes.Repeat([]byte{1}, 32)
	otherKey = bytes.Repeat([]byte{2}, 32)
)

func (r *rig) setKey(key []byte) {
	r.t.Helper()
	if err := r.engine.SetKey(key); err != nil {
		r.t.Fatal(err)
	}
}

// keyed is paired with a key on both sides.
func keyed(t *testing.T, test func(*rig, *linux)) {
	t.Helper()
	paired(t, func(r *rig, p *linux) {
		r.setKey(oneKey)
		p.keys.Set(oneKey)
		p.beacon()
		r.forget()
		r.base = r.counters()
		test(r, p)
	})
}

// With a key, nothing is taken that was not sealed with it.
func TestPacketsWithoutTheRightCode(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		sealed := p.next(0, p.said(wire.ActIns, s), nil)
		for name, payload := range map[string][]byte{
			"changed": func() []byte { b := slices.Clone(sealed.Payload); b[60] ^= 1; return b }(),
			"cut":     sealed.Payload[:len(sealed.Payload)-1],
			"none":    func() []byte { q := *p; q.keys.Clear(); return q.at(p.seq, 0, p.said(wire.ActIns, s), nil).Payload }(),
			"wrong": func() []byte {
				q := *p
				q.keys.Clear()
				q.keys.Set(otherKey)
				return q.at(p.seq, 0, p.said(wire.ActIns, s), nil).Payload
			}(),
		} {
			before := r.counters()["badauth"]
			r.packet(link.Packet{Src: theirAddr, TTL: 255, Payload: payload})
			if n := r.counters()["badauth"] - before; n != 1 {
				t.Errorf("%s: badauth moved by %d", name, n)
			}
		}
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) }) // a BSD's
		r.counted("badauth=5", "iacts.INS ST=0", "notrailer=0")
		r.wrote()
		r.packet(sealed)
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
		r.counted("badauth=5", "duplicates=0")
	})
}

// Every packet that is sent has a code of the key: with messages, bare, and repeated.
func TestEverythingIsSealed(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		r.table(created(tcp(us, 1, estab, estab)))
		epoch, last := r.named()
		time.Sleep(time.Second)
		p.ask(func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: last, Count: 1}}) })
		p.ask(func(w *wire.TrailerWriter) { w.AskDigests(epoch) })
		time.Sleep(300 * time.Millisecond)
		sent := r.takeRaw()
		if len(sent) < 8 {
			t.Errorf("%d packets", len(sent))
		}
		for _, packet := range sent {
			if _, err := p.keys.Open(packet.b); err != nil {
				t.Errorf("%v: %v", attributes(t, packet.b), err)
			}
			if len(packet.b) > 1480 {
				t.Errorf("%d bytes", len(packet.b))
			}
		}
	})
}

// Who has recorded the packets of an earlier life of a peer sends them again after
// we have restarted, and know neither: they are not taken. The real peer gets in
// within a round trip.
func TestReplayAfterARestart(t *testing.T) {
	var record []link.Packet
	keyed(t, func(_ *rig, p *linux) {
		for n := range 20 {
			record = append(record, p.next(0, p.said(wire.ActIns, tcp(them, n+1, estab, estab)), func(w *wire.TrailerWriter) {
				w.Hello(wire.Hello{Creator: them})
				w.Digest(p.digest())
			}))
		}
	})
	for _, c := range []struct {
		name  string
		known bool // the real peer, in another life, is known already
	}{{"before the peer is heard", false}, {"beside the peer", true}} {
		t.Run(c.name, func(t *testing.T) {
			asking(t, nil, func(r *rig) {
				time.Sleep(100 * time.Millisecond)
				r.setKey(oneKey)
				p := r.linux(theirAddr, them, theirEpoch+1)
				p.keys.Set(oneKey)
				enter := func() {
					time.Sleep(150 * time.Millisecond) // greetings are rare
					r.forget()
					q := *p
					q.deaf = true
					r.packet(q.at(p.seq+1, 0, nil, nil)) // it has not heard us
					p.seq++
					heard := r.trailers("heard")
					if len(heard) != 1 || !slices.Contains([]string{"heard eeef/0", "heard eeee/0 eeef/0"}, heard[0]) {
						t.Errorf("it was answered by %q, want that we hear its epoch", heard)
					}
					p.beacon()
					p.is("linux up 0 yes")
				}
				if c.known {
					enter()
				}
				r.base = r.counters()
				for _, packet := range record {
					r.packet(packet)
				}
				r.wrote()
				r.counted("unproved=20", "iacts.INS ST=0", "peerrestarts=0", "badauth=0")
				if n := len(r.takeRaw()); n > 2 {
					t.Errorf("%d packets in answer to a replay", n)
				}
				if !c.known {
					enter()
				}
				for _, packet := range record {
					r.packet(packet)
				}
				p.beacon()
				p.is("linux up 0 yes")
				r.counted("peerrestarts=0")
				s := tcp(them, 99, estab, estab)
				p.tell(wire.ActIns, s)
				r.wrote("insert 0000000000000063/bbbbbbbb 4:4")
			})
		})
	}
}

// The same within one life of ours: the window knows them.
func TestReplayWithinALife(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
		ins := p.next(0, p.said(wire.ActIns, s), nil)
		r.packet(ins)
		p.end(s)
		time.Sleep(10 * time.Second) // its grave is forgotten
		p.beacon()
		r.forget()
		r.packet(ins)
		r.wrote()
		r.counted("duplicates=1")

		again := r.linux(theirAddr, them, theirEpoch+1) // the peer restarts
		again.keys.Set(oneKey)
		again.beacon()
		again.is("linux up 0 yes")
		r.packet(ins)
		r.wrote()
		r.counted("peerrestarts=1", "iacts.INS ST=1")
		again.is("linux up 0 yes")
	})
}

// While the key is being changed, both are good; then only the new one.
func TestKeyIsChanged(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		changing := func(want bool) {
			t.Helper()
			if got := r.status().KeyChanging; got != want {
				t.Errorf("after %v changing is %v, want %v", time.Since(r.start), got, want)
			}
		}
		changing(false)
		r.setKey(otherKey)
		p.live(10 * time.Second) // it has the old one still
		changing(true)
		r.counted("badauth=0")
		for _, packet := range r.takeRaw() {
			if _, err := p.keys.Open(packet.b); err != nil {
				t.Errorf("the peer cannot open what is sent: %v", err)
			}
		}
		p.keys.Set(otherKey)
		p.live(5 * time.Second)
		changing(false)
		r.counted("badauth=0")
		p.keys.Retire()
		p.beacon()
		r.counted("badauth=0")
		p.keys.Set(oneKey)
		p.keys.Retire()
		p.beacon()
		r.counted("badauth=1")
		r.loggedTimes(1, "not accepted any more")
		if lines := append(r.logged(string(oneKey)), r.logged(fmt.Sprintf("%x", otherKey))...); len(lines) > 0 {
			t.Errorf("the key is in the log: %q", lines)
		}
	})
}

// The key of a running pair is changed, and removed, without a lost message.
func TestKeyOfARunningPair(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, seed)
			defer p.end()
			r := rand.New(rand.NewPCG(seed, 7))
			churn := func() {
				p.churn(r, 300, true)
				time.Sleep(2 * time.Second)
			}
			set := func(f *firewall, key []byte) {
				if err := f.eng.SetKey(key); err != nil {
					t.Fatal(err)
				}
			}
			refused := func() (n uint64) {
				for _, f := range []*firewall{p.a, p.b} {
					c := f.counts()
					n += c["badauth"] + c["lostpackets"] + c["unproved"]
				}
				return n
			}
			set(p.a, oneKey)
			set(p.b, oneKey)
			churn()
			before := refused()
			for n, key := range [][]byte{otherKey, oneKey, otherKey} {
				set(p.a, key)
				churn()
				set(p.b, key)
				churn()
				time.Sleep(5 * time.Second)
				for _, f := range []*firewall{p.a, p.b} {
					if s, _ := f.eng.Status(); s.KeyChanging {
						t.Errorf("change %d: the key before is still accepted", n)
					}
				}
			}
			if n := refused() - before; n != 0 {
				t.Errorf("%d packets refused or lost", n)
			}
			p.insync(2 * time.Second)

			// First a takes anything, then b seals no more.
			set(p.a, nil)
			set(p.b, nil)
			churn()
			p.insync(5 * time.Second)
			if n := refused() - before; n > 10 {
				t.Errorf("%d packets refused or lost without a key", n)
			}
		})
	}
}

// Without a key again, a BSD is heard and nothing is sealed.
func TestKeyIsRemoved(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		r.setKey(nil)
		p.keys.Clear()
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		s := tcp(0xdddddddd, 2, estab, estab)
		bsd := packet(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		bsd.Src = thirdAddr
		r.packet(bsd)
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4", "insert 0000000000000002/dddddddd 4:4")
		time.Sleep(time.Second)
		if got := r.trailers("auth"); len(got) > 0 {
			t.Errorf("still sealed: %q", got)
		}
		r.counted("badauth=0")
	})
}

// The key before is good for some seconds, though every peer has the new one: what
// it sealed may be on its way. What is kept of that time is not repeated.
func TestOldKeyIsGoodForAMoment(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		r.table(created(tcp(us, 1, estab, estab)))
		epoch, last := r.named()
		late := p.next(0, p.said(wire.ActIns, tcp(them, 2, estab, estab)), nil)
		time.Sleep(500 * time.Millisecond)
		r.setKey(otherKey)
		p.keys.Set(otherKey)
		p.live(2 * time.Second)
		r.packet(late)
		r.counted("badauth=0")
		if !r.status().KeyChanging {
			t.Error("the key before is not accepted any more after two seconds")
		}
		p.ask(func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: last, Count: 1}}) })
		r.counted("resendssent=0")
		p.live(3 * time.Second)
		if r.status().KeyChanging {
			t.Error("the key before is still accepted after five seconds")
		}
	})
}

// not sealed.
func TestReplayFromAnotherAddress(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		ins := p.next(0, p.said(wire.ActIns, s), nil)
		r.packet(ins)
		p.end(s)
		again := r.linux(theirAddr, them, theirEpoch+1) // the peer restarts
		again.keys.Set(oneKey)
		again.live(10 * time.Second)
		r.forget()
		ins.Src = thirdAddr
		r.packet(ins)
		r.wrote()
		again.is("linux up 0 yes")
		if n := r.status().Peers; n != 1 {
			t.Errorf("%d peers, want 1", n)
		}
	})
}

// Nor when the peer has been gone for so long that it was forgotten.
func TestReplayOfAForgottenPeer(t *testing.T) {
	keyed(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		ins := p.next(0, p.said(wire.ActIns, s), nil)
		r.packet(ins)
		p.end(s)
		time.Sleep(25 * time.Hour)
		r.forget()
		r.packet(ins)
		r.wrote()
	})
}
