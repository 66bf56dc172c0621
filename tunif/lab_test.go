package tunif_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/tunif"
)

const patience = 20 * time.Second

var (
	own   = netip.MustParseAddr("192.0.2.1")
	peer  = netip.MustParseAddr("192.0.2.2")
	third = netip.MustParseAddr("192.0.2.3")
)

func newNS(tb testing.TB, letter string) *lab.NS {
	tb.Helper()
	ns, err := lab.NewNS(fmt.Sprintf("pfs-tunif-%d-%s", os.Getpid(), letter))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := ns.Close(); err != nil {
			tb.Error(err)
		}
	})
	return ns
}

func run(tb testing.TB, ns *lab.NS, words string) string {
	tb.Helper()
	f := strings.Fields(words)
	out, err := ns.Run(tb.Context(), f[0], f[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func open(ns *lab.NS, name string, log *slog.Logger) (d *tunif.Device, err error) {
	nsErr := ns.Do(func() error {
		d, err = tunif.Open(name, log)
		return nil
	})
	return d, errors.Join(nsErr, err)
}

// newDevice is pfsync0 in ns, closed by the end of the test.
func newDevice(tb testing.TB, ns *lab.NS) *tunif.Device {
	tb.Helper()
	d, err := open(ns, "pfsync0", slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func setUp(tb testing.TB, d *tunif.Device) {
	tb.Helper()
	if err := d.SetUp(true); err != nil {
		tb.Fatal(err)
	}
}

// start runs d; stop ends it and checks that it ends without an error.
func start(tb testing.TB, d *tunif.Device) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			tb.Error("Run does not end")
		}
	}
	tb.Cleanup(stop)
	return stop
}

func await(tb testing.TB, d *tunif.Device, what string, fits func(tunif.Status) bool) {
	tb.Helper()
	timeout := time.After(patience)
	for !fits(d.Status()) {
		select {
		case <-d.Events():
		case <-timeout:
			tb.Fatalf("status is not %q but %+v", what, d.Status())
		}
	}
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			tb.Fatalf("never: %s", what)
		}
	}
}

func counter(d *tunif.Device, name string) uint64 {
	for _, c := range d.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	panic("no counter " + name)
}

func frame(src, dst netip.Addr, payload string) []byte {
	return append(link.AppendIPv4Header(nil, src, dst, len(payload)), payload...)
}
