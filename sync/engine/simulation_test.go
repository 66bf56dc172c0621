package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
)

// firewall is one side of a simulated pair.
type firewall struct {
	table   *memory.Table
	port    *linktest.Port
	eng     *engine.Engine
	creator uint32
	flows   map[int]pfstate.State // connections that run through it
	kill    func()                // ends the daemon as kill -9 would, as far as the peers can tell
	start   func()                // a new daemon on the table as it is by now
	deaf    func()                // ends what unheard has begun
}

// pair is two firewalls on one wire, in a synctest bubble.
type pair struct {
	t      *testing.T
	hub    *linktest.Hub
	a, b   *firewall
	join   func(creator uint32, addr netip.Addr) *firewall // one more on the wire
	joinAs func(creator uint32, addr netip.Addr, wrap func(*unplugged, context.Context) engine.Link) *firewall
	end    func()

	all []*firewall
}

// unplugged is a port that sends nothing once ctx has ended: a killed daemon has
// no last words.
type unplugged struct {
	*linktest.Port
	ctx context.Context
}

func (u *unplugged) Send(payloads [][]byte) (int, error) {
	if u.ctx.Err() != nil {
		return len(payloads), nil
	}
	return u.Port.Send(payloads)
}

// unheard lets the changes of a table, and packets, be lost while no daemon
// listens, until the function it returns is called.
func (f *firewall) unheard() (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case b := <-f.table.Changes():
				b.Free()
			case b := <-f.port.Received():
				b.Free()
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// testLog shows what engines log when PFSYNC_LOG is set.
func testLog(creator uint32) *slog.Logger {
	if os.Getenv("PFSYNC_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("who", fmt.Sprintf("%08x", creator))
}

// counts are an engine's counters.
func (f *firewall) counts() map[string]uint64 {
	all, _ := f.eng.Counters()
	values := make(map[string]uint64)
	for _, c := range all {
		values[c.Name] = c.Value
	}
	return values
}

type noTap struct{}

func (noTap) Show([][]byte) {}

func newPair(t *testing.T, seed uint64) *pair {
	p := startPair(t, seed, 0)
	p.up(0)
	time.Sleep(3 * time.Second) // both bulk requests are over
	return p
}

// restartedPair is a pair whose tables hold the same n connections, read in
// different orders, when the daemons start.
func restartedPair(t *testing.T, n int, apart time.Duration) *pair {
	p := startPair(t, 1, n)
	p.hub.Set(linktest.Conditions{Delay: 100 * time.Microsecond})
	time.Sleep(time.Second)
	p.up(apart)
	return p
}

// up takes both pfsync0 up.
func (p *pair) up(apart time.Duration) {
	up := engine.DefaultSettings()
	up.Up = true
	for _, f := range []*firewall{p.a, p.b} {
		if err := f.eng.Configure(up); err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(apart)
	}
}

// startPair starts engines on tables with the same n connections.
func startPair(t *testing.T, seed uint64, n int) *pair {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	p := &pair{t: t, hub: linktest.NewHub(seed)}
	p.join = func(creator uint32, addr netip.Addr) *firewall {
		return p.joinAs(creator, addr, func(u *unplugged, _ context.Context) engine.Link { return u })
	}
	p.joinAs = func(creator uint32, addr netip.Addr, wrap func(*unplugged, context.Context) engine.Link) *firewall {
		f := &firewall{table: memory.New(memory.Config{Creator: creator}), port: p.hub.Port(addr), flows: make(map[int]pfstate.State), creator: creator}
		running.Go(func() { f.table.Run(ctx) })
		held := &pfstate.Batch[pfstate.Write]{} // as orders: they make no events
		for _, i := range rand.New(rand.NewPCG(uint64(creator), seed)).Perm(n) {
			held.Items = append(held.Items, pfstate.Write{Kind: pfstate.WriteInsert, State: tcp(0, i+1, estab, estab)})
		}
		f.table.Writes() <- held
		began := false
		f.start = func() {
			f.deaf()
			f.deaf = func() {}
			ctx, stop := context.WithCancel(ctx)
			f.eng = engine.New(engine.Config{Creator: creator, Continues: began, Log: testLog(creator)}, f.table, wrap(&unplugged{Port: f.port, ctx: ctx}, ctx), noTap{})
			began = true
			f.port.Replug()
			ended := make(chan struct{})
			running.Go(func() { defer close(ended); f.eng.Run(ctx) })
			f.kill = func() {
				stop()
				<-ended
				f.deaf = f.unheard()
			}
		}
		f.deaf = func() {}
		p.all = append(p.all, f)
		f.start()
		return f
	}
	p.a, p.b = p.join(us, ourAddr), p.join(them, theirAddr)
	running.Go(func() { p.hub.Run(ctx) })
	p.end = func() {
		for _, f := range p.all {
			f.deaf()
		}
		stop()
		running.Wait()
	}
	return p
}

// held is what a table holds, by connection, as far as both sides must agree.
func (f *firewall) held() map[string]string {
	all := make(map[string]string)
	for _, s := range f.table.States() {
		orig, _ := s.Tuples()
		all[fmt.Sprint(s.Proto, orig)] = fmt.Sprintf("%d:%d %v", s.Src.State, s.Dst.State, s.Timeout)
	}
	return all
}

// differences compares both tables.
func (p *pair) differences() (missing, extra, differing []string) {
	a, b := p.a.held(), p.b.held()
	for _, k := range slices.Sorted(maps.Keys(a)) {
		switch v, ok := b[k]; {
		case !ok:
			missing = append(missing, k)
		case v != a[k]:
			differing = append(differing, fmt.Sprintf("%s: %s and %s", k, a[k], v))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[k]; !ok {
			extra = append(extra, k)
		}
	}
	return missing, extra, differing
}

func (p *pair) equal() {
	p.t.Helper()
	if missing, extra, differing := p.differences(); len(missing)+len(extra)+len(differing) > 0 {
		p.t.Errorf("%d states in A, %d in B; missing in B %q, extra in B %q, differing %q",
			p.a.table.Len(), p.b.table.Len(), missing, extra, differing)
	}
}

// traffic lets connection n through f take its next step: born, moved on, ended.
func (f *firewall) traffic(r *rand.Rand, n int, mayEnd bool) {
	s, alive := f.flows[n]
	switch {
	case !alive && n%2 == 0:
		s = tcp(0, n, synSent, closed)
	case !alive:
		s = udp(0, n, pfstate.Single, pfstate.NoTraffic)
	case mayEnd && r.IntN(4) == 0:
		f.table.Delete(s)
		delete(f.flows, n)
		return
	case s.Proto == pfstate.ProtoTCP:
		steps := [][2]pfstate.PeerState{{2, 0}, {4, 2}, {4, 4}, {7, 4}, {9, 7}, {9, 9}}
		at := slices.Index(steps, [2]pfstate.PeerState{s.Src.State, s.Dst.State})
		next := steps[min(at+1, len(steps)-1)]
		s.Src.State, s.Dst.State = next[0], next[1]
	default:
		s.Src.State, s.Dst.State = pfstate.Multiple, min(s.Dst.State+1, pfstate.Multiple)
	}
	s.Timeout = pfstate.TimeoutOf(s.Proto, s.Src.State, s.Dst.State)
	s.Expire = s.Timeout.Default()
	f.flows[n] = s
	if alive {
		f.table.Update(s)
	} else {
		f.table.Create(s)
	}
}

// churn runs traffic through both sides, each with connections of its own.
func (p *pair) churn(r *rand.Rand, steps int, mayEnd bool) {
	p.churnOf(r, steps, mayEnd, func(n int) int { return n })
}

// churnOf is churn with connections whose numbers pick chooses: odd ones are UDP.
func (p *pair) churnOf(r *rand.Rand, steps int, mayEnd bool, pick func(int) int) {
	for range steps {
		p.a.traffic(r, pick(r.IntN(200)), mayEnd)
		p.b.traffic(r, pick(1000+r.IntN(200)), mayEnd)
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		}
	}
}

func simulate(t *testing.T, test func(*pair, *rand.Rand)) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, seed)
				test(p, rand.New(rand.NewPCG(seed, 7)))
				p.end()
			})
		})
	}
}

