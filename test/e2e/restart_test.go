package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// inSync waits until both kernels' tables are the same, entry by entry.
func inSync(t *testing.T, l *lab.Lab, d time.Duration) lab.Convergence {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d+patience)
	defer cancel()
	c, err := lab.Converged(ctx, l.A, l.B)
	if err != nil {
		t.Fatal(err)
	}
	if c.Took > d {
		t.Errorf("in sync after %v, want %v", c.Took, d)
	}
	return c
}

func counters(t *testing.T, f *lab.Firewall) map[string]uint64 {
	t.Helper()
	c, err := f.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// idle are the ids of the entries that lab.Load has made. Ids are hashes: among a
// hundred thousand, two may well be the same.
func idle(t *testing.T, f *lab.Firewall) map[lab.Tuple]uint32 {
	t.Helper()
	entries, err := f.Dump()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[lab.Tuple]uint32{}
	for _, e := range lab.Loaded(entries) {
		ids[e.Orig] = e.ID
	}
	return ids
}

// A daemon dies under load and comes back. The kernels' entries are the same ones as
// before, the peer is told of none anew that it has, and both are in sync in 10 seconds.
func TestRestartWithManyStates(t *testing.T) {
	const states = 100_000
	const soon = 10 * time.Second
	const rate = 100 // new flows a second
	quick := t.TempDir()
	if err := labtest.BuildQuick(quick); err != nil {
		t.Fatal(err)
	}
	l := newLabOf(t, quick)
	tr := startTraffic(t, l)
	if err := l.A.Load(t.Context(), states); err != nil {
		t.Fatal(err)
	}
	before, err := l.Wire()
	if err != nil {
		t.Fatal(err)
	}
	startPair(t, l)
	c := inSync(t, l, patience)
	after, err := l.Wire()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states: the first sync takes %d frames, %d bytes", c.States, after.Frames-before.Frames, after.Bytes-before.Bytes)
	churn, err := tr.StartChurn(rate, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { churn.Stop() })
	heldA, heldB := idle(t, l.A), idle(t, l.B)
	if len(heldA) != states || len(heldB) != states {
		t.Fatalf("%d and %d states at the beginning, want %d", len(heldA), len(heldB), states)
	}

	for _, c := range []struct {
		f     *lab.Firewall
		start func(*testing.T, *lab.Lab)
	}{{l.A, startA}, {l.B, joinB}} {
		begun := churn.Report().Begun
		told := counters(t, l.B)["iacts.INS ST"]
		before, err := l.Wire()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.f.KillDaemon(); err != nil {
			t.Fatal(err)
		}
		if c.f == l.B {
			told = 0 // it counts anew
		}
		c.start(t, l)
		took := inSync(t, l, soon)
		after, err := l.Wire()
		if err != nil {
			t.Fatal(err)
		}
		told = counters(t, l.B)["iacts.INS ST"] - told
		begun = churn.Report().Begun - begun
		t.Logf("%s restarted: in sync after %v; %d inserts for %d new flows; %d frames, %d bytes in all",
			c.f.Name, took.Took.Round(time.Millisecond), told, begun, after.Frames-before.Frames, after.Bytes-before.Bytes)
		// What was made in the last moments may have died with the daemon, unsaid.
		if told > begun+rate*uint64(lab.Grace.Seconds()) {
			t.Errorf("%s restarted: fwB was told of %d states as new, while there were %d new flows", c.f.Name, told, begun)
		}
		for _, table := range []struct {
			f    *lab.Firewall
			held map[lab.Tuple]uint32
		}{{l.A, heldA}, {l.B, heldB}} {
			lost := 0
			now := idle(t, table.f)
			for orig, id := range table.held {
				if now[orig] != id {
					lost++
				}
			}
			if lost > 0 || len(now) != states {
				t.Errorf("%s restarted: %s holds %d entries, and %d of before are not among them", c.f.Name, table.f.Name, len(now), lost)
			}
		}
	}
	if r := churn.Stop(); r.Failed > 0 {
		t.Errorf("%d flows failed, one of them: %v", r.Failed, r.Example)
	}
}

// Entries that are made while nobody listens never tell of their end; the peer learns
// of it all the same. The kernel's default, 2, makes them mute when nobody listens on
// the whole machine, which no test can see to; 0 does always.
func TestEndOfMuteEntries(t *testing.T) {
	const soon = 15 * time.Second
	l := newLab(t)
	if err := l.A.Sysctl("net/netfilter/nf_conntrack_events", "0"); err != nil {
		t.Fatal(err)
	}
	tr := startTraffic(t, l)
	add(t, tr, 3, traffic.TCP)
	startPair(t, l)
	alike(t, l)
	ended := dump(t, l.A)
	if len(ended) < 3 {
		t.Fatalf("fwA has %d entries, want those of 3 flows", len(ended))
	}

	file := filepath.Join(t.TempDir(), "events")
	events, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	listen := exec.Command("conntrack", "-E", "-o", "id")
	listen.Stdout = events
	if err := l.A.Start(listen); err != nil {
		t.Fatal(err)
	}
	defer func() {
		listen.Process.Kill()
		listen.Wait()
	}()
	said := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// An entry with a voice shows that there is somebody to hear it.
	eventually(t, "an event", func() error {
		labtest.Run(t, l.A.NS, "conntrack -I -t 60 -s 10.128.0.1 -d 192.0.2.1 -p udp --sport 1 --dport 1")
		labtest.Run(t, l.A.NS, "conntrack -D -s 10.128.0.1 -d 192.0.2.1 -p udp --sport 1 --dport 1")
		if !strings.Contains(said(), "DESTROY") {
			return fmt.Errorf("conntrack -E says %q", said())
		}
		return nil
	})

	labtest.Run(t, l.A.NS, "conntrack -D -p tcp -d "+lab.ServerAddr)
	within(t, soon, "fwB's copies end", func() error {
		have := dump(t, l.B)
		for orig := range ended {
			if e, ok := have[orig]; ok {
				return fmt.Errorf("fwB still has %v", e.Flow)
			}
		}
		return nil
	})
	if strings.Contains(said(), "dst="+lab.ServerAddr) {
		t.Errorf("the entries were not mute, so nothing is proved:\n%s", said())
	}
}
