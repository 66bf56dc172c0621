package link_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

var (
	localA  = netip.MustParseAddr("fe80::ff:fe00:a") // of the link-layer addresses
	localB  = netip.MustParseAddr("fe80::ff:fe00:b")
	globalA = netip.MustParseAddr("2001:db8::a")
	globalB = netip.MustParseAddr("2001:db8::b")
	ff12    = link.Config{Syncdev: "sis2", Syncpeer: link.Group6}
)

// newWire6 is a wire with addresses of IPv6 alone, in use from the start.
func newWire6(tb testing.TB) wire {
	tb.Helper()
	w := wire{labtest.NewNS(tb), labtest.NewNS(tb)}
	for _, ns := range []interface {
		Sysctl(name, value string) error
	}{w.a, w.b} {
		if err := ns.Sysctl("net/ipv6/conf/default/accept_dad", "0"); err != nil {
			tb.Fatal(err)
		}
	}
	w.cable6(tb)
	return w
}

func (w wire) cable6(tb testing.TB) {
	tb.Helper()
	ip(tb, w.a, "link add sis2 address 02:00:00:00:00:0a type veth peer name sis2 address 02:00:00:00:00:0b netns "+w.b.Name)
	ip(tb, w.a, "link set sis2 up")
	ip(tb, w.b, "link set sis2 up")
	ip(tb, w.a, "addr add 2001:db8::a/64 dev sis2 nodad")
	ip(tb, w.b, "addr add 2001:db8::b/64 dev sis2 nodad")
}

func TestPacketsPassBothWaysByIPv6(t *testing.T) {
	w := newWire6(t)
	tests := []struct {
		name, peerA, peerB string
		src, dst           netip.Addr // of what a sends
	}{
		{"multicast", "ff12::f0", "ff12::f0%sis2", localA, link.Group6},
		{"multicast of a wider scope", "ff05::f0", "ff05::f0", globalA, netip.MustParseAddr("ff05::f0")},
		{"link-local", "fe80::ff:fe00:b%sis2", "fe80::ff:fe00:a", localA, localB},
		{"global", "2001:db8::b", "2001:db8::a", globalA, globalB},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: netip.MustParseAddr(tt.peerA)})
			b := start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: netip.MustParseAddr(tt.peerB)})
			if s := awaitUp(t, a); s.Addr != tt.src || s.MTU != 1500 {
				t.Errorf("status of a: %+v", s)
			}
			awaitUp(t, b)
			send(t, a, "one", "", "three")
			want := []packet{{tt.src, tt.dst, 255, "one"}, {tt.src, tt.dst, 255, ""}, {tt.src, tt.dst, 255, "three"}}
			if diff := cmp.Diff(want, take(t, b, 3), compareAddrs); diff != "" {
				t.Errorf("b received (-want +got):\n%s", diff)
			}
			exchange(t, a, b, "again")
			if n := counter(a, "link_received"); n != 1 {
				t.Errorf("a received %d packets, want 1: its own must not come back", n)
			}
			if n := counter(a, "link_sent_bytes"); n != 4*40+3+0+5+7 {
				t.Errorf("a counted %d bytes sent", n)
			}
			if n := counter(b, "link_received_bytes"); n != 4*40+3+0+5+7 {
				t.Errorf("b counted %d bytes received", n)
			}
		})
	}
}

