package carpif_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

var _ carp.System = (*carpif.System)(nil)

// The wire is OpenBSD's: spec/carp.md, section 1.
func TestAdvertOnTheWire(t *testing.T) {
	l := newLAN(t)
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	wire := newPort(t, l.client, "sis0")
	check(t, a.Serve(both, lifetime))

	check(t, a.Send(advert(4), carp.Inet, netip.Addr{}, vip.Addr()))
	want := slices.Concat(
		[]byte{1, 0, 0x5e, 0, 0, 0x12}, virtual, []byte{8, 0},
		[]byte{0x45, 0x10, 0, 56, 0, 0, 0x40, 0, 255, 112}, []byte{0, 0}, addrA.AsSlice(), []byte{224, 0, 0, 18}, advert(4))
	got := wire.proto112(unix.ETH_P_IP)
	if sum := ^fold(got[14:34]); sum != 0 {
		t.Errorf("checksum of the IP header is off by %#x", sum)
	}
	got[24], got[25] = 0, 0
	if diff := cmp.Diff([]byte(want), got); diff != "" {
		t.Errorf("IPv4 advert (-want +got):\n%s", diff)
	}
	heard := carp.Packet{Family: carp.Inet, Src: addrA, Dst: netip.MustParseAddr("224.0.0.18"), TTL: 255, Payload: advert(4)}
	if diff := cmp.Diff(heard, awaitPacket(t, b, advert(4)), cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("IPv4 advert at the peer (-want +got):\n%s", diff)
	}

	check(t, a.Send(advert(6), carp.Inet6, netip.Addr{}, vip6.Addr()))
	got = wire.proto112(unix.ETH_P_IPV6)
	src, _ := netip.AddrFromSlice(got[22:38])
	if !src.IsLinkLocalUnicast() {
		t.Errorf("IPv6 advert is from %v, want the carpdev's link-local address", src)
	}
	want = slices.Concat(
		[]byte{0x33, 0x33, 0, 0, 0, 0x12}, virtual, []byte{0x86, 0xdd},
		[]byte{0x60, 0, 0, 0, 0, 36, 112, 255}, src.AsSlice(), netip.MustParseAddr("ff02::12").AsSlice(), advert(6))
	if diff := cmp.Diff([]byte(want), got); diff != "" {
		t.Errorf("IPv6 advert (-want +got):\n%s", diff)
	}
	heard = carp.Packet{Family: carp.Inet6, Src: src, Dst: netip.MustParseAddr("ff02::12"), TTL: 255, Payload: advert(6)}
	if diff := cmp.Diff(heard, awaitPacket(t, b, advert(6)), cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("IPv6 advert at the peer (-want +got):\n%s", diff)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

// fold adds up 16-bit words in ones' complement.
func fold(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i])<<8 + uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// Without an address on the carpdev adverts are from the virtual one, and without that there are none.
func TestAdvertWithoutAnAddressOfTheCarpdev(t *testing.T) {
	l := newLAN(t)
	s := newSystem(t, l.a)
	labtest.Run(t, l.a, "ip addr flush dev sis0")
	a, b := open(t, s), open(t, newSystem(t, l.b))
	check(t, a.Serve(both, lifetime))
	for family, source := range map[carp.Family]netip.Addr{carp.Inet: vip.Addr(), carp.Inet6: vip6.Addr()} {
		if err := a.Send(advert(1), family, netip.Addr{}, netip.Addr{}); err == nil || !strings.Contains(err.Error(), "carpdev sis0 has no address of IPv") {
			t.Errorf("without any source: %v", err)
		}
		check(t, a.Send(advert(byte(family)), family, netip.Addr{}, source))
		if p := awaitPacket(t, b, advert(byte(family))); p.Src != source {
			t.Errorf("from %v, want %v", p.Src, source)
		}
	}
	if got := counter(t, s, "carpif_send_errors"); got != 2 {
		t.Errorf("%d send errors, want 2", got)
	}
	labtest.Run(t, l.a, "ip addr add 10.0.0.77/24 dev sis0") // seen without being told
	labtest.Eventually(t, "an advert from the new address", func() bool {
		check(t, a.Send(advert(9), carp.Inet, netip.Addr{}, vip.Addr()))
		return awaitPacket(t, b, advert(9)).Src == netip.MustParseAddr("10.0.0.77")
	})
}

// A peer is reached by its own MAC, from the virtual one; without Serve too.
func TestUnicastPeer(t *testing.T) {
	l := newLAN(t)
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	wire := newPort(t, l.b, "sis0")
	check(t, a.Serve(both, lifetime))
	check(t, a.Send(advert(1), carp.Inet, addrB, vip.Addr()))
	got := wire.proto112(unix.ETH_P_IP)
	if mac := net.HardwareAddr(got[6:12]); mac.String() != virtual.String() {
		t.Errorf("from the MAC %v, want %v", mac, virtual)
	}
	if got[15] != 0x10 || got[20]&0x40 == 0 || got[22] != 255 {
		t.Errorf("TOS, DF, TTL are wrong: %x", got[14:34])
	}
	if p := awaitPacket(t, b, advert(1)); p.Src != addrA || p.Dst != addrB || p.TTL != 255 {
		t.Errorf("heard %+v", p)
	}
	check(t, a.Withdraw())
	check(t, a.Send(advert(2), carp.Inet, addrB, vip.Addr())) // the last word of a master
	awaitPacket(t, b, advert(2))
	if err := a.Send(advert(3), carp.Inet6, netip.MustParseAddr("2001:db8::253"), vip6.Addr()); err == nil || !strings.Contains(err.Error(), "only IPv4 has peers") {
		t.Errorf("an IPv6 peer: %v", err)
	}
}

// Whoever asks for the address hears the master, once, and nobody else.
func TestOnlyTheMasterHasTheAddress(t *testing.T) {
	l := newLAN(t)
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	wire := newPort(t, l.client, "sis0")
	if got := wire.whoHas(vip.Addr(), 0); got != nil {
		t.Errorf("without a master %v answer", got)
	}
	for _, turn := range []struct {
		master, backup carp.Device
		at, not        *lab.NS
	}{{a, b, l.a, l.b}, {b, a, l.b, l.a}} {
		check(t, turn.backup.Withdraw())
		check(t, turn.master.Serve(both, lifetime))
		check(t, turn.master.Serve(both, lifetime)) // with an advert: changes nothing
		if diff := cmp.Diff([]string{virtual.String()}, wire.whoHas(vip.Addr(), 1)); diff != "" {
			t.Errorf("who answers (-want +got):\n%s", diff)
		}
		for _, to := range []string{"10.0.0.10", "2001:db8::10"} { // own traffic is the carpdev's
			for _, ns := range []*lab.NS{turn.at, turn.not} {
				if got := labtest.Run(t, ns, "ip route get "+to); !strings.Contains(got, "dev sis0") || strings.Contains(got, "src 10.0.0.1 ") || strings.Contains(got, "src 2001:db8::1 ") {
					t.Errorf("route to %s: %s", to, got)
				}
			}
		}
		for _, family := range []string{"-4", "-6"} { // behind the carpdev's, whichever came first
			if got := labtest.Run(t, turn.at, "ip "+family+" route show dev carp0"); !strings.Contains(got, "metric 1024") || strings.Count(got, "\n") != 1 {
				t.Errorf("routes of carp0: %s", got)
			}
		}
		for _, to := range []string{"10.0.0.1", "2001:db8::1"} {
			if got := labtest.Run(t, turn.at, "ip route get "+to); !strings.Contains(got, "local") {
				t.Errorf("not the master's own: %s", got)
			}
			if got := labtest.Run(t, turn.not, "ip route get "+to); strings.Contains(got, "local") {
				t.Errorf("the backup's own: %s", got)
			}
		}
		if got := addresses(t, turn.not); got != "" {
			t.Errorf("the backup has %s", got)
		}
		if got := labtest.Run(t, turn.not, "ip -o link show carp0"); strings.Contains(got, "UP") {
			t.Errorf("the backup's interface is up: %s", got)
		}
		if got := addresses(t, turn.at); strings.Count(got, "\n") != 2 || strings.Contains(got, "tentative") || strings.Contains(got, "fe80") {
			t.Errorf("the master has %s", got)
		}
	}
}

// A client reaches the address, with the strictest of path filters for all interfaces.
func TestClientIsServed(t *testing.T) {
	l := newLAN(t)
	check(t, l.a.Sysctl("net/ipv4/conf/all/rp_filter", "1"))
	a := open(t, newSystem(t, l.a))
	check(t, a.Serve(both, lifetime))
	for _, to := range both {
		var server, conn net.PacketConn
		address := &net.UDPAddr{IP: to.Addr().AsSlice(), Port: 7}
		check(t, l.a.Do(func() (err error) { server, err = net.ListenUDP("udp", address); return err }))
		defer server.Close()
		check(t, l.client.Do(func() (err error) { conn, err = net.ListenUDP("udp", nil); return err }))
		defer conn.Close()
		server.SetDeadline(time.Now().Add(labtest.Patience))
		conn.SetDeadline(time.Now().Add(labtest.Patience))
		if _, err := conn.WriteTo([]byte("ping"), address); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := server.ReadFrom(b)
		check(t, err)
		if _, err := server.WriteTo(b[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, from, err = conn.ReadFrom(b); err != nil || string(b[:n]) != "ping" || from.String() != address.String() {
			t.Errorf("%q from %v: %v", b[:n], from, err)
		}
		if got := labtest.Run(t, l.client, "ip neigh show "+to.Addr().String()); !strings.Contains(got, virtual.String()) {
			t.Errorf("the client knows %s", got)
		}
	}
}

// The switch follows with the new master's first advert, the neighbours when it says so.
func TestTakeover(t *testing.T) {
	l := newLAN(t)
	s := newSystem(t, l.b)
	a, b := open(t, newSystem(t, l.a)), open(t, s)
	check(t, a.Serve(both, lifetime))
	check(t, a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, b, advert(1))
	if got := l.at(t, virtual); got != "a" {
		t.Fatalf("the virtual MAC is at port %q, want a", got)
	}
	wire := newPort(t, l.client, "sis0")
	labtest.Run(t, l.client, "ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:99 dev sis0 nud stale")
	labtest.Run(t, l.client, "ip neigh replace 2001:db8::1 lladdr 02:00:00:00:00:99 dev sis0 nud stale")

	check(t, a.Withdraw())
	check(t, b.Serve(both, lifetime))
	check(t, b.Send(advert(2), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, a, advert(2))
	if got := l.at(t, virtual); got != "b" {
		t.Errorf("the virtual MAC is at port %q, want b", got)
	}
	check(t, b.Announce(both))
	arp := wire.next("a gratuitous ARP", unix.ETH_P_ARP, func(b []byte) bool { return b[31] == 1 })
	want := slices.Concat(slices.Repeat([]byte{0xff}, 6), virtual, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
		virtual, vip.Addr().AsSlice(), make([]byte, 6), vip.Addr().AsSlice())
	if diff := cmp.Diff([]byte(want), arp); diff != "" {
		t.Errorf("gratuitous ARP (-want +got):\n%s", diff)
	}
	na := wire.next("a neighbour advertisement", unix.ETH_P_IPV6, func(b []byte) bool { return b[54] == 136 })
	if na[58] != 0x20 {
		t.Errorf("flags %#x, want override alone: this host does not forward", na[58])
	}
	for _, addr := range []string{"10.0.0.1", "2001:db8::1"} {
		labtest.Eventually(t, "the client knows the virtual MAC of "+addr, func() bool {
			return strings.Contains(labtest.Run(t, l.client, "ip neigh show "+addr), virtual.String())
		})
	}
	check(t, l.b.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	check(t, b.Announce(both))
	if na := wire.next("a neighbour advertisement", unix.ETH_P_IPV6, func(b []byte) bool { return b[54] == 136 }); na[58] != 0xa0 {
		t.Errorf("flags %#x, want router and override", na[58])
	}
	if got := counter(t, s, "carpif_announced"); got != 4 {
		t.Errorf("%d announced, want 4", got)
	}
}

// Two masters hear each other, though their adverts have the MAC of both.
func TestTwoMastersHearEachOther(t *testing.T) {
	l := newLAN(t)
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	check(t, a.Serve(both, lifetime))
	check(t, b.Serve(both, lifetime))
	for _, family := range []carp.Family{carp.Inet, carp.Inet6} {
		check(t, a.Send(advert(1), family, netip.Addr{}, vip.Addr()))
		check(t, b.Send(advert(2), family, netip.Addr{}, vip.Addr()))
		awaitPacket(t, a, advert(2)) // and no loop of its own before it
		awaitPacket(t, b, advert(1))
	}
}

// Each vhid's address is answered by its own MAC, and both hear all adverts.
func TestTwoVhidsOnOneCarpdev(t *testing.T) {
	l := newLAN(t)
	s := newSystem(t, l.a)
	second := net.HardwareAddr{0, 0, 0x5e, 0, 1, 2}
	carp0, carp1 := open(t, s), openAs(t, s, "carp1", second)
	peer := open(t, newSystem(t, l.b))
	check(t, carp0.Serve(both, lifetime))
	check(t, carp1.Serve([]netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, lifetime))
	wire := newPort(t, l.client, "sis0")
	for addr, mac := range map[string]net.HardwareAddr{"10.0.0.1": virtual, "10.0.0.2": second} {
		if diff := cmp.Diff([]string{mac.String()}, wire.whoHas(netip.MustParseAddr(addr), 1)); diff != "" {
			t.Errorf("who answers for %s (-want +got):\n%s", addr, diff)
		}
	}
	check(t, peer.Send(advert(7), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, carp0, advert(7))
	awaitPacket(t, carp1, advert(7))

	if _, err := s.Open("carp0", "sis0", virtual); err == nil || !strings.Contains(err.Error(), "carp0: is open already") {
		t.Errorf("opened twice: %v", err)
	}
	twice, err := s.Open("carp2", "sis0", virtual) // the carpdev refuses the same MAC twice
	check(t, err)
	if err := twice.Serve([]netip.Prefix{netip.MustParsePrefix("10.0.0.3/24")}, lifetime); err == nil || !strings.Contains(err.Error(), "is the vhid used twice?") {
		t.Errorf("the same vhid twice: %v", err)
	}
	check(t, twice.Close())
	check(t, carp0.Serve(both, lifetime)) // the others live on
}

// A bridge is a carpdev like another; it is its ports that are not.
func TestBridgeAsCarpdev(t *testing.T) {
	l := newLAN(t)
	for _, line := range []string{
		"ip addr flush dev sis0", "ip link add br0 type bridge mcast_snooping 0", "ip link set sis0 master br0",
		"ip addr add 10.0.0.254/24 dev br0", "ip link set br0 up",
	} {
		labtest.Run(t, l.a, line)
	}
	b := open(t, newSystem(t, l.b))
	a, err := newSystem(t, l.a).Open("carp0", "br0", virtual)
	check(t, err)
	defer func() { check(t, a.Close()) }()
	awaitLink(t, a, "carrier", condition(true, true, true))
	check(t, a.Serve(both, lifetime))
	check(t, a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, b, advert(1))
	check(t, b.Send(advert(2), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, a, advert(2))
	if diff := cmp.Diff([]string{virtual.String()}, newPort(t, l.client, "sis0").whoHas(vip.Addr(), 1)); diff != "" {
		t.Errorf("who answers (-want +got):\n%s", diff)
	}
}
