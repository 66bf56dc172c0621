package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	leaseShort = 30 * time.Minute
	leaseLong  = 10 * 24 * time.Hour
)

// expiries are what was ordered for how long.
func (r *rig) expiries() (all []string) {
	for _, w := range r.ordered() {
		all = append(all, fmt.Sprintf("%v %d %v", w.Kind, w.State.ID.State, w.State.Expire.Round(time.Second)))
	}
	return all
}

func (r *rig) orderedFor(want ...string) {
	r.t.Helper()
	if got := r.expiries(); !slices.Equal(got, want) {
		r.t.Errorf("after %v ordered %q, want %q", time.Since(r.start), got, want)
	}
}

// A copy of a Linux peer's state gets more time than the kernel gives an entry
// of its kind; that of a BSD gets what was announced.
func TestCopiesAreLeased(t *testing.T) {
	for _, c := range []struct {
		name  string
		state pfstate.State
		want  string
	}{
		{"udp", udp(them, 1, pfstate.Multiple, pfstate.Multiple), "insert 1 30m0s"},
		{"tcp established", tcp(them, 1, estab, estab), "insert 1 240h0m0s"},
		{"tcp opening", tcp(them, 1, synSent, closed), "insert 1 30m0s"},
		{"tcp closing", tcp(them, 1, closing, estab), "insert 1 30m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				p.tell(wire.ActIns, c.state)
				r.orderedFor(c.want)
			})
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &c.state) })
				r.orderedFor(fmt.Sprintf("insert 1 %v", c.state.Expire))
			})
		})
	}
}

// An update that changes the class of a state changes its lease.
func TestLeaseFollowsTheState(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, synSent, closed))
		p.tell(wire.ActUpdC, tcp(them, 1, estab, estab))
		p.tell(wire.ActUpdC, tcp(them, 1, closing, estab))
		r.orderedFor("insert 1 30m0s", "update 1 240h0m0s", "update 1 30m0s")
	})
}

// A lease is renewed before half of it is over, as long as the owner lives: a
// word from it each second.
func TestLeasesAreRenewed(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, udp(them, 1, pfstate.Multiple, pfstate.Multiple))
		r.forget()
		last, renewed := time.Now(), 0
		for range 3600 {
			p.live(time.Second)
			for _, w := range r.ordered() {
				since := time.Since(last)
				if w.Kind != pfstate.WriteUpdate || !w.Renew || w.State.Expire != leaseShort {
					t.Fatalf("after %v ordered %v for %v", since, w.Kind, w.State.Expire)
				}
				if since < 10*time.Minute || since > leaseShort/2+6*time.Second {
					t.Errorf("renewed after %v", since)
				}
				last = time.Now()
				renewed++
			}
		}
		if renewed != 3 {
			t.Errorf("renewed %d times in an hour, want 3", renewed)
		}
		r.counted("leasesrenewed=3", "leasesended=0")
	})
}

// When the owner is dead its copies have what was announced for them, as of its last word.
func TestLeaseEndsWithItsOwner(t *testing.T) {
	for _, c := range []struct {
		state     pfstate.State
		announced time.Duration
	}{
		{udp(them, 1, pfstate.Multiple, pfstate.Multiple), 100 * time.Second},
		{tcp(them, 1, estab, estab), 24 * time.Hour},
	} {
		paired(t, func(r *rig, p *linux) {
			c.state.Expire = c.announced
			p.tell(wire.ActIns, c.state)
			p.live(10 * time.Minute)
			r.forget()
			heard := time.Now()
			var end time.Duration
			for range 20 {
				time.Sleep(time.Second)
				for _, w := range r.ordered() {
					if end != 0 || w.Kind != pfstate.WriteUpdate || !w.Renew {
						t.Fatalf("ordered %v of %v for %v", w.Kind, w.State.ID, w.State.Expire)
					}
					end = time.Since(heard) + w.State.Expire
				}
			}
			if end == 0 {
				t.Fatal("the copy keeps its lease")
			}
			if end < c.announced-2*time.Second || end > c.announced+2*time.Second {
				t.Errorf("the copy ends %v after its owner's last word, announced was %v", end, c.announced)
			}
			r.counted("leasesended=1")

			p.beacon() // it was only the cable
			time.Sleep(time.Second)
			p.live(6 * time.Second)
			lease := map[bool]time.Duration{true: leaseLong, false: leaseShort}[c.announced > time.Hour]
			if got := r.ordered(); !slices.ContainsFunc(got, func(w pfstate.Write) bool { return w.Kind == pfstate.WriteUpdate && w.State.Expire == lease }) {
				t.Errorf("the lease did not come back: %+v", got)
			}
		})
	}
}

