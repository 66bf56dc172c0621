package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// within is eventually with a bound of the feature's own.
func within(t *testing.T, d time.Duration, what string, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %v", d))
	defer cancel()
	if err := lab.Eventually(ctx, what, cond); err != nil {
		t.Fatal(err)
	}
}

// dump is a firewall's table, read cheaply enough to look at all the time.
func dump(t *testing.T, f *lab.Firewall) map[lab.Tuple]lab.Entry {
	t.Helper()
	entries, err := f.Dump()
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[lab.Tuple]lab.Entry, len(entries))
	for _, e := range entries {
		table[e.Orig] = e
	}
	return table
}

// remain waits for d, in which f must have all of the flows.
func remain(t *testing.T, f *lab.Firewall, flows map[lab.Tuple]lab.Entry, d time.Duration) {
	t.Helper()
	start := time.Now()
	within(t, d+patience, "time to pass", func() error {
		have := dump(t, f)
		for orig, e := range flows {
			if _, ok := have[orig]; !ok {
				t.Fatalf("%s has lost %v after %v", f.Name, e.Flow, time.Since(start))
			}
		}
		if left := d - time.Since(start); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
}

// A copy lives as long as its living owner says, far beyond its own timeout; and on
// that timeout when the owner is dead and nothing uses it.
func TestCopiesAreLeased(t *testing.T) {
	const timeout = 3 * time.Second
	const gone = 15 * time.Second // to notice the death, and the timeout
	l := newLab(t)
	for _, f := range []*lab.Firewall{l.A, l.B} {
		for _, name := range []string{"udp_timeout", "udp_timeout_stream"} {
			if err := f.Sysctl("net/netfilter/nf_conntrack_"+name, fmt.Sprint(timeout.Seconds())); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 3, traffic.UDP)
	alike(t, l)
	owned := dump(t, l.A)
	if len(owned) < 3 {
		t.Fatalf("fwA has %d entries, want those of 3 flows", len(owned))
	}
	remain(t, l.B, owned, 10*timeout)

	if err := l.Kill(l.A); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	died := time.Now()
	within(t, gone, "fwB's unused copies end", func() error {
		have := dump(t, l.B)
		for orig := range owned {
			if e, ok := have[orig]; ok {
				return fmt.Errorf("%v has %v left", e.Flow, e.Timeout)
			}
		}
		return nil
	})
	t.Logf("the copies ended %v after their owner", time.Since(died).Round(time.Millisecond))
}

// The addresses move to and fro between two living firewalls. Each has an
// older entry of its own, whose memory of the windows is stale, when they come back.
func TestMovesToAndFro(t *testing.T) {
	const apart = 3 * time.Second
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	if err := tr.AddBulk(3, traffic.MaxMessage); err != nil {
		t.Fatal(err)
	}
	add(t, tr, 3, traffic.UDP)
	alike(t, l)
	for _, to := range []*lab.Firewall{l.B, l.A, l.B} {
		if err := l.MoveTo(to); err != nil {
			t.Fatal(err)
		}
		moved := time.Now()
		eventually(t, "data by way of "+to.Name, func() error {
			if left := apart - time.Since(moved); left > 0 {
				return fmt.Errorf("%v left", left)
			}
			return tr.Flowing(moved.Add(apart / 2))
		})
	}
	rows := tr.Stop(traffic.Window{})
	mustSurvive(t, rows)
	for _, r := range rows {
		t.Logf("%v: longest stall %v", r.Kind, r.Stall.Length().Round(time.Millisecond))
	}
}
