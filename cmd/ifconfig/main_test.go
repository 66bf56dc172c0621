package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts run ifconfig as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ifconfig": main})
}

// TestScripts runs testdata/*.txtar, each in a network namespace of its own. Beside testscript's
// commands they have:
//
//	daemon     start a pfsyncd made of memory
//	fw PROG..  run a program in the namespace
func TestScripts(t *testing.T) {
	for _, file := range scripts(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		ns, err := lab.NewNS(fmt.Sprintf("pfs-ifconfig-%d-%s", os.Getpid(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		testscript.Run(t, testscript.Params{
			Files:               []string{file},
			RequireExplicitExec: true,
			UpdateScripts:       *update,
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"daemon": func(ts *testscript.TestScript, _ bool, _ []string) {
					stop, err := controltest.Serve(ns, controltest.NewNode())
					ts.Check(err)
					ts.Defer(func() {
						if err := stop(); err != nil {
							t.Error(err)
						}
					})
				},
				"fw": func(ts *testscript.TestScript, neg bool, args []string) {
					err := ns.Do(func() error { return ts.Exec(args[0], args[1:]...) })
					if failed := err != nil; failed != neg {
						ts.Fatalf("%v: %v", args, err)
					}
				},
			},
		})
	}
}

func scripts(t *testing.T) []string {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	return files
}

func TestHelpNamesEveryWord(t *testing.T) {
	var out, stderr strings.Builder
	if status := run([]string{"--help"}, &out, &stderr); status != 0 || stderr.String() != "" {
		t.Fatalf("status %d, stderr %q", status, stderr.String())
	}
	for _, line := range []string{"syncdev interface", "-syncdev", "syncpeer address", "maxupd number", "-defer", "create", "mtu number"} {
		if !strings.Contains(out.String(), "\n  "+line+"\n") {
			t.Errorf("help lacks %q", line)
		}
	}
}
