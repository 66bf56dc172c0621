package main

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/test/clitest"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts run ifconfig as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ifconfig": main})
}

// TestScripts runs testdata/*.txtar; their commands are those of clitest.Run.
func TestScripts(t *testing.T) { clitest.Run(t, *update) }

func TestHelpNamesEveryWord(t *testing.T) {
	var out, stderr strings.Builder
	if status := run([]string{"--help"}, &out, &stderr); status != 0 || stderr.String() != "" {
		t.Fatalf("status %d, stderr %q", status, stderr.String())
	}
	for _, line := range []string{"syncdev interface", "-syncdev", "syncpeer address", "maxupd number", "-defer", "key file", "-key", "create", "mtu number"} {
		if !strings.Contains(out.String(), "\n  "+line+"\n") {
			t.Errorf("help lacks %q", line)
		}
	}
}

func TestTheManualHasEveryWord(t *testing.T) {
	page, err := os.ReadFile("../../man/ifconfig.8")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Fields(string(page))
	for _, name := range []string{"pfsync0", "carp0", "eth0", "bridge0", "pair0", "vether0", "vlan0"} {
		for _, k := range ifconfig.Keywords(name) {
			if !slices.Contains(named, k.Word) {
				t.Errorf("the manual lacks %s", k.Word)
			}
		}
	}
}
