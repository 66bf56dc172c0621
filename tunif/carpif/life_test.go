package carpif_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// Who does not renew the addresses loses them, and the client's question is not answered.
func TestAddressesOfWhomDoesNotRenewVanish(t *testing.T) {
	l := newLAN(t)
	a := open(t, newSystem(t, l.a))
	wire := newPort(t, l.client, "sis0")
	for range 3 {
		check(t, a.Serve(both, 2*time.Second))
		time.Sleep(time.Second) // of the kernel's clock
		if got := addresses(t, l.a); strings.Count(got, "\n") != 2 {
			t.Fatalf("renewed, but it has %q", got)
		}
	}
	labtest.Eventually(t, "the addresses vanish", func() bool { return addresses(t, l.a) == "" })
	if got := wire.whoHas(vip.Addr(), 0); got != nil {
		t.Errorf("%v answers", got)
	}
	check(t, a.Serve(both, lifetime)) // not dead after all
	if got := addresses(t, l.a); strings.Count(got, "\n") != 2 {
		t.Errorf("served again, it has %q", got)
	}
}

// What is not in the list goes, whoever added it; the rest stays.
func TestServeSetsTheWholeList(t *testing.T) {
	l := newLAN(t)
	a := open(t, newSystem(t, l.a))
	labtest.Run(t, l.a, "ip addr add 10.9.9.9/24 dev carp0")
	prefixes := func(words ...string) (list []netip.Prefix) {
		for _, w := range words {
			list = append(list, netip.MustParsePrefix(w))
		}
		return list
	}
	for _, list := range [][]string{
		{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/32", "2001:db8::1/64"},
		{"10.0.0.2/24", "2001:db8::1/64", "2001:db8::2/128"}, // without the first of its network
		{"10.0.0.2/24"},
		{},
		{"10.0.0.1/24"},
	} {
		check(t, a.Serve(prefixes(list...), lifetime))
		got := map[string]bool{}
		for line := range strings.Lines(addresses(t, l.a)) {
			got[strings.Fields(line)[3]] = true
		}
		want := map[string]bool{}
		for _, a := range list {
			want[a] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	}
	if err := a.Serve(prefixes("ff02::5/64"), lifetime); err == nil || !strings.HasPrefix(err.Error(), "carp0: ff02::5/64: ") {
		t.Errorf("a multicast address: %v", err)
	}
	check(t, a.Serve(both, lifetime))
	labtest.Run(t, l.a, "ip addr add 10.9.9.9/24 dev carp0")
	labtest.Run(t, l.a, "ip link set carp0 down") // and IPv6 addresses with it
	check(t, a.Serve(both, lifetime))
	if got := addresses(t, l.a); !strings.Contains(got, "2001:db8::1/64") || !strings.Contains(got, "10.0.0.1/24") {
		t.Errorf("not restored: %s", got)
	}
	check(t, a.Withdraw())
	if got := addresses(t, l.a); got != "" {
		t.Errorf("withdrawn, but it has %s", got)
	}
	check(t, a.Withdraw()) // again
}

// condition is a Link without the MAC.
func condition(exists, up, runs bool) func(carp.Link) bool {
	return func(l carp.Link) bool { return l.Exists == exists && l.Up == up && l.Runs == runs }
}

// The interface comes and goes with its carpdev, and so do sockets and sysctls.
func TestCarpdevDownUnpluggedRemoved(t *testing.T) {
	l := newLAN(t)
	s := newSystem(t, l.a)
	a, b := open(t, s), open(t, newSystem(t, l.b))
	works := func(seed byte) {
		t.Helper()
		check(t, a.Serve(both, lifetime))
		check(t, a.Announce(both))
		check(t, a.Send(advert(seed), carp.Inet, netip.Addr{}, vip.Addr()))
		awaitPacket(t, b, advert(seed))
		check(t, b.Send(advert(seed+100), carp.Inet, netip.Addr{}, vip.Addr()))
		awaitPacket(t, a, advert(seed+100))
	}
	first := awaitLink(t, a, "up", condition(true, true, true))
	if i := labtest.Run(t, l.a, "ip -o link show sis0"); len(first.MAC) != 6 || !strings.Contains(i, first.MAC.String()) {
		t.Errorf("MAC %v, want that of %s", first.MAC, i)
	}
	works(1)

	labtest.Run(t, l.a, "ip link set sis0 down")
	awaitLink(t, a, "down", condition(true, false, false))
	check(t, a.Withdraw())
	labtest.Run(t, l.a, "ip link set sis0 up")
	awaitLink(t, a, "up again", condition(true, true, true))
	labtest.Run(t, l.a, "ip addr replace 2001:db8::254/64 dev sis0")
	works(2)

	labtest.Run(t, l.sw, "ip link set dev a down")
	awaitLink(t, a, "no carrier", condition(true, true, false))
	check(t, a.Withdraw())
	labtest.Run(t, l.sw, "ip link set dev a up")
	awaitLink(t, a, "carrier", condition(true, true, true))
	works(3)

	labtest.Run(t, l.a, "ip link del sis0")
	awaitLink(t, a, "gone", condition(false, false, false))
	for _, err := range []error{a.Serve(both, lifetime), a.Announce(both), a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr())} {
		if err == nil || err.Error() != "carp0: carpdev sis0: no such interface" {
			t.Errorf("without a carpdev: %v", err)
		}
	}
	check(t, a.Withdraw())
	l.plug(t, l.a, "a")
	awaitLink(t, a, "back", condition(true, true, true))
	works(4)

	labtest.Run(t, l.a, "ip link del carp0") // and somebody deletes the interface itself
	labtest.Eventually(t, "carp0 is back", func() bool { return counter(t, s, "carpif_made") == 3 })
	works(5)
}

// A carpdev that comes later, from the daemon's start on, is waited for.
func TestCarpdevThatIsNotThereYet(t *testing.T) {
	l := newLAN(t)
	labtest.Run(t, l.a, "ip link set sis0 down")
	labtest.Run(t, l.a, "ip link set sis0 name sis9")
	a := open(t, newSystem(t, l.a))
	awaitLink(t, a, "not there", condition(false, false, false))
	labtest.Run(t, l.a, "ip link set sis9 name sis0")
	awaitLink(t, a, "down", condition(true, false, false))
	labtest.Run(t, l.a, "ip link set sis0 up")
	awaitLink(t, a, "up", condition(true, true, true))
	check(t, a.Serve(both, lifetime))
	labtest.Run(t, l.a, "ip link set sis0 down")
	labtest.Run(t, l.a, "ip link set sis0 name sis9") // carp0 is not sis9's
	awaitLink(t, a, "gone", condition(false, false, false))
	if got := labtest.Run(t, l.a, "ip -o link"); strings.Contains(got, "carp0") {
		t.Errorf("carp0 is left: %s", got)
	}
}

// The sysctls of carpdev and interface are set, and the carpdev's given back.
func TestSysctls(t *testing.T) {
	l := newLAN(t)
	check(t, l.a.Sysctl("net/ipv4/conf/sis0/arp_announce", "1"))
	read := func(name string) string {
		return strings.ReplaceAll(labtest.Run(t, l.a, "sysctl -n net.ipv4.conf."+name+".arp_ignore net.ipv4.conf."+name+".arp_announce net.ipv4.conf."+name+".rp_filter net.ipv6.conf."+name+".addr_gen_mode"), "\n", " ")
	}
	before := read("sis0")
	s := newSystem(t, l.a)
	a, err := s.Open("carp0", "sis0", virtual)
	check(t, err)
	c, err := s.Open("carp1", "sis0", net.HardwareAddr{0, 0, 0x5e, 0, 1, 2})
	check(t, err)
	for name, want := range map[string]string{"carp0": "1 2 2 1 ", "sis0": "1 2 " + before[4:]} {
		if got := read(name); got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	check(t, a.Close())
	if got := read("sis0"); got == before {
		t.Error("carp1 is still there, but the carpdev has its sysctls back")
	}
	check(t, c.Close())
	if got := read("sis0"); got != before {
		t.Errorf("sis0 has %s, want %s as before", got, before)
	}
	if got := labtest.Run(t, l.a, "ip -o link"); strings.Contains(got, "carp") {
		t.Errorf("closed, but there is %s", got)
	}
	if _, ok := <-a.Events(); ok { // the first: how the carpdev is
		for range a.Events() {
		}
	}
	if err := a.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// What cannot be is refused with the remedy, and leaves nothing behind.
func TestRefused(t *testing.T) {
	ns := labtest.NewNS(t)
	for _, line := range []string{
		"ip link add br0 type bridge", "ip link add port type veth peer name far", "ip link set port master br0",
		"ip link add mine type bridge", "ip link add sis0 type veth peer name far0", "ip tuntap add tun0 mode tun",
		"ip link add theirs link sis0 type macvlan mode bridge",
	} {
		labtest.Run(t, ns, line)
	}
	before := labtest.Run(t, ns, "ip -o link")
	s := newSystem(t, ns)
	for _, c := range []struct {
		name, carpdev string
		mac           net.HardwareAddr
		want          string
	}{
		{"carp0", "port", virtual, "carp0: carpdev port: is a port of br0; use br0 as the carpdev: device or resource busy"},
		{"carp0", "lo", virtual, "carpdev lo: is a loopback interface"},
		{"carp0", "tun0", virtual, "carp0: carpdev tun0: is not an Ethernet interface: invalid argument"},
		{"mine", "sis0", virtual, "mine: an interface of this name exists (bridge) and is not pfsyncd's; delete or rename it first"},
		{"theirs", "sis0", virtual, "theirs: an interface of this name exists (macvlan) and is not pfsyncd's; delete or rename it first"},
		{"sis0", "sis0", virtual, "sis0: cannot be its own carpdev"},
		{"carp0", "a/b", virtual, `carp0: carpdev "a/b": character '/' cannot be in an interface name`},
		{"carp/0", "sis0", virtual, `"carp/0": character '/' cannot be in an interface name`},
		{"carp0", "sis0", net.HardwareAddr{1, 2, 3, 4, 5, 6}, "carp0: 01:02:03:04:05:06: not an Ethernet address that an interface can have"},
	} {
		_, err := s.Open(c.name, c.carpdev, c.mac)
		if got := fmt.Sprint(err); got != c.want {
			t.Errorf("%s on %s: %v\nwant %s", c.name, c.carpdev, got, c.want)
		}
	}
	if got := labtest.Run(t, ns, "ip -o link"); got != before {
		t.Errorf("something is left behind:\n%s\nbefore:\n%s", got, before)
	}
}

// Nothing waits for who does not read; what is lost is counted; the carpdev's condition is not lost.
func TestFlood(t *testing.T) {
	l := newLAN(t)
	s := newSystem(t, l.a)
	a, b := open(t, s), open(t, newSystem(t, l.b))
	const n = 1000
	for range n {
		check(t, b.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
	}
	labtest.Eventually(t, "all have come", func() bool { return counter(t, s, "carpif_received") == n })
	if got := counter(t, s, "carpif_event_drops"); got != n+1-256 {
		t.Errorf("%d dropped, want %d", got, n+1-256)
	}
	labtest.Run(t, l.sw, "ip link set dev a down")
	awaitLink(t, a, "no carrier", condition(true, true, false))
	if got := counter(t, s, "carpif_receive_drops"); got != 0 {
		t.Errorf("%d lost in the kernel", got)
	}
}

// serveForever is what TestMain does in a process of its own: it serves and is killed.
const serveForever = "CARPIF_TEST_SERVE"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(serveForever) != "":
		os.Exit(serve())
	case os.Getenv(hostWith) != "":
		os.Exit(runHost(os.Getenv(hostWith)))
	case os.Getenv(confinedState) != "":
		os.Exit(workConfined(os.Getenv(confinedState)))
	}
	os.Exit(m.Run())
}

func serve() int {
	s, err := carpif.New(slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	d, err := s.Open("carp0", "sis0", virtual)
	if err == nil {
		err = d.Serve(both, time.Minute)
	}
	fmt.Println("served:", err)
	time.Sleep(time.Hour)
	return 0
}

// launch runs this test program in ns with that environment variable.
func launch(t *testing.T, ns *lab.NS, variable string, words ...string) *exec.Cmd {
	t.Helper()
	words = append(words, os.Args[0])
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), variable)
	out, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, ns.Start(cmd))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	b := make([]byte, 4096)
	n, err := out.Read(b)
	if err != nil || !strings.HasSuffix(string(b[:n]), "served: <nil>\n") {
		t.Fatalf("%q, %v", b[:n], err)
	}
	return cmd
}