func TestIPv6HeaderOnTheWire(t *testing.T) {
	w := newWire6(t)
	read := capture(t, w.b, 0xdd86) // ETH_P_IPV6 in network order
	a := start(t, w.a, ff12)
	awaitUp(t, a)
	send(t, a, "payload")
	frame := read(func(b []byte) bool { return len(b) >= 40 && b[6] == link.Protocol })
	want := append(link.AppendHeader(nil, localA, link.Group6, 7), "payload"...)
	if diff := cmp.Diff(want, frame); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

// An address that another host may have is none yet.
func TestComesUpWithItsIPv6Address(t *testing.T) {
	w := newWire6(t)
	ip(t, w.a, "addr flush dev sis2")
	for name, value := range map[string]string{"accept_dad": "1", "dad_transmits": "1000"} {
		if err := w.a.Sysctl("net/ipv6/conf/sis2/"+name, value); err != nil {
			t.Fatal(err)
		}
	}
	a, b := start(t, w.a, ff12), start(t, w.b, ff12)
	global := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: globalB})
	awaitReason(t, a, "no IPv6 address")
	ip(t, w.a, "addr add 2001:db8::a/64 dev sis2 nodad")
	awaitUp(t, global)
	awaitReason(t, a, "no IPv6 address") // of the link
	ip(t, w.a, "addr add fe80::1/64 dev sis2")
	awaitReason(t, a, "IPv6 address is tentative")
	ip(t, w.a, "addr del fe80::1/64 dev sis2")
	ip(t, w.a, "addr add fe80::2/64 dev sis2 nodad")
	if s := awaitUp(t, a); s.Addr != netip.MustParseAddr("fe80::2") {
		t.Errorf("status of a: %+v", s)
	}
	awaitUp(t, b)
	exchange(t, a, b, "addressed")
	ip(t, w.a, "link set sis2 down")
	awaitReason(t, a, "down")
	ip(t, w.b, "link set sis2 down")
	ip(t, w.a, "link set sis2 up")
	awaitReason(t, a, "no carrier")
}

// An mtu that IPv6 does not allow takes it, and what was joined, from the interface.
func TestSurvivesTheLossOfIPv6(t *testing.T) {
	w := newWire6(t)
	a, b := start(t, w.a, ff12), start(t, w.b, ff12)
	awaitUp(t, a)
	awaitUp(t, b)
	exchange(t, a, b, "before")
	ip(t, w.a, "link set sis2 mtu 1200")
	awaitReason(t, a, "no IPv6 address")
	ip(t, w.a, "link set sis2 mtu 1500")
	awaitUp(t, a)
	exchange(t, a, b, "again")
}

// The same while the link looks away: nothing but the event tells that the group was left.
func TestLossOfIPv6Unseen(t *testing.T) {
	w := newWire6(t)
	b := start(t, w.b, ff12)
	awaitUp(t, b)
	g := gate{slog.DiscardHandler, new(sync.Once), make(chan struct{}), make(chan struct{})}
	a := link.New(slog.New(g), link.NetNS(w.a.Fd()))
	if err := a.Configure(ff12); err != nil {
		t.Fatal(err)
	}
	labtest.Background(t, a.Run)
	awaitUp(t, a)
	ip(t, w.b, "link set sis2 down")
	<-g.reached
	ip(t, w.a, "link set sis2 mtu 1200")
	ip(t, w.a, "link set sis2 mtu 1500")
	ip(t, w.b, "link set sis2 up")
	labtest.Eventually(t, "a has its address again", func() bool {
		return strings.Contains(labtest.Run(t, w.a, "ip -6 addr show dev sis2 scope link"), "fe80::")
	})
	close(g.open)
	awaitUp(t, a)
	awaitUp(t, b)
	labtest.Eventually(t, "a hears the group", func() bool {
		if b.Status().Up {
			send(t, b, "x")
		}
		select {
		case batch := <-a.Received():
			batch.Free()
			return true
		default:
			return false
		}
	})
}

