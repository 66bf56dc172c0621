package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// refusing answers every insert for a while as a table would that takes none, and
// tells when each was offered.
func (p *linux) refusing(d time.Duration, err error) (at []time.Duration) {
	r := p.r
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, w := range r.ordered() {
			if w.Kind == pfstate.WriteInsert {
				at = append(at, time.Since(r.start).Round(time.Second))
				r.table(pfstate.Change{Kind: pfstate.Refused, Op: w.Kind, State: w.State, Err: err})
			}
		}
		p.live(250 * time.Millisecond)
	}
	return at
}

// What the table refuses stays known, so that nobody asks for it again.
func TestRefusedStatesAreKept(t *testing.T) {
	for _, err := range []error{pfstate.ErrTableFull, pfstate.ErrUnsupported, pfstate.ErrClash} {
		t.Run(err.Error(), func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				s := tcp(them, 1, synSent, closed)
				p.tell(wire.ActIns, s)
				r.table(pfstate.Change{Kind: pfstate.Refused, Op: pfstate.WriteInsert, State: s, Err: err})
				r.forget()
				p.beacon()
				p.is("linux up 1 yes")
				s.Src.State, s.Dst.State, s.Timeout = estab, estab, pfstate.TCPEstablishedTimeout
				p.tell(wire.ActUpdC, s)
				r.wrote() // there is no entry
				r.expect()
				p.live(time.Second)
				p.is("linux up 1 yes")
				r.counted("drifts=0", "tablerefused=1")
				known := 0
				r.engine.States(func(got *pfstate.State) bool {
					if known++; got.ID != s.ID || got.Src.State != estab {
						t.Errorf("known is %v %d:%d", got.ID, got.Src.State, got.Dst.State)
					}
					return true
				})
				if known != 1 {
					t.Errorf("%d states known, want 1", known)
				}
			})
		})
	}
}

// It is offered again until the table has room, then no more.
func TestFullTableRecovers(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab), tcp(them, 2, estab, estab))
		if at := p.refusing(5*time.Second, pfstate.ErrTableFull); len(at) < 4 {
			t.Errorf("offered at %v", at)
		}
		r.loggedTimes(1, "level=ERROR", "state table is full", "nf_conntrack_max")
		p.live(2 * time.Minute) // it takes what is offered now
		offered := make(map[uint64]int)
		for _, w := range r.ordered() {
			if w.Kind == pfstate.WriteInsert {
				if offered[w.State.ID.State]++; w.State.Expire != leaseLong {
					t.Errorf("offered for %v", w.State.Expire)
				}
			}
		}
		if offered[1] != 1 || offered[2] != 1 {
			t.Errorf("offered %v times", offered)
		}
		r.loggedTimes(1, "has room again")
		r.loggedTimes(1, "level=ERROR")
		p.live(5 * time.Minute)
		for _, w := range r.ordered() {
			if w.Kind == pfstate.WriteInsert {
				t.Errorf("offered again: %v", w.State.ID)
			}
		}
	})
}

// What ended meanwhile is not offered any more.
func TestEndedStatesAreNotOfferedAgain(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.tell(wire.ActIns, s)
		p.refusing(2*time.Second, pfstate.ErrTableFull)
		p.end(s)
		r.forget()
		if at := p.refusing(2*time.Minute, pfstate.ErrTableFull); len(at) > 0 {
			t.Errorf("offered at %v", at)
		}
		p.is("linux up 0 yes")
	})
}

// What this system cannot express will not fit later either.
func TestUnsupportedStatesAreNotOfferedAgain(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		if at := p.refusing(2*time.Minute, pfstate.ErrUnsupported); len(at) != 1 {
			t.Errorf("offered at %v", at)
		}
		r.counted("insertsretried=0", "unsupported=1")
		r.loggedTimes(0, "level=ERROR")
	})
}

// Many refused states are offered in rounds; the queue of orders stays short.
func TestNoStormOfRetries(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		const n = 1000
		for i := range n / 5 {
			var some []pfstate.State
			for j := range 5 {
				some = append(some, tcp(them, 1+5*i+j, estab, estab))
			}
			p.tell(wire.ActIns, some...)
		}
		at := p.refusing(20*time.Second, pfstate.ErrTableFull)
		each := make(map[time.Duration]int)
		for _, when := range at {
			if each[when]++; each[when] > n {
				t.Fatalf("%d offers within a second, of %d states", each[when], n)
			}
		}
		r.loggedTimes(1, "level=ERROR")
		p.is(fmt.Sprintf("linux up %d yes", n))
	})
}

// up to a minute.
func TestFullTableIsAskedLessAndLess(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		at := p.refusing(10*time.Minute, pfstate.ErrTableFull)
		if len(at) < 12 || len(at) > 18 {
			t.Errorf("offered %d times within ten minutes, want about 15", len(at))
			return
		}
		for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			got := (at[n+1] - at[n]).Seconds()
			if got < want.Seconds()*1e9-1 || got > want.Seconds()*1e9*1.3+2 {
				t.Errorf("offer %d comes after %.0f s, want %d", n+2, got, want)
			}
		}
	})
}
