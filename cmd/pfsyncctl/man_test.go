package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// The manual page has every variable with its meaning, range and default, as the registry has them.
func TestTheManualHasEveryVariable(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range sysctl.Variables() {
		meaning := strings.ToUpper(v.Meaning[:1]) + v.Meaning[1:]
		want := fmt.Sprintf(".It Va %s\n%s\n.Pq %d to %d; default %d\n", v.Name, meaning, v.Min, v.Max, v.Default)
		switch {
		case v.Opaque:
			want = ".Va " + v.Name + "\n"
		case v.Linux != "":
			want = fmt.Sprintf(".It Va %s\n%s\n.Po %d to %d; Linux's own\n.Va %s\n.Pc\n", v.Name, meaning, v.Min, v.Max, v.Linux)
		case v.ReadOnly != "":
			want = fmt.Sprintf(".It Va %s\n%s\n.Pq read only; default %d\n", v.Name, meaning, v.Default)
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no line %s", want)
		}
	}
}

// What pfsync does not do stands where pfsync(4) begins.
func TestTheManualSaysWhatIsNotShared(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsync.4")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n.Sh DESCRIPTION\n")
	text, _, _ = strings.Cut(text, "\n.Ss ")
	for _, word := range []string{"rules", "addresses", "routes", "neighbours"} {
		if !strings.Contains(text, word) {
			t.Errorf("nothing is said of %s", word)
		}
	}
}

// The page has every name that check gives its findings.
func TestTheManualHasEveryFinding(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n.Sh WHAT IS CHECKED\n")
	text, _, _ = strings.Cut(text, "\n.Sh ")
	files, err := filepath.Glob("check/*.go")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?:r\.add\((?:Error|Warning|Note|level), |r\.blocked\(|^\t\{"\w+", )"([a-z0-9-]+)"`)
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(source)) {
			for _, m := range name.FindAllStringSubmatch(line, -1) {
				found++
				if !regexp.MustCompile(`(?m)^\.It Cm .*\b` + m[1] + `( |$)`).MatchString(text) {
					t.Errorf("%s: the page has no %s", file, m[1])
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d names found: the search is wrong", found)
	}
}

// The examples of the manual page do what they are said to, in a shell.
func TestExamplesOfTheManual(t *testing.T) {
	page, err := os.ReadFile("../../man/pfsyncctl.8")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n.Sh EXAMPLES\n")
	text, _, _ = strings.Cut(text, "\n.Sh ")
	var commands []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), ".Dl ")
		if c, ok := strings.CutPrefix(line, "# "); ok {
			commands = append(commands, c)
		} else if c, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, c)
		}
	}
	dir := t.TempDir()
	ns, node := labtest.NewNS(t), controltest.NewNode()
	node.Hear(ifconfig.Peer{Addr: netip.MustParseAddr("192.168.254.253"), Kind: "linux", State: "up", Sync: "no", Problems: []string{}})
	up, syncdev := true, "sis2"
	if err := node.Change(ifconfig.Change{Interface: "pfsync0", Up: &up, Syncdev: &syncdev}); err != nil {
		t.Fatal(err)
	}
	stop, err := controltest.Serve(ns, node)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	want := []string{ // part of the output
		"error: sis2: no such interface, though it is the syncdev; ",
		"ok: pfsync0: is up, its syncdev is sis2\n",
		"",
		"digests differ",
		"hostname.pfsync0: up syncdev sis2 -listen\n", // the node says that its table is in memory
		"packets received (IPv4)\n",
		"pfsync:\n",
		"pfsync: not in sync\n",
		"net.inet.carp.preempt: 0 -> 1\n",
		"",
	}
	if len(commands) != len(want) {
		t.Fatalf("%d examples, want %d: %q", len(commands), len(want), commands)
	}
	here := strings.NewReplacer("pfsyncctl save", "pfsyncctl save -C "+dir, "/etc/", dir+"/", "logger -p daemon.err", "echo")
	for i, c := range commands {
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = exec.Command("sh", "-c", here.Replace(c)).CombinedOutput()
			return err
		})
		if failed := err != nil; failed != (i < 2) || // check: there is no sis2
			!strings.Contains(string(out), want[i]) {
			t.Errorf("%s: %v %s, want %s", c, err, out, want[i])
		}
	}
	if n := len(node.Changes()); n != 2 { // one by this test, one by bulk
		t.Errorf("%d changes, want 2", n)
	}
}
