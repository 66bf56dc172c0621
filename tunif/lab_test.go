package tunif_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif"
)

var (
	own   = netip.MustParseAddr("192.0.2.1")
	peer  = netip.MustParseAddr("192.0.2.2")
	third = netip.MustParseAddr("192.0.2.3")
	own6  = netip.MustParseAddr("2001:db8::1")
	peer6 = netip.MustParseAddr("2001:db8::2")
)

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

// newVeth is two namespaces joined by a veth pair, sis2 at both ends; a has its own address there.
func newVeth(tb testing.TB) (a, b *lab.NS) {
	tb.Helper()
	a, b = labtest.NewNS(tb), labtest.NewNS(tb)
	labtest.Run(tb, a, "ip link add sis2 type veth peer name sis2 netns "+b.Name)
	labtest.Run(tb, a, "ip addr add 192.0.2.1/24 dev sis2")
	labtest.Run(tb, a, "ip link set sis2 up")
	labtest.Run(tb, b, "ip link set sis2 up")
	return a, b
}

func await(tb testing.TB, d *tunif.Device, what string, fits func(tunif.Status) bool) {
	tb.Helper()
	timeout := time.After(labtest.Patience)
	for !fits(d.Status()) {
		select {
		case <-d.Events():
		case <-timeout:
			tb.Fatalf("status is not %q but %+v", what, d.Status())
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
	return append(link.AppendHeader(nil, src, dst, len(payload)), payload...)
}
