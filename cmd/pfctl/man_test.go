package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// The examples of the manual page do what they are said to, in a shell.
func TestExamplesOfTheManual(t *testing.T) {
	pages, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, e := range man.Examples(pages["pfctl.8"]) {
		for line := range strings.Lines(e.Text) {
			commands = append(commands, strings.TrimSpace(line)[len("# "):])
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/pf.conf", []byte("pass proto udp keep state (no-sync)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ns, node := labtest.NewNS(t), controltest.NewNode()
	stop, err := controltest.Serve(ns, node)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	want := []string{ // of the output
		"", "",
		"all tcp 203.0.113.9:61000 (192.168.0.20:40118) -> 198.51.100.80:443 ",
		"killed 3 states from 1 sources and 0 destinations",
		"killed 1 states from 1 sources and 1 destinations",
		"killed 1 states",
		"1",
	}
	if len(commands) != len(want) {
		t.Fatalf("%d examples, want %d", len(commands), len(want))
	}
	for i, c := range commands {
		node.Hold(controltest.Samples()...)
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = exec.Command("sh", "-c", strings.ReplaceAll(c, "/etc/pf.conf", dir+"/pf.conf")).CombinedOutput()
			return err
		})
		if err != nil || !strings.HasPrefix(string(out), want[i]) || want[i] == "" && len(out) > 0 {
			t.Errorf("%s: %v %s, want %s", c, err, out, want[i])
		}
	}
	if rules, err := node.Rules(); err != nil || len(rules.Ruleset.Rules) != 1 {
		t.Errorf("%+v %v, want the rule of the file", rules, err)
	}
}
