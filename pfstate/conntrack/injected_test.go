package conntrack_test

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
)

// masquerade translates each protocol, in both directions of a call.
const masquerade = `
table inet nat {
	chain post { type nat hook postrouting priority 100; oifname "out" masquerade; }
	chain pre {
		type nat hook prerouting priority -100
		iifname "in" ip daddr 10.1.0.80 dnat ip to 10.2.0.2
		iifname "in" ip6 daddr fd01::80 dnat ip6 to fd02::2
	}
}`

// TestTrafficIsNotInjected: entries that packets made are told from those that
// programs made, for each protocol, in both families, translated or not, in events,
// dumps and answers.
func TestTrafficIsNotInjected(t *testing.T) {
	for name, c := range map[string]struct{ rules, to4, to6 string }{
		"plain": {"", "10.2.0.2", "fd02::2"}, "SNAT": {masquerade, "10.2.0.2", "fd02::2"}, "SNAT and DNAT": {masquerade, "10.1.0.80", "fd01::80"},
	} {
		t.Run(name, func(t *testing.T) {
			n := openNetwork(t)
			n.echo(t)
			if c.rules != "" {
				nft(t, n.router, c.rules)
			}
			h, k := tabletest.Start(t, open(t, n.router, conntrack.Config{})), openKernel(t, n.router)
			want := map[string]bool{}
			for _, proto := range []uint8{pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoICMP} {
				for family, to := range map[string]string{"IPv4": c.to4, "IPv6": c.to6} {
					proto := proto
					if proto == pfstate.ProtoICMP && family == "IPv6" {
						proto = pfstate.ProtoICMPv6
					}
					want[fmt.Sprintf("%s %s", pfstate.ProtoName(proto), family)] = true
					n.send(t, proto, to)
				}
			}
			flow := func(c *pfstate.Change) (string, bool) {
				orig, _ := c.State.Tuples()
				family := "IPv6"
				if orig.Src.Is4() {
					family = "IPv4"
				}
				what := fmt.Sprintf("%s %s", pfstate.ProtoName(c.State.Proto), family)
				if want[what] && c.State.Translated() != (name != "plain") {
					t.Errorf("%v: translated %v", &c.State, c.State.Translated())
				}
				return what, want[what]
			}
			var made []pfstate.State
			for len(made) < len(want) {
				c := h.Next()
				if what, ok := flow(&c); ok && c.Kind == pfstate.Created {
					made = append(made, c.State)
					if c.Injected {
						t.Errorf("%s: created: injected", what)
					}
				}
			}
			for _, s := range made {
				seen := h.Probe(s)
				if seen == nil || seen.Injected {
					t.Fatalf("%v: probe: %v, want one that is not injected", &s, seen)
				}
				h.Apply(pfstate.WriteInsert, seen.State, 0)
			}
			seen := 0
			for _, c := range h.Dump() {
				if what, ok := flow(&c); ok {
					seen++
					if c.Injected {
						t.Errorf("%s: injected in a dump after a write", what)
					}
				}
			}
			if seen != len(want) {
				t.Errorf("%d flows in the dump, want %d", seen, len(want))
			}
			// And the reverse: another program's entries.
			s := tabletest.Translated(tabletest.TCP(7), 5000)
			if err := k.Create(s); err != nil {
				t.Fatal(err)
			}
			for {
				c := h.Next()
				if c.Kind != pfstate.Created {
					continue
				}
				if !c.Injected {
					t.Errorf("%v, made by a program: not injected", &c.State)
				}
				break
			}
		})
	}
}

// send has the client send the first packet of a flow; TCP wants its answer.
func (n network) send(t *testing.T, proto uint8, to string) {
	t.Helper()
	if proto == pfstate.ProtoTCP {
		n.dial(t, net.JoinHostPort(to, "8080"))
		return
	}
	network, typ := "udp", icmp.Type(nil)
	packet := []byte("?")
	switch proto {
	case pfstate.ProtoICMP:
		network, typ = "ip4:icmp", ipv4.ICMPTypeEcho
	case pfstate.ProtoICMPv6:
		network, typ = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest
	default:
		to = net.JoinHostPort(to, "5300")
	}
	if err := n.client.Do(func() error {
		c, err := net.Dial(network, to)
		if err != nil {
			return err
		}
		defer c.Close()
		if typ != nil {
			m := icmp.Message{Type: typ, Body: &icmp.Echo{ID: 77}}
			if packet, err = m.Marshal(nil); err != nil { // the kernel sums it up for IPv6
				return err
			}
		}
		_, err = c.Write(packet)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSynproxiedTrafficIsNotInjected: such entries carry the kernel's mark of
// injected ones, but filled in.
func TestSynproxiedTrafficIsNotInjected(t *testing.T) {
	n := openNetwork(t)
	n.echo(t)
	nft(t, n.router, `
table inet proxy {
	chain pre { type filter hook prerouting priority -300; iifname "in" tcp dport 8080 tcp flags syn notrack; }
	chain forward { type filter hook forward priority 0; tcp dport 8080 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm; }
}`)
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	conn := n.dial(t, "10.2.0.2:8080")
	exchange(t, conn, 1000)
	created := h.Until(pfstate.Created)
	if c := created[len(created)-1]; c.Injected || c.State.Proto != pfstate.ProtoTCP {
		t.Errorf("%v: injected %v", &c.State, c.Injected)
	}
	seen := 0
	for _, c := range h.Dump() {
		if c.State.Proto == pfstate.ProtoTCP {
			seen++
			if c.Injected {
				t.Errorf("%v: injected", &c.State)
			}
		}
	}
	if seen == 0 {
		t.Error("no TCP entry in the dump")
	}
}
