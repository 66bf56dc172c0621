package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is all that was measured.
type report struct {
	Plan        string            `json:"plan"`
	Started     string            `json:"started"`
	Seconds     float64           `json:"seconds"`
	Machine     map[string]string `json:"machine"`
	Baseline    string            `json:"baseline"`
	Contestants []string          `json:"contestants"`
	Trials      []trial           `json:"trials"`
}

// shown are the figures of the tables, in order; all others are in the JSON alone.
var shown = []string{
	"connected p50 ms", "connected p99 ms", "held p50 below ms", "all held at 1/s", "connections", "lost", "SYNs again",
	"acknowledged", "timed out", "queue full", "passed", "bypassed", "cpu primary ms/s", "cpu backup ms/s",
	"highest rate held", "join s", "rate", "p50 ms", "p99 ms",
	"cpu s/1k", "cpu primary s/1k", "cpu backup s/1k", "cpu primary s", "cpu backup s",
	"wire packets/conn", "wire bytes/conn", "wire packets/state", "wire bytes/state",
	"pair MiB", "primary MiB", "backup MiB", "pair MiB at rest", "primary start s",
	"idle cpu ms/s", "idle wire bytes/s", "mend 1000 s", "mend 1000 cpu s", "mend 1000 wire KiB",
	"pfctl states s", "pfctl states MiB held", "gc p99 ms primary", "gc p99 ms backup", "gc cpu s primary", "gc cpu s backup",
	"create/s", "create/s with a listener", "create/s each, two writers at once", "dump/s",
	"entries", "missing", "extra", "differing", "differing in more than timeout", "died",
}

// summed are the figures that tell most; the last table has nothing else.
var summed = []string{
	"connected p50 ms", "connected p99 ms", "held p50 below ms", "all held at 1/s", "cpu primary ms/s", "cpu backup ms/s",
	"highest rate held", "join s", "cpu s/1k", "wire bytes/conn", "wire packets/conn", "p50 ms", "p99 ms", "pair MiB", "wrong", "wrong but for timeouts",
}

// values are a figure of a contestant in the repetitions of a scenario, and whether some are in doubt.
func (r *report) values(scenario, contestant, figure string) (list []float64, doubted bool) {
	for _, t := range r.Trials {
		if t.Scenario != scenario || t.Contestant != contestant {
			continue
		}
		if v, ok := t.Figures[figure]; ok && t.Error == "" {
			list = append(list, v)
			doubted = doubted || len(t.Doubts) > 0
		}
	}
	return list, doubted
}

// median is the middle one, or the mean of the two in the middle; list must not be empty.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// cell is a median, with its ratio to the baseline's, or what it adds to how long connections take. A question mark tells that something
// casts doubt on it, which stands below the table.
func (r *report) cell(scenario, contestant, figure string) string {
	list, doubted := r.values(scenario, contestant, figure)
	if len(list) == 0 {
		return "-"
	}
	m := median(list)
	text := short(m)
	if doubted {
		text += "?"
	}
	base, _ := r.values(scenario, r.Baseline, figure)
	if contestant == r.Baseline || len(base) == 0 {
		return text
	}
	if strings.HasPrefix(figure, "connected ") {
		return text + fmt.Sprintf(" (%+.2f)", m-median(base))
	}
	if b := median(base); b != 0 {
		text += fmt.Sprintf(" (x %.2f)", m/b)
	}
	return text
}

