package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// newSplit builds a lab with a slow sync link in which requests go by fwA and answers by
// fwB. The daemons are started before the rules, as this kernel needs it (hold's doc).
func newSplit(t *testing.T, delay time.Duration) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l := labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-e2e", Bin: bin, Cable: true})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fwA's log:\n%s\nfwB's log:\n%s", l.A.Log(), l.B.Log())
		}
	})
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if err := f.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		startDaemon(t, f)
		if err := f.Rules(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Split(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if _, err := f.Ifconfig(ctx, "pfsync0", "up", "syncdev", lab.Sync); err != nil {
			t.Fatal(err)
		}
	}
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	l.Cable.Disturb(lab.Faults{Delay: delay}, lab.Faults{Delay: delay})
	return l
}

func TestDeferX(t *testing.T) {
	l := newSplit(t, 5*time.Millisecond)
	tr := startTraffic(t, l)
	c, err := tr.Connects(traffic.TCP, 200, 50)
	t.Log(c, c.Error, err)
	for _, f := range []*lab.Firewall{l.A, l.B} {
		f.Ifconfig(t.Context(), "pfsync0", "defer")
		fmt.Println(labtest.Run(t, f.NS, f.Program("pfsyncctl") + " sysctl net.pfsync.defer_delay=1000"))
	}
	time.Sleep(500*time.Millisecond)
	c, err = tr.Connects(traffic.TCP, 200, 50)
	t.Log(c, c.Error, err)
	c, err = tr.Connects(traffic.TCP6, 200, 50)
	t.Log(c, c.Error, err)
	c, err = tr.Connects(traffic.Service, 200, 50)
	t.Log(c, c.Error, err)
	c, err = tr.Connects(traffic.TCP, 3000, 64)
	t.Log(c, c.Error, err)
	for _, f := range []*lab.Firewall{l.A, l.B} {
	fmt.Println(labtest.Run(t, f.NS, f.Program("pfsyncctl") + " stats"))
	}
	t.Fail()
}
