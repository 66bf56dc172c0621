package conntrack_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// network is client - router - server, with a ruleset on the router that lets
// nothing through but what conntrack knows, and new connections from the client.
type network struct{ client, router, server *lab.NS }

const filter = `
table inet filter {
	chain forward {
		type filter hook forward priority 0; policy drop
		meta l4proto ipv6-icmp accept
		ct state invalid drop
		ct state established,related accept
		iifname "in" tcp flags & (fin|syn|rst|ack) == syn ct state new accept
	}
	chain input {
		type filter hook input priority 0; policy drop
		meta l4proto ipv6-icmp accept
		ct state established accept
	}
}`

func newNetwork(t *testing.T) network {
	n := network{labtest.NewNS(t), labtest.NewNS(t), labtest.NewNS(t)}
	for _, l := range []struct {
		near, far, net string
		ns             *lab.NS
	}{{"in", "c0", "1", n.client}, {"out", "s0", "2", n.server}} {
		labtest.Run(t, n.router, "ip link add "+l.near+" type veth peer name "+l.far+" netns "+l.ns.Name)
		labtest.Run(t, n.router, "ip addr add 10."+l.net+".0.1/24 dev "+l.near)
		labtest.Run(t, n.router, "ip addr add fd0"+l.net+"::1/64 dev "+l.near+" nodad")
		labtest.Run(t, n.router, "ip link set "+l.near+" up")
		labtest.Run(t, l.ns, "ip addr add 10."+l.net+".0.2/24 dev "+l.far)
		labtest.Run(t, l.ns, "ip addr add fd0"+l.net+"::2/64 dev "+l.far+" nodad")
		labtest.Run(t, l.ns, "ip link set "+l.far+" up")
		labtest.Run(t, l.ns, "ip route add default via 10."+l.net+".0.1")
		labtest.Run(t, l.ns, "ip -6 route add default via fd0"+l.net+"::1")
	}
	// What the client calls and what the server sees, when translated.
	labtest.Run(t, n.router, "ip addr add 10.1.0.80/32 dev in")
	labtest.Run(t, n.router, "ip addr add fd01::80/128 dev in nodad")
	labtest.Run(t, n.router, "ip addr add 10.2.0.77/32 dev out")
	labtest.Run(t, n.router, "ip addr add fd02::77/128 dev out nodad")
	for path, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/netfilter/nf_conntrack_tcp_loose": "0",
	} {
		if err := n.router.Sysctl(path, value); err != nil {
			t.Fatal(err)
		}
	}
	nft(t, n.router, filter)
	return n
}

func nft(t *testing.T, ns *lab.NS, rules string) {
	t.Helper()
	path := t.TempDir() + "/rules"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, ns, "nft -f "+path)
}

// echo serves one connection after another until the test ends.
func (n network) echo(t *testing.T) {
	t.Helper()
	var l net.Listener
	if err := n.server.Do(func() (err error) {
		l, err = net.Listen("tcp", "[::]:8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-served })
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c) // ends with the connection, however that ends
			c.Close()
		}
	}()
}

func (n network) dial(t *testing.T, to string) net.Conn {
	t.Helper()
	var c net.Conn
	if err := n.client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", to, 30*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends size bytes and wants them back.
func exchange(t *testing.T, c net.Conn, size int) {
	t.Helper()
	out, in := make([]byte, size), make([]byte, size)
	rand.Read(out)
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(out)
		sent <- err
	}()
	if _, err := io.ReadFull(c, in); err != nil {
		t.Fatalf("the connection is dead: %v", err)
	}
	if err := <-sent; err != nil || !bytes.Equal(in, out) {
		t.Fatalf("echo differs or %v", err)
	}
}

