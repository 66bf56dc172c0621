package engine_test

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// slow is a link whose reader is slow, before a receive buffer that holds so many packets;
// what finds it full is lost.
type slow struct {
	engine.Link
	packets chan *pfstate.Batch[link.Packet]
}

func (s *slow) Received() <-chan *pfstate.Batch[link.Packet] { return s.packets }

// slowed takes each for a packet, and stops reading for a while after so many.
func slowed(ctx context.Context, l engine.Link, buffer int, each time.Duration, after int, stop time.Duration, lost *atomic.Int64) engine.Link {
	s := &slow{Link: l, packets: make(chan *pfstate.Batch[link.Packet], 4)}
	go func() {
		var waiting []link.Packet
		stock := pfstate.NewBatches[link.Packet](1)
		var out *pfstate.Batch[link.Packet]
		next, read := time.NewTimer(0), 0
		for {
			var to chan<- *pfstate.Batch[link.Packet]
			if out != nil {
				to = s.packets
			}
			select {
			case <-ctx.Done():
				return
			case b := <-l.Received():
				for _, p := range b.Items {
					if len(waiting) == buffer {
						lost.Add(1)
						continue
					}
					p.Payload = append([]byte(nil), p.Payload...)
					waiting = append(waiting, p)
				}
				b.Free()
			case to <- out:
				out = nil
			case <-next.C:
				wait := each
				if out == nil && len(waiting) > 0 {
					n := min(len(waiting), 8)
					out = stock.Take()
					out.Items = append(out.Items, waiting[:n]...)
					waiting = waiting[n:]
					if wait *= time.Duration(n); read < after && read+n >= after {
						wait = stop
					}
					read += n
				}
				next.Reset(wait)
			}
		}
	}()
	return s
}

// A firewall that joins is told every state once, and hardly a byte more: not while the one
// that tells it has just started itself, nor when it reads slowly or, for a while, nothing.
func TestJoinTellsEveryStateOnce(t *testing.T) {
	const n = 24000
	for _, c := range []struct {
		name  string
		alone time.Duration // that the other has been up
		each  time.Duration // to read a packet
		stop  time.Duration
		loss  float64
	}{
		{"at once", time.Minute, 0, 0, 0},
		{"slow and both fresh", 700 * time.Millisecond, 500 * time.Microsecond, 0, 0},
		{"stops", time.Minute, 500 * time.Microsecond, 2500 * time.Millisecond, 0},
		{"slow and some are lost", time.Minute, 500 * time.Microsecond, 0, 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPair(t, 1, 0)
				defer p.end()
				p.b.kill()
				p.a.kill()
				held := &pfstate.Batch[pfstate.Write]{} // as orders: they make no events
				for i := range n {
					held.Items = append(held.Items, pfstate.Write{Kind: pfstate.WriteInsert, State: tcp(0, i+1, estab, estab)})
				}
				p.a.table.Writes() <- held
				synctest.Wait()
				p.a.start()
				up := engine.DefaultSettings()
				up.Up, up.MTU = true, 600 // as many packets as of 60,000 states otherwise
				if err := p.a.eng.Configure(up); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.alone)
				var states, bytes, lost atomic.Int64
				p.hub.Set(linktest.Conditions{Delay: 100 * time.Microsecond, Loss: c.loss})
				p.hub.Tap(func(f linktest.Frame) {
					if f.Src == ourAddr {
						states.Add(int64(compactCount(f.Payload)))
						bytes.Add(int64(len(f.Payload)))
					}
				})
				b := p.joinAs(0xcccccccc, netip.MustParseAddr("192.168.254.252"), func(u *unplugged, ctx context.Context) engine.Link {
					if c.each == 0 {
						return u
					}
					return slowed(ctx, u, 1150, c.each, 300, c.stop, &lost)
				})
				if err := b.eng.Configure(up); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				for b.table.Len() < n && time.Since(began) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				took := time.Since(began)
				time.Sleep(5 * time.Second)
				if got := b.table.Len(); got != n {
					t.Fatalf("%d of %d states", got, n)
				}
				const each = 40 // bytes of a state, headers included
				most := int64(n * each * (105 + int(500*c.loss)) / 100)
				if t.Logf("%d states told in %v", states.Load(), took); bytes.Load() > most || lost.Load() > 0 {
					t.Errorf("%d bytes were sent of %d states, want at most %d; %d packets found no room", bytes.Load(), n, most, lost.Load())
				}
			})
		})
	}
}

// A firewall asks for all states while it is being told them anyway; once, and once more
// before the answer has ended. Those it has heard since are not told again.
func TestWhoAsksIsNotToldAgain(t *testing.T) {
	const n = 3000
	var all []pfstate.State
	for i := range n {
		all = append(all, tcp(us, i+1, estab, estab))
	}
	asking(t, all, func(r *rig) {
		time.Sleep(100 * time.Millisecond) // the engine's own clock is never 0
		p := r.linux(theirAddr, them, theirEpoch)
		p.beacon()
		for _, status := range []wire.BusStatus{wire.BusStart, wire.BusEnd} { // it answers, and so is told all
			p.send(0, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: status}) }, nil)
		}
		ask := func() { p.send(0, func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) }, nil) }
		ask()
		time.Sleep(2 * time.Millisecond)
		ask()
		told := map[string]int{}
		for range 100 {
			sent, _ := r.told()
			for _, m := range sent {
				told[m]++
			}
			p.beacon() // hears us
			time.Sleep(10 * time.Millisecond)
		}
		states := 0
		for m, times := range told {
			if strings.HasPrefix(m, "INS ") || strings.HasPrefix(m, "UPD ") {
				states += times
			}
		}
		if most := n + n/2; told["BUS aaaaaaaa 2"] != 2 || states < n || states > most {
			t.Errorf("%d states were told of %d, want at most %d; the answers ended %d times, want 2", states, n, most, told["BUS aaaaaaaa 2"])
		}
	})
}
