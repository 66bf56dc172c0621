package engine_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/pfstate/pftest"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

func pairs(mode engine.PairMode) func(*engine.Settings) {
	return func(s *engine.Settings) { s.Up, s.Pair = true, mode }
}

// While a BSD is heard, each message about a state of ours comes twice.
func TestBothHalvesAreTold(t *testing.T) {
	within(t, func(r *rig) {
		r.configure(pairs(engine.PairAuto)) // a BSD was heard just now
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		r.expect("INS 0000000000000001/aaaaaaaa 4:4", "INS 8000000000000001/aaaaaaaa 4:4")
		s.Src.State = closing
		r.table(updated(s))
		r.expect("UPD_C 8000000000000001/aaaaaaaa 7:4", "UPD_C 0000000000000001/aaaaaaaa 7:4")
		for _, id := range []uint64{1, 1 | 1<<63} { // whichever it misses
			time.Sleep(2 * time.Second)
			r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{State: id, Creator: us}) })
			r.expect("UPD 0000000000000001/aaaaaaaa 7:4", "UPD 8000000000000001/aaaaaaaa 7:4")
		}
		r.forget()
		u := upd(s)
		u.ID, u.Dst.State = u.ID.Partner(), closing // traffic has moved there
		r.deliver(func(w *wire.Writer) { w.UpdC(u) })
		r.wrote("update 0000000000000001/aaaaaaaa 7:7")
		other := s
		other.ID, other.Src.State, other.Dst.State = s.ID.Partner(), 9, 9
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &other) })
		r.wrote("update 0000000000000001/aaaaaaaa 9:9")
		r.forget()
		// A pf ends copies by itself: that of one half is no word about the connection.
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, other.ID) })
		r.wrote()
		s.Src.State, s.Dst.State = 10, 10
		r.table(updated(s)) // it is back here
		r.forget()
		r.table(deleted(s))
		r.expect("DEL_C 0000000000000001/aaaaaaaa", "DEL_C 8000000000000001/aaaaaaaa")
		r.configure(pairs(engine.PairOff))
		r.table(created(tcp(us, 2, estab, estab)))
		r.expect("INS 0000000000000002/aaaaaaaa 4:4")
		r.configure(pairs(engine.PairOn))
		r.forget() // all is told once more
		r.table(created(tcp(us, 3, estab, estab)))
		r.expect("INS 0000000000000003/aaaaaaaa 4:4", "INS 8000000000000003/aaaaaaaa 4:4")
		// What a pf has made has two states already, or needs no more.
		theirs := tcp(them, 4, estab, estab)
		r.deliver(ins(theirs))
		theirs.Src.State = closing
		r.table(updated(theirs))
		r.expect("UPD_C 0000000000000004/bbbbbbbb 7:4")
	})
}

// The halves of a state concern no Linux peer; the whole is in the packet before.
func TestLinuxPeersOverlookTheOtherHalves(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.configure(pairs(engine.PairOn))
		r.forget()
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		flags := []wire.TrailerFlags{}
		for _, sent := range r.takeRaw() {
			if tr, err := wire.ParseTrailer(wire.Behind(sent.b)); err == nil {
				flags = append(flags, tr.Flags)
			}
		}
		if !slices.Equal(flags, []wire.TrailerFlags{0, wire.FlagPair}) {
			t.Errorf("packets with flags %v", flags)
		}
		p.send(wire.FlagPair, ins(tcp(them, 2, estab, estab)), nil)
		r.wrote()
	})
}

// memoryRig is an engine with a table in memory, on a hub of its own.
type memoryRig struct {
	t     *testing.T
	table *memory.Table
	eng   *engine.Engine
	port  *linktest.Port
	hub   *linktest.Hub
}

func withMemory(t *testing.T, mode engine.PairMode, test func(*memoryRig)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		r := &memoryRig{t: t, hub: linktest.NewHub(1), table: memory.New(memory.Config{Creator: us})}
		r.port = r.hub.Port(ourAddr)
		r.eng = engine.New(engine.Config{Creator: us, Log: testLog(us)}, r.table, r.port, noTap{})
		running.Go(func() { r.table.Run(ctx) })
		running.Go(func() { r.hub.Run(ctx) })
		running.Go(func() { r.eng.Run(ctx) })
		up := engine.DefaultSettings()
		up.Up, up.Pair = true, mode
		if err := r.eng.Configure(up); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		test(r)
	})
}