// short has three digits or more.
func short(v float64) string {
	switch {
	case v == float64(int64(v)) && v < 1e6, v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (r *report) printHead(w io.Writer) {
	fmt.Fprintf(w, "plan %s, %s, on %s\n", r.Plan, r.Started, r.machine())
}

func (r *report) machine() string {
	var list []string
	for _, k := range []string{"cpus", "cpu", "kernel", "go", "conntrackd", "load"} {
		list = append(list, k+": "+r.Machine[k])
	}
	return strings.Join(list, "; ")
}

// of are the contestants of a scenario.
func (r *report) of(scenario string) []string {
	for _, t := range r.Trials {
		if t.Scenario == scenario && t.Contestant == machineItself {
			return []string{machineItself}
		}
	}
	return r.Contestants
}

// printScenario shows one scenario's table, and what is to be known with it.
func (r *report) printScenario(w io.Writer, scenario string) {
	who := r.of(scenario)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\t%s\n", scenario, strings.Join(who, "\t"))
	for _, figure := range shown {
		cells := make([]string, 0, len(who))
		there := false
		for _, k := range who {
			c := r.cell(scenario, k, figure)
			there = there || c != "-"
			cells = append(cells, c)
		}
		if there {
			fmt.Fprintf(t, "  %s\t%s\n", figure, strings.Join(cells, "\t"))
		}
	}
	t.Flush()
	told := map[string]bool{} // of whom and what there was an example
	for _, x := range r.Trials {
		if x.Scenario == scenario {
			x.printRemarks(w, told)
		}
	}
}

func (t *trial) printRemarks(w io.Writer, told map[string]bool) {
	who := fmt.Sprintf("  %s, %d: ", t.Contestant, t.Rep)
	switch {
	case t.Error != "":
		fmt.Fprintf(w, "%sFAILED: %s\n", who, t.Error)
	case t.Skipped != "":
		fmt.Fprintf(w, "%snot measured: %s\n", who, t.Skipped)
	}
	for _, d := range t.Doubts {
		fmt.Fprintf(w, "%s? %s\n", who, d)
	}
	for _, n := range t.Notes {
		fmt.Fprintf(w, "%s%s\n", who, n)
	}
	for _, what := range slices.Sorted(maps.Keys(t.Examples)) {
		if told[t.Contestant+what] {
			continue
		}
		told[t.Contestant+what] = true
		n := int(t.Figures["differing in "+what])
		if n == 0 {
			n = int(t.Figures[what])
		}
		fmt.Fprintf(w, "%s%s: %d, such as %s\n", who, what, n, t.Examples[what])
	}
}

// print shows a trial on one line, as it goes.
func (t *trial) print(w io.Writer) {
	var list []string
	for _, k := range summed {
		if v, ok := t.Figures[k]; ok {
			list = append(list, k+" "+short(v))
		}
	}
	if t.Error != "" {
		list = []string{"FAILED: " + t.Error}
	}
	if t.Skipped != "" {
		list = []string{"not measured: " + t.Skipped}
	}
	if len(t.Doubts) > 0 {
		list = append(list, "?")
	}
	fmt.Fprintf(w, "%s, %s, %d, %.1f s: %s\n", t.Scenario, t.Contestant, t.Rep, t.Seconds, strings.Join(list, ", "))
}

// printSummary shows the most telling figures of all scenarios in one table.
func (r *report) printSummary(w io.Writer) {
	fmt.Fprintf(w, "\nMedians, and ratios to %s; ?: see the remarks above. %.0f s, %s\n\n", r.Baseline, r.Seconds, r.machine())
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(t, "| scenario\t| figure\t| %s\t|\n", strings.Join(r.Contestants, "\t| "))
	fmt.Fprintf(t, "|---\t|---%s\t|\n", strings.Repeat("\t|---", len(r.Contestants)))
	var done []string
	for _, x := range r.Trials {
		if slices.Contains(done, x.Scenario) || x.Contestant == machineItself {
			continue
		}
		done = append(done, x.Scenario)
		for _, figure := range summed {
			cells := make([]string, 0, len(r.Contestants))
			for _, k := range r.Contestants {
				cells = append(cells, r.cell(x.Scenario, k, figure))
			}
			if slices.ContainsFunc(cells, func(c string) bool { return c != "-" }) {
				fmt.Fprintf(t, "| %s\t| %s\t| %s\t|\n", x.Scenario, legend[figure], strings.Join(cells, "\t| "))
			}
		}
	}
	t.Flush()
}

// printEnd shows the tables that are about all scenarios.
func (r *report) printEnd(w io.Writer) {
	r.printSummary(w)
	if r.Plan == "scale" {
		r.printGrowth(w)
	}
}

// showFile shows a report that was written before.
func showFile(w io.Writer, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r.printHead(w)
	var done []string
	for _, t := range r.Trials {
		if !slices.Contains(done, t.Scenario) {
			done = append(done, t.Scenario)
			r.printScenario(w, t.Scenario)
		}
	}
	r.printEnd(w)
	return nil
}

// legend are the names of figures that the last table has.
var legend = map[string]string{
	"connected p50 ms": "TCP connect p50, ms", "connected p99 ms": "TCP connect p99, ms", "held p50 below ms": "half were held no longer than, ms",
	"all held at 1/s": "all first packets held, 1/s", "cpu primary ms/s": "CPU of A, ms/s", "cpu backup ms/s": "CPU of B, ms/s",
	"highest rate held": "highest rate held in full, states/s", "join s": "time to join, s", "cpu s/1k": "CPU, both, s per 1,000 connections",
	"wire bytes/conn": "wire bytes a connection", "wire packets/conn": "wire packets a connection", "p50 ms": "latency p50, ms", "p99 ms": "latency p99, ms",
	"pair MiB": "memory of the pair (PSS), MiB", "wrong": "missing + extra + differing",
	"wrong but for timeouts": "the same, not looking at timeouts",
}

func (r *report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// machine tells what it was measured on.
func machine(ctx context.Context) map[string]string {
	m := map[string]string{"cpus": fmt.Sprint(runtime.NumCPU()), "go": runtime.Version()}
	first := func(file, key string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			return "unknown"
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, key) {
				_, value, _ := strings.Cut(line, ":")
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	m["cpu"] = first("/proc/cpuinfo", "model name")
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m["load"] = strings.TrimSpace(string(b))
	}
	if out, err := exec.CommandContext(ctx, "conntrackd", "-v").CombinedOutput(); err == nil {
		for word := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(word, "v") {
				m["conntrackd"] = strings.TrimRight(word, ".")
				break
			}
		}
	}
	return m
}
