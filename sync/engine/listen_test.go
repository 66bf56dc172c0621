package engine_test

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// listening runs test with an engine that only listens, on a usable link; nothing may
// leave it, or appear on pfsync0.
func listening(t *testing.T, test func(*rig)) {
	t.Helper()
	demoted(t, nil, func(r *rig) {
		r.listens(true)
		r.linkUp()
		time.Sleep(time.Second)
		test(r)
		r.saysNothing()
	})
}

func (r *rig) listens(only bool) {
	r.configure(func(s *engine.Settings) { s.Up, s.Listen = true, only })
}

func (r *rig) saysNothing() {
	r.t.Helper()
	if sent := r.takeRaw(); len(sent) > 0 || r.shown > 0 {
		r.t.Errorf("after %v sent %d packets and showed %d", time.Since(r.start), len(sent), r.shown)
	}
}

// What happens here is not told, nor when the link comes back, nor on request.
func TestAListenerTellsNothing(t *testing.T) {
	listening(t, func(r *rig) {
		s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
		r.table(created(s), created(tcp(us, 2, estab, estab)), created(tcp(us, 3, estab, estab)), updated(s), deleted(s))
		r.linkDown()
		r.linkUp()
		ask := func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) }
		r.deliver(ask)
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{State: 2, Creator: us}) })
		acked := tcp(them, 4, synSent, closed)
		acked.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &acked) })
		r.table(applied(pfstate.WriteInsert, acked))
		for _, order := range []func() error{r.engine.RequestBulk, r.engine.PushBulk} {
			if err := order(); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := r.engine.Kill(func(s *pfstate.State) bool { return s.ID.State == 3 }); n != 1 || err != nil {
			t.Errorf("killed %d: %v", n, err)
		}
		if n, err := r.engine.Clear(); n != 2 || err != nil {
			t.Errorf("cleared %d: %v", n, err)
		}
		time.Sleep(time.Minute)
		r.bulkIs("listening", false)
		// 3 inserts, an update and 2 deletes, an update on request, an acknowledgement, a clear.
		r.counted("unsent=9", "unanswered=1", "unasked=0", "opackets=0", "obare=0", "bulkrequests=0", "bulkserved=0", "oacts.INS ST=0")
	})
}

// A Linux peer gets no sign of life, though it asks, and packets of it are missing.
func TestAListenerIsNoPeer(t *testing.T) {
	listening(t, func(r *rig) {
		p := r.linux(theirAddr, them, theirEpoch)
		p.deaf = true // how could it hear
		p.beacon()
		p.is("linux up 0 yes")
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		p.next(0, p.said(wire.ActIns, tcp(them, 2, estab, estab)), nil) // lost
		for _, name := range []string{"resend", "askdigests", "asklist", "ask"} {
			p.ask(questions(0, 1)[name])
		}
		p.live(time.Minute)
		p.is("linux up 1 no")
		r.counted("lostpackets=1", "resendsasked=0", "drifts=1", "repairs=0")
		r.loggedTimes(1, "level=INFO", "only listens", "states=1")
		if got := p.status(); got.Sync != "no" {
			t.Errorf("in sync: %s", got.Sync)
		}

		// It ends there: now all that is left is known.
		p.end(tcp(them, 2, estab, estab))
		p.live(2 * time.Second)
		p.is("linux up 1 yes")
		r.counted("drifts=1")
	})
}

// What others ask for is heard by all.
func TestAListenerLearnsFromTheBulkUpdatesOfOthers(t *testing.T) {
	listening(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.counted("unasked=2", "reqlimited=0")
		r.wrote()
		r.bus(wire.BusStart)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &s) })
		r.bus(wire.BusEnd)
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
		r.bulkIs("listening", false) // it has not asked, and does not know what it lacks
		r.heardAs(theirAddr, "openbsd")
	})
}

