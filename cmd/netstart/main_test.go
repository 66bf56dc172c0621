package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync-linux/pfsync/test/clitest"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts run netstart as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"netstart": main})
}

// TestScripts runs testdata/*.txtar; their commands are those of clitest.Run.
func TestScripts(t *testing.T) { clitest.Run(t, *update) }
