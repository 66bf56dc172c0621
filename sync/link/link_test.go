package link_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestPacketsPassBothWays(t *testing.T) {
	w := newWire(t)
	tests := []struct {
		name         string
		peerA, peerB netip.Addr
		dst          netip.Addr // of what a sends
	}{
		{name: "multicast", dst: link.Group},
		{name: "other group", peerA: netip.MustParseAddr("224.0.0.99"), peerB: netip.MustParseAddr("224.0.0.99"), dst: netip.MustParseAddr("224.0.0.99")},
		{name: "unicast", peerA: addrB, peerB: addrA, dst: addrB},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: tt.peerA})
			b := start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: tt.peerB})
			if s := awaitUp(t, a); s.Addr != addrA || s.MTU != 1500 || s.Index == 0 || s.ReceiveBuffer < 8<<20 {
				t.Errorf("status of a: %+v", s)
			}
			awaitUp(t, b)
			send(t, a, "one", "", "three")
			want := []packet{
				{addrA, tt.dst, 255, "one"},
				{addrA, tt.dst, 255, ""},
				{addrA, tt.dst, 255, "three"},
			}
			if diff := cmp.Diff(want, take(t, b, 3), compareAddrs); diff != "" {
				t.Errorf("b received (-want +got):\n%s", diff)
			}
			exchange(t, a, b, "again")
			if n := counter(a, "link_received"); n != 1 {
				t.Errorf("a received %d packets, want 1: its own must not come back", n)
			}
			if n := counter(a, "link_sent"); n != 4 {
				t.Errorf("a counted %d packets sent, want 4", n)
			}
			if n := counter(a, "link_sent_bytes"); n != 4*20+3+0+5+7 {
				t.Errorf("a counted %d bytes sent", n)
			}
			if n := counter(b, "link_received_bytes"); n != 4*20+3+0+5+7 {
				t.Errorf("b counted %d bytes received", n)
			}
		})
	}
}

// A frame seen on the interface is what AppendHeader makes for pfsync0.
func TestHeaderOnTheWire(t *testing.T) {
	w := newWire(t)
	read := capture(t, w.b, 0x0008) // ETH_P_IP in network order
	a := start(t, w.a, sis2)
	awaitUp(t, a)
	send(t, a, "payload")
	frame := read(func(b []byte) bool { return len(b) >= 20 && b[9] == link.Protocol })
	want := append(link.AppendHeader(nil, addrA, link.Group, 7), "payload"...)
	copy(frame[4:6], []byte{0, 0})  // the id is the kernel's
	copy(frame[10:12], want[10:12]) // and so is the checksum over it
	if diff := cmp.Diff(want, frame); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

func TestComesUpWithItsInterface(t *testing.T) {
	w := newWire(t)
	b := start(t, w.b, sis2)
	awaitUp(t, b)
	ip(t, w.a, "link del sis2")
	awaitReason(t, b, "no such interface")

	a := start(t, w.a, sis2)
	awaitReason(t, a, "no such interface")
	ip(t, w.a, "link add sis2 type veth peer name sis2 netns "+w.b.Name)
	awaitReason(t, a, "down")
	ip(t, w.a, "link set sis2 up")
	awaitReason(t, a, "no carrier")
	ip(t, w.b, "link set sis2 up")
	awaitReason(t, a, "no address")
	awaitReason(t, b, "no address")
	ip(t, w.a, "addr add 192.0.2.1/24 dev sis2")
	ip(t, w.b, "addr add 192.0.2.2/24 dev sis2")
	awaitUp(t, a)
	awaitUp(t, b)
	exchange(t, a, b, "made")
}

func TestSurvives(t *testing.T) {
	tests := []struct {
		name      string
		peer      netip.Addr
		away      string // ip(8) in a
		reason    string
		back      func(t *testing.T, w wire)
		reopened  uint64
		sameIndex bool
	}{
		{
			name: "down and up", away: "link set sis2 down", reason: "down",
			back:      func(t *testing.T, w wire) { ip(t, w.a, "link set sis2 up") },
			sameIndex: true,
		},
		{
			name: "deleted and made anew", away: "link del sis2", reason: "no such interface",
			back:     func(t *testing.T, w wire) { w.cable(t) },
			reopened: 1,
		},
		{
			name: "deleted and made anew, unicast", peer: addrB, away: "link del sis2", reason: "no such interface",
			back:     func(t *testing.T, w wire) { w.cable(t) },
			reopened: 1,
		},
		{
			name: "address removed and added", away: "addr del 192.0.2.1/24 dev sis2", reason: "no address",
			back:      func(t *testing.T, w wire) { ip(t, w.a, "addr add 192.0.2.1/24 dev sis2") },
			sameIndex: true,
		},
		{
			name: "renamed away and back", away: "link set sis2 name other", reason: "no such interface",
			back:      func(t *testing.T, w wire) { ip(t, w.a, "link set other name sis2") },
			reopened:  1,
			sameIndex: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t)
			a := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: tt.peer})
			b := start(t, w.b, sis2)
			before := awaitUp(t, a)
			awaitUp(t, b)
			exchangeWithUnicast(t, a, b, tt.peer, "before")

			ip(t, w.a, tt.away)
			awaitReason(t, a, tt.reason)
			tt.back(t, w)
			after := awaitUp(t, a)
			awaitUp(t, b)
			if same := before.Index == after.Index; same != tt.sameIndex {
				t.Errorf("index %d, before %d", after.Index, before.Index)
			}
			exchangeWithUnicast(t, a, b, tt.peer, "after")
			if n := counter(a, "link_reopened"); n != tt.reopened {
				t.Errorf("reopened %d times, want %d", n, tt.reopened)
			}
			if counter(a, "link_send_down") == 0 {
				t.Error("a packet not sent for a link down was not counted")
			}
		})
	}
}