// here is how the table shows the copy of s, with that much time left.
func here(s pfstate.State, left time.Duration) pfstate.State {
	s.ID = pfstate.ID{State: s.ID.State + 1000, Creator: us}
	s.Expire = left
	return s
}

// Traffic sets an entry back to the kernel's own timeout: a dump shows so that the
// connection runs through here.
func TestTrafficOfACopyIsSeenByItsTime(t *testing.T) {
	s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
	for _, c := range []struct {
		name  string
		left  time.Duration // after ten minutes
		moved bool
	}{
		{"untouched", 20 * time.Minute, false},
		{"untouched, in whole seconds", 20*time.Minute - time.Second, false},
		{"touched", 120 * time.Second, true},
		{"touched where a sysctl is high", time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				p.tell(wire.ActIns, s)
				p.live(10 * time.Minute)
				r.forget()
				r.table(pfstate.Change{Kind: pfstate.Forwarding})
				r.dump(here(s, c.left))
				if !c.moved {
					r.expect()
					r.counted("takenover=0")
					p.beacon()
					p.is("linux up 1 yes")
					return
				}
				r.expect("UPD_C 0000000000000001/bbbbbbbb 2:2")
				r.counted("takenover=1")
				delete(p.answers, s.ID)
				p.beacon()
				p.is("linux up 0 yes")
				r.forget()
				p.live(20 * time.Minute) // it is ours, and not leased any more
				for _, w := range r.ordered() {
					if w.Kind == pfstate.WriteUpdate {
						t.Errorf("ordered for %v what traffic keeps", w.State.Expire)
					}
				}
			})
		})
	}
}

// The hint leads to one dump, and to none where there is nothing to find.
func TestForwardingHints(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		hint := pfstate.Change{Kind: pfstate.Forwarding}
		time.Sleep(time.Second)
		r.table(hint)
		r.wrote() // no copies
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		r.forget()
		dumps := 0
		for range 100 {
			r.table(hint)
			for _, w := range r.ordered() {
				if w.Kind == pfstate.WriteDump {
					dumps++
					time.Sleep(20 * time.Millisecond) // it takes
					r.table(pfstate.Change{Kind: pfstate.DumpBegin}, pfstate.Change{Kind: pfstate.Seen, State: here(tcp(them, 1, estab, estab), leaseLong)}, pfstate.Change{Kind: pfstate.DumpEnd})
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if dumps < 15 || dumps > 30 {
			t.Errorf("%d dumps of 20 ms in 10 s, want a twentieth of the time", dumps)
		}
	})
}

// An owner that saw no more traffic ends a state; if this host carries traffic, it
// may be this state's. The table is asked first.
func TestEndOfAStateThatMayHaveMoved(t *testing.T) {
	s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
	for _, c := range []struct {
		name   string
		answer func(*rig)
		check  func(*rig)
	}{
		{"untouched", func(r *rig) { r.table(pfstate.Change{Kind: pfstate.Seen, State: here(s, 29*time.Minute)}) },
			func(r *rig) {
				r.wrote("delete 0000000000000001/bbbbbbbb 2:2")
				r.expect()
				r.counted("spared=0", "takenover=0")
			}},
		{"touched", func(r *rig) { r.table(pfstate.Change{Kind: pfstate.Seen, State: here(s, 119*time.Second)}) },
			func(r *rig) {
				r.wrote()
				r.expect("UPD_C 0000000000000001/bbbbbbbb 2:2")
				r.counted("spared=1")
			}},
		{"traffic in the same moment", func(r *rig) { r.table(updated(here(s, 120*time.Second))) },
			func(r *rig) {
				r.wrote()
				r.expect("UPD_C 0000000000000001/bbbbbbbb 2:2")
			}},
		{"gone", func(r *rig) { r.table(pfstate.Change{Kind: pfstate.Absent, State: here(s, 0)}) },
			func(r *rig) {
				r.wrote()
				r.expect()
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				p.tell(wire.ActIns, s)
				p.live(time.Minute - time.Second)
				r.table(pfstate.Change{Kind: pfstate.Forwarding})
				r.dump(here(s, 29*time.Minute+time.Second))
				p.live(time.Second)
				r.forget()
				p.end(s)
				r.wrote("probe 0000000000000001/bbbbbbbb 2:2")
				r.expect()
				c.answer(r)
				c.check(r)
				p.beacon()
				p.is("linux up 0 yes")
			})
		})
	}
}

