package conntrack_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// pass is a filter for what else crosses the router.
const pass = `
table inet pass {
	chain forward {
		type filter hook forward priority -10; policy accept
		ct state new,established counter
	}
}`

// udp is one flow through the network, whose packets can be counted on: none is
// answered but by say, and nothing else is sent.
type udp struct {
	t              *testing.T
	client, server *net.UDPConn
	from           netip.AddrPort // as the server sees the client, once it has heard
}

// newUDP needs a router that lets UDP through.
func (n network) newUDP(t *testing.T, v6 bool) *udp {
	t.Helper()
	if v6 {
		return newUDP(t, n.client, "fd01::2", n.server, "fd02::2")
	}
	return newUDP(t, n.client, "10.1.0.2", n.server, "10.2.0.2")
}

func newUDP(t *testing.T, from *lab.NS, fromAddr string, to *lab.NS, toAddr string) *udp {
	t.Helper()
	u := &udp{t: t}
	client, server := netip.MustParseAddr(fromAddr), netip.MustParseAddr(toAddr)
	if err := to.Do(func() (err error) {
		u.server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 5300)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.server.Close() })
	if err := from.Do(func() (err error) {
		u.client, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 4000)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 5300)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.client.Close() })
	return u
}

// ask sends one packet to the server and waits until it is there.
func (u *udp) ask() error {
	if _, err := u.client.Write([]byte("?")); err != nil {
		return err
	}
	if err := u.server.SetReadDeadline(time.Now().Add(labtest.Patience)); err != nil {
		return err
	}
	_, from, err := u.server.ReadFromUDPAddrPort(make([]byte, 10))
	u.from = from
	return err
}

// answer sends one packet back.
func (u *udp) answer() error {
	if _, err := u.server.WriteToUDPAddrPort([]byte("!"), u.from); err != nil {
		return err
	}
	if err := u.client.SetReadDeadline(time.Now().Add(labtest.Patience)); err != nil {
		return err
	}
	_, err := u.client.Read(make([]byte, 10))
	return err
}

// close frees the ports for another flow.
func (u *udp) close() {
	u.client.Close()
	u.server.Close()
}

// must fails the test.
func (u *udp) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}
