package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
)

// insync waits until both know that they agree, at most `most`, and checks that they do.
func (p *pair) insync(most time.Duration) {
	p.t.Helper()
	start := time.Now()
	for time.Since(start) < most {
		a, b := p.a.peerSync(p.b), p.b.peerSync(p.a)
		missing, extra, differing := p.differences()
		if a == "yes" && b == "yes" && len(missing)+len(extra)+len(differing) == 0 {
			p.t.Logf("in sync after %v", time.Since(start))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.equal()
	p.t.Errorf("not in sync after %v: A says %s of B, B says %s of A", most, p.a.peerSync(p.b), p.b.peerSync(p.a))
	p.t.Logf("A: %v", p.a.nonzero())
	p.t.Logf("B: %v", p.b.nonzero())
}

func (f *firewall) nonzero() (all []string) {
	list, _ := f.eng.Counters()
	for _, c := range list {
		if c.Value > 0 {
			all = append(all, fmt.Sprintf("%s=%d", c.Name, c.Value))
		}
	}
	return all
}

func (f *firewall) peerSync(other *firewall) string {
	s, _ := f.eng.Status()
	for _, p := range s.PeerList {
		if p.Creator == other.creator {
			return p.Sync
		}
	}
	return "not heard"
}

func create(f *firewall, from, n int) {
	for i := range n {
		s := tcp(0, from+i, estab, estab)
		if i%2 == 1 {
			s = udp(0, from+i, pfstate.Multiple, pfstate.Multiple)
		}
		f.table.Create(s)
		f.flows[from+i] = s
	}
}

func end(f *firewall, from, n int) {
	for i := range n {
		f.table.Delete(f.flows[from+i])
		delete(f.flows, from+i)
	}
}

func bubble(t *testing.T, test func(*pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 1)
		defer p.end()
		test(p)
	})
}

// A lost packet comes with the next one that shows the gap, and nothing else is repaired.
func TestOneLostPacket(t *testing.T) {
	bubble(t, func(p *pair) {
		before := p.a.counts()
		p.hub.Set(linktest.Conditions{Loss: 1})
		create(p.a, 1, 1)
		time.Sleep(time.Millisecond)
		p.hub.Set(linktest.Conditions{})
		create(p.a, 10, 1)
		time.Sleep(10 * time.Millisecond)
		p.equal()
		if c := p.a.counts(); c["resendssent"] != 1 || c["bulkserved"] != before["bulkserved"] {
			t.Errorf("%d packets repeated, %d bulk updates served, want 1 and %d", c["resendssent"], c["bulkserved"], before["bulkserved"])
		}
	})
}

