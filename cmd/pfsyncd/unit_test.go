package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

const unitFile = "../../share/systemd/pfsyncd.service"

// unitSetting returns the words of all lines of a setting in the unit file.
func unitSetting(t *testing.T, key string) (words []string) {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			words = append(words, strings.Fields(value)...)
		}
	}
	if len(words) == 0 {
		t.Fatalf("%s: no %s", unitFile, key)
	}
	return words
}

// analyze runs systemd-analyze, which needs no systemd that runs.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	if err := lab.Require("systemd-analyze"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v: %s", args, err, out)
	}
	return string(out)
}

// allowed is the set of system calls that a SystemCallFilter lets through.
func allowed(t *testing.T, filter []string) map[string]bool {
	t.Helper()
	calls := map[string]bool{}
	for _, word := range filter {
		if !strings.HasPrefix(word, "@") {
			calls[word] = true
			continue
		}
		var members []string
		for line := range strings.Lines(analyze(t, "syscall-filter", "--no-pager", word)) {
			if line = strings.TrimSpace(line); line != "" && line != word && !strings.HasPrefix(line, "#") {
				members = append(members, line)
			}
		}
		for call := range allowed(t, members) {
			calls[call] = true
		}
	}
	return calls
}

// systemd finds nothing to say of the unit file, nor if it comes before the rules, and calls it well protected.
func TestUnitFileIsUnderstood(t *testing.T) {
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range man.Examples(pages["pfsyncd.8"]) {
		if e.First() == "DefaultDependencies=no" {
			after := regexp.MustCompile(`(?m)^After=.*\n`)
			if n := len(after.FindAll(text, -1)); n != 1 {
				t.Errorf("the unit file has %d lines that the example takes the place of", n)
			}
			understood(t, after.ReplaceAll(text, []byte(e.Text)))
		}
	}
	understood(t, text)
}

func understood(t *testing.T, text []byte) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "pfsyncd.service") // with a program that exists
	if err := os.WriteFile(copied, regexp.MustCompile(`(?m)^(ExecStart|ExecStopPost)=.*`).ReplaceAll(text, []byte("$1="+os.Args[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	// Other units of this machine may have faults of their own.
	if out := analyze(t, "verify", "--man=no", "--recursive-errors=no", copied); strings.Contains(out, "pfsyncd") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	analyze(t, "security", "--no-pager", "--offline=true", "--threshold=30", copied) // exposed by 2.5 of 10
}

// The unit file lets the program that is installed make the system calls that it makes
// when it does all that it can.
func TestUnitFileAllowsWhatTheDaemonDoes(t *testing.T) {
	if err := lab.Require("strace"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, trace := filepath.Join(dir, "pfsyncd"), filepath.Join(dir, "trace")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the Makefile: C's library makes other calls
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	a, b := cable(t)
	// With -D, the process that was started is the daemon, not strace.
	labtest.Run(t, a, "ip link set lo up")
	m := newManager(t)
	cmd, log := launch(t, a, m.environ(exec.Command("strace", "-D", "-f", "-o", trace, program,
		"--state-dir", filepath.Join(dir, "state"), "--metrics", scrapeAddress)))
	daemon(t, b, "--state-dir", t.TempDir())
	m.await(t, "READY=1")
	work(t, a, b)
	scrape(t, dialTCP(a), "/metrics")
	terminate(t, cmd, log)

	lines, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	may := allowed(t, append(unitSetting(t, "SystemCallFilter"), "@default"))
	families := unitSetting(t, "RestrictAddressFamilies")
	made := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\((AF_\w+)?`).FindAllStringSubmatch(string(lines), -1) {
		call, family := m[1], m[2]
		if !may[call] && !made[call] {
			t.Errorf("the daemon calls %s, which SystemCallFilter of the unit file forbids", call)
		}
		if call == "socket" && !slices.Contains(families, family) {
			t.Errorf("the daemon opens a socket of %s, which RestrictAddressFamilies of the unit file forbids", family)
		}
		made[call] = true
	}
	for _, call := range []string{"execve", "landlock_restrict_self", "capset", "socket", "recvmmsg", "ioctl", "listen", "exit_group"} {
		if !made[call] {
			t.Errorf("no %s seen: the trace is not the daemon's", call)
		}
	}
}
