package links_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/links"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// firewall is a namespace with the veths sis0, whose other end is up, and sis2, whose other end is down.
func firewall(t *testing.T) (*netlink.Handle, *links.Links) {
	t.Helper()
	ns := labtest.NewNS(t)
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	l := links.New(h)
	t.Cleanup(l.Close)

	mac := net.HardwareAddr{0x52, 0x54, 0, 0xaa, 0, 1}
	must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "sis0", Index: 12, MTU: 1500, HardwareAddr: mac}, PeerName: "peer0"}))
	must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "sis2", Index: 14, MTU: 1500, HardwareAddr: mac}, PeerName: "peer2"}))
	for _, name := range []string{"sis0", "peer0", "sis2"} {
		link, err := h.LinkByName(name)
		must(t, err)
		must(t, ns.Sysctl("net/ipv6/conf/"+name+"/addr_gen_mode", "1")) // no link-local address of the kernel's own
		must(t, h.LinkSetUp(link))
	}
	return h, l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(t *testing.T, prefix string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	a.Flags = 0x02 // IFA_F_NODAD: not tentative for a while
	if a.IP.To4() != nil {
		a.Flags = 0
	}
	return a
}

func find(t *testing.T, l *links.Links, name string) ifconfig.Interface {
	t.Helper()
	all, err := l.Interfaces()
	must(t, err)
	for _, i := range all {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("%s is not among %v", name, all)
	panic("unreachable")
}

func TestInterfacesAreShownAsOpenBSDDoes(t *testing.T) {
	h, l := firewall(t)
	sis0, err := h.LinkByName("sis0")
	must(t, err)
	must(t, h.LinkSetAlias(sis0, "WAN uplink"))
	first := addr(t, "10.0.0.254/24")
	first.Broadcast = net.IPv4(10, 0, 0, 255).To4()
	must(t, h.AddrAdd(sis0, first))
	pointToPoint := addr(t, "10.0.1.1/32")
	_, pointToPoint.Peer, err = net.ParseCIDR("10.0.1.2/32")
	must(t, err)
	must(t, h.AddrAdd(sis0, pointToPoint))
	must(t, h.AddrAdd(sis0, addr(t, "fe80::5054:ff:feaa:1/64")))
	must(t, h.AddrAdd(sis0, addr(t, "2001:db8::1/64")))
	deprecated := addr(t, "2001:db8::2/64")
	deprecated.ValidLft, deprecated.PreferedLft = 36000, 0
	must(t, h.AddrAdd(sis0, deprecated))
	must(t, h.RouteAdd(&netlink.Route{LinkIndex: 12, Gw: net.IPv4(10, 0, 0, 1)}))

	const ethernet = ifconfig.FlagUp | ifconfig.FlagBroadcast | ifconfig.FlagRunning | ifconfig.FlagSimplex | ifconfig.FlagMulticast
	want := ifconfig.Interface{
		Name: "sis0", Index: 12, MTU: 1500, LLAddr: "52:54:00:aa:00:01", Description: "WAN uplink",
		Flags: ethernet, Groups: []string{"egress"}, Status: "active",
		Inet: []ifconfig.Address{
			{Prefix: netip.MustParsePrefix("10.0.0.254/24"), Broadcast: netip.MustParseAddr("10.0.0.255")},
			{Prefix: netip.MustParsePrefix("10.0.1.1/32"), Peer: netip.MustParseAddr("10.0.1.2")},
		},
		Inet6: []ifconfig.Address{
			{Prefix: netip.MustParsePrefix("2001:db8::1/64")},
			{Prefix: netip.MustParsePrefix("2001:db8::2/64"), Marks: []string{"deprecated"}, PLTime: new(uint32(0)), VLTime: new(uint32(36000))},
			{Prefix: netip.MustParsePrefix("fe80::5054:ff:feaa:1/64"), ScopeID: 12},
		},
	}
	aSecondOrTwoMayPass := cmp.Comparer(func(a, b uint32) bool { return max(a, b)-min(a, b) < 60 })
	sortedInet6 := cmpopts.SortSlices(func(a, b ifconfig.Address) bool { return a.Prefix.Addr().Less(b.Prefix.Addr()) })
	if diff := cmp.Diff(want, find(t, l, "sis0"), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), sortedInet6, aSecondOrTwoMayPass); diff != "" {
		t.Errorf("sis0: -want +got:\n%s", diff)
	}
	veth := find(t, l, "sis2")
	if veth.Flags != ethernet || veth.Status != "no carrier" || veth.Groups != nil {
		t.Errorf("sis2, its peer down: %v %v %v", veth.Flags, veth.Status, veth.Groups)
	}
	lo := find(t, l, "lo")
	if lo.Flags != ifconfig.FlagUp|ifconfig.FlagLoopback|ifconfig.FlagRunning || lo.Status != "" || lo.LLAddr != "" {
		t.Errorf("lo: %+v", lo)
	}
}

