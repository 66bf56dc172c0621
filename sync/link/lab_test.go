package link_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var (
	addrA = netip.MustParseAddr("192.0.2.1")
	addrB = netip.MustParseAddr("192.0.2.2")
	sis2  = link.Config{Syncdev: "sis2"}
)

// wire is two namespaces joined by a veth pair, sis2 at both ends.
type wire struct{ a, b *lab.NS }

func newWire(tb testing.TB) wire {
	tb.Helper()
	w := wire{labtest.NewNS(tb), labtest.NewNS(tb)}
	w.cable(tb)
	return w
}

// cable makes the pair; both ends are up and have their address.
func (w wire) cable(tb testing.TB) {
	tb.Helper()
	ip(tb, w.a, "link add sis2 type veth peer name sis2 netns "+w.b.Name)
	ip(tb, w.a, "addr add 192.0.2.1/24 dev sis2")
	ip(tb, w.b, "addr add 192.0.2.2/24 dev sis2")
	ip(tb, w.a, "link set sis2 up")
	ip(tb, w.b, "link set sis2 up")
}

// ip runs ip(8) in ns.
func ip(tb testing.TB, ns *lab.NS, words string) {
	tb.Helper()
	labtest.Run(tb, ns, "ip "+words)
}

// start runs a link in ns until the test ends, and checks that it ends without an error.
func start(tb testing.TB, ns *lab.NS, c link.Config, opts ...link.Option) *link.Link {
	tb.Helper()
	l := link.New(slog.New(slog.DiscardHandler), append(opts, link.NetNS(ns.Fd()))...)
	if err := l.Configure(c); err != nil {
		tb.Fatal(err)
	}
	labtest.Background(tb, l.Run)
	return l
}

// await waits for a status that fits.
func await(tb testing.TB, l *link.Link, what string, fits func(link.Status) bool) link.Status {
	tb.Helper()
	timeout := time.After(labtest.Patience)
	for {
		if s := l.Status(); fits(s) {
			return s
		}
		select {
		case <-l.Statuses():
		case <-timeout:
			tb.Fatalf("status is not %q but %+v", what, l.Status())
		}
	}
}

func awaitUp(tb testing.TB, l *link.Link) link.Status {
	tb.Helper()
	return await(tb, l, "up", func(s link.Status) bool { return s.Up })
}

func awaitReason(tb testing.TB, l *link.Link, reason string) {
	tb.Helper()
	await(tb, l, reason, func(s link.Status) bool { return !s.Up && s.Reason == reason })
	if _, err := l.Send([][]byte{{1}}); err != link.ErrDown {
		tb.Errorf("Send while %s: %v, want %v", reason, err, link.ErrDown)
	}
}

// packet is a link.Packet that outlives its batch.
type packet struct {
	Src, Dst netip.Addr
	TTL      uint8
	Payload  string
}

// take waits for n packets.
func take(tb testing.TB, l *link.Link, n int) []packet {
	tb.Helper()
	var got []packet
	timeout := time.After(labtest.Patience)
	for len(got) < n {
		select {
		case b := <-l.Received():
			for _, p := range b.Items {
				got = append(got, packet{p.Src, p.Dst, p.TTL, string(p.Payload)})
			}
			b.Free()
		case <-timeout:
			tb.Fatalf("got %d packets, want %d: %+v", len(got), n, got)
		}
	}
	return got
}

// send sends all payloads or fails.
func send(tb testing.TB, l *link.Link, payloads ...string) {
	tb.Helper()
	bs := make([][]byte, len(payloads))
	for i, p := range payloads {
		bs[i] = []byte(p)
	}
	if n, err := l.Send(bs); n != len(bs) || err != nil {
		tb.Fatalf("Send of %d packets: %d, %v", len(bs), n, err)
	}
}

// exchange proves that packets pass both ways.
func exchange(t *testing.T, a, b *link.Link, tag string) {
	t.Helper()
	sendSoon := func(l *link.Link, payload string) { // its Status may be older than its socket
		labtest.Eventually(t, "send "+payload, func() bool {
			n, _ := l.Send([][]byte{[]byte(payload)})
			return n == 1
		})
	}
	sendSoon(a, "a "+tag)
	sendSoon(b, "b "+tag)
	if got := take(t, b, 1); got[0].Payload != "a "+tag {
		t.Errorf("b got %+v", got)
	}
	if got := take(t, a, 1); got[0].Payload != "b "+tag {
		t.Errorf("a got %+v", got)
	}
}

func counter(l *link.Link, name string) uint64 {
	for _, c := range l.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	panic("no counter " + name)
}

// noGoroutineLeft fails when code of this package still runs.
func noGoroutineLeft(t *testing.T) {
	t.Helper()
	// One that has been waited for may still be on its last instructions.
	labtest.Eventually(t, "the end of all goroutines", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return !slices.ContainsFunc(bytes.Split(stacks, []byte("\n\n")), func(g []byte) bool {
			return bytes.Contains(g, []byte("sync/link.")) || bytes.Contains(g, []byte("ifwatch."))
		})
	})
}
