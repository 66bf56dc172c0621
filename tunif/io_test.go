package tunif_test

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif"
)

// capture is a packet socket on one interface, as tcpdump has it.
func capture(t *testing.T, ns *lab.NS, index int) (next func() []byte) {
	t.Helper()
	const all = 0x0300 // ETH_P_ALL in network order
	var fd int
	err := ns.Do(func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(labtest.Patience / time.Second)}); err != nil {
		t.Fatal(err)
	}
	return func() []byte {
		t.Helper()
		b := make([]byte, 1<<16)
		n, err := unix.Read(fd, b)
		if err != nil {
			t.Fatalf("capture: %v", err)
		}
		return b[:n]
	}
}

func TestWrittenFramesAreSeen(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	next := capture(t, ns, d.Status().Index)
	frames := [][]byte{
		frame(own, link.Group, "first"),
		frame(peer, link.Group, strings.Repeat("x", 1480)),
		frame(peer, own, strings.Repeat("larger than the mtu", 100)),
		frame(own6, link.Group6, "by IPv6"),
	}
	bytes := 0
	for _, f := range frames {
		if err := d.Write(f); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, next()); diff != "" {
			t.Errorf("frame (-written +seen):\n%s", diff)
		}
		bytes += len(f)
	}
	if n, m := counter(d, "tun_written"), counter(d, "tun_written_bytes"); n != 4 || m != uint64(bytes) {
		t.Errorf("counted %d packets and %d bytes, want 4 and %d", n, m, bytes)
	}
	if err := d.Write([]byte{0x10}); err == nil || counter(d, "tun_write_errors") != 1 {
		t.Errorf("what is no IP packet: %v, counted %d", err, counter(d, "tun_write_errors"))
	}
}

