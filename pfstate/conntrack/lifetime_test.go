package conntrack_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
)

// TestTrafficTakesALeaseBack: an entry that was given another lifetime, longer or
// shorter, has that of its class again after the next packet. By this local
// traffic shows.
func TestTrafficTakesALeaseBack(t *testing.T) {
	n := newNetwork(t)
	n.echo(t)
	for name, seconds := range map[string]string{
		"tcp_timeout_established": "5000", "tcp_timeout_unacknowledged": "4000", "udp_timeout": "6000", "udp_timeout_stream": "6500",
	} {
		if err := n.router.Sysctl("net/netfilter/nf_conntrack_"+name, seconds); err != nil {
			t.Fatal(err)
		}
	}
	nft(t, n.router, "table inet filter {\n chain forward {\n meta l4proto udp accept\n }\n }")
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	conn, flow := n.dial(t, "10.2.0.2:8080"), n.newUDP(t, false)
	for _, c := range []struct {
		name    string
		proto   uint8
		traffic func()
		class   []time.Duration // in seconds
	}{
		{"TCP", pfstate.ProtoTCP, func() { exchange(t, conn, 1000) }, []time.Duration{5000, 4000}}, // the last byte may be on its way
		{"UDP", pfstate.ProtoUDP, func() { flow.must(flow.ask()) }, []time.Duration{6000}},
		{"UDP answered", pfstate.ProtoUDP, func() { flow.must(flow.answer()) }, []time.Duration{6000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.traffic()
			var s *pfstate.State
			for _, seen := range h.Dump() {
				if seen.State.Proto == c.proto {
					s = &seen.State
				}
			}
			if s == nil {
				t.Fatal("the flow is not in the dump")
			}
			for _, lease := range []time.Duration{10 * 24 * time.Hour, 20 * time.Second} {
				s.Expire = lease
				h.Apply(pfstate.WriteUpdate, *s, 0)
				h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true, Notify: true, State: *s})
				h.Until(pfstate.Applied)
				if got := h.Probe(*s).State.Expire; got > lease || got < lease-2*time.Second {
					t.Errorf("lease: %v left, want %v", got, lease)
				}
				c.traffic()
				got := h.Probe(*s).State.Expire
				if !slices.ContainsFunc(c.class, func(want time.Duration) bool { return got <= want*time.Second && got >= (want-2)*time.Second }) {
					t.Errorf("after a packet: %v left, want one of %v s", got, c.class)
				}
			}
		})
	}
}
