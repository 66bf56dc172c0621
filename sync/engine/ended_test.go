package engine_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// books are those that ended states are entered into.
type books struct {
	mu   sync.Mutex
	ends []string
}

func (b *books) enter(end pfstate.End) {
	b.mu.Lock()
	defer b.mu.Unlock()
	why := [...]string{pfstate.RanOut: "ran out", pfstate.Closed: "closed", pfstate.Removed: "removed"}[end.Why]
	line := fmt.Sprintf("%x %s %v %d/%d", end.State.ID.State, why, end.Idle.Round(time.Second), end.State.Packets[0], end.State.Bytes[1])
	if end.Carried {
		line += " carried"
	}
	b.ends = append(b.ends, line)
}

// have compares what was entered since the last call.
func (b *books) have(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.ends, want) {
		t.Errorf("entered %q, want %q", b.ends, want)
	}
	b.ends = nil
}

func withCounts(s pfstate.State, packets, answered uint64) pfstate.State {
	s.Packets, s.Bytes = [2]uint64{packets, 1}, [2]uint64{1, answered}
	return s
}

// A firewall tells of the ends of what it carries.
func TestEndsOfWhatIsCarriedAreTold(t *testing.T) {
	b := new(books)
	askingAs(t, engine.Config{Ended: b.enter}, nil, func(r *rig) {
		r.answered()
		states := []pfstate.State{
			udp(us, 1, pfstate.Multiple, pfstate.Multiple), tcp(us, 2, estab, estab), tcp(us, 3, estab, estab), tcp(us, 4, estab, estab), tcp(us, 5, estab, estab),
		}
		for _, s := range states {
			r.table(created(s))
		}
		time.Sleep(10 * time.Second)
		r.table(expired(withCounts(states[0], 7, 900)))
		b.have(t, "1 ran out 10s 7/900 carried")
		states[1].Src.State, states[1].Dst.State = pfstate.TCPTimeWait, pfstate.TCPTimeWait
		r.table(updated(states[1]))
		r.table(expired(withCounts(states[1], 8, 1)))
		b.have(t, "2 closed 0s 8/1 carried")
		r.table(deleted(states[2]))
		b.have(t, "3 removed 10s 0/0 carried")
		r.linkDown() // somebody may have gone on with it, or not
		r.table(expired(states[3]))
		b.have(t, "4 ran out 10s 0/0 carried")
		r.linkUp()
		if _, err := r.engine.Kill(func(*pfstate.State) bool { return true }); err != nil {
			t.Fatal(err)
		}
		b.have(t, "5 removed 10s 0/0 carried")
		r.table(created(states[0]))
		if _, err := r.engine.Clear(); err != nil {
			t.Fatal(err)
		}
		b.have(t, "1 removed 0s 0/0 carried")
	})
}

// What a peer carries it tells itself; what came over from it, who has it now.
func TestEndsOfCopiesAreTheirOwnersToTell(t *testing.T) {
	b := new(books)
	pairedAs(t, engine.Config{Ended: b.enter}, func(r *rig, p *linux) {
		s, moved := tcp(them, 1, estab, estab), tcp(them, 2, estab, estab)
		p.tell(wire.ActIns, s, moved, tcp(them, 3, estab, estab))
		p.end(s)
		moved.Src.State = closing
		r.table(updated(moved))
		r.table(expired(tcp(them, 3, estab, estab)))
		b.have(t)
		r.table(deleted(moved))
		b.have(t, "2 removed 0s 0/0 carried")
	})
}

// A listener tells of all ends that it hears of, with what was counted when the state was
// last told in full.
func TestAListenerTellsAllEnds(t *testing.T) {
	b := new(books)
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf(t, engine.Config{Ended: b.enter})
		r.dump()
		r.listens(true)
		r.linkUp()
		time.Sleep(time.Second)
		for n := 1; n <= 4; n++ {
			s := withCounts(udp(them, n, pfstate.Multiple, pfstate.Multiple), 1, 0)
			r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		}
		del := func(n uint64) func(*wire.Writer) {
			return func(w *wire.Writer) { w.ID(wire.ActDelC, pfstate.ID{State: n, Creator: them}) }
		}
		again := withCounts(udp(them, 1, pfstate.Multiple, pfstate.Multiple), 40, 5000)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &again) })
		time.Sleep(30 * time.Second)
		r.deliver(del(1))
		b.have(t, "1 removed 30s 40/5000")
		time.Sleep(30 * time.Second)
		r.deliver(del(2))
		b.have(t, "2 ran out 1m0s 1/0")
		r.table(expired(udp(them, 3, pfstate.Multiple, pfstate.Multiple))) // its end was missed
		b.have(t, "3 ran out 1m0s 1/0")
		r.deliver(func(w *wire.Writer) { w.Clr(wire.Clr{Creator: them}) })
		b.have(t, "4 ran out 1m0s 1/0")
		r.end()
	})
}

// The two states that a pf has of a connection are one flow.
func TestBothStatesOfAPFAreOneEnd(t *testing.T) {
	pair := func(in, out bool) func(*wire.Writer) {
		return func(w *wire.Writer) {
			for _, half := range []struct {
				id   uint64
				told bool
			}{{0x10, in}, {0x11, out}} {
				if half.told {
					w.ID(wire.ActDelC, pfstate.ID{State: half.id, Creator: them})
				}
			}
		}
	}
	for name, ends := range map[string]func(*rig){
		"in first":  func(r *rig) { r.deliver(pair(true, false)); r.deliver(pair(false, true)) },
		"out first": func(r *rig) { r.deliver(pair(false, true)); r.deliver(pair(true, false)) },
		"at once":   func(r *rig) { r.deliver(pair(true, true)) },
		"killed": func(r *rig) {
			if _, err := r.engine.Kill(func(*pfstate.State) bool { return true }); err != nil {
				r.t.Fatal(err)
			}
		},
		"cleared": func(r *rig) {
			if _, err := r.engine.Clear(); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(books)
			synctest.Test(t, func(t *testing.T) {
				r := newRigOf(t, engine.Config{Ended: b.enter})
				r.dump()
				r.listens(true)
				r.linkUp()
				time.Sleep(time.Second)
				whole := tcp(them, 0x10, estab, estab)
				in, out := whole.Split()
				in.ID.State, out.ID.State = 0x10, 0x11
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &in); w.State(wire.ActIns, &out) })
				b.have(t)
				ends(r)
				synctest.Wait()
				if len(b.ends) != 1 {
					t.Errorf("entered %q, want one", b.ends)
				}
				r.end()
			})
		})
	}
}
