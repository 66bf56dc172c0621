package conntrack_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// What rules mark an entry with is told by every event, dump and answer, and so is
// that it is taken away.
func TestMarksAreTold(t *testing.T) {
	n := newNetwork(t)
	nft(t, n.router, `
table inet marks {
	chain forward {
		type filter hook forward priority -10
		ct state new ct mark set ct mark or 0x10000
	}
}`)
	n.echo(t)
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	n.dial(t, "10.2.0.2:8080")
	change := h.Next()
	for change.Kind != pfstate.Created {
		change = h.Next()
	}
	if change.Mark != 0x10000 {
		t.Errorf("created with mark %#x, want 0x10000", change.Mark)
	}
	conn := change.State
	update := func(mark string) pfstate.Change {
		t.Helper()
		labtest.Run(t, n.router, "conntrack -U -p tcp --orig-dst 10.2.0.2 --mark "+mark)
		for {
			if c := h.Next(); c.Kind == pfstate.Updated && c.State.Src.State >= pfstate.TCPEstablished {
				return c
			}
		}
	}
	for _, c := range []struct {
		mark string
		want uint32
	}{{"0x10003/0xffffffff", 0x10003}, {"0/0xffffffff", 0}, {"7/0xffffffff", 7}} {
		got := update(c.mark)
		for got.Mark != c.want { // of packets before
			got = h.Next()
		}
		if seen := h.Probe(conn); seen == nil || seen.Mark != c.want {
			t.Errorf("probe tells of %+v, want mark %#x", seen, c.want)
		}
		for _, seen := range h.Dump() {
			if seen.Mark != c.want {
				t.Errorf("dump tells of mark %#x, want %#x", seen.Mark, c.want)
			}
		}
	}
}

// Events of protocols that are never synced do not reach the program; all others do.
func TestOwnProtocolsAreSkippedInTheKernel(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	h := tabletest.Start(t, table)
	for _, proto := range []string{"2", "112", "240"} {
		labtest.Run(t, ns, "conntrack -I -p "+proto+" -s 10.0.0.1 -d 224.0.0.18 -t 60")
		labtest.Run(t, ns, "conntrack -D -p "+proto)
		labtest.Run(t, ns, "conntrack -I -p "+proto+" -s fd00::1 -d ff02::12 -t 60")
	}
	for _, proto := range []uint8{50, 113, 239, 241} {
		for _, hosts := range []string{"-s 10.0.0.1 -d 10.0.0.2", "-s fd00::1 -d fd00::2"} {
			labtest.Run(t, ns, "conntrack -I -p "+strconv.Itoa(int(proto))+" "+hosts+" -t 60")
			if c := h.Next(); c.Kind != pfstate.Created || c.State.Proto != proto {
				t.Errorf("told of %v %v, want the creation of protocol %d", c.Kind, &c.State, proto)
			}
		}
	}
	if n := counter(t, table, "ignored_protocol"); n != 0 {
		t.Errorf("%d events of carp, pfsync and igmp were read", n)
	}
}

func TestTimeoutsOfPf(t *testing.T) {
	ns := labtest.NewNS(t)
	if err := ns.Sysctl("net/netfilter/nf_conntrack_udp_timeout_stream", "777"); err != nil {
		t.Fatal(err)
	}
	table := open(t, ns, conntrack.Config{})
	for class, want := range map[pfstate.Timeout]time.Duration{
		pfstate.UDPMultiple: 777 * time.Second, pfstate.TCPEstablishedTimeout: 432000 * time.Second, 14: 0, pfstate.MaxTimeout: 0,
	} {
		if got := table.Timeout(class); got != want {
			t.Errorf("%v is %v, want %v", class, got, want)
		}
	}
}