// What the ring has lost is found by digests, and only what differs is sent.
func TestCutLongerThanTheRing(t *testing.T) {
	bubble(t, func(p *pair) {
		create(p.a, 1, 5000)
		time.Sleep(time.Second)
		p.insync(5 * time.Second)
		before := p.a.counts()
		p.hub.Partition([]*linktest.Port{p.a.port})
		end(p.a, 1, 500)
		create(p.a, 6000, 300)
		time.Sleep(4 * time.Second) // nobody waits for B any more
		for n := range 180 {        // more than the ring has place for
			create(p.a, 10000+n%20*1000, 1000)
			time.Sleep(10 * time.Millisecond)
			end(p.a, 10000+n%20*1000, 1000)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(4 * time.Second)
		p.hub.Partition()
		p.insync(10 * time.Second)
		after := p.a.counts()
		if n := after["bulkserved"] - before["bulkserved"]; n != 0 {
			t.Errorf("%d bulk updates", n)
		}
		if n := after["oacts.UPD ST"] - before["oacts.UPD ST"]; n > 400 {
			t.Errorf("%d states were sent to mend 300", n)
		}
		if b := p.b.counts(); b["mendedmissing"] == 0 || b["mendedextra"] == 0 || b["repairs"] != 1 {
			t.Errorf("B: %v", p.b.nonzero())
		}
	})
}

// Somebody removes entries of the backup's table: they come back.
func TestBackupThatIsFlushed(t *testing.T) {
	bubble(t, func(p *pair) {
		create(p.a, 1, 1000)
		time.Sleep(3 * time.Second)
		for _, s := range p.b.table.States() {
			p.b.table.Delete(s)
		}
		time.Sleep(50 * time.Millisecond)
		if n := p.b.table.Len(); n != 0 {
			t.Fatalf("%d entries left", n)
		}
		p.insync(10 * time.Second)
		if n := p.b.table.Len(); n != 1000 {
			t.Errorf("%d entries, want 1000", n)
		}
	})
}

// A daemon restarts: its peer sends nothing that it knows, and takes nothing as new.
func TestDaemonRestarts(t *testing.T) {
	const n = 2000
	for _, side := range []string{"primary", "backup"} {
		t.Run(side, func(t *testing.T) {
			bubble(t, func(p *pair) {
				create(p.a, 1, n)
				time.Sleep(5 * time.Second)
				p.insync(time.Second)
				f, other := p.a, p.b
				if side == "backup" {
					f, other = p.b, p.a
				}
				before := other.counts()
				f.kill()
				time.Sleep(time.Second)
				if f == p.a { // what happens meanwhile
					end(p.a, 1, 100)
					create(p.a, 5000, 50)
				} else {
					end(p.a, 1, 100)
					create(p.a, 5000, 50)
					p.b.table.Create(tcp(0, 7000, estab, estab))
				}
				f.start()
				up := engine.DefaultSettings()
				up.Up = true
				f.eng.Configure(up)
				p.insync(10 * time.Second)
				after := other.counts()
				ins, upd := after["iacts.INS ST"]-before["iacts.INS ST"], after["oacts.UPD ST"]-before["oacts.UPD ST"]
				t.Logf("inserts %d, states served %d", ins, upd)
				if f == p.a && (ins != 50 || upd > n/4) {
					t.Errorf("%d inserts, %d states served, want 50 and few", ins, upd)
				}
				if f == p.b && ins != 1 {
					t.Errorf("%d inserts, want 1", ins)
				}
				if got, want := p.b.table.Len(), p.a.table.Len(); got != want {
					t.Errorf("%d entries on B, %d on A", got, want)
				}
			})
		})
	}
}

// A firewall that lost its table, too, gets it from its peer.
func TestPowerCutAndReturn(t *testing.T) {
	bubble(t, func(p *pair) {
		create(p.a, 1, 500)
		time.Sleep(3 * time.Second)
		p.a.kill()
		p.a.port.SetUp(false)
		time.Sleep(10 * time.Second)
		create(p.b, 3000, 100)
		c := p.join(us, p.a.port.Status().Addr) // the same firewall, with an empty table
		up := engine.DefaultSettings()
		up.Up = true
		c.eng.Configure(up)
		c.creator = us
		p.a = c
		time.Sleep(3 * time.Second)
		p.insync(10 * time.Second)
		if n := c.table.Len(); n != 600 {
			t.Errorf("%d entries, want 600", n)
		}
	})
}

// Copies live while their owner does, and no longer than announced after it.
func TestLeases(t *testing.T) {
	bubble(t, func(p *pair) {
		s := udp(0, 1, pfstate.Multiple, pfstate.Multiple)
		s.Expire = 10 * time.Second
		p.a.table.Create(s)
		for range 2000 { // a lease, and more
			time.Sleep(time.Second)
			p.a.table.Touch(s)
			if p.b.table.Len() != 1 {
				t.Fatal("the copy is gone")
			}
		}
		p.insync(time.Second)
		p.a.kill()
		time.Sleep(9 * time.Second)
		if p.b.table.Len() != 1 {
			t.Error("the copy went before its time")
		}
		time.Sleep(10 * time.Second)
		if p.b.table.Len() != 0 {
			t.Errorf("the copy outlives its owner: %v left", p.b.table.States()[0].Expire)
		}
	})
}

// The connection moves from A to B and back without an event, again and again.
func TestFailBackAndForth(t *testing.T) {
	bubble(t, func(p *pair) {
		for n, s := range []pfstate.State{tcp(0, 1, estab, estab), udp(0, 2, pfstate.Multiple, pfstate.Multiple)} {
			s.Expire = []time.Duration{432000 * time.Second, 120 * time.Second}[n]
			p.a.table.Create(s)
			time.Sleep(3 * time.Second)
			for turn, f := range []*firewall{p.a, p.b, p.a, p.b, p.a} {
				before := f.counts()["takenover"]
				for range 1000 {
					time.Sleep(time.Second)
					if err := f.table.Touch(s); err != nil {
						t.Fatalf("turn %d: %v", turn, err)
					}
				}
				if after := f.counts()["takenover"]; turn > 0 && after != before+1 {
					t.Errorf("turn %d: taken over %d times", turn, after-before)
				}
			}
		}
	})
}

// Under everything at once, and after each fault both are in sync within ten seconds.
func TestFaults(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		for range 6 {
			switch r.IntN(5) {
			case 0:
				p.hub.Set(linktest.Conditions{Loss: 0.3, Duplicate: 0.1, Reorder: 0.25, Jitter: 2 * time.Millisecond})
				p.churn(r, 1000, true)
			case 1:
				p.hub.Partition([]*linktest.Port{p.a.port})
				p.churn(r, 2000, true)
				time.Sleep(20 * time.Second)
			case 2:
				f := []*firewall{p.a, p.b}[r.IntN(2)]
				f.kill()
				p.churn(r, 200, true)
				time.Sleep(time.Duration(r.IntN(8)) * time.Second)
				f.start()
				up := engine.DefaultSettings()
				up.Up = true
				f.eng.Configure(up)
			case 3:
				p.a.port.SetUp(false)
				p.churn(r, 500, true)
				p.a.port.SetUp(true)
			case 4:
				p.a.port.FailSend(fmt.Errorf("no buffer space"))
				p.churn(r, 500, true)
				p.a.port.FailSend(nil)
			}
			p.hub.Set(linktest.Conditions{})
			p.hub.Partition()
			p.insync(10 * time.Second)
		}
	})
}
