//go:build stock

package e2e_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// A sync link as bad as netem makes it: both tables are equal all the same, while it is, and the
// connections survive. test/vm runs this: it needs netem.
func TestPairOnABadLink(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	for _, fault := range []string{
		"loss 30%", "delay 20ms reorder 75% 50%", "duplicate 10%", "delay 50ms 50ms distribution normal", "rate 1mbit",
		"delay 50ms 50ms loss 30% duplicate 10% rate 1mbit",
	} {
		ok := t.Run(fault, func(t *testing.T) {
			for _, f := range []*lab.Firewall{l.A, l.B} {
				labtest.Run(t, f.NS, "tc qdisc replace dev sis2 root netem "+fault)
			}
			add(t, tr, 5, traffic.TCP, traffic.UDP, traffic.Service)
			alike(t, l)
			for _, f := range []*lab.Firewall{l.A, l.B} {
				waitSynced(t, f)
			}
		})
		if !ok {
			return
		}
	}
	if n := counters(t, l.B)["resendsasked"]; n == 0 {
		t.Error("no packet was asked for again: the link is too good")
	}
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}
