package conntrack_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// openNetwork gives a router that forwards UDP.
func openNetwork(t *testing.T) network {
	n := newNetwork(t)
	labtest.Run(t, n.router, "nft delete table inet filter")
	nft(t, n.router, pass)
	return n
}

// TestForwardedPacketsAreNoticed in either family, and no others.
func TestForwardedPacketsAreNoticed(t *testing.T) {
	n := openNetwork(t)
	var f *conntrack.Forwarded
	if err := n.router.Do(func() (err error) {
		f, err = conntrack.OpenForwarded()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	moved := func(what string, want bool) {
		t.Helper()
		if got, err := f.Moved(); got != want || err != nil { // from this thread, in another namespace
			t.Errorf("%s: moved %v, %v; want %v", what, got, err, want)
		}
	}
	moved("nothing", false)
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		u := n.newUDP(t, v6)
		u.must(u.ask())
		moved(name, true)
		moved(name+", then nothing", false)
		u.must(u.answer())
		moved(name+" answer", true)
		moved(name+", then nothing", false)
		u.close()
	}
	// The firewall's own conversations are none of it.
	for _, u := range []*udp{
		newUDP(t, n.client, "10.1.0.2", n.router, "10.1.0.1"), newUDP(t, n.router, "fd02::1", n.server, "fd02::2"),
	} {
		u.must(u.ask())
		u.must(u.answer())
	}
	moved("conversations of the router itself", false)
}

func TestCountersOfForwardedPacketsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		read func([]byte) (uint64, bool)
		want uint64
		ok   bool
	}{
		"IPv4":                {"Ip: Forwarding DefaultTTL ForwDatagrams InUnknownProtos\nIp: 1 64 4294967301 7\nIcmp: x\n", conntrack.IP4Forwarded, 4294967301, true},
		"IPv4, last":          {"Ip: Forwarding ForwDatagrams\nIp: 1 12\n", conntrack.IP4Forwarded, 12, true},
		"IPv4, cut":           {"Ip: Forwarding ForwDatagrams\nIp: 1 12", conntrack.IP4Forwarded, 0, false},
		"IPv4, missing":       {"Ip: Forwarding DefaultTTL\nIp: 1 64\n", conntrack.IP4Forwarded, 0, false},
		"IPv4, short":         {"Ip: Forwarding ForwDatagrams\nIp: 1\n", conntrack.IP4Forwarded, 0, false},
		"IPv4, no number":     {"Ip: ForwDatagrams\nIp: x\n", conntrack.IP4Forwarded, 0, false},
		"IPv4, another table": {"Tcp: ForwDatagrams\nTcp: 1\n", conntrack.IP4Forwarded, 0, false},
		"empty":               {"", conntrack.IP4Forwarded, 0, false},
		"IPv6":                {"Ip6InReceives  \t7\nIp6OutForwDatagrams             \t12\nIp6x 3\n", conntrack.IP6Forwarded, 12, true},
		"IPv6, cut":           {"Ip6OutForwDatagrams             \t1", conntrack.IP6Forwarded, 0, false},
		"IPv6, missing":       {"Ip6InReceives 7\n", conntrack.IP6Forwarded, 0, false},
	} {
		if got, ok := c.read([]byte(c.text)); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestPollAllocatesNothing(t *testing.T) {
	f, err := conntrack.OpenForwarded()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := testing.AllocsPerRun(100, func() { _, err = f.Moved() }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

// TestHintsAreCounted: an operator can see why a firewall takes itself for the one that carries traffic.
func TestHintsAreCounted(t *testing.T) {
	n := openNetwork(t)
	u := n.newUDP(t, false)
	table := open(t, n.router, conntrack.Config{})
	u.must(u.ask()) // before Run: the counters were read by Open
	h := tabletest.Start(t, table)
	h.Hint()
	if got := counter(t, table, "forwarding_hints"); got != 1 {
		t.Errorf("forwarding_hints = %d, want 1", got)
	}
}

// BenchmarkForwardingPoll is what happens ten times a second.
func BenchmarkForwardingPoll(b *testing.B) {
	f, err := conntrack.OpenForwarded()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Moved(); err != nil {
			b.Fatal(err)
		}
	}
}
