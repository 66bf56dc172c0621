package main_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// states in one round of a benchmark.
const states = 20000

// firewall is a namespace with a sync engine on its kernel's table, and another
// that plays the peer by hand.
type firewall struct {
	b      *testing.B
	engine *engine.Engine
	peer   *link.Link
	other  *conntrack.Table // another program's access to the firewall's table
}

type noTap struct{}

func (noTap) Show([][]byte) {}

func newFirewall(b *testing.B) *firewall {
	hosts := [2]*lab.NS{labtest.NewNS(b), labtest.NewNS(b)}
	labtest.Run(b, hosts[0], "ip link add sis2 type veth peer name sis2 netns "+hosts[1].Name)
	links := [2]*link.Link{}
	log := slog.New(slog.DiscardHandler)
	for i, ns := range hosts {
		labtest.Run(b, ns, fmt.Sprintf("ip address add 192.168.254.%d/24 dev sis2", 254-i))
		labtest.Run(b, ns, "ip link set sis2 up")
		links[i] = link.New(log, link.NetNS(ns.Fd()))
		if err := links[i].Configure(link.Config{Syncdev: "sis2"}); err != nil {
			b.Fatal(err)
		}
		labtest.Background(b, links[i].Run)
	}
	open := func(creator uint32) *conntrack.Table {
		t, err := conntrack.Open(conntrack.Config{NetNS: hosts[0].Fd(), Creator: creator, Log: log})
		if err != nil {
			b.Fatal(err)
		}
		labtest.Background(b, t.Run)
		return t
	}
	table := open(0xaaaaaaaa)
	f := &firewall{b: b, peer: links[1], other: open(0xbbbbbbbb)}
	labtest.Background(b, func(ctx context.Context) error { // what the other program is told is of no interest
		for {
			select {
			case c := <-f.other.Changes():
				c.Free()
			case <-ctx.Done():
				return nil
			}
		}
	})
	f.engine = engine.New(engine.Config{Creator: 0xaaaaaaaa, Log: log}, table, links[0], noTap{})
	labtest.Background(b, func(ctx context.Context) error { f.engine.Run(ctx); return nil })
	up := engine.DefaultSettings()
	up.Up = true
	if err := f.engine.Configure(up); err != nil {
		b.Fatal(err)
	}
	f.await(func(s engine.Status) bool { return s.Link.Up && links[1].Status().Up })
	f.send(func(w *wire.Writer) { // ends the engine's bulk request
		w.Bus(wire.Bus{Creator: 0xbbbbbbbb, Status: wire.BusEnd})
	})
	return f
}

func (f *firewall) status() engine.Status {
	s, err := f.engine.Status()
	if err != nil {
		f.b.Fatal(err)
	}
	return s
}

func (f *firewall) send(build func(*wire.Writer)) {
	var w wire.Writer
	w.Reset(1480)
	build(&w)
	if _, err := f.peer.Send([][]byte{w.Finish()}); err != nil {
		f.b.Fatal(err)
	}
}

// state is the n-th established TCP connection.
func state(creator uint32, n int) pfstate.State {
	s := pfstate.Default()
	s.ID = pfstate.ID{State: uint64(n + 1), Creator: creator}
	s.Proto, s.Flags, s.Timeout, s.Expire = pfstate.ProtoTCP, pfstate.FlagSloppy, pfstate.TCPEstablishedTimeout, time.Hour
	s.Src.State, s.Dst.State = pfstate.TCPEstablished, pfstate.TCPEstablished
	var src [4]byte
	binary.BigEndian.PutUint32(src[:], 10<<24|uint32(n))
	orig := pfstate.Tuple{Src: netip.AddrFrom4(src), Dst: netip.AddrFrom4([4]byte{192, 0, 2, 1}), SrcPort: 1024, DstPort: 80}
	s.SetTuples(orig, orig.Reversed(), 0)
	return s
}

// order has the other program write all states into the kernel's table.
func (f *firewall) order(kind pfstate.WriteKind) {
	const chunk = 1000
	for n := 0; n < states; n += chunk {
		ws := make([]pfstate.Write, 0, chunk)
		for i := n; i < min(n+chunk, states); i++ {
			ws = append(ws, pfstate.Write{Kind: kind, State: state(0xbbbbbbbb, i)})
		}
		f.other.Writes() <- &pfstate.Batch[pfstate.Write]{Items: ws}
	}
}

