package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// lines writes whole lines to the test's log.
type lines struct{ t *testing.T }

func (l lines) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// Every fault once, with the daemons that the race detector watches.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	if err := labtest.Build(dir); err != nil {
		t.Fatal(err)
	}
	c := config{
		bin: dir, peer: "pfsyncd", length: time.Second, seed: uint64(time.Now().UnixNano()), rate: 100, states: 1000, out: lines{t},
	}
	r, err := run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r.print(lines{t})
	bad := r.verdict()
	if bad == nil {
		return
	}
	t.Logf("seed %d: %v\nfwA's log:\n%s\nfwB's log:\n%s", c.seed, bad, r.logs[0], r.logs[1])
	// This machine does other things, too: what was too slow once has a second try. What
	// was lost has none.
	for _, o := range r.Outcomes {
		if o.Lost > 0 {
			t.Fatalf("seed %d: %v", c.seed, bad)
		}
		if one := (&result{Outcomes: []outcome{o}}); one.verdict() == nil {
			continue
		}
		c.only, c.seed = o.Fault, c.seed+1
		again, err := run(t.Context(), c)
		if err == nil {
			err = again.verdict()
		}
		if err != nil {
			t.Errorf("%s, seed %d, once more: %v", o.Fault, c.seed, err)
		}
	}
	if r.Churn.Failed > 0 {
		t.Errorf("%d flows failed, one of them: %v", r.Churn.Failed, r.Churn.Example)
	}
}

// The exit status is the proof, so the verdict must be able to fail.
func TestVerdict(t *testing.T) {
	good := outcome{Fault: "a fault", InSync: true, Took: time.Second}
	late := outcome{Fault: "a fault", InSync: true, Took: within + time.Second}
	lost := outcome{Fault: "a fault", InSync: true, Took: time.Second, Lost: 2}
	never := outcome{Fault: "a fault", Took: within, Left: lab.Count{lab.CopyMissing: 3}}
	for _, c := range []struct {
		name string
		r    result
		want string // part of the error
	}{
		{"good", result{Outcomes: []outcome{good, good}}, ""},
		{"late", result{Outcomes: []outcome{good, late}}, "a fault: not in sync within 10s"},
		{"never", result{Outcomes: []outcome{never, good}}, "3 missing left"},
		{"prolonged", result{Outcomes: []outcome{{Fault: "a fault", InSync: true, Prolonged: 4}}}, "4 states of fwA live longer"},
		{"lost", result{Outcomes: []outcome{lost}}, "fwA lost 2 states of its own"},
		{"a flow failed", result{Outcomes: []outcome{good}, Churn: traffic.ChurnReport{Failed: 1, Example: os.ErrDeadlineExceeded}}, "1 flows failed"},
		{"nothing happened", result{}, "no fault happened"},
	} {
		err := c.r.verdict()
		if (c.want == "") != (err == nil) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: verdict %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCounted(t *testing.T) {
	before := [2]map[string]uint64{{"same": 5, "more": 5}, {"restarted": 50}}
	after := [2]map[string]uint64{{"same": 5, "more": 7}, {"restarted": 3}}
	got := counted(before, after)
	if len(got) != 2 || got["fwA more"] != 2 || got["fwB restarted"] != 3 {
		t.Errorf("counted %v", got)
	}
}