// exchangeWithUnicast exchanges; b multicasts, which a hears only without a unicast peer.
func exchangeWithUnicast(t *testing.T, a, b *link.Link, peer netip.Addr, tag string) {
	t.Helper()
	if !peer.IsValid() {
		exchange(t, a, b, tag)
		return
	}
	send(t, a, "a "+tag)
	if got := take(t, b, 1); got[0].Payload != "a "+tag || got[0].Dst != peer {
		t.Errorf("b got %+v", got)
	}
}

// gate is a log handler that stops the first who logs a warning, until it is opened.
type gate struct {
	slog.Handler
	first         *sync.Once
	reached, open chan struct{}
}

func (g gate) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		g.first.Do(func() { close(g.reached); <-g.open })
	}
	return nil
}

func (gate) Enabled(context.Context, slog.Level) bool { return true }
func (g gate) WithAttrs([]slog.Attr) slog.Handler     { return g }

// While the link looks away, its interface is deleted and made anew under the same
// index: nothing but the event tells that the socket is dead.
func TestSameIndexAgain(t *testing.T) {
	w := newWire(t)
	remake := func() {
		t.Helper()
		ip(t, w.a, "link del sis2")
		ip(t, w.a, "link add sis2 index 77 type veth peer name sis2 netns "+w.b.Name)
		ip(t, w.a, "addr add 192.0.2.1/24 dev sis2")
		ip(t, w.b, "addr add 192.0.2.2/24 dev sis2")
		ip(t, w.a, "link set sis2 up")
		ip(t, w.b, "link set sis2 up")
	}
	remake()
	b := start(t, w.b, sis2)
	awaitUp(t, b)
	g := gate{slog.DiscardHandler, new(sync.Once), make(chan struct{}), make(chan struct{})}
	a := link.New(slog.New(g), link.NetNS(w.a.Fd()))
	if err := a.Configure(sis2); err != nil {
		t.Fatal(err)
	}
	labtest.Background(t, a.Run)
	if s := awaitUp(t, a); s.Index != 77 {
		t.Fatalf("%+v", s)
	}

	ip(t, w.a, "link set sis2 down")
	<-g.reached
	remake()
	close(g.open)
	labtest.Eventually(t, "a opens a new socket", func() bool { return counter(a, "link_reopened") > 0 })
	awaitUp(t, b)
	exchange(t, a, b, "77")
}

