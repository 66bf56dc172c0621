package bsd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/test/bsd/peer"
)

const (
	us   = 0xaaaaaaaa
	them = 0xbbbbbbbb
)

// bench is an engine with a table in memory, and a BSD on the same wire, in a bubble.
type bench struct {
	*testing.T
	*peer.Box
	table  *memory.Table
	engine *engine.Engine
	hub    *linktest.Hub
	ours   *linktest.Port
	theirs *linktest.Port
	base   map[string]uint64
	sent   [][]byte // ours, with their trailers
	mu     sync.Mutex

	ctx     context.Context
	running *sync.WaitGroup
}

// besideEach runs test beside each BSD.
func besideEach(t *testing.T, test func(*bench)) {
	t.Helper()
	for _, y := range peer.Systems() {
		t.Run(y.Name, func(t *testing.T) { beside(t, y, test) })
	}
}

// beside runs test with an engine that has heard a BSD, and has its states: none.
func beside(t *testing.T, y *peer.System, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, y)
		b.Mute = false
		b.Join()
		b.Say(y.Inserts(peer.Connection(peer.ID{State: 0xfff, Creator: them}, 17, addrPort("10.9.9.9:9"), addrPort("10.9.9.8:9"))))
		b.Say(y.Ids(peer.DelC, peer.ID{State: 0xfff, Creator: them}))
		b.settle()
		b.is("done", true)
		b.Restart() // that state may have come back to it
		b.packets()
		b.base = b.counters()
		test(b)
	})
}

// newBench starts the engine and the BSD, which is mute.
func newBench(t *testing.T, y *peer.System) *bench {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	b := &bench{T: t, hub: linktest.NewHub(1)}
	b.ours = b.hub.Port(netip.MustParseAddr("10.9.0.9"))
	b.theirs = b.hub.Port(netip.MustParseAddr("10.9.0.1"))
	b.Box = peer.NewBox(y, them, func(p []byte) {
		if _, err := b.theirs.Send([][]byte{p}); err != nil {
			t.Error(err)
		}
	})
	b.Mute = true
	b.hub.Tap(func(f linktest.Frame) {
		if f.Src == netip.MustParseAddr("10.9.0.9") {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.sent = append(b.sent, slices.Clone(f.Payload))
		}
	})
	running.Go(func() { b.hub.Run(ctx) })
	b.ctx, b.running = ctx, &running
	b.engine, b.table = b.firewall(us, b.ours)
	running.Go(func() {
		for {
			select {
			case batch := <-b.theirs.Received():
				for _, p := range batch.Items {
					b.Hear(p.TTL, slices.Clone(p.Payload))
				}
				batch.Free()
			case <-ctx.Done():
				return
			}
		}
	})
	b.settle()
	return b
}

// firewall is one of ours, on that port.
func (b *bench) firewall(creator uint32, port *linktest.Port) (*engine.Engine, *memory.Table) {
	table := memory.New(memory.Config{Creator: creator})
	e := engine.New(engine.Config{Creator: creator, Log: slog.New(slog.DiscardHandler)}, table, port, noTap{})
	b.running.Go(func() { table.Run(b.ctx) })
	b.running.Go(func() { e.Run(b.ctx) })
	up := engine.DefaultSettings()
	up.Up = true
	if err := e.Configure(up); err != nil {
		b.Fatal(err)
	}
	return e, table
}

func (b *bench) configure(change func(*engine.Settings)) {
	b.Helper()
	s := engine.DefaultSettings()
	s.Up = true
	change(&s)
	if err := b.engine.Configure(s); err != nil {
		b.Fatal(err)
	}
}

// settle lets both come to rest, within the two seconds of FreeBSD's tests.
func (b *bench) settle() {
	time.Sleep(1500 * time.Millisecond)
	synctest.Wait()
}

// packets takes what we have sent.
func (b *bench) packets() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := b.sent
	b.sent = nil
	return sent
}

func (b *bench) counters() map[string]uint64 { return b.countersOf(b.engine) }

func (b *bench) countersOf(e *engine.Engine) map[string]uint64 {
	all, err := e.Counters()
	if err != nil {
		b.Fatal(err)
	}
	values := map[string]uint64{}
	for _, c := range all {
		values[c.Name] = c.Value
	}
	return values
}

// counted compares our counters, as name=value, since the test began.
func (b *bench) counted(want ...string) {
	b.Helper()
	values := b.counters()
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		got, known := values[name]
		if got -= b.base[name]; !known || fmt.Sprint(got) != value {
			b.Errorf("our counter %s is %d, want %s", name, got, value)
		}
	}
}

// content fails if the BSD has counted an error in what we sent.
func (b *bench) content() {
	b.Helper()
	if c := b.Complaints(); c != "[]" {
		b.Errorf("the BSD counts %s", c)
	}
}

// is compares our bulk request's state.
func (b *bench) is(bulk string, ok bool) {
	b.Helper()
	s, err := b.engine.Status()
	if err != nil {
		b.Fatal(err)
	}
	if s.Bulk != bulk || s.SyncOK != ok {
		b.Errorf("our bulk update is %s, syncok %v; want %s, %v", s.Bulk, s.SyncOK, bulk, ok)
	}
}

// hears compares what the BSD has heard, in any order of the packets of one moment.
func (b *bench) hears(want ...string) {
	b.Helper()
	b.settle()
	got := b.Heard()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("the BSD heard (-want +got):\n%s", diff)
	}
}

// has compares our table, as text of tuples and peer states.
func (b *bench) has(want ...string) {
	b.Helper()
	b.settle()
	var got []string
	for _, s := range b.table.States() {
		orig, reply := s.Tuples()
		text := fmt.Sprint(pfstate.ProtoName(s.Proto), " ", orig)
		if reply != orig.Reversed() {
			text += fmt.Sprint(", ", reply)
		}
		got = append(got, fmt.Sprintf("%s %d:%d", text, s.Src.State, s.Dst.State))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("our table has (-want +got):\n%s", diff)
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// theirTCP is an established connection through the BSD.
func theirTCP(n int) peer.State {
	return peer.Connection(peer.ID{State: uint64(n), Creator: them}, 6, addrPort(fmt.Sprintf("10.1.0.2:%d", 1000+n)), addrPort("10.2.0.2:80"))
}

func theirText(n int, states string) string {
	return fmt.Sprintf("tcp 10.1.0.2:%d > 10.2.0.2:80 %s", 1000+n, states)
}

// ourTCP is one through us.
func ourTCP(n int, src, dst pfstate.PeerState) pfstate.State {
	s := pfstate.Default()
	s.Proto, s.Flags = pfstate.ProtoTCP, pfstate.FlagSloppy
	orig := pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.9"), Dst: netip.MustParseAddr("10.2.0.9"), SrcPort: uint16(1000 + n), DstPort: 80}
	s.SetTuples(orig, orig.Reversed(), 0)
	s.Src.State, s.Dst.State, s.Timeout = src, dst, pfstate.TimeoutOf(s.Proto, src, dst)
	s.Expire = s.Timeout.Default()
	return s
}

func (b *bench) create(s pfstate.State) {
	b.Helper()
	if err := b.table.Create(s); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) update(s pfstate.State) {
	b.Helper()
	if err := b.table.Update(s); err != nil {
		b.Fatal(err)
	}
}

// inject delivers a packet to us as from the BSD, with another TTL or address.
func (b *bench) inject(p link.Packet) {
	if !p.Src.IsValid() {
		p.Src = netip.MustParseAddr("10.9.0.1")
	}
	b.ours.Inject(p)
	b.settle()
}
