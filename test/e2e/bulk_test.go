package e2e_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// What a firewall has lost behind the daemon's back comes again when its operator asks for it,
// with ifconfig or with pfsyncctl, and the sync link goes on meanwhile.
func TestBulkOnDemand(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	for _, program := range [][]string{{"ifconfig", "pfsync0", "bulk"}, {"pfsyncctl", "bulk"}} {
		add(t, tr, 5, traffic.TCP)
		alike(t, l)
		labtest.Run(t, l.B.NS, "conntrack -D -p tcp")
		if sameTable(t, l.A, l.B) == nil {
			t.Fatal("fwB lost nothing")
		}
		if out, err := l.B.Run(t.Context(), l.B.Program(program[0]), program[1:]...); err != nil || out != "" {
			t.Fatalf("%v: %v, printed %q", program, err, out)
		}
		alike(t, l)
	}
	flowing(t, tr)

	ip(t, l.B, "link set sis2 down")
	shows(t, l.B, "status: no carrier")
	const want = "ifconfig: pfsync0: bulk: syncdev sis2 is not usable: no carrier (once it is, the peers are asked)\n"
	if out, err := l.B.Ifconfig(t.Context(), "pfsync0", "bulk"); err == nil || out != want {
		t.Errorf("bulk without a link: %v, printed %q, want %q", err, out, want)
	}
}
