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

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/pftest"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/bsd/peer"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var guestA = netip.MustParseAddr("10.9.0.1")

type noTap struct{}

func (noTap) Show([][]byte) {}

// firewall is an engine over the kernel's table in a namespace, its sync link played by the test.
type firewall struct {
	t      *testing.T
	ns     *lab.NS
	engine *engine.Engine
	port   *linktest.Port
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
	f.engine = e
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

func (f *firewall) hear(payload []byte) { f.hearFrom(guestA, payload) }

func (f *firewall) hearFrom(src netip.Addr, payload []byte) {
	f.port.Inject(link.Packet{Src: src, TTL: 255, Payload: payload})
}

func (f *firewall) tell(d wire.Dialect, build func(*wire.Writer)) {
	w := wire.Writer{Dialect: d}
	w.Reset(1480)
	build(&w)
	f.hear(w.Finish())
}

// entries are those of the kernel, one text each, sorted.
func (f *firewall) entries() []string {
	f.t.Helper()
	out, err := f.ns.Output(f.t.Context(), "conntrack", "-L", "-o", "extended,id")
	if err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(out) {
		e, err := lab.ParseEntry(line)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, text(e.Proto, e.Orig.Src, e.Orig.SPort, e.Orig.Dst, e.Orig.DPort, e.Reply.Src, e.Reply.SPort, e.Reply.Dst, e.Reply.DPort))
	}
	slices.Sort(all)
	return all
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
	diff := ""
	deadline := time.Now().Add(labtest.Patience)
	for time.Now().Before(deadline) {
		if diff = cmp.Diff(want, f.entries(), cmpopts.EquateEmpty()); diff == "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Errorf("%s: entries (-want +in the kernel):\n%s", what, diff)
}

// TestCapturedStatesInTheKernel plays captures, at once, to a firewall and to a BSD that
// answers nothing. The kernel has what the BSD has, whenever states are about to end and
// at the end: one entry for both states of a connection, but for what a kernel's
// table cannot hold.
func TestCapturedStatesInTheKernel(t *testing.T) {
	for _, c := range []struct {
		captures string
		most     int // entries at any time
		left     int // entries at the end
		cannot   int // states that the kernel's table cannot hold
	}{
		{"openbsd80-start", 0, 0, 4},
		{"openbsd80-icmp", 2, 0, 3},
		{"openbsd80-udp", 3, 0, 0},
		{"openbsd80-tcp", 3, 0, 1},
		{"openbsd80-bulk", 5, 5, 0},
		{"openbsd80-bulk-many", 150, 150, 0},
		{"openbsd80-bulk openbsd80-clear-interface", 5, 5, 0},
		{"openbsd80-bulk openbsd80-clear-all", 0, 0, 0},
		{"openbsd80-kill", 3, 0, 0},
		{"openbsd80-nat", 2, 1, 0},
		{"openbsd80-rdr", 1, 0, 0},
		{"openbsd80-scrub", 1, 0, 0},
		{"openbsd80-routeto", 2, 1, 0},
		{"openbsd80-syncpeer", 1, 1, 0},
		{"openbsd80-defer", 2, 2, 0},
		{"openbsd80-pfsync0-wire", 2, 0, 0},
		{"openbsd80-pfsync0-bpf-sender", 2, 0, 0},
		{"openbsd80-pfsync0-bpf-receiver", 0, 0, 0},
		{"freebsd13-start", 0, 0, 3},
		{"freebsd13-icmp", 4, 1, 1},
		{"freebsd13-udp", 6, 0, 0},
		{"freebsd13-tcp", 3, 2, 2},
		{"freebsd13-bulk", 5, 5, 2},
		{"freebsd13-bulk-many", 155, 155, 2},
		{"freebsd13-bulk freebsd13-clear-interface", 5, 5, 2},
		{"freebsd13-bulk freebsd13-clear-all", 0, 0, 1},
		{"freebsd13-kill", 3, 0, 0},
		{"freebsd13-nat", 2, 1, 0},
		{"freebsd13-syncpeer", 1, 1, 0},
		{"freebsd13-defer", 2, 2, 2},
		{"freebsd13-pfsync0-bpf-sender", 2, 2, 0},
		{"freebsd13-pfsync0-bpf-receiver", 0, 0, 0},
	} {
		t.Run(c.captures, func(t *testing.T) {
			f := newFirewall(t)
			y := peer.OpenBSD
			if strings.HasPrefix(c.captures, "freebsd") {
				y = peer.FreeBSD13
			}
			b := peer.NewBox(y, 0, nil)
			b.Mute = true
			most, all := 0, connections{map[middle]tuple{}}
			for name := range strings.FieldsSeq(c.captures) {
				for _, frame := range corpus.Frames(t, name+".pcap") {
					before := b.States()
					b.Hear(255, frame.Payload())
					if want, _ := all.of(before); strings.Contains(strings.Join(b.Heard(), " "), "DEL_C") {
						f.holds(fmt.Sprintf("%s before frame %d", c.captures, frame.N), want...)
						most = max(most, len(want))
					}
					f.hearFrom(sender(frame), frame.Payload())
				}
			}
			want, cannot := all.of(b.States())
			f.holds(c.captures, want...)
			if most = max(most, len(want)); most != c.most || len(want) != c.left || cannot != c.cannot {
				t.Errorf("%d entries at most, %d at the end, %d states that cannot be; want %d, %d, %d", most, len(want), cannot, c.most, c.left, c.cannot)
			}
		})
	}
}

// sender is who sent a frame: on pfsync0 there is no address.
func sender(f corpus.Frame) netip.Addr {
	if ip := f.IP(); ip != nil && [4]byte(ip[12:16]) != [4]byte{} {
		return netip.AddrFrom4([4]byte(ip[12:16]))
	}
	return guestA
}

type tuple struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

// middle is a connection as the stack sees it: both its states have that in common.
type middle struct {
	proto byte
	tuple
}

// connections make entries of states. What leaves a firewall translated stays so in the
// kernel until the last of both states has ended: replies has it.
type connections struct{ replies map[middle]tuple }

// of gives the entries that states of a BSD are: what comes in before, and the answers to
// what leaves after all translation. cannot is how many states are none.
func (c *connections) of(states map[peer.ID]peer.State) (entries []string, cannot int) {
	type halves struct{ orig, reply tuple }
	all := map[middle]halves{}
	for _, s := range states {
		initiator, before, after := 0, s.Wire, s.Stack
		if s.Direction == 2 {
			initiator, before, after = 1, s.Stack, s.Wire
		}
		from := func(k peer.Key, i int) tuple { return tuple{k.Addr[i], k.Addr[1-i], k.Port[i], k.Port[1-i]} }
		orig, reply, stack := from(before, initiator), from(after, 1-initiator), middle{s.Proto, from(s.Stack, initiator)}
		if !tracked(s.Proto, orig.src, orig.srcPort, orig.dstPort) {
			cannot++
			continue
		}
		h, other := all[stack]
		if s.Direction != 2 || !other {
			h.orig = orig
		}
		if s.Direction == 2 {
			c.replies[stack] = reply
		}
		if s.Direction == 2 || !other {
			h.reply = reply
		}
		all[stack] = h
	}
	for m, h := range all {
		if reply, ok := c.replies[m]; ok {
			h.reply = reply
		}
		if m.proto == 1 || m.proto == 58 { // of an entry lab knows no more
			for _, t := range []*tuple{&h.orig, &h.reply} {
				t.srcPort, t.dstPort = 0, 0
			}
		}
		entries = append(entries, text(m.proto, h.orig.src, h.orig.srcPort, h.orig.dst, h.orig.dstPort, h.reply.src, h.reply.srcPort, h.reply.dst, h.reply.dstPort))
	}
	return entries, cannot
}

// tracked tells whether the kernel's table can have a state: no neighbour discovery and no
// multicast listeners, which conntrack does not track; no CARP, which is never installed;
// nothing from nowhere. FreeBSD 13 has an id, or 0, in place of the query.
func tracked(proto byte, src netip.Addr, id, query uint16) bool {
	return proto != 112 && !src.IsUnspecified() && (proto != 58 || query == 128 || query == id && id != 0)
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

// TestWhatTheKernelCannotHave tells states that conntrack cannot express: each is counted
// and kept, so that the peers get it back.
func TestWhatTheKernelCannotHave(t *testing.T) {
	synproxy, modulated, discovery := theirTCP(1), theirTCP(2), peer.Connection(peer.ID{State: 3, Creator: them}, 58, addrPort("[fe80::1]:0"), addrPort("[ff02::16]:143"))
	synproxy.Src.State, synproxy.Dst.State = 11, 0
	modulated.Src.SeqDiff = 5
	f := newFirewall(t)
	for _, s := range []peer.State{synproxy, modulated, discovery, afTo(), theirTCP(9)} {
		f.hear(peer.OpenBSD.Packet(peer.OpenBSD.Inserts(s)))
	}
	f.holds("of five states", text(6, netip.MustParseAddr("10.1.0.2"), 1009, netip.MustParseAddr("10.2.0.2"), 80,
		netip.MustParseAddr("10.2.0.2"), 80, netip.MustParseAddr("10.1.0.2"), 1009))
	known := map[uint64]bool{}
	if err := f.engine.States(func(s *pfstate.State) bool { known[s.ID.State] = true; return true }); err != nil {
		t.Fatal(err)
	}
	if len(known) != 5 {
		t.Errorf("known are %v", known)
	}
	counters, err := f.engine.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(counters, func(c pfstate.Counter) bool { return c.Name == "unsupported" }); i < 0 || counters[i].Value != 4 {
		t.Errorf("not counted: %v", counters)
	}
}