func (r *memoryRig) bsd(d wire.Dialect, build func(*wire.Writer)) {
	w := wire.Writer{Dialect: d}
	w.Reset(1480)
	build(&w)
	r.port.Inject(link.Packet{Src: theirAddr, TTL: 255, Payload: slices.Clone(w.Finish())})
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

// entries are the tuples in the table.
func (r *memoryRig) entries() (all [][2]pfstate.Tuple) {
	for _, s := range r.table.States() {
		orig, reply := s.Tuples()
		all = append(all, [2]pfstate.Tuple{orig, reply})
	}
	return all
}

// TestHalvesOfAPFBecomeOneEntry tells the two states of random connections, in either
// order, in each dialect, and ends them in either order.
func TestHalvesOfAPFBecomeOneEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		d := []wire.Dialect{wire.OpenBSD6, wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500}[r.IntN(4)]
		s := pftest.Entry(r)
		if d != wire.OpenBSD6 { // has no routing domains
			s.Wire.RDomain, s.Stack.RDomain = 0, 0
		}
		s.ID.Creator, s.Src.State, s.Dst.State, s.Timeout, s.Expire = them, 2, 2, pfstate.UDPMultiple, time.Hour
		in, out := s.Split()
		halves := []*pfstate.State{&in, &out}
		swap := func() {
			if r.IntN(2) == 0 {
				halves[0], halves[1] = halves[1], halves[0]
			}
		}
		orig, reply := s.Tuples()
		want := [][2]pfstate.Tuple{{orig, reply}}
		withMemory(t, engine.PairAuto, func(m *memoryRig) {
			swap()
			if r.IntN(2) == 0 { // in one packet, as mostly
				m.bsd(d, func(w *wire.Writer) { w.State(wire.ActIns, halves[0]); w.State(wire.ActIns, halves[1]) })
			} else {
				m.bsd(d, ins(*halves[0]))
				m.bsd(d, ins(*halves[1]))
			}
			if diff := cmp.Diff(want, m.entries(), cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("%v: the halves %v and %v are (-want +got):\n%s", d, halves[0], halves[1], diff)
			}
			swap()
			m.bsd(d, func(w *wire.Writer) { w.ID(wire.ActDelC, halves[0].ID) })
			if n := len(m.entries()); n != 1 {
				t.Errorf("%v: without %v there are %d entries, want 1", d, halves[0], n)
			}
			m.bsd(d, func(w *wire.Writer) { w.ID(wire.ActDelC, halves[1].ID) })
			if n := len(m.entries()); n != 0 {
				t.Errorf("%v: without both there are %d entries", d, n)
			}
		})
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

// TestAPFCarriesOurConnections gives what we send of random connections to a pf with
// no rules but its states: the packets of each connection pass it both ways.
func TestAPFCarriesOurConnections(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range []wire.Dialect{wire.OpenBSD6, wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500} {
		withMemory(t, engine.PairAuto, func(m *memoryRig) {
			var mu sync.Mutex
			told := map[pfstate.ID]pfstate.State{}
			m.hub.Tap(func(f linktest.Frame) {
				mu.Lock()
				defer mu.Unlock()
				h, rest, err := wire.ParseHeader(f.Payload)
				for err == nil && len(rest) >= wire.SubheaderLen {
					var s wire.Section
					if s, rest, err = h.NextSection(rest); err != nil {
						t.Error(err)
						return
					}
					for n := range s.Count {
						var x wire.Message
						if err := s.Dialect.Parse(s.Action, s.Message(n), &x); err != nil {
							t.Error(err)
						}
						switch {
						case x.Action == wire.ActDelC:
							delete(told, x.ID)
						case x.Action.HasState() && s.Dialect == d:
							told[x.State.ID] = x.State
						}
					}
				}
			})
			m.bsd(d, ins(tcp(them, 9999, estab, estab))) // a BSD is here
			time.Sleep(time.Second)
			var entries []pfstate.State
			for range 200 {
				s := pftest.Entry(r)
				s.ID = pfstate.ID{}
				s.Wire.RDomain, s.Stack.RDomain = 0, 0
				s.Src.State, s.Dst.State, s.Timeout, s.Expire = 4, 4, pfstate.TCPEstablishedTimeout, time.Hour
				if s.Proto == pfstate.ProtoUDP {
					s.Src.State, s.Dst.State, s.Timeout = 2, 2, pfstate.UDPMultiple
				} else {
					s.Flags |= pfstate.FlagSloppy
				}
				if err := m.table.Create(s); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, s)
			}
			time.Sleep(2 * time.Second)
			mu.Lock()
			firewall := &pftest.Firewall{}
			for _, s := range told {
				if s.ID.Creator == us {
					firewall.States = append(firewall.States, s)
				}
			}
			mu.Unlock()
			if n := len(firewall.States); n != 2*len(entries) {
				t.Errorf("%v: %d states of %d connections", d, n, len(entries))
			}
			for _, s := range entries {
				orig, reply := s.Tuples()
				if got, ok := firewall.Forward(pftest.PacketOf(orig, s.Proto)); !ok || got != pftest.PacketOf(reply.Reversed(), s.Proto) {
					t.Errorf("%v: %v, %v: leaves as %v, passed %v", d, orig, reply, got, ok)
				}
				if got, ok := firewall.Forward(pftest.PacketOf(reply, s.Proto)); !ok || got != pftest.PacketOf(orig.Reversed(), s.Proto) {
					t.Errorf("%v: %v, %v: the answer leaves as %v, passed %v", d, orig, reply, got, ok)
				}
			}
			for _, s := range entries {
				if err := m.table.Delete(s); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			delete(told, pfstate.ID{State: 9999, Creator: them})
			if len(told) > 0 {
				t.Errorf("%v: %d states are left of ended connections", d, len(told))
			}
		})
	}
}
