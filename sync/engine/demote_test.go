package engine_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// demotions writes down what an engine tells, with the time since the start.
type demotions struct {
	mu    sync.Mutex
	start time.Time
	told  []string
}

func (d *demotions) hear(n engine.Demotion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what := ""
	if n.Bulk {
		what += " bulk"
	}
	if n.Link {
		what += " link"
	}
	if what == "" {
		what = " none"
	}
	d.told = append(d.told, fmt.Sprint(time.Since(d.start).Round(time.Second), what))
}

// demoted runs test with an engine that is still down, and compares what it told.
func demoted(t *testing.T, want []string, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &demotions{start: time.Now()}
		r := newRigOf(t, engine.Config{Demote: d.hear})
		r.dump()
		test(r)
		synctest.Wait()
		d.mu.Lock()
		if !slices.Equal(d.told, want) {
			t.Errorf("told %q, want %q", d.told, want)
		}
		d.mu.Unlock()
		r.end()
	})
}

func (r *rig) up() { r.configure(func(s *engine.Settings) { s.Up = true }) }

func TestDemotedUntilTheBulkUpdateHasCome(t *testing.T) {
	demoted(t, []string{"0s bulk link", "2s bulk", "3s none"}, func(r *rig) {
		r.linkDown()
		r.up()
		time.Sleep(2 * time.Second)
		r.linkUp()
		time.Sleep(time.Second)
		r.answered()
		time.Sleep(time.Minute)
		r.counted("undemotedfailed=0")
	})
}

// A fresh node alone serves, and the operator hears that it has no states.
func TestDemotionEndsWithTheLastTry(t *testing.T) {
	demoted(t, []string{"0s bulk", "24s none"}, func(r *rig) {
		r.linkUp()
		r.up()
		time.Sleep(5 * time.Minute)
		r.counted("bulkfailed=1", "undemotedfailed=1")
	})
}

func TestDemotionEndsWithoutALink(t *testing.T) {
	demoted(t, []string{"0s bulk link", "30s link"}, func(r *rig) {
		r.linkDown()
		r.up()
		time.Sleep(5 * time.Minute)
		r.counted("undemotedfailed=1")
	})
}

// Later bulk updates, and asking for one by hand, demote nobody: a master would
// give way for nothing. A dead sync link does.
func TestOnlyTheFirstBulkUpdateDemotes(t *testing.T) {
	demoted(t, []string{"0s bulk", "0s none", "10s link", "15s none"}, func(r *rig) {
		r.linkUp()
		r.up()
		r.answered()
		time.Sleep(10 * time.Second)
		r.linkDown()
		time.Sleep(5 * time.Second)
		r.linkUp()
		time.Sleep(time.Second)
		r.answered()
		if err := r.engine.RequestBulk(); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(time.Minute)
	})
}

func TestDownIsNotDemoted(t *testing.T) {
	demoted(t, []string{"0s bulk", "1s none", "2s bulk", "3s none"}, func(r *rig) {
		r.linkUp()
		r.up()
		time.Sleep(time.Second)
		r.configure(func(s *engine.Settings) { s.Up = false })
		time.Sleep(time.Second)
		r.up()
		time.Sleep(time.Second)
		r.answered()
	})
}

// A peer that answers for ever, with an end that never comes, or that begins
// again and again, does not keep us demoted.
func TestEndlessBulkUpdateEndsTheDemotion(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(*rig, int)
		ends string
	}{
		// pf's bound for 100,000 states is 1,600 s; then come the tries that are left.
		"states": {func(r *rig, n int) {
			r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, ptr(tcp(them, n%1000+1, estab, estab))) })
		}, "27m3s none"},
		"starts": {func(r *rig, _ int) { r.bus(wire.BusStart) }, "27m39s none"},
	} {
		t.Run(name, func(t *testing.T) {
			demoted(t, []string{"0s bulk", c.ends}, func(r *rig) {
				r.linkUp()
				r.up()
				r.bus(wire.BusStart)
				for n := range 1000 {
					time.Sleep(2 * time.Second)
					c.say(r, n)
				}
				r.counted("undemotedfailed=1")
			})
		})
	}
}