func TestFollowsTheMTUByIPv6(t *testing.T) {
	w := newWire6(t)
	for _, peer := range []netip.Addr{link.Group6, globalB} {
		a, b := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: peer}), start(t, w.b, ff12)
		if peer != link.Group6 {
			b = start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: globalA})
		}
		awaitUp(t, a)
		awaitUp(t, b)
		full := strings.Repeat("x", 1460)
		send(t, a, full)
		if got := take(t, b, 1); got[0].Payload != full {
			t.Errorf("%v: a packet of exactly the mtu was changed", peer)
		}
		n, err := a.Send([][]byte{[]byte("fits"), []byte(full + "x"), []byte("behind")})
		if n != 1 || err != link.ErrTooBig {
			t.Errorf("%v: Send of a packet over the mtu: %d, %v; want 1, %v", peer, n, err, link.ErrTooBig)
		}
		take(t, b, 1)
		for _, mtu := range []int{9000, 1500} {
			ip(t, w.a, "link set sis2 mtu "+map[int]string{9000: "9000", 1500: "1500"}[mtu])
			ip(t, w.b, "link set sis2 mtu "+map[int]string{9000: "9000", 1500: "1500"}[mtu])
			await(t, a, "the mtu", func(s link.Status) bool { return s.Up && s.MTU == mtu })
			large := strings.Repeat("0123456789", 146)
			if mtu == 9000 {
				large = strings.Repeat("0123456789", 896)
			}
			send(t, a, large, "small", large)
			if got := take(t, b, 3); got[0].Payload != large || got[1].Payload != "small" || got[2].Payload != large {
				t.Errorf("%v: packets were changed with an mtu of %d", peer, mtu)
			}
		}
	}
}

func TestForeignPacketsOfIPv6(t *testing.T) {
	w := newWire6(t)
	b := start(t, w.b, ff12)
	awaitUp(t, b)
	fd := rawSocket(t, w.a, unix.AF_INET6)
	to := func(a netip.Addr) *unix.SockaddrInet6 { return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: 0} }

	// With options, another hop limit, and fragmented: the payload is found, the hop limit told.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 64); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "\x00\x00\x01\x04\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	huge := strings.Repeat("huge", 15000)
	for _, payload := range []string{"optional", huge} {
		if err := unix.Sendto(fd, []byte(payload), 0, to(globalB)); err != nil {
			t.Fatal(err)
		}
	}
	want := []packet{{globalA, globalB, 64, "optional"}, {globalA, globalB, 64, huge}}
	if diff := cmp.Diff(want, take(t, b, 2), compareAddrs); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
}

// The group is heard on the syncdev alone, and no other group.
func TestHearsOnlyItsGroupAndInterface(t *testing.T) {
	w := newWire6(t)
	ip(t, w.a, "link add sis1 type veth peer name sis1 netns "+w.b.Name)
	ip(t, w.a, "link set sis1 up")
	ip(t, w.b, "link set sis1 up")
	other := link.Config{Syncdev: "sis2", Syncpeer: netip.MustParseAddr("ff12::f1")}
	elsewhere := link.Config{Syncdev: "sis1", Syncpeer: link.Group6}
	b := start(t, w.b, ff12)
	awaitUp(t, b)
	for _, c := range []link.Config{other, elsewhere} {
		far, near := start(t, w.a, c), start(t, w.b, c)
		awaitUp(t, far)
		awaitUp(t, near)
		send(t, far, "from elsewhere")
		take(t, near, 1) // b would have it, too
	}
	a := start(t, w.a, ff12)
	awaitUp(t, a)
	send(t, a, "from the sync link")
	if got := take(t, b, 1); got[0].Payload != "from the sync link" || counter(b, "link_received") != 1 {
		t.Errorf("received %+v", got)
	}
	if n := counter(b, "link_other_group"); n != 1 {
		t.Errorf("%d packets for another group counted, want 1", n)
	}
}