func TestPairOnAPerfectLink(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.churn(r, 2000, true)
		time.Sleep(2 * time.Second)
		p.equal()
	})
}

// Duplicates and old packets change nothing as long as no state ends.
func TestPairWithDuplicatesAndReordering(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.hub.Set(linktest.Conditions{Duplicate: 0.3, Reorder: 0.3, Jitter: 3 * time.Millisecond})
		p.churn(r, 1000, false)
		time.Sleep(3 * time.Second)
		p.equal()
	})
}

// What is lost is asked for again, while it goes on being lost.
func TestPairUnderLoss(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.hub.Set(linktest.Conditions{Loss: 0.3, Duplicate: 0.1, Reorder: 0.25, Jitter: time.Millisecond})
		p.churn(r, 2000, true)
		p.insync(30 * time.Second)
	})
}

// Changes made while the link was cut are all there once it is back.
func TestPairAfterACut(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.churn(r, 300, true)
		time.Sleep(time.Second)
		p.a.port.SetUp(false)
		p.b.port.SetUp(false)
		p.churn(r, 300, true)
		time.Sleep(time.Second)
		p.a.port.SetUp(true)
		p.b.port.SetUp(true)
		time.Sleep(5 * time.Second)
		p.equal()
	})
}

// A third firewall that joins late has everything too, and its own is everywhere.
func TestThreeFirewalls(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.churn(r, 500, true)
		time.Sleep(2 * time.Second)
		c := p.join(0xcccccccc, netip.MustParseAddr("192.168.254.252"))
		up := engine.DefaultSettings()
		up.Up = true
		if err := c.eng.Configure(up); err != nil {
			p.t.Fatal(err)
		}
		for range 500 {
			p.churn(r, 1, true)
			c.traffic(r, 2000+r.IntN(200), true)
		}
		time.Sleep(10 * time.Second)
		p.equal()
		p.b = c
		p.equal()
	})
}

