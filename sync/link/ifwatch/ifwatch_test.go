package ifwatch_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// batch runs lines of ip(8) in ns.
func batch(t *testing.T, ns *lab.NS, lines ...string) {
	t.Helper()
	file := t.TempDir() + "/batch"
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Run(t.Context(), "ip", "-batch", file); err != nil {
		t.Fatal(err)
	}
}

func TestQuery(t *testing.T) {
	ns := labtest.NewNS(t)
	batch(t, ns,
		"link add eth9 index 42 mtu 1400 address 02:00:00:00:00:42 type veth peer name far",
		"addr add 192.0.2.1/24 dev eth9", "addr add 192.0.2.9/32 dev eth9 scope host",
		"link set eth9 up")
	q, err := ifwatch.OpenQuery(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	want := ifwatch.Interface{
		Name: "eth9", Index: 42, MTU: 1400, Up: true, Multicast: true, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x42},
		IPv4: []ifwatch.Address{
			{Prefix: netip.MustParsePrefix("192.0.2.9/32"), HostScope: true},
			{Prefix: netip.MustParsePrefix("192.0.2.1/24")},
		},
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	got, err := q.ByName("eth9")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("ByName (-want +got):\n%s", diff)
	}
	batch(t, ns, "link set far up")
	want.Running = true
	if got, err = q.ByIndex(42); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("ByIndex with the far end up (-want +got):\n%s", diff)
	}
	events, err := ifwatch.Subscribe(ns.Fd(), ifwatch.IPv6)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	changes := make(chan ifwatch.Event, 16)
	stop := labtest.Background(t, func(ctx context.Context) error { return events.Run(ctx, changes) })
	batch(t, ns, "addr add 2001:db8::1/64 dev eth9 nodad")
	select {
	case e := <-changes:
		if e.Index != 42 || e.Gone {
			t.Errorf("event of an IPv6 address: %+v", e)
		}
	case <-time.After(labtest.Patience):
		t.Error("no event of an IPv6 address")
	}
	stop()
	v6, err := q.IPv6(42)
	if err != nil || !slices.Contains(v6, ifwatch.Address{Prefix: netip.MustParsePrefix("2001:db8::1/64")}) {
		t.Errorf("IPv6 addresses: %v, %v", v6, err)
	}
	if lo, err := q.ByName("lo"); err != nil || !lo.Loopback {
		t.Errorf("lo: %+v, %v", lo, err)
	}
	if _, err := q.ByName("eth8"); !errors.Is(err, ifwatch.ErrNoInterface) {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := q.ByIndex(4711); !errors.Is(err, ifwatch.ErrNoInterface) {
		t.Errorf("unknown index: %v", err)
	}
}

// watch runs a subscription and returns a function that waits for an event.
func watch(t *testing.T, e *ifwatch.Events) (await func(ifwatch.Event)) {
	t.Helper()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	out := make(chan ifwatch.Event)
	labtest.Background(t, func(ctx context.Context) error { return e.Run(ctx, out) })
	return func(want ifwatch.Event) {
		t.Helper()
		timeout := time.After(labtest.Patience)
		for {
			select {
			case got := <-out:
				if got == want {
					return
				}
			case <-timeout:
				t.Fatalf("no event %+v", want)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	ns := labtest.NewNS(t)
	e, err := ifwatch.Subscribe(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	await := watch(t, e)
	batch(t, ns, "link add eth9 index 42 type veth peer name far index 43")
	await(ifwatch.Event{Index: 43})
	await(ifwatch.Event{Index: 42})
	batch(t, ns, "addr add 192.0.2.1/24 dev eth9")
	await(ifwatch.Event{Index: 42})
	batch(t, ns, "link del eth9")
	await(ifwatch.Event{Index: 42, Gone: true})
}

// More happens than the socket can hold: that is told, and what follows is heard.
func TestLostEventsAreTold(t *testing.T) {
	ns := labtest.NewNS(t)
	e, err := ifwatch.Subscribe(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"link add eth9 index 42 type veth peer name far"}
	for range 2000 {
		lines = append(lines, "addr add 192.0.2.1/24 dev eth9", "addr del 192.0.2.1/24 dev eth9")
	}
	batch(t, ns, lines...)
	await := watch(t, e)
	await(ifwatch.Event{})
	batch(t, ns, "link del eth9")
	await(ifwatch.Event{Index: 42, Gone: true})
}

func TestRunAgain(t *testing.T) {
	ns := labtest.NewNS(t)
	e, err := ifwatch.Subscribe(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx, make(chan ifwatch.Event)); err != nil {
		t.Fatalf("with an ended context: %v", err)
	}
	await := watch(t, e)
	batch(t, ns, "link add eth9 index 42 type veth peer name far")
	await(ifwatch.Event{Index: 42})
}
