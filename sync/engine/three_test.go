package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const third = 0xcccccccc

// trio is a pair with a third firewall.
type trio struct {
	*pair
	c *firewall
}

func three(t *testing.T, test func(*trio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &trio{pair: newPair(t, 1)}
		defer p.end()
		p.c = p.join(third, thirdAddr)
		p.goUp(p.c)
		time.Sleep(3 * time.Second)
		test(p)
	})
}

func (p *trio) goUp(f *firewall) {
	up := engine.DefaultSettings()
	up.Up = true
	if err := f.eng.Configure(up); err != nil {
		p.t.Fatal(err)
	}
}

// sees compares what f's operator is shown of each peer: creatorid, state, states, sync.
func (p *trio) sees(f *firewall, want ...string) {
	p.t.Helper()
	var got []string
	s, err := f.eng.Status()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, q := range s.PeerList {
		got = append(got, fmt.Sprintf("%08x %v %s %d %s", q.Creator, q.Addr, q.State, q.States, q.Sync))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		p.t.Errorf("%08x sees %q, want %q", f.creator, got, want)
	}
}

// hold checks that each of fs has those n connections, from the first on.
func (p *trio) hold(from, n int, fs ...*firewall) {
	p.t.Helper()
	for _, f := range fs {
		have := f.held()
		lacks := 0
		for i := range n {
			s := tcp(0, from+i, estab, estab)
			if i%2 == 1 {
				s = udp(0, from+i, pfstate.Multiple, pfstate.Multiple)
			}
			orig, _ := s.Tuples()
			if _, ok := have[fmt.Sprint(s.Proto, orig)]; !ok {
				lacks++
			}
		}
		if lacks > 0 {
			p.t.Errorf("%08x lacks %d of %d connections from %d on", f.creator, lacks, n, from)
		}
	}
}

// agree checks that all hold what each has, and say so.
func (p *trio) agree() {
	p.t.Helper()
	for _, f := range p.all {
		have := f.held()
		for _, other := range p.all {
			if other == f {
				continue
			}
			if sync := f.peerSync(other); sync != "yes" {
				p.t.Errorf("%08x says %s of %08x", f.creator, sync, other.creator)
			}
			theirs := other.held()
			for k, v := range have {
				if theirs[k] != v {
					p.t.Errorf("%s: %08x has %s, %08x %q", k, f.creator, v, other.creator, theirs[k])
				}
			}
		}
	}
}

// Each peer has its own creatorid, age, number of states and digest; one that dies takes
// nothing along, of its own or of others.
func TestEachOfThreeIsTrackedApart(t *testing.T) {
	three(t, func(p *trio) {
		create(p.a, 1, 100)
		create(p.b, 1000, 200)
		create(p.c, 2000, 300)
		time.Sleep(5 * time.Second)
		before := p.a.counts()
		p.sees(p.a, "bbbbbbbb 192.168.254.253 up 200 yes", "cccccccc 192.168.254.252 up 300 yes")
		p.sees(p.b, "aaaaaaaa 192.168.254.254 up 100 yes", "cccccccc 192.168.254.252 up 300 yes")
		p.sees(p.c, "aaaaaaaa 192.168.254.254 up 100 yes", "bbbbbbbb 192.168.254.253 up 200 yes")

		p.c.kill()
		time.Sleep(10 * time.Second)
		p.sees(p.a, "bbbbbbbb 192.168.254.253 up 200 yes", "cccccccc 192.168.254.252 dead 300 unknown")
		p.hold(2000, 300, p.a, p.b)
		for range 20 {
			p.churn(rand.New(rand.NewPCG(1, 1)), 50, true)
			time.Sleep(time.Second)
		}
		if s := p.a.counts(); s["drifts"] != 0 || s["peerdeaths"] != 1 || s["bulkrequests"] != before["bulkrequests"] {
			t.Errorf("A: %v", p.a.nonzero())
		}
		p.hold(2000, 300, p.a, p.b)
	})
}

// What one peer clears, tells in bulk, or shows by its digests, is about its own states.
func TestNobodyRemovesTheStatesOfAThird(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprint("dead ", dead), func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				q := r.linux(thirdAddr, third, 0xcccc)
				q.beacon()
				q.tell(wire.ActIns, tcp(third, 1, estab, estab), tcp(third, 2, estab, estab))
				q.beacon()
				p.tell(wire.ActIns, tcp(them, 3, estab, estab))
				p.beacon()
				want := "linux up 2 yes"
				if dead {
					p.live(8 * time.Second)
					want = "linux dead 2 unknown"
				}
				q.is(want)
				r.forget()

				p.answers = map[pfstate.ID]uint64{}
				p.send(0, func(w *wire.Writer) { w.Clr(wire.Clr{Creator: them}) }, nil)
				r.wrote("delete 0000000000000003/bbbbbbbb 4:4")
				for _, status := range []wire.BusStatus{wire.BusStart, wire.BusEnd} {
					p.send(0, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: status}) }, nil)
				}
				p.live(10 * time.Second)
				for _, w := range r.ordered() {
					if w.Kind == pfstate.WriteDelete {
						t.Errorf("%v is removed", w.State.ID)
					}
				}
				if n := r.status().Imported; n != 2 {
					t.Errorf("%d states of peers, want 2", n)
				}
			})
		})
	}
}

