//go:build stock

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// Connections that a flowtable carries past conntrack on fwA have copies on fwB as others do, and
// go on there. test/vm runs this: it needs nf_flow_table.
func TestOffloadedConnectionsSurvive(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	const rules = "add flowtable inet filter fast { hook ingress priority 0; devices = { sis0, sis1 }; };" +
		"insert rule inet filter forward ct state established meta l4proto { tcp, udp } flow add @fast"
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if _, err := f.Run(t.Context(), "nft", rules); err != nil {
			t.Fatal(err)
		}
	}
	const flows = 10
	add(t, tr, flows, traffic.TCP, traffic.UDP)
	offloaded := func(f *lab.Firewall) int {
		out, err := f.Run(t.Context(), "conntrack", "-L")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(out, "[OFFLOAD]")
	}
	eventually(t, "fwA offloads them", func() error {
		if n := offloaded(l.A); n != 2*flows {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	eventually(t, "fwB has all", func() error {
		a, err := l.A.CountEntries(t.Context())
		if err != nil {
			return err
		}
		b, err := l.B.CountEntries(t.Context())
		if err == nil && a != b {
			err = fmt.Errorf("%d of %d", b, a)
		}
		return err
	})
	if n := offloaded(l.B); n != 0 {
		t.Errorf("fwB, which carries nothing, offloads %d", n)
	}
	move := failover(t, l)
	flowing(t, tr)
	eventually(t, "fwB offloads them", func() error {
		if n := offloaded(l.B); n != 2*flows {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	mustSurvive(t, tr.Stop(move))
}