// Packets come from an address that lasts, in the peer's network, whatever the kernel prefers.
func TestSourceOfIPv6(t *testing.T) {
	w := newWire6(t)
	ip(t, w.a, "addr add 2001:db8::1/64 dev sis2 nodad preferred_lft 0") // deprecated
	ip(t, w.a, "addr add 2001:db8:1::a/64 dev sis2 nodad")
	ip(t, w.b, "addr add 2001:db8:1::b/64 dev sis2 nodad")
	ip(t, w.a, "addr add fe80::1/64 dev sis2 nodad preferred_lft 0")
	for _, tt := range []struct{ peer, src string }{
		{"2001:db8::b", "2001:db8::a"}, {"2001:db8:1::b", "2001:db8:1::a"}, {"ff12::f0", localA.String()},
	} {
		peer := netip.MustParseAddr(tt.peer)
		b := start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: netip.MustParseAddr(tt.src)})
		if peer.IsMulticast() {
			b = start(t, w.b, ff12)
		}
		a := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: peer})
		s := awaitUp(t, a)
		awaitUp(t, b)
		send(t, a, "x")
		if got := take(t, b, 1); got[0].Src != s.Addr || s.Addr != netip.MustParseAddr(tt.src) {
			t.Errorf("to %v: status says %v, packets come from %v, want %s", peer, s.Addr, got[0].Src, tt.src)
		}
	}
}

func TestConfigureOverToIPv6(t *testing.T) {
	w := newWire6(t)
	ip(t, w.a, "addr add 192.0.2.1/24 dev sis2")
	ip(t, w.b, "addr add 192.0.2.2/24 dev sis2")
	a := start(t, w.a, sis2)
	for _, c := range []link.Config{sis2, ff12, {Syncdev: "sis2", Syncpeer: localB}, sis2} {
		if err := a.Configure(c); err != nil {
			t.Fatal(err)
		}
		heard := c
		if c.Syncpeer == localB {
			heard.Syncpeer = localA
		}
		b := start(t, w.b, heard)
		awaitUp(t, b)
		await(t, a, "up as configured", func(s link.Status) bool { return s.Up && s.Config == c })
		exchange(t, a, b, c.Peer().String())
	}
	own := link.Config{Syncdev: "sis2", Syncpeer: localA}
	if err := a.Configure(own); err == nil || err.Error() != "syncpeer fe80::ff:fe00:a: is our own address on sis2; name the other firewall's" {
		t.Errorf("our own address: %v", err)
	}
}

func TestLocalFirewallRefusesIPv6(t *testing.T) {
	w := newWire6(t)
	a := start(t, w.a, ff12)
	awaitUp(t, a)
	rules := "add table ip6 t; add chain ip6 t out { type filter hook output priority 0; }; add rule ip6 t out meta l4proto 240 drop"
	if _, err := w.a.Run(t.Context(), "nft", rules); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Send([][]byte{{1}, {2}}); n != 0 || err != link.ErrRefused {
		t.Errorf("Send: %d, %v; want 0, %v", n, err, link.ErrRefused)
	}
}

func TestAppendIPv6Header(t *testing.T) {
	got := link.AppendHeader([]byte{0xee}, localA, link.Group6, 384)
	want := append([]byte{0xee, 0x60, 0, 0, 0, 1, 0x80, 240, 255}, append(localA.AsSlice(), link.Group6.AsSlice()...)...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := testing.AllocsPerRun(100, func() { got = link.AppendHeader(got[:0], netip.Addr{}, link.Group6, 1400) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !cmp.Equal(got[8:24], make([]byte, 16)) {
		t.Errorf("an unknown source is %x", got[8:24])
	}
}

// capture opens a packet socket in ns; read returns the first frame, from its IP header on, that fits.
func capture(t *testing.T, ns interface{ Do(func() error) error }, protocol int) (read func(fits func([]byte) bool) []byte) {
	t.Helper()
	var fd int
	err := ns.Do(func() error {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(labtest.Patience / time.Second)}); err != nil {
		t.Fatal(err)
	}
	return func(fits func([]byte) bool) []byte {
		t.Helper()
		frame := make([]byte, 2048)
		for {
			n, err := unix.Read(fd, frame)
			if err != nil {
				t.Fatal(err)
			}
			if fits(frame[:n]) {
				return frame[:n]
			}
		}
	}
}

// rawSocket is one of pfsync's protocol in ns, as somebody else has it.
func rawSocket(t *testing.T, ns interface{ Do(func() error) error }, family int) (fd int) {
	t.Helper()
	err := ns.Do(func() error {
		var err error
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, link.Protocol)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
