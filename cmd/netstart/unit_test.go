package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// systemd finds nothing to say of the unit file.
func TestUnitFileIsUnderstood(t *testing.T) {
	if err := lab.Require("systemd-analyze"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"pfsync-netstart.service", "pfsyncd.service"} { // the one wants the other
		text, err := os.ReadFile("../../share/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		// with a program that exists
		text = regexp.MustCompile(`(?m)^(ExecStart|ExecReload|ExecStartPre|ExecStopPost)=(-?)\S+`).ReplaceAll(text, []byte("$1=$2"+os.Args[0]))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Other units of this machine may have faults of their own.
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
		filepath.Join(dir, "pfsync-netstart.service")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "pfsync") {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}

// The program starts after the rules and after the daemon, and is started as it is installed.
func TestUnitFileKeepsTheOrder(t *testing.T) {
	text, err := os.ReadFile("../../share/systemd/pfsync-netstart.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`Wants=.*\bpfsyncd\.service`, `PartOf=pfsyncd\.service`, `After=.*\bnetwork-pre\.target.*\bnftables\.service.*\bpfsyncd\.service`,
		`ExecStart=pfnetstart \$NETSTART_OPTIONS`, `Type=oneshot`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `\b`).Match(text) {
			t.Errorf("no line %s", line)
		}
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "share/systemd/*.service") {
		t.Error("make install leaves it out")
	}
}
