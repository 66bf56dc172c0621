package carpif_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

var (
	virtual  = net.HardwareAddr{0, 0, 0x5e, 0, 1, 1}
	vip      = netip.MustParsePrefix("10.0.0.1/24")
	vip6     = netip.MustParsePrefix("2001:db8::1/64")
	both     = []netip.Prefix{vip, vip6}
	addrA    = netip.MustParseAddr("10.0.0.254")
	addrB    = netip.MustParseAddr("10.0.0.253")
	client   = netip.MustParseAddr("10.0.0.10")
	lifetime = time.Minute // longer than any test
)

// advert is of the length of a CARP header; its bytes are nobody's business here.
func advert(seed byte) []byte { return slices.Repeat([]byte{0x21, 1, seed}, 12) }

// lan is two firewalls and a client on a learning switch; each has sis0.
type lan struct{ sw, a, b, client *lab.NS }

func newLAN(tb testing.TB) lan {
	tb.Helper()
	l := lan{labtest.NewNS(tb), labtest.NewNS(tb), labtest.NewNS(tb), labtest.NewNS(tb)}
	labtest.Run(tb, l.sw, "ip link add br0 type bridge mcast_snooping 0")
	labtest.Run(tb, l.sw, "ip link set br0 up")
	for port, ns := range map[string]*lab.NS{"a": l.a, "b": l.b, "client": l.client} {
		for _, key := range []string{"all", "default"} {
			if err := ns.Sysctl("net/ipv6/conf/"+key+"/accept_dad", "0"); err != nil {
				tb.Fatal(err)
			}
		}
		l.plug(tb, ns, port)
	}
	return l
}

func (l lan) plug(tb testing.TB, ns *lab.NS, port string) {
	tb.Helper()
	number := map[string]int{"a": 254, "b": 253, "client": 10}[port]
	labtest.Run(tb, ns, "ip link add sis0 type veth peer name "+port+" netns "+l.sw.Name)
	labtest.Run(tb, l.sw, "ip link set dev "+port+" master br0 up")
	labtest.Run(tb, ns, fmt.Sprintf("ip addr add 10.0.0.%d/24 dev sis0", number))
	labtest.Run(tb, ns, fmt.Sprintf("ip addr add 2001:db8::%d/64 dev sis0", number))
	labtest.Run(tb, ns, "ip link set sis0 up")
}

// at is the port of the switch behind which it has seen the MAC; "": nowhere.
func (l lan) at(tb testing.TB, mac net.HardwareAddr) string {
	tb.Helper()
	for line := range strings.Lines(labtest.Run(tb, l.sw, "bridge fdb show br br0")) {
		if words := strings.Fields(line); words[0] == mac.String() {
			return words[2]
		}
	}
	return ""
}

func newSystem(tb testing.TB, ns *lab.NS) *carpif.System {
	tb.Helper()
	s, err := carpif.New(slog.New(slog.DiscardHandler), carpif.NetNS(ns.Fd()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// open opens carp0 with vhid 1 on sis0; it is closed by the end of the test.
func open(tb testing.TB, s *carpif.System) carp.Device {
	tb.Helper()
	return openAs(tb, s, "carp0", virtual)
}

func openAs(tb testing.TB, s *carpif.System, name string, mac net.HardwareAddr) carp.Device {
	tb.Helper()
	d, err := s.Open(name, "sis0", mac)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// awaitLink waits for a condition of the carpdev.
func awaitLink(tb testing.TB, d carp.Device, what string, fits func(carp.Link) bool) carp.Link {
	tb.Helper()
	timeout := time.After(labtest.Patience)
	for {
		select {
		case e, ok := <-d.Events():
			if !ok {
				tb.Fatalf("events end before %q", what)
			}
			if e.Link != nil && fits(*e.Link) {
				return *e.Link
			}
		case <-timeout:
			tb.Fatalf("never: %s", what)
		}
	}
}

// awaitPacket waits for a packet with that payload.
func awaitPacket(tb testing.TB, d carp.Device, payload []byte) carp.Packet {
	tb.Helper()
	timeout := time.After(labtest.Patience)
	for {
		select {
		case e := <-d.Events():
			if e.Packet != nil && slices.Equal(e.Packet.Payload, payload) {
				return *e.Packet
			}
		case <-timeout:
			tb.Fatalf("the packet %x never comes", payload)
		}
	}
}

func counter(tb testing.TB, s *carpif.System, name string) uint64 {
	tb.Helper()
	for _, c := range s.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	tb.Fatalf("no counter %s", name)
	return 0
}

// port sees and sends whole frames at an interface.
type port struct {
	tb    testing.TB
	file  *os.File
	index int
	asked byte // questions of whoHas
}

func newPort(tb testing.TB, ns *lab.NS, name string) *port {
	tb.Helper()
	p := &port{tb: tb}
	check(tb, ns.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		p.index = i.Index
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		p.file = os.NewFile(uintptr(fd), name)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	}))
	tb.Cleanup(func() { p.file.Close() })
	return p
}

// next returns the next frame of that EtherType that fits.
func (p *port) next(what string, etherType uint16, fits func(frame []byte) bool) []byte {
	p.tb.Helper()
	p.file.SetReadDeadline(time.Now().Add(labtest.Patience))
	for {
		b := make([]byte, 2048)
		n, err := p.file.Read(b)
		if err != nil {
			p.tb.Fatalf("%s never comes: %v", what, err)
		}
		if b = b[:n]; n > 14 && binary.BigEndian.Uint16(b[12:]) == etherType && fits(b) {
			return b
		}
	}
}

// proto112 returns the next frame with an advert.
func (p *port) proto112(etherType uint16) []byte {
	p.tb.Helper()
	at := 14 + 9
	if etherType == unix.ETH_P_IPV6 {
		at = 14 + 6
	}
	return p.next("an advert", etherType, func(b []byte) bool { return b[at] == 112 })
}

// whoHas asks once for addr as the client does, and returns the MACs that answer: so many
// as are awaited, and those that come while both firewalls are asked, several times, for
// addresses of their own. (A macvlan answers a little later than the carpdev.)
func (p *port) whoHas(addr netip.Addr, awaited int) (macs []string) {
	p.tb.Helper()
	p.asked++
	me := net.HardwareAddr{2, 0, 0, 0, 0, p.asked} // so that no answer is one to another question
	ask := func(target netip.Addr) {
		b := slices.Concat(slices.Repeat([]byte{0xff}, 6), me, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
			me, client.AsSlice(), make([]byte, 6), target.AsSlice())
		_, err := p.file.Write(b)
		check(p.tb, err)
	}
	await := func(answers int, of ...netip.Addr) {
		for answers > 0 {
			b := p.next("an ARP answer", unix.ETH_P_ARP, func(b []byte) bool {
				return b[21] == 2 && net.HardwareAddr(b[:6]).String() == me.String()
			})
			from, _ := netip.AddrFromSlice(b[28:32])
			if from == addr {
				macs = append(macs, net.HardwareAddr(b[22:28]).String())
			}
			if slices.Contains(of, from) {
				answers--
			}
		}
	}
	ask(addr)
	await(awaited, addr)
	for range 5 {
		ask(addrA)
		ask(addrB)
		await(2, addrA, addrB)
	}
	return macs
}

func addresses(tb testing.TB, ns *lab.NS) string {
	tb.Helper()
	return labtest.Run(tb, ns, "ip -o addr show dev carp0")
}