// What a daemon has left that was killed is taken over, whatever state it is in.
func TestTakeOverFromAKilledDaemon(t *testing.T) {
	l := newLAN(t)
	cmd := launch(t, l.a, serveForever+"=1")
	check(t, cmd.Process.Kill())
	cmd.Wait()
	if got := addresses(t, l.a); strings.Count(got, "\n") != 2 {
		t.Fatalf("killed, it has left %q", got)
	}
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	if got := addresses(t, l.a) + labtest.Run(t, l.a, "ip -o link show carp0"); strings.Contains(got, "UP") || strings.Contains(got, "inet") {
		t.Errorf("taken over, it is %s", got)
	}
	check(t, a.Serve(both, lifetime))
	check(t, a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, b, advert(1))
}

// A's cables are pulled, B takes over, and A is plugged in again with an interface that
// is still up: nothing of A's may draw the switch's port to it.
func TestReturnOfTheUnpluggedMaster(t *testing.T) {
	l := newLAN(t)
	for _, ns := range []*lab.NS{l.a, l.b} { // routers are in a group that they report
		if err := ns.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
			t.Fatal(err)
		}
	}
	a, b := open(t, newSystem(t, l.a)), open(t, newSystem(t, l.b))
	only4 := []netip.Prefix{vip}
	check(t, a.Serve(only4, lifetime))
	check(t, a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
	awaitPacket(t, b, advert(1))
	labtest.Run(t, l.sw, "ip link set dev a down")
	check(t, b.Serve(only4, lifetime))
	check(t, b.Send(advert(2), carp.Inet, netip.Addr{}, vip.Addr()))
	labtest.Run(t, l.sw, "ip link set dev a up")
	awaitLink(t, a, "plugged in", func(k carp.Link) bool { return k.Runs })
	for back := time.Now(); time.Since(back) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		if at := l.at(t, virtual); at != "b" {
			t.Fatalf("%v after A was plugged in the virtual MAC is at %q, want b", time.Since(back), at)
		}
	}
}