// Two connections with the same addresses and ports end one after the other: the
// answer about the first, late, is none about the second.
func TestEndOfAStateAndOfItsSuccessor(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		first := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
		second := udp(them, 1, pfstate.Single, pfstate.NoTraffic)
		second.ID.State = 2
		p.tell(wire.ActIns, first)
		p.live(time.Second)
		r.table(pfstate.Change{Kind: pfstate.Forwarding})
		r.ordered()
		p.end(first)
		p.tell(wire.ActIns, second)
		r.table(pfstate.Change{Kind: pfstate.Forwarding})
		p.end(second)
		var probes []uint32
		for _, w := range r.ordered() {
			if w.Kind == pfstate.WriteProbe {
				probes = append(probes, w.Probe)
			}
		}
		if len(probes) != 2 {
			t.Fatalf("probes %d, want 2", probes)
		}
		for i, s := range []pfstate.State{first, second} {
			r.table(pfstate.Change{Kind: pfstate.Seen, Op: pfstate.WriteProbe, Probe: probes[i], State: here(s, 30*time.Minute)})
		}
		r.wrote("delete 0000000000000002/bbbbbbbb 1:0")
		r.counted("spared=0", "takenover=0")
	})
}

// Nothing is asked where it cannot have moved.
func TestEndOfAStateThatCannotHaveMoved(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
		p.tell(wire.ActIns, s)
		r.forget()
		p.end(s)
		r.wrote("delete 0000000000000001/bbbbbbbb 2:2") // this host carries no traffic

		over := tcp(them, 2, finWait, finWait)
		p.tell(wire.ActIns, over)
		p.live(time.Second)
		r.table(pfstate.Change{Kind: pfstate.Forwarding})
		r.dump(here(over, leaseShort))
		r.forget()
		p.end(over)
		r.wrote("delete 0000000000000002/bbbbbbbb 9:9") // it has ended by itself
	})
}

// A line of a dump that was made before the lease was ordered shows the time that
// the entry had before: no traffic has touched it.
func TestDumpThatCrossesALease(t *testing.T) {
	for _, shown := range []pfstate.State{udp(us, 1, pfstate.Single, pfstate.NoTraffic), udp(us, 1, pfstate.Multiple, pfstate.Multiple)} {
		paired(t, func(r *rig, p *linux) {
			s := udp(us, 1, pfstate.Single, pfstate.NoTraffic)
			r.table(created(s))
			p.tell(wire.ActIns, tcp(them, 2, estab, estab))
			p.live(time.Second)
			r.forget()
			r.table(pfstate.Change{Kind: pfstate.Forwarding})
			p.tell(wire.ActUpdC, udp(us, 1, pfstate.Multiple, pfstate.Multiple))
			shown.Expire = 59 * time.Second
			r.dump(shown, here(tcp(them, 2, estab, estab), leaseLong-time.Second))
			r.expect()
			r.counted("takenover=0")
			p.beacon()
			p.is("linux up 2 yes")
		})
	}
}
