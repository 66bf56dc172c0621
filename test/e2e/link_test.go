package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// ip runs ip(8) in a firewall.
func ip(t *testing.T, f *lab.Firewall, command string) {
	t.Helper()
	labtest.Run(t, f.NS, "ip "+command)
}

// shows waits until ifconfig pfsync0 contains text.
func shows(t *testing.T, f *lab.Firewall, text string) {
	t.Helper()
	eventually(t, f.Name+" shows "+text, func() error {
		out, err := f.Ifconfig(t.Context(), "pfsync0")
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("it shows %s", out)
		}
		return err
	})
}

func alike(t *testing.T, l *lab.Lab) {
	t.Helper()
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, l.A, l.B) })
}

// The syncdev goes down, vanishes, comes back as another interface of the same
// name, loses its address: the link is up again by itself, and both tables are alike.
func TestSyncdevComesAndGoes(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	kinds := []traffic.Kind{traffic.TCP, traffic.UDP}
	add(t, tr, 5, kinds...)
	alike(t, l)

	ip(t, l.A, "link set sis2 down")
	shows(t, l.A, "status: no carrier")
	shows(t, l.B, "status: no carrier")
	add(t, tr, 5, kinds...)
	ip(t, l.A, "link set sis2 up")
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	alike(t, l)

	ip(t, l.A, "link delete sis2")
	shows(t, l.A, "status: no such interface")
	add(t, tr, 5, kinds...)
	ip(t, l.A, "link add sis2 type veth peer name sis2 netns "+l.B.Name)
	shows(t, l.A, "status: no carrier")
	ip(t, l.A, "address add 192.168.254.254/24 dev sis2")
	ip(t, l.A, "link set sis2 up")
	ip(t, l.B, "link set sis2 up")
	shows(t, l.B, "status: no address")
	ip(t, l.B, "address add 192.168.254.253/24 dev sis2")
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	alike(t, l)

	add(t, tr, 5, kinds...)
	alike(t, l)
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// A syncpeer is spoken to alone; changing it on a running pair needs no restart.
func TestSyncpeer(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	for _, c := range []struct {
		f    *lab.Firewall
		peer string
	}{{l.A, "192.168.254.253"}, {l.B, "192.168.254.254"}} {
		if _, err := c.f.Ifconfig(t.Context(), "pfsync0", "syncpeer", c.peer); err != nil {
			t.Fatal(err)
		}
		shows(t, c.f, "syncdev: sis2 syncpeer: "+c.peer+" maxupd: 128")
	}
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	const rules = "add table ip watch; add chain ip watch in { type filter hook prerouting priority -300; };" +
		"add rule ip watch in iifname sis2 ip protocol 240 ip daddr 224.0.0.240 counter"
	if _, err := l.B.Run(t.Context(), "nft", rules); err != nil {
		t.Fatal(err)
	}
	add(t, tr, 5, traffic.TCP)
	alike(t, l)
	out, err := l.B.Run(t.Context(), "nft", "list", "table", "ip", "watch")
	if err != nil || !strings.Contains(out, "packets 0 bytes 0") {
		t.Errorf("packets went to the group: %s %v", out, err)
	}
}
