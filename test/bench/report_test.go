package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{[]float64{7}, 7}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(c.list); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.list, got, c.want)
		}
	}
}

// trials are of one scenario: the baseline's three, one of them in doubt, and another's.
func trials() *report {
	r := &report{Baseline: "old", Contestants: []string{"old", "new"}}
	for i, v := range []float64{10, 30, 20} {
		r.Trials = append(r.Trials, trial{Scenario: "s", Contestant: "old", Rep: i + 1, Figures: map[string]float64{"join s": v, "missing": 0}})
	}
	r.Trials = append(r.Trials,
		trial{Scenario: "s", Contestant: "new", Rep: 1, Figures: map[string]float64{"join s": 5, "missing": 2},
			Doubts: []string{"the generator was slow"}, Examples: map[string]string{"missing": "a flow"}},
		trial{Scenario: "s", Contestant: "new", Rep: 2, Figures: map[string]float64{"join s": 9999}, Error: "the daemon died"},
		trial{Scenario: "s", Contestant: "new", Rep: 3, Skipped: "out of time"},
	)
	return r
}

func TestRatiosAndDoubts(t *testing.T) {
	r := trials()
	for _, c := range []struct{ contestant, figure, want string }{
		{"old", "join s", "20"},
		{"new", "join s", "5? (x 0.25)"}, // neither the failed one nor the one left out counts
		{"new", "missing", "2?"},         // nothing is a multiple of 0
		{"new", "p50 ms", "-"},
	} {
		if got := r.cell("s", c.contestant, c.figure); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.figure, c.contestant, got, c.want)
		}
	}
}

func TestTableSaysWhatItCannot(t *testing.T) {
	var b strings.Builder
	trials().printScenario(&b, "s")
	for _, want := range []string{
		"new, 1: ? the generator was slow", "new, 2: FAILED: the daemon died", "new, 3: not measured: out of time", "new, 1: missing: 2, such as a flow",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestWrittenReportIsShownAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	r := trials()
	var now, again strings.Builder
	r.printHead(&now)
	r.printScenario(&now, "s")
	r.printEnd(&now)
	if err := errors.Join(r.write(file), showFile(&again, file)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(now.String(), again.String()); diff != "" {
		t.Errorf("-shown at once +shown from the file:\n%s", diff)
	}
}

func TestPlans(t *testing.T) {
	for name := range limits {
		scenarios, err := plan(name)
		if err != nil || len(scenarios) == 0 {
			t.Errorf("plan %s: %d scenarios, %v", name, len(scenarios), err)
		}
		seen := map[string]bool{}
		for _, s := range scenarios {
			if seen[s.name] || s.run == nil || s.reps < 1 || s.cost == 0 || strings.Contains(s.name, ",") { // which separates names
				t.Errorf("plan %s: scenario %+v", name, s)
			}
			seen[s.name] = true
		}
	}
	if _, err := plan("x"); err == nil || err.Error() != "plan x: unknown, choose short, full, scale or defer" {
		t.Errorf("plan x: %v", err)
	}
	if _, err := contestants([]string{"conntrackd/x"}, false); err == nil || !strings.Contains(err.Error(), "choose one of ftfw,") {
		t.Errorf("conntrackd/x: %v", err)
	}
}

// One scenario from end to end: the daemons run, states arrive, profiles and figures are there.
func TestOneScenario(t *testing.T) {
	dir := t.TempDir()
	if err := labtest.Build(dir); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s := kinds(1)
	steady := created(100, 1e9, 1)
	c := config{bin: dir, plan: "short", with: []string{"pfsyncd", "pfsyncd/plain"}, limit: 1e12, out: &out, asFound: true, profiles: t.TempDir()}
	if err := run(t.Context(), c, []scenario{s, steady}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"every kind", "new states 100/s", "p99 ms", "wire bytes/conn", "backup.cpu.pprof", "| missing + extra + differing "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	for _, bad := range []string{"FAILED", "not measured", "has died", "refused", "? profiles"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q", bad)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	c.only = []string{"nothing"}
	if err := run(t.Context(), c, []scenario{s}); err == nil || !strings.Contains(err.Error(), "no scenario of plan short is called like nothing") {
		t.Errorf("no scenario: %v", err)
	}
}

// With defer packets are held, without it not; both carry all connections.
func TestFirstPackets(t *testing.T) {
	dir := t.TempDir()
	if err := labtest.Build(dir); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	const short = 300 * time.Millisecond
	scenarios := []scenario{
		firstPackets("among few", short, 1, rush.Load{Rate: 100}, forwarded), heldRamp([]int{100, 200}, short, 1),
	}
	c := config{bin: dir, plan: "defer", with: []string{"pfsyncd", "pfsyncd/defer"}, limit: 1e12, out: &out, asFound: true, json: filepath.Join(dir, "json")}
	if err := run(t.Context(), c, scenarios); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(c.json)
	var r report
	if err := errors.Join(err, json.Unmarshal(b, &r)); err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Trials {
		f := x.Figures
		if _, there := f["held p50 below ms"]; x.Error != "" || f["lost"] > 0 || there != (x.Contestant == "pfsyncd/defer") {
			t.Errorf("%s of %s: %s, figures %v", x.Scenario, x.Contestant, x.Error, f)
		}
	}
	if !strings.Contains(out.String(), "connected p50 ms") || !strings.Contains(out.String(), " (+") && !strings.Contains(out.String(), " (-") {
		t.Error(out.String())
	}
}

func TestGrowth(t *testing.T) {
	r := &report{Contestants: []string{"new"}}
	for size, v := range map[string]float64{"scale 1k": 10, "scale 4k": 60} {
		r.Trials = append(r.Trials, trial{Scenario: size, Contestant: "new", Figures: map[string]float64{"join s": v}})
	}
	for _, c := range []struct{ sizes, want string }{
		{"scale 1k,scale 4k", "10,60 (x 6.00)"},
		{"scale 1k,scale 2k,scale 4k", "10,-,60"}, // not measured: there is nothing to compare with
	} {
		cells, there := r.growth(strings.Split(c.sizes, ","), "new", "join s")
		if got := strings.Join(cells, ","); !there || got != c.want {
			t.Errorf("%s: %s, want %s", c.sizes, got, c.want)
		}
	}
}
