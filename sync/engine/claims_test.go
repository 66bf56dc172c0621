package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// ours waits for the next digest and compares what we answer for.
func (r *rig) ours(states ...pfstate.State) {
	r.t.Helper()
	r.takeRaw()
	time.Sleep(1100 * time.Millisecond)
	var sum uint64
	for _, s := range states {
		sum += saidOf(s)
	}
	digests := r.trailers("digest")
	if want := fmt.Sprintf("digest %d %016x", len(states), sum); len(digests) == 0 || digests[len(digests)-1] != want {
		r.t.Errorf("we answer for %q, want %s", digests, want)
	}
}

// Traffic goes on at the peer: it answers for the state from then on, and what
// becomes of our entry is not told.
func TestPeerTakesOver(t *testing.T) {
	for _, a := range []wire.Action{wire.ActUpdC, wire.ActUpd, wire.ActIns} {
		t.Run(short[a], func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				s := tcp(us, 1, estab, estab)
				r.table(created(s))
				r.ours(s)
				moved := tcp(us, 1, closing, estab)
				p.tell(a, moved)
				r.ours()
				p.beacon()
				p.is("linux up 1 yes")
				r.forget()
				r.table(expired(moved))
				r.expect()
				r.counted("copiesexpired=1", "crossedclaims=0")
			})
		})
	}
}

// And back: traffic here takes it over again.
func TestTakenBack(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		p.beacon()
		p.is("linux up 1 yes")
		moved := tcp(us, 1, closing, estab) // the table has another id
		r.table(updated(moved))
		moved.ID = s.ID
		r.expect("UPD_C 0000000000000001/bbbbbbbb 7:4")
		delete(p.answers, s.ID)
		p.beacon()
		p.is("linux up 0 yes")
		r.counted("takenover=1")
		r.ours(moved)
		r.table(deleted(moved))
		r.expect("DEL_C 0000000000000001/bbbbbbbb")
		r.ours()
	})
}

// The peer's digest cannot lack a state that we took over before it has heard so.
func TestDigestThatCrossesAClaim(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		p.beacon()
		_, p.heard = r.named()
		r.table(updated(tcp(us, 1, closing, estab)))
		for range 3 {
			p.beacon()
			time.Sleep(time.Second)
		}
		r.asked("askdigests")
		p.is("linux up 0 yes")
		p.heard = 0
		delete(p.answers, s.ID)
		p.beacon()
		time.Sleep(time.Second)
		p.beacon()
		p.is("linux up 0 yes")
		r.asked("askdigests")
	})
}

// Both say a state at the same moment: the lesser creatorid holds, on both sides.
func TestCrossedClaims(t *testing.T) {
	for _, c := range []struct {
		name    string
		creator uint32
		ours    bool
	}{
		{"we are less", 0xcccccccc, true},
		{"the peer is less", 0x11111111, false},
	} {
		for _, a := range []wire.Action{wire.ActUpdC, wire.ActUpd, wire.ActIns} {
			t.Run(c.name+" "+short[a], func(t *testing.T) {
				paired(t, func(r *rig, p *linux) {
					p.creator = c.creator
					p.beacon()
					s := tcp(us, 1, estab, estab)
					r.table(created(s))
					p.beacon()
					_, p.heard = r.named()
					here := tcp(us, 1, closing, estab)
					r.table(updated(here))
					r.forget()
					p.tell(a, tcp(us, 1, estab, closing))
					p.heard = 0
					both := tcp(us, 1, closing, closing)
					if c.ours {
						r.counted("crossedclaims=1")
						if s := p.status(); s.States != 0 {
							t.Errorf("%d states are the peer's", s.States)
						}
						delete(p.answers, s.ID)
						p.live(2 * time.Second)
						r.table(deleted(both))
						if sent, _ := r.told(); len(sent) == 0 || sent[len(sent)-1] != "DEL_C 0000000000000001/aaaaaaaa" {
							t.Errorf("its end was not told: %q", sent)
						}
						r.ours()
						return
					}
					r.counted("crossedclaims=0")
					if s := p.status(); s.States != 1 {
						t.Errorf("%d states are the peer's, want 1", s.States)
					}
				})
			})
		}
	}
}

// A peer that has not heard that traffic runs here again ends a state in vain: it
// is told the whole of it.
func TestEndThatCrossesAClaim(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		p.beacon()
		_, p.heard = r.named()
		r.table(updated(tcp(us, 1, closing, estab)))
		r.forget()
		p.end(s)
		r.wrote()
		r.expect("UPD 0000000000000001/bbbbbbbb 7:4")
		r.counted("crossedclaims=1")
		p.heard = 0
		p.end(s) // now it knows
		r.wrote("delete 0000000000000001/bbbbbbbb 7:4")
		r.expect()
		r.ours()
	})
}

// What is told on request, or in bulk, changes nobody's claim.
func TestAnswersChangeNoClaim(t *testing.T) {
	for _, a := range []wire.Action{wire.ActUpdC, wire.ActUpd, wire.ActIns} {
		t.Run(short[a], func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
				q.beacon()
				mine, theirs, nobodys := tcp(us, 1, estab, estab), tcp(0xcccccccc, 2, estab, estab), tcp(0xdddddddd, 3, estab, estab)
				r.table(created(mine))
				q.tell(wire.ActIns, theirs)
				r.forget()
				p.send(wire.FlagAnswer, func(w *wire.Writer) {
					for _, s := range []pfstate.State{mine, theirs, nobodys} {
						if a == wire.ActUpdC {
							w.UpdC(upd(s))
						} else {
							w.State(a, &s)
						}
					}
				}, nil)
				p.beacon()
				q.beacon()
				p.is("linux up 0 yes")
				q.is("linux up 1 yes")
				r.ours(mine)
			})
		})
	}
}

// That a peer does not know a state ends it only if it was that peer's.
func TestEndsInAnswers(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
		q.beacon()
		mine, theirs, ps := tcp(us, 1, estab, estab), tcp(0xcccccccc, 2, estab, estab), tcp(them, 3, estab, estab)
		r.table(created(mine))
		q.tell(wire.ActIns, theirs)
		p.tell(wire.ActIns, ps)
		r.forget()
		p.send(wire.FlagAnswer, func(w *wire.Writer) {
			for _, s := range []pfstate.State{mine, theirs, ps} {
				w.ID(wire.ActDelC, s.ID)
			}
		}, nil)
		delete(p.answers, ps.ID)
		r.wrote("delete 0000000000000003/bbbbbbbb 4:4")
		p.beacon()
		q.beacon()
		p.is("linux up 0 yes")
		q.is("linux up 1 yes")
		r.ours(mine)
	})
}

// One who owns a state by a claim later than ours ends it.
func TestOnlyOneAnswersForAState(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
		q.beacon()
		s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
		p.tell(wire.ActIns, s)
		q.tell(wire.ActUpdC, s)
		p.is("linux up 0 yes")
		q.is("linux up 1 yes")
		delete(p.answers, s.ID)
		// p names us alone as heard: until it names q, or some time has passed, its digest
		// may still have the state.
		p.live(12 * time.Second)
		q.beacon()
		p.is("linux up 0 yes")
		for _, line := range r.logged("level=WARN") {
			if strings.Contains(line, "drifted") {
				t.Error(line)
			}
		}
		r.counted("drifts=0")
		r.forget()
		q.end(s)
		r.wrote("delete 0000000000000001/bbbbbbbb 2:2")
		q.beacon()
		q.is("linux up 0 yes")
	})
}
