package hold_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// rules is an operator's: connections are tracked, the client's translated, the server's led to it.
const rules = `table inet fw {
	chain forward { type filter hook forward priority 0; ct state invalid drop; ct state established,related accept; ct mark set meta mark; }
}
table ip nat {
	chain pre { type nat hook prerouting priority -100; iifname "in" tcp dport 81 dnat to 10.2.0.2:80; }
	chain post { type nat hook postrouting priority 100; oifname "out" udp dport 5000 snat to 10.2.0.7; oifname "out" tcp dport 80 snat to 10.2.0.7; }
}`

// router is a firewall between a client and a server.
type router struct {
	t                      testing.TB
	client, server, router *lab.NS
	holder                 *hold.Holder
	stop                   func()
}

// newRouter opens a holder before the rules, or after them.
func newRouter(t testing.TB, first bool) *router {
	t.Helper()
	return newRouterWith(t, first, hold.Open)
}

func newRouterWith(t testing.TB, first bool, open func(hold.Config) (*hold.Holder, error)) *router {
	t.Helper()
	r := &router{t: t, client: labtest.NewNS(t), server: labtest.NewNS(t), router: labtest.NewNS(t)}
	for i, end := range []struct {
		ns   *lab.NS
		link string
	}{{r.client, "in"}, {r.server, "out"}} {
		labtest.Run(t, r.router, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s", end.link, end.ns.Name))
		for _, side := range []struct {
			ns   *lab.NS
			link string
			host int
		}{{r.router, end.link, 1}, {end.ns, "eth0", 2}} {
			labtest.Run(t, side.ns, fmt.Sprintf("ip addr add 10.%d.0.%d/24 dev %s", i+1, side.host, side.link))
			labtest.Run(t, side.ns, fmt.Sprintf("ip addr add fd0%d::%d/64 dev %s nodad", i+1, side.host, side.link))
			labtest.Run(t, side.ns, "ip link set "+side.link+" up")
		}
		labtest.Run(t, end.ns, fmt.Sprintf("ip route add default via 10.%d.0.1", i+1))
		labtest.Run(t, end.ns, fmt.Sprintf("ip route add default via fd0%d::1", i+1))
	}
	labtest.Run(t, r.router, "ip addr add 10.2.0.7/24 dev out")
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := r.router.Sysctl("net/"+s, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if !first {
		r.load()
	}
	var err error
	if r.holder, err = open(hold.Config{NetNS: r.router.Fd()}); err != nil {
		t.Fatal(err)
	}
	if first {
		r.load()
	}
	r.stop = labtest.Background(t, r.holder.Run)
	return r
}

func (r *router) load() {
	r.t.Helper()
	err := r.router.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// list is our table as the kernel has it.
func (r *router) list() string {
	out, err := r.router.Output(r.t.Context(), "nft", "list", "table", "inet", hold.TableName)
	if err != nil && !strings.Contains(err.Error(), "No such file or directory") {
		r.t.Fatal(err)
	}
	return out
}

// arm diverts packets, and waits until that is so.
func (r *router) arm() {
	r.t.Helper()
	r.holder.Arm(true)
	labtest.Eventually(r.t, "rules", func() bool { where, err := r.holder.Where(); return err != nil || where != hold.Nowhere })
	if _, err := r.holder.Where(); err != nil {
		r.t.Fatal(err)
	}
}

// listen opens a UDP socket in a namespace.
func listen(t testing.TB, ns *lab.NS, addr string) *net.UDPConn {
	t.Helper()
	var c net.PacketConn
	err := ns.Do(func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// dial connects a UDP socket from a namespace.
func dial(t testing.TB, ns *lab.NS, to string, control func(string, string, syscall.RawConn) error) *net.UDPConn {
	t.Helper()
	var c net.Conn
	err := ns.Do(func() (err error) { c, err = (&net.Dialer{Control: control}).Dial("udp", to); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// next is the next packet that is held.
func (r *router) next() hold.Packet {
	r.t.Helper()
	select {
	case b := <-r.holder.Packets():
		defer b.Free()
		if len(b.Items) != 1 {
			r.t.Fatalf("%d packets at once", len(b.Items))
		}
		return b.Items[0]
	case <-time.After(labtest.Patience):
		r.t.Fatal("no packet is held")
	}
	panic("not reached")
}

// none checks that no packet waits to be read.
func (r *router) none() {
	r.t.Helper()
	select {
	case b := <-r.holder.Packets():
		r.t.Errorf("held: %+v", b.Items)
	default:
	}
}

// quiet checks that nothing has come to a socket.
func quiet(t *testing.T, c *net.UDPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := c.ReadFrom(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came, %v", n, err)
	}
}

// comes reads a datagram of that length.
func comes(t testing.TB, c *net.UDPConn, length int) {
	t.Helper()
	b := make([]byte, 1<<16)
	c.SetReadDeadline(time.Now().Add(labtest.Patience))
	if n, _, err := c.ReadFrom(b); err != nil || n != length {
		t.Errorf("%d bytes came, want %d, %v", n, length, err)
	}
}

func tuple(src string, sport uint16, dst string, dport uint16) pfstate.Tuple {
	return pfstate.Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: sport, DstPort: dport}
}

// ping sends an echo request and waits for the reply.
func ping(network, to string, request byte) func() error {
	return func() error {
		c, err := net.Dial(network, to)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(labtest.Patience))
		echo := []byte{request, 0, 0, 0, 0, 7, 0, 1} // id 7
		if request == 8 {
			binary.BigEndian.PutUint16(echo[2:], 0xffff-(8<<8+7+1)) // the kernel sums up that of ICMPv6
		}
		if _, err := c.Write(echo); err != nil {
			return err
		}
		for b := make([]byte, 100); ; {
			if n, err := c.Read(b); err != nil || n >= 8 && b[0] != request {
				return err
			}
		}
	}
}

// refused connects to where nobody listens.
func refused(to string) func() error {
	return func() error {
		_, err := (&net.Dialer{Timeout: labtest.Patience}).Dial("tcp", to)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("not refused: %w", err)
		}
		return nil
	}
}

// A first packet waits until it is let go, whatever it is, and shows how it leaves.
func TestFirstPacketsAreHeld(t *testing.T) {
	r := newRouter(t, true)
	r.arm()
	for _, c := range []struct {
		name string
		from *lab.NS
		ask  func() error // ends when it has its answer
		want hold.Packet
	}{
		{"icmp", r.client, ping("ip4:icmp", "10.2.0.2", 8), hold.Packet{Proto: pfstate.ProtoICMP, Tuple: tuple("10.1.0.2", 7, "10.2.0.2", 8)}},
		{"icmpv6", r.client, ping("ip6:ipv6-icmp", "fd02::2", 128), hold.Packet{Proto: pfstate.ProtoICMPv6, Tuple: tuple("fd01::2", 7, "fd02::2", 128)}},
		{"tcp", r.client, refused("[fd02::2]:99"), hold.Packet{Proto: pfstate.ProtoTCP, Tuple: tuple("fd01::2", 0, "fd02::2", 99)}},
		{"snat", r.client, refused("10.2.0.2:80"), hold.Packet{Proto: pfstate.ProtoTCP, Tuple: tuple("10.2.0.7", 0, "10.2.0.2", 80)}},
		{"dnat and snat", r.client, refused("10.9.9.9:81"), hold.Packet{Proto: pfstate.ProtoTCP, Tuple: tuple("10.2.0.7", 0, "10.2.0.2", 80)}},
		{"of the firewall", r.router, refused("10.2.0.2:99"), hold.Packet{Proto: pfstate.ProtoTCP, Tuple: tuple("10.2.0.1", 0, "10.2.0.2", 99)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ended := make(chan error, 1)
			go func() { ended <- c.from.Do(c.ask) }()
			p := r.next()
			if p.Proto == pfstate.ProtoTCP {
				p.Tuple.SrcPort = 0 // any
			}
			if p.Proto != c.want.Proto || p.Tuple != c.want.Tuple {
				t.Errorf("held %+v, want %+v", p, c.want)
			}
			select {
			case err := <-ended:
				t.Errorf("answered while the first packet was held, %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			r.holder.Release([]uint32{p.ID})
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	r.none()
	labtest.Eventually(t, "it is known where packets are caught", func() bool { where, _ := r.holder.Where(); return where == hold.Late })
}

// What follows the first packet of a flow without an answer is not held, but when it has been quiet for long.
func TestOnlyTheFirstPacketIsHeld(t *testing.T) {
	r := newRouter(t, true)
	r.arm()
	to, from := listen(t, r.server, ":5000"), dial(t, r.client, "10.2.0.2:5000", nil)
	from.Write([]byte("1"))
	p := r.next()
	for _, more := range []string{"22", "333", "4444"} {
		from.Write([]byte(more))
		comes(t, to, len(more))
	}
	r.none()
	r.holder.Release([]uint32{p.ID})
	comes(t, to, 1)
}

// Fragments come as the whole that they are of, and packets that the sender left to be cut in one piece.
func TestFragmentsAndSegments(t *testing.T) {
	r := newRouter(t, true)
	r.arm()
	const udpSegment = 103 // UDP_SEGMENT
	for _, c := range []struct {
		name, server string
		segment      int
		length       int
	}{{"IPv4 fragments", "10.2.0.2:5001", 0, 5000}, {"IPv6 fragments", "[fd02::2]:5001", 0, 5000}, {"segments", "10.2.0.2:5001", 1000, 3000}} {
		t.Run(c.name, func(t *testing.T) {
			to := listen(t, r.server, c.server)
			from := dial(t, r.client, c.server, func(_, _ string, raw syscall.RawConn) (err error) {
				if c.segment > 0 {
					raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_UDP, udpSegment, c.segment) })
				}
				return err
			})
			if _, err := from.Write(bytes.Repeat([]byte("x"), c.length)); err != nil {
				t.Fatal(err)
			}
			p := r.next()
			if p.Proto != pfstate.ProtoUDP || p.Tuple.DstPort != 5001 {
				t.Errorf("held %+v", p)
			}
			quiet(t, to)
			r.holder.Release([]uint32{p.ID})
			if c.segment == 0 {
				comes(t, to, c.length)
				return
			}
			for range c.length / c.segment {
				comes(t, to, c.segment)
			}
		})
	}
	r.none()
}

// Rules that were there before us make packets come too early for this kernel: they pass, and that is told.
func TestWrongOrderHoldsNothing(t *testing.T) {
	r := newRouter(t, false)
	r.arm()
	to, from := listen(t, r.server, ":5000"), dial(t, r.client, "10.2.0.2:5000", nil)
	from.Write([]byte("hello"))
	comes(t, to, 5)
	labtest.Eventually(t, "wrong order", func() bool { where, _ := r.holder.Where(); return where == hold.Wrong })
	r.none()
}

// Nobody reads: what the queue has no room for goes on, and is counted.
func TestFullQueueIsBypassed(t *testing.T) {
	r := newRouter(t, true)
	r.arm()
	to := listen(t, r.server, ":5000")
	const flows = hold.Limit + 100
	for range flows {
		dial(t, r.client, "10.2.0.2:5000", nil).Write([]byte("x"))
	}
	for range flows - hold.Limit {
		comes(t, to, 1)
	}
	quiet(t, to)
	var ids []uint32
	for len(ids) < hold.Limit {
		b := <-r.holder.Packets()
		for _, p := range b.Items {
			ids = append(ids, p.ID)
		}
		b.Free()
	}
	labtest.Eventually(t, "bypassed packets are counted", func() bool { return r.holder.Bypassed() == flows-hold.Limit })
	r.holder.Release(ids)
	for range hold.Limit {
		comes(t, to, 1)
	}
}

func TestMarkedConnectionsAreNotHeld(t *testing.T) {
	r := newRouter(t, true)
	labtest.Run(t, r.router, "nft insert rule inet fw forward udp dport 5002 meta mark set 0x42")
	r.holder.Exclude(hold.Mark{Value: 2, Mask: 2})
	r.arm()
	to, from := listen(t, r.server, ":5002"), dial(t, r.client, "10.2.0.2:5002", nil)
	from.Write([]byte("hello"))
	comes(t, to, 5)
	r.none()
	r.holder.Exclude(hold.Mark{Value: 1, Mask: 1})
	labtest.Eventually(t, "the other mark", func() bool { return strings.Contains(r.list(), "ct mark & 0x00000001 == 0x00000001 return") })
	dial(t, r.client, "10.2.0.2:5002", nil).Write([]byte("hello"))
	r.holder.Release([]uint32{r.next().ID})
	comes(t, to, 5)
}

// A flush of the ruleset leaves our table alone, -defer leaves an empty chain, the end nothing, and what is held
// then goes on.
func TestNothingRemains(t *testing.T) {
	r := newRouter(t, true)
	if s := r.list(); strings.Count(s, "ct ") != 0 || !strings.Contains(s, "priority 2147483647") {
		t.Errorf("before: %s", s)
	}
	r.arm()
	labtest.Run(t, r.router, "nft flush ruleset")
	r.load()
	to, from := listen(t, r.server, ":5000"), dial(t, r.client, "10.2.0.2:5000", nil)
	from.Write([]byte("hello"))
	p := r.next()
	r.holder.Arm(false)
	labtest.Eventually(t, "no rules", func() bool { return strings.Count(r.list(), "ct ") == 0 })
	if s := r.list(); strings.Contains(s, "set ") {
		t.Errorf("disarmed: %s", s)
	}
	quiet(t, to)
	r.holder.Release([]uint32{p.ID})
	comes(t, to, 5)

	r.arm()
	dial(t, r.client, "10.2.0.2:5000", nil).Write([]byte("again"))
	r.next()
	r.stop()
	comes(t, to, 5)
	if s := r.list(); s != "" {
		t.Errorf("at the end: %s", s)
	}
	if s := labtest.Run(t, r.router, "nft list ruleset"); !strings.Contains(s, "snat to 10.2.0.7") {
		t.Errorf("the operator's rules: %s", s)
	}
}

// On a kernel without owners a flush of the ruleset takes our rules too. They are made anew, and it is counted when
// some were in use. If the operator's come after them packets are held again.
func TestRemovedRulesAreMadeAnew(t *testing.T) {
	r := newRouterWith(t, true, hold.OpenCommon)
	r.arm()
	to := listen(t, r.server, ":5000")
	held := func() {
		t.Helper()
		dial(t, r.client, "10.2.0.2:5000", nil).Write([]byte("hello"))
		r.holder.Release([]uint32{r.next().ID})
		comes(t, to, 5)
	}
	held()
	labtest.Run(t, r.router, "nft flush ruleset")
	labtest.Eventually(t, "they are made anew", func() bool { return strings.Contains(r.list(), "ct state") })
	r.load()
	held()
	if n := counter(r.holder, "hold_restored"); n != 1 {
		t.Errorf("counted %d times", n)
	}

	r.holder.Arm(false)
	labtest.Eventually(t, "no rules", func() bool { return strings.Count(r.list(), "ct ") == 0 })
	labtest.Run(t, r.router, "nft flush ruleset")
	r.arm()
	r.load()
	held()
	if n, m := counter(r.holder, "hold_restored"), counter(r.holder, "hold_bypassed"); n != 1 || m != 0 {
		t.Errorf("restored %d times, %d packets bypassed", n, m)
	}
	r.stop()
	if s := r.list(); s != "" {
		t.Errorf("at the end: %s", s)
	}
}

func counter(h *hold.Holder, name string) uint64 {
	for _, c := range h.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	panic(name)
}

// The table of a process that has left one behind, on a kernel without owners, goes at the next start.
func TestLeftoversAreRemoved(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "nft add table inet "+hold.TableName)
	labtest.Run(t, ns, "nft add chain inet "+hold.TableName+" old { type filter hook postrouting priority 0 ; }")
	h, err := hold.Open(hold.Config{NetNS: ns.Fd()})
	if err != nil {
		t.Fatal(err)
	}
	out := labtest.Run(t, ns, "nft list ruleset")
	if strings.Contains(out, "chain old") || strings.Count(out, "chain ") != 1 {
		t.Errorf("rules: %s", out)
	}
	if _, err := hold.Open(hold.Config{NetNS: ns.Fd()}); err == nil || !strings.Contains(err.Error(), "of another process") {
		t.Errorf("a second holder: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	if out := labtest.Run(t, ns, "nft list ruleset"); out != "" {
		t.Errorf("left: %s", out)
	}
}
