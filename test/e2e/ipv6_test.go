package e2e_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// linkLocal is the address that the kernel has given a firewall on the sync link.
func linkLocal(t *testing.T, f *lab.Firewall) netip.Addr {
	t.Helper()
	words := strings.Fields(labtest.Run(t, f.NS, "ip -6 -br address show dev sis2 scope link"))
	prefix, err := netip.ParsePrefix(words[len(words)-1])
	if err != nil {
		t.Fatalf("%s: %q: %v", f.Name, words, err)
	}
	return prefix.Addr()
}

// TestFailover with nothing but IPv6 between the firewalls.
func TestFailoverByIPv6(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(other netip.Addr) (words, shown string)
		key  bool
	}{
		{"multicast", func(netip.Addr) (string, string) { return "ff12::f0", "ff12::f0" }, true},
		{"link-local", func(other netip.Addr) (string, string) { return other.String() + "%sis2", other.String() + "%sis2" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			key := keyFile(t, "5")
			tr := startTraffic(t, l)
			for _, f := range []*lab.Firewall{l.A, l.B} {
				ip(t, f, "-4 address flush dev sis2")
				if f == l.B {
					add(t, tr, 10, traffic.Kinds()...) // the bulk update has them
				}
				startDaemon(t, f)
				words, shown := c.peer(linkLocal(t, f.Peer()))
				words = "up syncdev sis2 syncpeer " + words
				if c.key {
					words += " key " + key
				}
				if err := f.Netstart(t.Context(), "pfsync0", words); err != nil {
					t.Fatal(err)
				}
				shows(t, f, "\tpfsync: syncdev: sis2 syncpeer: "+shown+" maxupd: 128 defer: off\n")
			}
			for _, f := range []*lab.Firewall{l.A, l.B} {
				waitSynced(t, f)
				shows(t, f, "\tpeer: "+linkLocal(t, f.Peer()).String()+"%sis2 creatorid: ")
			}
			add(t, tr, 10, traffic.Kinds()...)
			alike(t, l)
			for _, f := range []*lab.Firewall{l.A, l.B} {
				shows(t, f, " insync: yes\n")
				if status, out := peersTold(t, f); status != 0 {
					t.Errorf("%s: pfsyncctl peers: status %d: %s", f.Name, status, out)
				}
				if out, err := f.Output(t.Context(), f.Program("pfsyncctl"), "check"); err != nil || strings.Contains(out, "warning: ") {
					t.Errorf("%s: pfsyncctl check: %v: %s", f.Name, err, out)
				}
				if n := counters(t, f); n["ipackets6"] == 0 || n["opackets6"] == 0 || n["ipackets"]+n["opackets"] != 0 || n["link_send_toobig"] != 0 {
					t.Errorf("%s: %v", f.Name, n)
				}
			}
			move := failover(t, l)
			flowing(t, tr)
			mustSurvive(t, tr.Stop(move))
		})
	}
}