func TestFollowsTheMTU(t *testing.T) {
	w := newWire(t)
	a := start(t, w.a, sis2)
	b := start(t, w.b, sis2)
	awaitUp(t, a)
	awaitUp(t, b)

	full := strings.Repeat("x", 1480)
	send(t, a, full)
	if got := take(t, b, 1); got[0].Payload != full {
		t.Error("a packet of exactly the mtu was changed")
	}
	n, err := a.Send([][]byte{[]byte("fits"), []byte(full + "x"), []byte("behind")})
	if n != 1 || err != link.ErrTooBig {
		t.Errorf("Send of a packet over the mtu: %d, %v; want 1, %v", n, err, link.ErrTooBig)
	}
	if n := counter(a, "link_send_toobig"); n != 1 {
		t.Errorf("%d packets counted as too big, want 1", n)
	}
	take(t, b, 1)

	ip(t, w.a, "link set sis2 mtu 9000")
	ip(t, w.b, "link set sis2 mtu 9000")
	await(t, a, "mtu 9000", func(s link.Status) bool { return s.Up && s.MTU == 9000 })
	jumbo := strings.Repeat("0123456789", 898)
	send(t, a, jumbo, "small", jumbo) // larger than what the receiver made room for
	got := take(t, b, 3)
	if got[0].Payload != jumbo || got[1].Payload != "small" || got[2].Payload != jumbo {
		t.Error("jumbo packets were changed")
	}
}

func TestForeignPackets(t *testing.T) {
	w := newWire(t)
	b := start(t, w.b, sis2)
	awaitUp(t, b)
	fd := rawSocket(t, w.a, unix.AF_INET)
	to := &unix.SockaddrInet4{Addr: addrB.As4()}

	// With IP options, another TTL, and fragmented: the payload is found, the TTL told.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 64); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01\x01\x01\x01\x00"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, []byte("optional"), 0, to); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		t.Fatal(err)
	}
	huge := strings.Repeat("huge", 15000)
	if err := unix.Sendto(fd, []byte(huge), 0, to); err != nil {
		t.Fatal(err)
	}
	want := []packet{{addrA, addrB, 64, "optional"}, {addrA, addrB, 64, huge}}
	if diff := cmp.Diff(want, take(t, b, 2), compareAddrs); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
}

func TestHearsOnlyItsInterface(t *testing.T) {
	w := newWire(t)
	ip(t, w.a, "link add sis1 type veth peer name sis1 netns "+w.b.Name)
	ip(t, w.a, "addr add 198.51.100.1/24 dev sis1")
	ip(t, w.b, "addr add 198.51.100.2/24 dev sis1")
	ip(t, w.a, "link set sis1 up")
	ip(t, w.b, "link set sis1 up")
	b := start(t, w.b, sis2)
	other := start(t, w.a, link.Config{Syncdev: "sis1", Syncpeer: netip.MustParseAddr("198.51.100.2")})
	a := start(t, w.a, sis2)
	for _, l := range []*link.Link{a, b, other} {
		awaitUp(t, l)
	}
	send(t, other, "from elsewhere")
	send(t, a, "from the sync link")
	if got := take(t, b, 1); got[0].Payload != "from the sync link" || counter(b, "link_received") != 1 {
		t.Errorf("received %+v", got)
	}
}