// One of three that misses a packet gets it from its sender; the other takes no notice.
func TestLossAtOneOfThree(t *testing.T) {
	three(t, func(p *trio) {
		before := p.b.counts()
		p.hub.Partition([]*linktest.Port{p.c.port})
		create(p.a, 1, 1)
		time.Sleep(time.Millisecond)
		p.hub.Partition()
		p.hold(1, 1, p.b)
		create(p.a, 10, 1)
		time.Sleep(10 * time.Millisecond)
		p.hold(1, 1, p.c)
		p.hold(10, 1, p.b, p.c)
		time.Sleep(3 * time.Second)
		if n := p.a.counts()["resendssent"]; n == 0 {
			t.Error("A repeated nothing")
		}
		if b := p.b.counts(); b["duplicates"] == before["duplicates"] || b["repairs"] != 0 || b["bulkserved"] != before["bulkserved"] {
			t.Errorf("B: %v", p.b.nonzero())
		}
		if c := p.c.counts(); c["repairs"] != 0 || c["drifts"] != 0 {
			t.Errorf("C: %v", p.c.nonzero())
		}
		p.sees(p.c, "aaaaaaaa 192.168.254.254 up 2 yes", "bbbbbbbb 192.168.254.253 up 0 yes")
	})
}

// What one of three has missed of a firewall that died before it could tell again, the other tells.
func TestLossAtOneOfThreeBeforeADeath(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  time.Duration // how long it lasts after the death
	}{{"short", 0}, {"long", 20 * time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			three(t, func(p *trio) {
				create(p.a, 1, 50)
				time.Sleep(3 * time.Second)
				p.hub.Partition([]*linktest.Port{p.c.port})
				create(p.a, 1000, 50)
				time.Sleep(10 * time.Millisecond)
				p.a.kill()
				time.Sleep(c.cut)
				p.hub.Partition()
				time.Sleep(15 * time.Second)
				p.hold(1, 50, p.b, p.c)
				p.hold(1000, 50, p.b, p.c)
			})
		})
	}
}

// One of three that restarts asks for all, and gets also what a dead one has left with the other.
func TestRestartOfOneOfThree(t *testing.T) {
	three(t, func(p *trio) {
		create(p.a, 1, 100)
		create(p.b, 1000, 100)
		create(p.c, 2000, 100)
		time.Sleep(3 * time.Second)
		p.a.kill()
		p.c.kill()
		time.Sleep(10 * time.Second)
		p.c.port.SetUp(false)
		c := p.join(third, p.c.port.Status().Addr) // with an empty table
		p.goUp(c)
		time.Sleep(5 * time.Second)
		p.hold(1, 100, p.b, c)
		p.hold(1000, 100, c)
		p.hold(2000, 100, c)
		if n := c.counts(); n["bulkrequests"] == 0 || n["bulkdone"] == 0 || n["drifts"] != 0 {
			t.Errorf("C: %v", c.nonzero())
		}
		if s, _ := c.eng.Status(); !s.SyncOK {
			t.Error("syncok is 0")
		}
		p.c = c
		p.pair.a = c
		p.insync(5 * time.Second)
	})
}

// Who asks two, of which one has nothing, is up to date only once the other has told all.
func TestBulkUpdateOfTwo(t *testing.T) {
	three(t, func(p *trio) {
		create(p.a, 1, 20000)
		time.Sleep(3 * time.Second)
		for _, f := range []*firewall{p.b, p.c} { // both lose everything, one comes back after the other
			f.kill()
			f.port.SetUp(false)
		}
		time.Sleep(10 * time.Second)
		b := p.join(them, theirAddr)
		p.hub.Partition([]*linktest.Port{b.port}) // it will not have A's states when C asks
		p.goUp(b)
		time.Sleep(10 * time.Second)
		p.hub.Partition()
		c := p.join(third, thirdAddr)
		p.goUp(c)
		var s engine.Status
		for range 10000 {
			time.Sleep(time.Millisecond)
			if s, _ = c.eng.Status(); s.SyncOK {
				break
			}
		}
		if s.Imported != 20000 {
			t.Errorf("C shows syncok %v with %d states of 20000", s.SyncOK, s.Imported)
		}
		if n := c.counts(); n["bulkdone"] != 1 || n["bulkfailed"] != 0 {
			t.Errorf("C: %v", c.nonzero())
		}
	})
}

// Loss, doubling and reordering between three, each with traffic of its own, also
// while one of them is away for a while: in the end all hold the same, and know it.
func TestThreeUnderLoss(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			three(t, func(p *trio) {
				r := rand.New(rand.NewPCG(seed, 3))
				churn := func() {
					for range 500 {
						p.churn(r, 1, true)
						p.c.traffic(r, 2000+r.IntN(200), true)
					}
				}
				p.hub.Set(linktest.Conditions{Loss: 0.2, Duplicate: 0.1, Reorder: 0.2, Jitter: time.Millisecond})
				churn()
				p.hub.Partition([]*linktest.Port{p.all[seed%3].port})
				churn()
				time.Sleep(8 * time.Second) // it is dead for the others, and they for it
				p.hub.Partition()
				churn()
				p.hub.Set(linktest.Conditions{})
				time.Sleep(10 * time.Second) // some states last for 30 s
				p.agree()
			})
		})
	}
}

// A third firewall that has not heard the end of a state of ours answers somebody for it,
// when even we have forgotten it: that brings it back nowhere.
func TestAnswerForAStateOfOursThatHasEnded(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		r.table(deleted(s))
		p.live(8 * time.Second)
		r.forget()
		p.send(wire.FlagAnswer, func(w *wire.Writer) { w.State(wire.ActUpd, &s) }, nil)
		r.wrote()
		r.asked("flags", fmt.Sprintf("flags %d", wire.FlagAnswer))
		r.expect("DEL_C 0000000000000001/aaaaaaaa")
		r.counted("buried=1")
	})
}