func TestTrafficMakesChanges(t *testing.T) {
	n := newNetwork(t)
	n.echo(t)
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	c := n.dial(t, "10.2.0.2:8080")
	exchange(t, c, 100)
	c.Close()
	var got []string
	for {
		c := h.Next()
		if c.State.Proto != pfstate.ProtoTCP {
			continue
		}
		got = append(got, fmt.Sprintf("%s %s:%s", tabletest.KindName(c.Kind), c.State.Src.State.Name(6), c.State.Dst.State.Name(6)))
		if c.State.Src.State == pfstate.TCPFinWait2 && c.State.Dst.State == pfstate.TCPFinWait2 {
			orig, reply := c.State.Tuples()
			if orig.Src != netip.MustParseAddr("10.1.0.2") || orig.DstPort != 8080 || reply != orig.Reversed() {
				t.Errorf("tuples %v, %v", orig, reply)
			}
			break
		}
	}
	// The server may acknowledge the FIN before its own or with it.
	text := strings.Replace(strings.Join(got, "\n"), "updated FIN_WAIT_2:ESTABLISHED\n", "", 1)
	want := strings.Join([]string{
		"created SYN_SENT:CLOSED",
		"updated ESTABLISHED:SYN_SENT",
		"updated ESTABLISHED:ESTABLISHED",
		"updated CLOSING:ESTABLISHED",
		"updated FIN_WAIT_2:CLOSING",
		"updated FIN_WAIT_2:FIN_WAIT_2",
	}, "\n")
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestImportedStateCarriesTheConnection takes a live connection's state, wipes the
// kernel's table and the translation rules, and puts the state back: the router
// is then as good as another one. Each connection is first shown to be dead
// without it.
func TestImportedStateCarriesTheConnection(t *testing.T) {
	const snat = `chain post { type nat hook postrouting priority 100; oifname "out" ip protocol tcp snat ip to 10.2.0.77:20000-20010; oifname "out" ip6 nexthdr tcp snat ip6 to [fd02::77]:20000-20010; }`
	const dnat = `chain pre { type nat hook prerouting priority -100; iifname "in" ip daddr 10.1.0.80 tcp dport 80 dnat ip to 10.2.0.2:8080; iifname "in" ip6 daddr fd01::80 tcp dport 80 dnat ip6 to [fd02::2]:8080; }`
	for name, c := range map[string]struct{ rules, to4, to6 string }{
		"plain": {"", "10.2.0.2:8080", "[fd02::2]:8080"},
		"SNAT":  {snat, "10.2.0.2:8080", "[fd02::2]:8080"},
		"DNAT":  {dnat, "10.1.0.80:80", "[fd01::80]:80"},
		"both":  {snat + "\n" + dnat, "10.1.0.80:80", "[fd01::80]:80"},
	} {
		for family, to := range map[string]string{"IPv4": c.to4, "IPv6": c.to6} {
			t.Run(name+" "+family, func(t *testing.T) {
				n := newNetwork(t)
				n.echo(t)
				if c.rules != "" {
					nft(t, n.router, "table inet nat {\n"+c.rules+"\n}")
				}
				h, k := tabletest.Start(t, open(t, n.router, conntrack.Config{})), openKernel(t, n.router)
				conn := n.dial(t, to)
				exchange(t, conn, 1<<20)
				var s pfstate.State
				for s.Dst.State != pfstate.TCPEstablished {
					if c := h.Next(); c.State.Proto == pfstate.ProtoTCP {
						s = c.State
					}
				}
				if want := c.rules != ""; s.Translated() != want {
					t.Fatalf("%v: translated %v, want %v", &s, s.Translated(), want)
				}
				if c.rules != "" {
					labtest.Run(t, n.router, "nft delete table inet nat")
				}
				k.flush()
				if err := conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Fatal("the connection lives without its state: this test proves nothing")
				}
				h.Apply(pfstate.WriteInsert, s, 0)
				if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // what was sent while it was dead
					t.Fatalf("dead: %v; %v", err, k.dump())
				}
				exchange(t, conn, 1<<20)
			})
		}
	}
}