func TestConfigureAgain(t *testing.T) {
	w := newWire(t)
	a := start(t, w.a, link.Config{})
	b := start(t, w.b, sis2)
	awaitUp(t, b)
	await(t, a, "off", func(s link.Status) bool { return s == link.Status{} })

	for _, c := range []link.Config{sis2, {Syncdev: "sis2", Syncpeer: addrB}, sis2} {
		if err := a.Configure(c); err != nil {
			t.Fatal(err)
		}
		await(t, a, "up as configured", func(s link.Status) bool { return s.Up && s.Config == c })
		send(t, a, "hello")
		if got := take(t, b, 1); got[0].Dst != c.Peer() {
			t.Errorf("with syncpeer %v packets go to %v", c.Syncpeer, got[0].Dst)
		}
	}
	if err := a.Configure(link.Config{Syncdev: "sis3"}); err != nil {
		t.Fatalf("an interface that may come later: %v", err)
	}
	awaitReason(t, a, "no such interface")
	if err := a.Configure(link.Config{}); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, a, "")
	if n := counter(a, "link_reopened"); n != 0 {
		t.Errorf("reopened %d times though the configuration changed", n)
	}
}

func TestLocalFirewallRefuses(t *testing.T) {
	w := newWire(t)
	a := start(t, w.a, sis2)
	awaitUp(t, a)
	rules := "add table ip t; add chain ip t out { type filter hook output priority 0; }; add rule ip t out ip protocol 240 drop"
	if _, err := w.a.Run(t.Context(), "nft", rules); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Send([][]byte{{1}, {2}}); n != 0 || err != link.ErrRefused {
		t.Errorf("Send: %d, %v; want 0, %v", n, err, link.ErrRefused)
	}
	if n := counter(a, "link_send_refused"); n != 2 {
		t.Errorf("counted %d", n)
	}
}

// Nobody reads from b: its queues fill, the kernel drops, and we can tell how many.
func TestReceiveQueueDropsAreCounted(t *testing.T) {
	w := newWire(t)
	a := start(t, w.a, sis2)
	b := start(t, w.b, sis2, link.Buffer(16<<10))
	awaitUp(t, a)
	awaitUp(t, b)
	const flood = 20000
	payloads := make([][]byte, 100)
	for i := range payloads {
		payloads[i] = make([]byte, 100)
	}
	for range flood / len(payloads) {
		if n, err := a.Send(payloads); n != len(payloads) {
			t.Fatal(n, err)
		}
	}
	// veth delivers in softirq: what was sent has arrived or was dropped soon after.
	labtest.Eventually(t, "all packets are accounted for", func() bool {
		for {
			select {
			case batch := <-b.Received():
				batch.Free()
			default:
				return counter(b, "link_receive_drops")+counter(b, "link_received") >= flood
			}
		}
	})
	drops, received := counter(b, "link_receive_drops"), counter(b, "link_received")
	if drops == 0 || drops+received != flood {
		t.Errorf("%d dropped and %d received of %d", drops, received, flood)
	}

	if err := b.Configure(link.Config{}); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, b, "")
	if after := counter(b, "link_receive_drops"); after != drops {
		t.Errorf("%d drops counted after the socket was closed, %d before", after, drops)
	}
}

func TestRunEndsWhateverItDoes(t *testing.T) {
	w := newWire(t)
	a := start(t, w.a, sis2)
	awaitUp(t, a)
	b := link.New(slog.New(slog.DiscardHandler), link.NetNS(w.b.Fd()))
	if err := b.Configure(sis2); err != nil {
		t.Fatal(err)
	}
	stop := labtest.Background(t, b.Run)
	awaitUp(t, b)
	for range 1000 { // nobody takes them: the reader is stuck in delivering
		send(t, a, "x")
	}
	stop()
	if s := b.Status(); s != (link.Status{Config: sis2}) {
		t.Errorf("status after the end: %+v", s)
	}
	if n, err := b.Send([][]byte{{1}}); n != 0 || err != link.ErrDown {
		t.Errorf("Send after the end: %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run with an ended context: %v", err)
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	w := newWire(t)
	l := link.New(slog.New(slog.DiscardHandler), link.NetNS(w.a.Fd()))
	if err := l.Configure(sis2); err != nil {
		t.Fatal(err)
	}
	stop := labtest.Background(t, l.Run)
	awaitUp(t, l)
	stop()
	noGoroutineLeft(t)
}
