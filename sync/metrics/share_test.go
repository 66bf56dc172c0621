package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/metrics"
	"github.com/pfsync-linux/pfsync/test/lab"
)

const (
	rulesFile     = "../../share/prometheus/pfsync.rules.yml"
	dashboardFile = "../../share/grafana/pfsync.json"
)

// full has every metric there is.
func full() source {
	s := pair()
	s.counters = []pfstate.Counter{{Name: "iacts.INS ST"}, {Name: "oacts.INS ST"}, {Name: "table_read_buffer_bytes"}, {Name: "something_new"}}
	s.demotion = []ifconfig.Demotion{{Group: "carp", Count: 32, Shares: []ifconfig.DemotionShare{{Reason: "pfsync bulk", Count: 32}}}}
	s.interfaces = append(s.interfaces, ifconfig.Interface{Name: "carp0", Carp: &ifconfig.Carp{Name: "carp0", State: "MASTER", CarpDev: "sis0", VHID: 1}})
	s.histograms = append(s.histograms, pfstate.Histogram{Name: "applydelay", Bounds: []time.Duration{time.Second}, Counts: []uint64{1, 0}, Sum: time.Second})
	for _, name := range metrics.Known() {
		s.counters = append(s.counters, pfstate.Counter{Name: name})
	}
	return s
}

// exported returns the names of all metrics, each with all its labels.
func exported(t *testing.T) map[string]map[string]bool {
	t.Helper()
	families, err := registry(t, full()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]map[string]bool{}
	for _, f := range families {
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()+"="+l.GetValue()] = true
			}
		}
		names[f.GetName()] = labels
		if f.GetMetric()[0].GetHistogram() != nil {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[f.GetName()+part] = labels
			}
		}
	}
	return names
}

var (
	selector = regexp.MustCompile(`\b(pfsync_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// checkExpression has every metric of an expression be there, with the values of its labels.
func checkExpression(t *testing.T, names map[string]map[string]bool, expr string) {
	t.Helper()
	found := selector.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: names no metric", expr)
	}
	for _, m := range found {
		labels, ok := names[m[1]]
		if !ok {
			t.Errorf("%s: there is no metric %s", expr, m[1])
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !labels[l[1]+"="+l[2]] {
				t.Errorf("%s: %s is never %s=%q", expr, m[1], l[1], l[2])
			}
		}
	}
}

func TestDashboardNamesOurMetrics(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title      string
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	names := exported(t)
	var exprs []string
	if len(dashboard.Panels) < 10 {
		t.Errorf("%d panels only", len(dashboard.Panels))
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkExpression(t, names, target.Expr)
			exprs = append(exprs, target.Expr)
			for _, l := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if l[1] != "instance" && !hasLabel(names, target.Expr, l[1]) {
					t.Errorf("panel %s: %s has no label %s", p.Title, target.Expr, l[1])
				}
			}
		}
	}
	readExpressions(t, exprs)
	for _, v := range dashboard.Templating.List {
		if v.Definition != "" {
			checkExpression(t, names, v.Definition)
		}
	}
}

func hasLabel(names map[string]map[string]bool, expr, label string) bool {
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		for l := range names[m[1]] {
			if strings.HasPrefix(l, label+"=") {
				return true
			}
		}
	}
	return false
}

// readExpressions has promtool read them, as rules, with Grafana's variables filled in.
func readExpressions(t *testing.T, exprs []string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, expr := range exprs {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(expr)
		fmt.Fprintf(&b, "  - record: panel:%d\n    expr: %q\n", i, expr)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}

func TestAlertsNameOurMetrics(t *testing.T) {
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	// The expressions alone: no other line of the file has a metric's name.
	names := exported(t)
	found := 0
	for line := range strings.Lines(string(text)) {
		if selector.MatchString(line) {
			checkExpression(t, names, line)
			found++
		}
	}
	if found < 9 {
		t.Errorf("%d expressions only", found)
	}
	promtool(t, "", "check", "rules", "--lint-fatal", rulesFile)
}

// The rules raise each alert when it is due, and none else: testdata/alerts.yml has the cases.
func TestAlertsAreRaised(t *testing.T) {
	dir := t.TempDir()
	for from, to := range map[string]string{rulesFile: "rules.yml", "testdata/alerts.yml": "alerts.yml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, dir, "test", "rules", "alerts.yml")
}

// promtool also reads what is scraped.
func TestPromtoolReadsTheScrape(t *testing.T) {
	if err := lab.Require("promtool"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, full()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
}

func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	if err := lab.Require("promtool"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v: %s", args, err, out)
	}
}
