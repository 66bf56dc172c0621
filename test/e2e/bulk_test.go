package e2e_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// counted is a counter of a firewall's pfsyncd.
func counted(t *testing.T, f *lab.Firewall, name string) uint64 {
	t.Helper()
	out, err := f.Output(t.Context(), f.Program("pfsyncctl"), "stats", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var stats struct{ Counters []pfstate.Counter }
	if err := json.Unmarshal([]byte(out), &stats); err != nil {
		t.Fatal(err)
	}
	for _, c := range stats.Counters {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("%s: no counter %s", f.Name, name)
	return 0
}

// A firewall asks for its peer's table when its operator wants it, with ifconfig or with
// pfsyncctl, once each time; the sync link goes on meanwhile.
func TestBulkOnDemand(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 5, traffic.TCP)
	alike(t, l)
	for _, program := range [][]string{{"ifconfig", "pfsync0", "bulk"}, {"pfsyncctl", "bulk"}} {
		asked, done := counted(t, l.B, "bulkrequests"), counted(t, l.B, "bulkdone")
		if out, err := l.B.Run(t.Context(), l.B.Program(program[0]), program[1:]...); err != nil || out != "" {
			t.Fatalf("%v: %v, printed %q", program, err, out)
		}
		if n := counted(t, l.B, "bulkrequests"); n != asked+1 {
			t.Errorf("%v: bulkrequests %d, was %d", program, n, asked)
		}
		eventually(t, "the answer", func() error {
			if counted(t, l.B, "bulkdone") == done {
				return fmt.Errorf("bulkdone is %d still", done)
			}
			return nil
		})
	}
	flowing(t, tr)
	alike(t, l)

	ip(t, l.B, "link set sis2 down")
	shows(t, l.B, "status: no carrier")
	const want = "ifconfig: pfsync0: bulk: syncdev sis2 is not usable: no carrier (once it is, the peers are asked)\n"
	if out, err := l.B.Ifconfig(t.Context(), "pfsync0", "bulk"); err == nil || out != want {
		t.Errorf("bulk without a link: %v, printed %q, want %q", err, out, want)
	}
}
