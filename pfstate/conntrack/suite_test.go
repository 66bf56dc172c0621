package conntrack_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// open opens the table of ns and sees to its end.
func open(t testing.TB, ns *lab.NS, c conntrack.Config) *conntrack.Table {
	t.Helper()
	c.NetNS = ns.Fd()
	if c.Creator == 0 {
		c.Creator = 0xc0ffee
	}
	table, err := conntrack.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func TestTable(t *testing.T) {
	for _, c := range tabletest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			ns := labtest.NewNS(t)
			var forward func() error
			switch c.Name {
			case "ExpiryIsNoDeletion":
				collectGarbage(t, ns)
			case "ForwardingIsHinted":
				n := openNetwork(t)
				ns, forward = n.router, n.newUDP(t, false).ask
			}
			c.Run(t, tabletest.Fixture{Table: open(t, ns, conntrack.Config{}), Traffic: openKernel(t, ns), Forward: forward})
		})
	}
}

// collectGarbage looks at the table now and then: the kernel notices that an entry
// has expired when somebody looks, or else up to a minute later.
func collectGarbage(t *testing.T, ns *lab.NS) {
	k := openKernel(t, ns)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				k.dump()
			case <-stop:
				return
			}
		}
	}()
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	h := tabletest.Start(t, open(t, labtest.NewNS(t), conntrack.Config{}))
	h.Apply(1, tabletest.TCP(1), 0)
	h.Dump()
	h.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Patience)
	defer cancel()
	err := lab.Eventually(ctx, "all goroutines end", func() error { // one may be on its last instruction
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			return err
		}
		if strings.Contains(b.String(), "conntrack.(*Table)") {
			return fmt.Errorf("left:\n%s", &b)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// counter is one counter by name.
func counter(t testing.TB, table *conntrack.Table, name string) uint64 {
	t.Helper()
	for _, c := range table.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}