func TestAMultipathDefaultRouteMakesAllItsInterfacesEgress(t *testing.T) {
	h, l := firewall(t)
	for _, name := range []string{"sis0", "sis2", "peer2"} {
		link, err := h.LinkByName(name)
		must(t, err)
		must(t, h.LinkSetUp(link))
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	must(t, h.RouteAdd(&netlink.Route{Dst: all, MultiPath: []*netlink.NexthopInfo{{LinkIndex: 12}, {LinkIndex: 14}}}))
	for _, name := range []string{"sis0", "sis2"} {
		if diff := cmp.Diff([]string{"egress"}, find(t, l, name).Groups); diff != "" {
			t.Errorf("%s: groups: -want +got:\n%s", name, diff)
		}
	}
	if g := find(t, l, "peer2").Groups; g != nil {
		t.Errorf("peer2: groups %v", g)
	}
}

func TestChangeSetsMTUAndUp(t *testing.T) {
	_, l := firewall(t)
	must(t, l.Change(ifconfig.Change{Interface: "sis0", MTU: new(1400), Up: new(false)}))
	i := find(t, l, "sis0")
	if i.MTU != 1400 || i.Flags&ifconfig.FlagUp != 0 || i.Status != "no carrier" {
		t.Errorf("after mtu 1400 down: %+v", i)
	}
	must(t, l.Change(ifconfig.Change{Interface: "sis0", Up: new(true)}))
	if i := find(t, l, "sis0"); i.Flags&ifconfig.FlagUp == 0 || i.MTU != 1400 {
		t.Errorf("after up: %+v", i)
	}
}

// change carries out a command line in a namespace.
func change(t *testing.T, ns *lab.NS, line string) {
	t.Helper()
	words := strings.Fields(line)
	c, err := ifconfig.ParseWords(words[0], words[1:])
	must(t, err)
	must(t, ns.Do(func() error { return links.Apply(t.Context(), new(daemon), c) }))
}

func TestWhatIsSetAlreadyIsNotTouched(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "ip link add sis0 type veth peer name peer0")
	labtest.Run(t, ns, "ip link set dev peer0 up")
	labtest.Run(t, ns, "ip address add 10.0.9.1/24 dev sis0") // as `ip` does it: without a broadcast address
	must(t, ns.Sysctl("net/ipv6/conf/sis0/accept_dad", "0"))
	must(t, ns.Sysctl("net/ipv6/conf/sis0/addr_gen_mode", "1"))
	lines := []string{
		"sis0 inet 10.0.0.1 netmask 255.255.255.0 mtu 1400 description uplink lladdr 52:54:00:aa:00:01 up",
		"sis0 inet 10.0.0.2/24 alias",
		"sis0 inet 10.0.9.1/24 alias",
		"sis0 inet6 2001:db8::1/64 arp -promisc",
		"sis0 inet6 autoconf",
	}
	for _, line := range lines {
		change(t, ns, line)
	}
	if out := labtest.Run(t, ns, "ip address show dev sis0"); !strings.Contains(out, "inet 10.0.9.1/24 scope") {
		t.Errorf("10.0.9.1 was touched: %s", out)
	}
	labtest.Eventually(t, "sis0 settles", func() bool { // the kernel's own events about it are over
		return labtest.Run(t, ns, "ip address show dev sis0 tentative") == "" &&
			strings.Contains(labtest.Run(t, ns, "ip link show dev sis0"), " state UP ")
	})
	done := make(chan struct{})
	defer close(done)
	addrs, changes := make(chan netlink.AddrUpdate, 100), make(chan netlink.LinkUpdate, 100)
	must(t, netlink.AddrSubscribeAt(netns.NsHandle(ns.Fd()), addrs, done))
	must(t, netlink.LinkSubscribeAt(netns.NsHandle(ns.Fd()), changes, done))

	for _, line := range lines {
		change(t, ns, line)
	}
	change(t, ns, "sis0 inet 10.0.0.3/24 alias mtu 1300")
	if a := <-addrs; !a.LinkAddress.IP.Equal(net.IPv4(10, 0, 0, 3)) {
		t.Errorf("%v was touched", a.LinkAddress)
	}
	if l := <-changes; l.Attrs().MTU != 1300 {
		t.Errorf("%s was touched, its mtu is %d still", l.Attrs().Name, l.Attrs().MTU)
	}
}

