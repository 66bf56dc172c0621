package bsd_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/pftest"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var guestA = netip.MustParseAddr("10.9.0.1")

type noTap struct{}

func (noTap) Show([][]byte) {}

// firewall is an engine over the kernel's table in a namespace, its sync link played by the test.
type firewall struct {
	t    *testing.T
	ns   *lab.NS
	port *linktest.Port
}

func newFirewall(t *testing.T) *firewall {
	ns := labtest.NewNS(t)
	log := slog.New(slog.DiscardHandler)
	table, err := conntrack.Open(conntrack.Config{NetNS: ns.Fd(), Creator: 0xaaaaaaaa, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	hub := linktest.NewHub(1)
	f := &firewall{t: t, ns: ns, port: hub.Port(netip.MustParseAddr("10.9.0.9"))}
	e := engine.New(engine.Config{Creator: 0xaaaaaaaa, Log: log}, table, f.port, noTap{})
	labtest.Background(t, table.Run)
	labtest.Background(t, func(ctx context.Context) error { hub.Run(ctx); return nil })
	labtest.Background(t, func(ctx context.Context) error { e.Run(ctx); return nil })
	up := engine.DefaultSettings()
	up.Up = true
	if err := e.Configure(up); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *firewall) hear(payload []byte) {
	f.port.Inject(link.Packet{Src: guestA, TTL: 255, Payload: slices.Clone(payload)})
}

func (f *firewall) tell(d wire.Dialect, build func(*wire.Writer)) {
	w := wire.Writer{Dialect: d}
	w.Reset(1480)
	build(&w)
	f.hear(w.Finish())
}

// entries are those of the kernel, one text each, as sorted text.
func (f *firewall) entries() string {
	var all []string
	for line := range strings.Lines(labtest.Run(f.t, f.ns, "conntrack -L -o extended,id")) {
		e, err := lab.ParseEntry(line)
		if err != nil {
			continue // the tool's own words
		}
		if e.Proto == 1 || e.Proto == 58 || e.Proto == 112 {
			continue // neighbours' and pings, which expire in the middle of it
		}
		all = append(all, text(e.Proto, e.Orig.Src, e.Orig.SPort, e.Orig.Dst, e.Orig.DPort, e.Reply.Src, e.Reply.SPort, e.Reply.Dst, e.Reply.DPort))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func text(proto uint8, a ...any) string {
	return fmt.Sprintf("%d %v:%d > %v:%d, %v:%d > %v:%d", append([]any{proto}, a...)...)
}

func textOf(s *pfstate.State) string {
	orig, reply := s.Tuples()
	return text(s.Proto, orig.Src, orig.SrcPort, orig.Dst, orig.DstPort, reply.Src, reply.SrcPort, reply.Dst, reply.DstPort)
}

// holds waits until the kernel has these entries and no others.
func (f *firewall) holds(what string, want ...string) {
	f.t.Helper()
	slices.Sort(want)
	got := ""
	wanted := strings.Join(want, "\n")
	deadline := time.Now().Add(labtest.Patience)
	for time.Now().Before(deadline) {
		if got = f.entries(); got == wanted {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.t.Errorf("%s: the kernel has\n%s\nwant\n%s", what, got, wanted)
}

// TestCapturedStatesInTheKernel plays captures until the peer begins to delete.
func TestCapturedStatesInTheKernel(t *testing.T) {
	tcp := func(port int) string {
		return fmt.Sprintf("6 10.1.0.2:%d > 10.2.0.2:8080, 10.2.0.2:8080 > 10.1.0.2:%d", port, port)
	}
	five := []string{tcp(43000), tcp(43001), tcp(43002), tcp(43003), tcp(43004)}
	for _, c := range []struct {
		capture string
		want    []string
	}{
		{"openbsd80-bulk", five},
		{"freebsd13-bulk", five},
		{"openbsd80-rdr", []string{"6 10.1.0.2:22200 > 10.1.0.1:9999, 10.2.0.2:8080 > 10.1.0.2:22200"}},
		{"openbsd80-nat", []string{
			"17 10.1.0.2:22000 > 10.2.0.2:5353, 10.2.0.2:5353 > 10.2.0.1:55855",
			"6 10.1.0.2:22100 > 10.2.0.2:8080, 10.2.0.2:8080 > 10.2.0.1:61278"}},
		{"freebsd13-nat", []string{
			"17 10.1.0.2:22000 > 10.2.0.2:5353, 10.2.0.2:5353 > 10.2.0.1:64627",
			"6 10.1.0.2:22100 > 10.2.0.2:8080, 10.2.0.2:8080 > 10.2.0.1:50758"}},
	} {
		t.Run(c.capture, func(t *testing.T) {
			f := newFirewall(t)
			for _, frame := range corpus.Frames(t, c.capture+".pcap") {
				if deletes(t, frame.Payload()) {
					break
				}
				f.hear(frame.Payload())
			}
			f.holds(c.capture, c.want...)
		})
	}
}

// deletes tells whether a packet ends states of this capture.
func deletes(t *testing.T, payload []byte) bool {
	h, rest, err := wire.ParseHeader(payload)
	for err == nil && len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err == nil && s.Action == wire.ActDelC {
			return true
		}
		if s.End() {
			return false
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// TestHalvesInTheKernel tells the two states of connections with every kind of
// translation, in either order, and ends them.
func TestHalvesInTheKernel(t *testing.T) {
	f := newFirewall(t)
	r := rand.New(rand.NewPCG(11, 12))
	f.holds("at first")
	for n := range 40 {
		const d = wire.OpenBSD6
		s := pftest.Entry(r)
		s.Wire.RDomain, s.Stack.RDomain = 0, 0
		s.ID = pfstate.ID{State: uint64(n + 1), Creator: 0xbbbbbbbb}
		s.Src.State, s.Dst.State, s.Timeout, s.Expire = 2, 2, pfstate.UDPMultiple, time.Minute
		if s.Proto == pfstate.ProtoTCP {
			s.Src.State, s.Dst.State, s.Timeout, s.Expire = 4, 4, pfstate.TCPEstablishedTimeout, time.Hour
		}
		in, out := s.Split()
		halves := []*pfstate.State{&in, &out}
		if n%2 == 1 {
			halves[0], halves[1] = halves[1], halves[0]
		}
		if n%4 < 2 { // the first one is in the table by the time the second comes
			f.tell(d, func(w *wire.Writer) { w.State(wire.ActIns, halves[0]) })
			time.Sleep(20 * time.Millisecond)
			f.tell(d, func(w *wire.Writer) { w.State(wire.ActIns, halves[1]) })
		} else {
			f.tell(d, func(w *wire.Writer) { w.State(wire.ActIns, halves[0]); w.State(wire.ActIns, halves[1]) })
		}
		f.holds(fmt.Sprintf("%v, %v first", textOf(&s), halves[0].Direction), textOf(&s))
		f.tell(d, func(w *wire.Writer) { w.ID(wire.ActDelC, halves[0].ID); w.ID(wire.ActDelC, halves[1].ID) })
		f.holds("after its end")
	}
}
