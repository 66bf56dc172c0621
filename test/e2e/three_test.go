package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

func newTrio(t *testing.T) *lab.Lab { return newLabWith(t, lab.Config{Third: true}) }

func join(t *testing.T, f *lab.Firewall, words string) {
	t.Helper()
	startDaemon(t, f)
	if err := f.Netstart(t.Context(), "pfsync0", "up syncdev sis2 "+words); err != nil {
		t.Fatal(err)
	}
}

// jsonPeer is a peer as ifconfig --json has it.
type jsonPeer struct {
	Address, CreatorID, State, Sync string
	Age                             float64
	States                          int
}

// peersOf are the peers that a firewall shows, by address.
func peersOf(t *testing.T, f *lab.Firewall) map[string]jsonPeer {
	t.Helper()
	out, err := f.Output(t.Context(), f.Program("ifconfig"), "--json", "pfsync0")
	if err != nil {
		t.Fatal(err)
	}
	var display struct {
		Interfaces []struct {
			PFSync struct{ Peers []jsonPeer }
		}
	}
	if err := json.Unmarshal([]byte(out), &display); err != nil || len(display.Interfaces) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	peers := map[string]jsonPeer{}
	for _, p := range display.Interfaces[0].PFSync.Peers {
		peers[p.Address] = p
	}
	return peers
}

// Three firewalls share a group. The connections outlive the first one's death, then the
// second one's, and what one of them has missed is mended.
func TestThreeFirewalls(t *testing.T) {
	for name, words := range map[string]string{"IPv4": "", "IPv6": "syncpeer ff12::f0"} {
		t.Run(name, func(t *testing.T) { threeFirewalls(t, words) })
	}
}

func threeFirewalls(t *testing.T, words string) {
	l := newTrio(t)
	tr := startTraffic(t, l)
	join(t, l.A, words)
	add(t, tr, 5, traffic.Kinds()...) // before the others are there
	join(t, l.B, words)
	join(t, l.C, words)
	for _, f := range l.Firewalls() {
		waitSynced(t, f)
	}

	// C hears nothing for a while.
	labtest.Run(t, l.C.NS, "nft insert rule inet filter input meta l4proto 240 drop")
	add(t, tr, 5, traffic.Kinds()...)
	labtest.Run(t, l.C.NS, "nft -f "+l.Dir+"/firewall.nft")
	for _, f := range []*lab.Firewall{l.B, l.C} {
		eventually(t, f.Name+"'s table like fwA's", func() error { return sameTable(t, l.A, f) })
	}

	creators := map[string]bool{}
	for _, f := range l.Firewalls() {
		eventually(t, f.Name+" in sync with both", func() error {
			peers := peersOf(t, f)
			for addr, p := range peers {
				if p.State != "up" || p.Sync != "yes" || p.Age > 3 || len(p.CreatorID) != 8 {
					return fmt.Errorf("%s is %+v", addr, p)
				}
				creators[p.CreatorID] = true
			}
			if len(peers) != 2 {
				return fmt.Errorf("%d peers", len(peers))
			}
			return nil
		})
	}
	if len(creators) != 3 {
		t.Errorf("creatorids of three: %v", creators)
	}
	own := func(f *lab.Firewall) string {
		if strings.Contains(words, "ff12") {
			return linkLocal(t, f).String() + "%sis2"
		}
		addr, err := f.Addr(lab.Sync)
		if err != nil {
			t.Fatal(err)
		}
		return addr.String()
	}
	a, b := own(l.A), own(l.B)
	if peers := peersOf(t, l.C); peers[a].States == 0 || peers[b].States != 0 {
		t.Errorf("A carries all: %+v", peers)
	}

	move := failover(t, l) // from A to B
	flowing(t, tr)
	eventually(t, "A dead on C, and its states kept", func() error {
		if p := peersOf(t, l.C); p[a].State != "dead" || p[b].State != "up" || p[b].Sync != "yes" {
			return fmt.Errorf("%+v", p)
		}
		return sameTable(t, l.B, l.C)
	})

	// A comes back without a state, asks in bulk, and has them all.
	if _, err := l.A.Run(t.Context(), "conntrack", "-F"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reconnect(t.Context(), l.A); err != nil {
		t.Fatal(err)
	}
	join(t, l.A, words)
	waitSynced(t, l.A)
	eventually(t, "fwA's table like fwB's", func() error { return sameTable(t, l.B, l.A) })
	if n := counters(t, l.A); n["bulkdone"] == 0 {
		t.Errorf("A got no bulk update: %v", n)
	}

	if err := errors.Join(l.Kill(l.B), l.MoveTo(l.C)); err != nil {
		t.Fatal(err)
	}
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// Two that name each other do not listen to a third, and say so.
func TestThirdFirewallBesideTwoWithSyncpeers(t *testing.T) {
	l := newTrio(t)
	join(t, l.A, "syncpeer 192.168.254.253")
	join(t, l.B, "syncpeer 192.168.254.254")
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	join(t, l.C, "syncpeer 192.168.254.254")
	if err := l.C.Load(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	eventually(t, "C's packets counted on A", func() error {
		if n := counters(t, l.A)["badpeer"]; n == 0 {
			return errors.New("none")
		}
		return nil
	})
	eventually(t, "C named in A's log", func() error {
		if log := l.A.Log(); !strings.Contains(log, "not the syncpeer") || !strings.Contains(log, "peer=192.168.254.252 syncpeer=192.168.254.253") {
			return errors.New("not there")
		}
		return nil
	})
	if out, _ := l.A.Output(t.Context(), l.A.Program("pfsyncctl"), "check"); !strings.Contains(out, "warning: badpeer: ") {
		t.Errorf("pfsyncctl check: %s", out)
	}
	if peers := peersOf(t, l.A); len(peers) != 1 {
		t.Errorf("A's peers: %v", peers)
	}
	if n := len(flows(t, l.A)); n != 0 {
		t.Errorf("A has %d entries of C's", n)
	}
}