// A long UDP flow through A keeps its copy on B alive, by the updates that A
// sends when it sees the timeout renewed; when A is gone, the copy runs out.
func TestCopyOfALongFlowLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 1)
		defer p.end()
		s := udp(0, 1, pfstate.Multiple, pfstate.Multiple)
		if err := p.a.table.Create(s); err != nil {
			t.Fatal(err)
		}
		for range 600 { // ten times the timeout of 60 s
			time.Sleep(time.Second)
			p.a.table.Touch(s)
			if p.b.table.Len() != 1 {
				t.Fatalf("the copy is gone")
			}
		}
		time.Sleep(3 * time.Minute)
		p.equal()
		if n := p.a.table.Len() + p.b.table.Len(); n != 0 {
			t.Errorf("%d entries left of an idle flow", n)
		}
	})
}

// A moved while its entry had little time left; B, which carries the connection
// without an event, says so before A's end is told.
func TestConnectionThatMovedOutlivesTheOldEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 1)
		defer p.end()
		s := tcp(0, 1, estab, estab)
		s.Expire = 432000 * time.Second // conntrack's
		if err := p.a.table.Create(s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		unacknowledged := s
		unacknowledged.Expire = 300 * time.Second // nf_conntrack_tcp_timeout_unacknowledged
		if err := p.a.table.Touch(unacknowledged); err != nil {
			t.Fatal(err)
		}
		for second := range 900 {
			time.Sleep(time.Second)
			if err := p.b.table.Touch(s); err != nil {
				t.Fatalf("B after %d s: %v", second+1, err)
			}
		}
	})
}

// Both daemons restart at the same time, both kernels hold the same connections:
// in the end each has one id.
func TestBothRestart(t *testing.T) {
	const n = 2000
	for _, apart := range []time.Duration{0, 100 * time.Microsecond, 500 * time.Microsecond, 1100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			p := restartedPair(t, n, apart)
			defer p.end()
			time.Sleep(time.Minute)
			ids := make(map[pfstate.Tuple]pfstate.ID)
			p.a.eng.States(func(s *pfstate.State) bool {
				orig, _ := s.Tuples()
				ids[orig] = s.ID
				return true
			})
			differ := 0
			p.b.eng.States(func(s *pfstate.State) bool {
				if orig, _ := s.Tuples(); ids[orig] != s.ID {
					differ++
				}
				return true
			})
			if differ > 0 || len(ids) != n {
				t.Errorf("%v apart: %d of %d connections have another id on A than on B", apart, differ, len(ids))
			}
		})
	}
}