// A copy lives as long as its owner, unless its end may have been in a packet that
// was missed.
func TestCopiesOfAListenerEndByThemselvesAfterALoss(t *testing.T) {
	listening(t, func(r *rig) {
		p := r.linux(theirAddr, them, theirEpoch)
		p.beacon()
		before, after := udp(them, 1, pfstate.Multiple, pfstate.Multiple), udp(them, 2, pfstate.Multiple, pfstate.Multiple)
		p.tell(wire.ActIns, before)
		r.orderedFor("insert 1 30m0s")
		p.next(0, nil, nil) // lost, whatever it was
		p.live(3 * time.Second)
		p.tell(wire.ActIns, after)
		p.live(20 * time.Second)
		r.counted("lostpackets=1", "leasesended=0") // both sums agree: nothing of interest was lost
		r.orderedFor("insert 2 30m0s")

		p.next(0, func(w *wire.Writer) { w.ID(wire.ActDelC, before.ID) }, nil)
		delete(p.answers, before.ID)
		p.live(20 * time.Second)
		p.is("linux up 2 no")
		r.counted("lostpackets=2", "leasesended=2")
		for _, w := range r.ordered() {
			if w.Kind != pfstate.WriteUpdate || w.State.Expire <= 58*time.Second || w.State.Expire > time.Minute {
				t.Errorf("ordered %v of %v for %v, want its own minute", w.Kind, w.State.ID, w.State.Expire)
			}
		}
		p.tell(wire.ActUpdC, after) // it lives
		r.orderedFor("update 2 30m0s")
		r.table(expired(before))
		p.live(time.Second)
		p.is("linux up 1 yes")
	})
}

// A firewall that restarts is not told what its peers know of it already: nor is the listener.
func TestAListenerKeepsTheStatesOfAPeerThatRestarts(t *testing.T) {
	listening(t, func(r *rig) {
		p := r.linux(theirAddr, them, theirEpoch)
		p.beacon()
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		again := r.linux(theirAddr, them, theirEpoch+1)
		again.beacon()
		again.is("linux up 0 yes")
		again.answers[s.ID] = wire.SaidCompact(s.ID, &s.Src, &s.Dst, s.Timeout, &s.Linux)
		again.ask(func(w *wire.TrailerWriter) { w.Digests(wire.AttrHave, 0, again.sums()[:128]) })
		for first := 128; first < wire.Buckets; first += 128 {
			again.ask(func(w *wire.TrailerWriter) { w.Digests(wire.AttrHave, first, again.sums()[first:first+128]) })
		}
		again.send(0, func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) }, nil)
		again.live(5 * time.Second)
		again.is("linux up 1 yes")
		r.counted("unanswered=1", "drifts=0")
	})
}

// A key keeps out who does not have it; that a packet is of now only a peer can prove.
func TestAListenerWithAKey(t *testing.T) {
	listening(t, func(r *rig) {
		key := slices.Repeat([]byte{7}, 32)
		r.setKey(key)
		p := r.linux(theirAddr, them, theirEpoch)
		p.deaf = true
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		r.counted("badauth=1")
		r.wrote()
		p.keys.Set(key)
		p.tell(wire.ActIns, s)
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
	})
}

// -listen has it ask, and tell all that it has; listen ends that again.
func TestAListenerJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &demotions{start: time.Now()}
		r := newRigOf(t, engine.Config{Demote: d.hear})
		r.dump()
		r.listens(true)
		r.linkUp()
		r.table(created(tcp(us, 1, estab, estab)))
		r.saysNothing()
		r.listens(false)
		r.expect(bulkRequest)
		r.bulkIs("sent", false)
		r.answered()
		r.bulkIs("done", true)
		r.table(updated(tcp(us, 1, closing, estab)))
		r.forget()
		if s := r.status(); s.Local != 1 || s.Queued != 0 {
			t.Errorf("%d states, %d wait", s.Local, s.Queued)
		}
		r.linkDown()
		r.table(created(tcp(us, 2, estab, estab)))
		r.listens(true) // what waits is not told any more
		r.linkUp()
		r.shown = 0
		time.Sleep(time.Minute)
		r.saysNothing()
		r.bulkIs("listening", false)
		synctest.Wait()
		if want := []string{"0s bulk", "0s none", "0s link", "0s none"}; !slices.Equal(d.told, want) {
			t.Errorf("told %q, want %q", d.told, want)
		}
		r.end()
	})
}

// Peers who have a third one's address and none that anybody knows are heard alike.
func TestAListenerHearsAll(t *testing.T) {
	listening(t, func(r *rig) {
		for n, from := range []string{"192.168.254.1", "192.168.254.2"} {
			s := tcp(uint32(0xb0+n), n+1, estab, estab)
			r.bsd(netip.MustParseAddr(from), wire.OpenBSD6, ins(s))
		}
		if s := r.status(); s.Imported != 2 || s.Peers != 2 {
			t.Errorf("%d states of %d peers", s.Imported, s.Peers)
		}
	})
}

func TestAListenerDoesNotTellSAs(t *testing.T) {
	withSAs(t, func(r *rig, f *fakeSAs) {
		r.listens(true)
		r.forget()
		r.shown = 0
		f.used <- []ipsec.SA{sa4}
		synctest.Wait()
		r.saysNothing()
		r.counted("unsent=1")
	})
}
