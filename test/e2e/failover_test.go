package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// startTraffic starts the servers; flows are added by add.
func startTraffic(t *testing.T, l *lab.Lab) *traffic.Traffic {
	t.Helper()
	tr, err := traffic.New(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

// add starts n flows of each kind and waits until data moves on all of them.
func add(t *testing.T, tr *traffic.Traffic, n int, kinds ...traffic.Kind) {
	t.Helper()
	for _, kind := range kinds {
		if err := tr.Add(kind, n); err != nil {
			t.Fatal(err)
		}
	}
	flowing(t, tr)
}

func flowing(t *testing.T, tr *traffic.Traffic) {
	t.Helper()
	now := time.Now()
	eventually(t, "data on every flow", func() error { return tr.Flowing(now) })
}

// failover kills fwA, moves the shared addresses to fwB, and returns that time.
func failover(t *testing.T, l *lab.Lab) traffic.Window {
	t.Helper()
	var move traffic.Window
	move.From = time.Now()
	if err := l.Kill(l.A); err != nil {
		t.Fatal(err)
	}
	if err := l.MoveTo(l.B); err != nil {
		t.Fatal(err)
	}
	move.To = time.Now()
	return move
}

// mustSurvive wants every flow to have gone on, and soon; in an emulated machine (-short) late is in time too.
func mustSurvive(t *testing.T, rows []traffic.Row) {
	t.Helper()
	for _, r := range rows {
		late := testing.Short() && len(r.Errors) == 0
		if r.Survived != r.Flows && !late || r.Resets > 0 {
			t.Errorf("%v: %d of %d survived, %d resets, longest stall %v (%v beyond the move); %v",
				r.Kind, r.Survived, r.Flows, r.Resets, r.Stall.Length(), r.Beyond, r.Errors)
		}
	}
}

// Half of the flows are older than fwB's daemon, so the bulk update carries them; the
// others are made under its eyes.
func TestFailover(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startA(t, l)
	add(t, tr, 20, traffic.Kinds()...)
	joinB(t, l)
	waitSynced(t, l.B)
	waitSynced(t, l.A)
	add(t, tr, 20, traffic.Kinds()...)
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, l.A, l.B) })

	move := failover(t, l)
	flowing(t, tr) // fails by itself when a flow got an error
	mustSurvive(t, tr.Stop(move))
}

// The counter-proof of TestFailover: what needs a state dies without one.
func TestWithoutPfsyncConnectionsDie(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	add(t, tr, 20, traffic.Kinds()...)
	move := failover(t, l)
	eventually(t, "time to die", func() error {
		if left := time.Until(move.To.Add(traffic.Dead + time.Second)); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	for _, r := range tr.Stop(move) {
		want := 0
		if r.Kind == traffic.ICMP {
			want = r.Flows // each echo is let out anew
		}
		if r.Survived != want {
			t.Errorf("%v: %d of %d survived, want %d", r.Kind, r.Survived, r.Flows, want)
		}
	}
}

// A comes back with its old kernel entries, whose memory of the windows is stale, and
// learns what has become of them before it takes over again.
func TestFailback(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 20, traffic.Kinds()...)
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, l.A, l.B) })
	move := failover(t, l)
	flowing(t, tr)

	if err := l.Reconnect(t.Context(), l.A); err != nil {
		t.Fatal(err)
	}
	startA(t, l)
	waitSynced(t, l.A)
	add(t, tr, 5, traffic.Kinds()...) // through B, as its own
	eventually(t, "fwA's table like fwB's", func() error { return sameTable(t, l.B, l.A) })
	if err := l.MoveTo(l.A); err != nil {
		t.Fatal(err)
	}
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// The kernel does not tell when packets renew a timeout. The copies of flows that
// last longer than theirs live all the same, and carry the flow on.
func TestLongFlowsKeepTheirCopies(t *testing.T) {
	l := newLab(t)
	const timeout = 12 * time.Second
	for _, f := range []*lab.Firewall{l.A, l.B} {
		for _, name := range []string{"udp_timeout", "udp_timeout_stream", "icmp_timeout"} {
			if err := f.Sysctl("net/netfilter/nf_conntrack_"+name, fmt.Sprint(timeout.Seconds())); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 3, traffic.UDP, traffic.ICMP)
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, l.A, l.B) })
	start := time.Now()
	eventually(t, "two timeouts", func() error {
		for orig := range flows(t, l.A) {
			if _, ok := flows(t, l.B)[orig]; !ok {
				t.Fatalf("after %v fwB has no copy of %v", time.Since(start), orig)
			}
		}
		if left := 2*timeout - time.Since(start); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}
