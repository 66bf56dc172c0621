package main

import (
	"errors"
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
	seed := uint64(time.Now().UnixNano())
	r, err := run(t.Context(), config{
		bin: dir, peer: "pfsyncd", length: time.Second, seed: seed, rate: 100, states: 1000, out: lines{t},
	})
	if r != nil {
		r.print(lines{t})
		err = errors.Join(err, r.verdict())
	}
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
}

// The exit status is the proof, so the verdict must be able to fail.
func TestVerdict(t *testing.T) {
	good := outcome{Fault: "a fault", InSync: true, Took: time.Second}
	late := outcome{Fault: "a fault", InSync: true, Took: within + time.Second}
	never := outcome{Fault: "a fault", Took: within, Left: lab.Count{lab.CopyMissing: 3}}
	for _, c := range []struct {
		name string
		r    result
		want string // part of the error
	}{
		{"good", result{Outcomes: []outcome{good, good}}, ""},
		{"late", result{Outcomes: []outcome{good, late}}, "a fault: not in sync within 10s"},
		{"never", result{Outcomes: []outcome{never, good}}, "3 missing left"},
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