func TestChangeRefuses(t *testing.T) {
	_, l := firewall(t)
	for _, test := range []struct {
		change ifconfig.Change
		want   string
	}{
		{ifconfig.Change{Interface: "sis7", Up: new(true)}, "sis7: no such interface"},
		{ifconfig.Change{Interface: "sis2", MTU: new(1 << 20), Up: new(false)}, "sis2: mtu 1048576: the interface does not take this value"},
		{ifconfig.Change{Interface: "pfsync0", Defer: new(true)}, "pfsync0: belongs to pfsyncd"},
		{ifconfig.Change{Interface: "sis0", MTU: new(1)}, "mtu 1: too small (68 to 2147483647)"},
	} {
		if err := l.Change(test.change); err == nil || err.Error() != test.want {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
	if err := l.Change(ifconfig.Change{Interface: "sis7", Up: new(true)}); !errors.Is(err, ifconfig.ErrNoInterface) {
		t.Errorf("error %v does not wrap ErrNoInterface", err)
	}
	if i := find(t, l, "sis2"); i.Flags&ifconfig.FlagUp == 0 {
		t.Error("the refused change took sis2 down")
	}
}

func TestChangesNeedRoot(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "ip link add sis0 type veth peer name peer0")
	err := ns.Do(func() error { // this thread alone becomes nobody's
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			return errno
		}
		defer syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
		return links.Apply(t.Context(), new(daemon), ifconfig.Change{Interface: "sis0", Up: new(true)})
	})
	if want := "sis0: up: operation not permitted (needs root)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// daemon notes what it is asked to change, and refuses it.
type daemon struct{ asked []string }

var errDaemon = errors.New("pfsync0: refused")

func (d *daemon) Change(_ context.Context, c ifconfig.Change) error {
	d.asked = append(d.asked, c.Interface)
	return errDaemon
}

func TestApplyAsksTheDaemonForPfsync0Alone(t *testing.T) {
	ns, d := labtest.NewNS(t), new(daemon)
	labtest.Run(t, ns, "ip link add sis0 type veth peer name peer0")
	apply := func(name string) error {
		return ns.Do(func() error { return links.Apply(t.Context(), d, ifconfig.Change{Interface: name, MTU: new(1400)}) })
	}
	if err := apply("pfsync0"); err != errDaemon {
		t.Errorf("pfsync0: error %v, want the daemon's", err)
	}
	must(t, apply("sis0"))
	if out := labtest.Run(t, ns, "ip link show sis0"); !strings.Contains(out, " mtu 1400 ") {
		t.Errorf("sis0 has not the mtu 1400: %s", out)
	}
	if diff := cmp.Diff([]string{"pfsync0"}, d.asked); diff != "" {
		t.Errorf("the daemon was asked -want +got:\n%s", diff)
	}
}
