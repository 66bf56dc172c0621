package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// syncdevs are kinds of interfaces that a pair may sync over, made of the cable between them.
var syncdevs = []struct {
	kind, dev string
	make      []string // arguments of ip, for the kind's own interface
	undo      string
}{
	{"vlan", "sis2.7", []string{"link add link sis2 name sis2.7 type vlan id 7"}, "link delete sis2.7"},
	{"bridge", "br0", []string{"link add br0 type bridge forward_delay 0", "link set sis2 master br0"}, "link delete br0"},
	{"macvlan", "mv0", []string{"link add link sis2 name mv0 type macvlan mode bridge"}, "link delete mv0"},
	{"bond", "bond0", []string{"link add bond0 type bond mode active-backup miimon 20", "link set sis2 down", "link set sis2 master bond0"}, "link delete bond0"},
	{"vrf", "sis2", []string{"link add vrf0 type vrf table 10", "link set vrf0 up", "link set sis2 master vrf0"}, "link delete vrf0"},
	{"wireguard", "wg0", []string{"link add wg0 type wireguard"}, "link delete wg0"},
}

// A running pair takes one syncdev after the other, of every kind that the kernel has.
func TestSyncdevsOfAllKinds(t *testing.T) {
	if err := lab.Require("wg"); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	firewalls := []*lab.Firewall{l.A, l.B}
	for i, d := range syncdevs {
		probe := labtest.NewNS(t)
		labtest.Run(t, probe, "ip link add sis2 type veth peer name other")
		if out, err := probe.Run(t.Context(), "ip", strings.Fields(d.make[0])...); err != nil {
			t.Logf("this kernel has no %s: %s", d.kind, out)
			continue
		}
		ok := t.Run(d.kind, func(t *testing.T) {
			addresses := []string{fmt.Sprintf("10.77.%d.254", i), fmt.Sprintf("10.77.%d.253", i)}
			if d.dev == lab.Sync {
				addresses = []string{"192.168.254.254", "192.168.254.253"} // it has them already
			}
			for j, f := range firewalls {
				for _, words := range d.make {
					ip(t, f, words)
				}
				ip(t, f, "link set sis2 up")
				ip(t, f, "address replace "+addresses[j]+"/24 dev "+d.dev)
				for _, way := range []string{"input iifname", "output oifname"} { // in a VRF that one is seen
					labtest.Run(t, f.NS, "nft insert rule inet filter "+way+" { "+d.dev+", vrf0 } meta l4proto 240 accept")
					way = strings.Replace(way, "input", "prerouting", 1)
					labtest.Run(t, f.NS, "nft insert rule inet raw "+way+" { "+d.dev+", vrf0 } meta l4proto { 2, 240 } notrack")
				}
			}
			peer := func(int) []string { return []string{"-syncpeer"} }
			if d.kind == "wireguard" {
				tunnel(t, l, addresses)
				_, err := l.A.Ifconfig(t.Context(), "pfsync0", "syncdev", d.dev)
				if err == nil || !strings.Contains(err.Error(), "syncdev wg0: cannot multicast; set a syncpeer") {
					t.Errorf("wg0 without a syncpeer: %v", err)
				}
				peer = func(j int) []string { return []string{"syncpeer", addresses[1-j]} }
			}
			for j, f := range firewalls {
				ip(t, f, "link set "+d.dev+" up")
				ifconfig(t, f, append([]string{"syncdev", d.dev}, peer(j)...)...)
				shows(t, f, "syncdev: "+d.dev)
			}
			add(t, tr, 5, traffic.TCP)
			alike(t, l)
			for j, f := range firewalls {
				shows(t, f, "\tpeer: "+addresses[1-j]+" ")
				waitSynced(t, f)
			}
			for _, f := range firewalls {
				ip(t, f, d.undo)
				ip(t, f, "link set sis2 up")
			}
		})
		if !ok {
			return // what it left is in the way of the others
		}
	}
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// tunnel gives both wg0 their keys, and the cable's addresses as endpoints.
func tunnel(t *testing.T, l *lab.Lab, addresses []string) {
	t.Helper()
	firewalls, ends, public := []*lab.Firewall{l.A, l.B}, []string{"192.168.254.254", "192.168.254.253"}, []string{"", ""}
	dir := t.TempDir()
	for j, f := range firewalls {
		key := labtest.Run(t, f.NS, "wg genkey")
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		labtest.Run(t, f.NS, "wg set wg0 listen-port 51820 private-key "+filepath.Join(dir, f.Name))
		public[j] = strings.TrimSpace(labtest.Run(t, f.NS, "wg show wg0 public-key"))
	}
	for j, f := range firewalls {
		labtest.Run(t, f.NS, fmt.Sprintf("wg set wg0 peer %s allowed-ips %s/32 endpoint %s:51820", public[1-j], addresses[1-j], ends[1-j]))
		labtest.Run(t, f.NS, "nft insert rule inet filter input iifname sis2 udp dport 51820 accept")
	}
}

func ifconfig(t *testing.T, f *lab.Firewall, words ...string) {
	t.Helper()
	if _, err := f.Ifconfig(t.Context(), append([]string{"pfsync0"}, words...)...); err != nil {
		t.Fatal(err)
	}
}