// count reads messages of action a off the wire until all states were in them.
func (f *firewall) count(a wire.Action) (packets int) {
	timeout := time.After(20 * time.Second)
	for n := 0; n < states; {
		select {
		case b := <-f.peer.Received():
			packets += len(b.Items)
			for _, p := range b.Items {
				h, rest, err := wire.ParseHeader(p.Payload)
				for err == nil && len(rest) > 0 {
					var s wire.Section
					if s, rest, err = h.NextSection(rest); s.Action == a {
						n += s.Count
					}
				}
				if err != nil {
					f.b.Fatal(err)
				}
			}
			b.Free()
		case <-timeout:
			f.b.Fatalf("%d of %d messages on the wire; counters %v", n, states, f.counters())
		}
	}
	return packets
}

func (f *firewall) counters() map[string]uint64 {
	all, err := f.engine.Counters()
	if err != nil {
		f.b.Fatal(err)
	}
	values := make(map[string]uint64)
	for _, c := range all {
		if c.Value > 0 {
			values[c.Name] = c.Value
		}
	}
	return values
}

// BenchmarkKernelToWire: another program creates states in the kernel's table;
// each event becomes an INS on the wire. The time includes the creation.
func BenchmarkKernelToWire(b *testing.B) {
	f := newFirewall(b)
	packets := 0
	for b.Loop() {
		go f.order(pfstate.WriteInsert)
		packets += f.count(wire.ActIns)
		b.StopTimer()
		go f.order(pfstate.WriteDelete)
		f.count(wire.ActDelC)
		b.StartTimer()
	}
	b.ReportMetric(states*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(states*float64(b.N)/float64(packets), "states/packet")
}

// BenchmarkWireToKernel: a peer sends INS messages; each becomes an entry in the
// kernel's table. The peer waits when it is too far ahead: nothing repairs a loss.
func BenchmarkWireToKernel(b *testing.B) {
	f := newFirewall(b)
	for b.Loop() {
		var w wire.Writer
		w.Reset(1480)
		for n := range states {
			s := state(0xbbbbbbbb, n)
			if !w.State(wire.ActIns, &s) {
				f.flush(&w)
				w.State(wire.ActIns, &s)
			}
			if n%2500 == 0 {
				f.await(func(s engine.Status) bool { return n-s.Imported < 5000 })
			}
		}
		f.flush(&w)
		f.acknowledged()
		b.StopTimer()
		f.send(func(w *wire.Writer) { w.Clr(wire.Clr{Creator: 0xbbbbbbbb}) })
		f.await(func(s engine.Status) bool { return s.Imported == 0 })
		b.StartTimer()
	}
	b.ReportMetric(states*float64(b.N)/b.Elapsed().Seconds(), "states/s")
	if c := f.counters(); c["tablerefused"] > 0 || c["badstate"] > 0 {
		b.Errorf("states were refused: %v", c)
	}
}

func (f *firewall) flush(w *wire.Writer) {
	if _, err := f.peer.Send([][]byte{w.Finish()}); err != nil {
		f.b.Fatal(err)
	}
	w.Reset(1480)
}

// await polls the engine, seldom enough not to slow it down.
func (f *firewall) await(cond func(engine.Status) bool) {
	for start := time.Now(); !cond(f.status()); time.Sleep(200 * time.Microsecond) {
		if time.Since(start) > 20*time.Second {
			f.b.Fatalf("engine is at %+v; counters %v", f.status(), f.counters())
		}
	}
}

// acknowledged waits until all states are in the kernel's table: a state that asks
// to be acknowledged, sent last, is.
func (f *firewall) acknowledged() {
	last := state(0xbbbbbbbb, states)
	last.Flags |= pfstate.FlagAck
	f.send(func(w *wire.Writer) { w.State(wire.ActIns, &last) })
	timeout := time.After(20 * time.Second)
	for {
		select {
		case batch := <-f.peer.Received():
			for _, p := range batch.Items {
				h, rest, _ := wire.ParseHeader(p.Payload)
				if s, _, err := h.NextSection(rest); err == nil && s.Action == wire.ActInsAck {
					batch.Free()
					return
				}
			}
			batch.Free()
		case <-timeout:
			f.b.Fatalf("%d of %d states arrived; counters %v", f.status().Imported, states, f.counters())
		}
	}
}