func TestWriteWhileDown(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	f := frame(own, link.Group, "x")
	for range 2 {
		if err := d.Write(f); err != tunif.ErrDown {
			t.Errorf("Write: %v, want %v", err, tunif.ErrDown)
		}
	}
	setUp(t, d)
	if err := d.Write(f); err != nil {
		t.Errorf("Write while up: %v", err)
	}
	if n := counter(d, "tun_write_down"); n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	f := frame(own, link.Group, strings.Repeat("x", 1400))
	if n := testing.AllocsPerRun(100, func() { d.Write(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The host routes something into the device: it is read, dropped and counted.
func TestPacketsFromTheHostAreDiscarded(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	labtest.Background(t, d.Run)
	labtest.Run(t, ns, "ip addr add 192.0.2.1/32 dev lo")
	labtest.Run(t, ns, "ip route add 203.0.113.0/24 dev pfsync0")
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for range 10 {
			if err := unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{203, 0, 113, 1}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "10 packets are counted", func() bool {
		return counter(d, "tun_discarded") == 10 && counter(d, "tun_discarded_bytes") == 10*(20+8+5)
	})
}

// snmp reads a namespace's counters, as Ip.ForwDatagrams.
func snmp(t *testing.T, ns *lab.NS) map[string]int {
	t.Helper()
	var text []byte
	err := ns.Do(func() error {
		for _, file := range []string{"snmp", "netstat"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			text = append(text, b...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	counters := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() { // names and values stand in two lines
		names := strings.Fields(lines.Text())
		lines.Scan()
		for i, v := range strings.Fields(lines.Text()) {
			if n, err := strconv.Atoi(v); err == nil {
				counters[strings.TrimSuffix(names[0], ":")+"."+names[i]] = n
			}
		}
	}
	return counters
}

// A frame that shows a packet for this host or for another one must not become that
// packet: not delivered, not answered, not forwarded, even on a router.
func TestFramesAreOnlyShown(t *testing.T) {
	a, b := newVeth(t)
	labtest.Run(t, b, "ip addr add 192.0.2.2/24 dev sis2")
	labtest.Run(t, b, "ip addr add 192.0.2.3/24 dev sis2")
	if err := a.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, a)
	setUp(t, d)
	write := func(src, dst netip.Addr) {
		t.Helper()
		if err := d.Write(frame(src, dst, "payload")); err != nil {
			t.Fatal(err)
		}
	}
	writeAll := func() {
		t.Helper()
		write(own, link.Group)
		write(peer, link.Group)
		write(own, peer)
		write(peer, own)
		write(peer, third)
	}
	harm := []string{"Ip.InUnknownProtos", "Icmp.OutDestUnreachs", "Ip.ForwDatagrams"}

	before := snmp(t, a)
	writeAll()
	labtest.Eventually(t, "the three unicast frames are dropped", func() bool { // two for want of forwarding
		now := snmp(t, a)
		return now["TcpExt.IPReversePathFilter"]-before["TcpExt.IPReversePathFilter"] == 1 &&
			now["Ip.InAddrErrors"]-before["Ip.InAddrErrors"] == 2
	})
	after := snmp(t, a)
	for _, name := range harm {
		if after[name] != before[name] {
			t.Errorf("%s went from %d to %d", name, before[name], after[name])
		}
	}

	// The proof that this can fail: without the sysctls all of it happens.
	for key, value := range map[string]string{"rp_filter": "0", "forwarding": "1"} {
		if err := a.Sysctl("net/ipv4/conf/pfsync0/"+key, value); err != nil {
			t.Fatal(err)
		}
	}
	writeAll()
	labtest.Eventually(t, "without the sysctls frames are delivered, answered and forwarded", func() bool {
		now := snmp(t, a)
		for _, name := range harm {
			if now[name] == after[name] {
				return false
			}
		}
		return true
	})
}

// The same for IPv6.
func TestFramesOfIPv6AreOnlyShown(t *testing.T) {
	a, b := newVeth(t)
	labtest.Run(t, a, "ip addr add 2001:db8::1/64 dev sis2 nodad")
	labtest.Run(t, b, "ip addr add 2001:db8::2/64 dev sis2 nodad")
	d := newDevice(t, a)
	setUp(t, d)
	if err := a.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil { // later than it was made
		t.Fatal(err)
	}
	forwarded := func() (n int) {
		for line := range strings.Lines(labtest.Run(t, a, "cat /proc/net/snmp6")) {
			if words := strings.Fields(line); words[0] == "Ip6OutForwDatagrams" {
				n, _ = strconv.Atoi(words[1])
			}
		}
		return n
	}
	next := capture(t, a, d.Status().Index)
	write := func() {
		t.Helper()
		f := frame(own6, peer6, "payload")
		if err := d.Write(f); err != nil {
			t.Fatal(err)
		}
		for !cmp.Equal(next(), f) { // what comes after it is the kernel's own
		}
	}
	for range 10 {
		write()
	}
	if n := forwarded(); n != 0 {
		t.Errorf("%d forwarded", n)
	}
	// The proof that this can fail.
	if err := a.Sysctl("net/ipv6/conf/pfsync0/disable_ipv6", "0"); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "forwarded without the sysctl", func() bool { write(); return forwarded() > 0 })
}

// Someone sets net.ipv4.ip_forward later, which sets forwarding on all interfaces.
func TestForwardingSwitchedOnLater(t *testing.T) {
	a, _ := newVeth(t)
	d := newDevice(t, a)
	setUp(t, d)
	if err := a.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(frame(peer, third, "payload")); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "dropped by the reverse path filter", func() bool { return snmp(t, a)["TcpExt.IPReversePathFilter"] == 1 })
	if n := snmp(t, a)["Ip.ForwDatagrams"]; n != 0 {
		t.Errorf("%d forwarded", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	ns := labtest.NewNS(b)
	d := newDevice(b, ns)
	setUp(b, d)
	f := frame(own, link.Group, strings.Repeat("x", 1400))
	b.SetBytes(int64(len(f)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Write(f); err != nil {
			b.Fatal(err)
		}
	}
}
