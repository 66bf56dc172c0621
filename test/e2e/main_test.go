// Package e2e tests the programs as an operator runs them, in firewalls of test/lab.
package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// bin is the folder with the programs under test, built once by TestMain.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if flag.Parse(); testing.Short() {
		patience *= 4
	}
	dir, err := os.MkdirTemp("", "pfsync-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // else each program sleeps a second when it ends
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if err := labtest.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	bin = dir
	return m.Run()
}

// patience bounds every single wait. Nothing comes near it unless it is broken. An emulated machine
// (-short) has more.
var patience = 30 * time.Second

// newLab builds a lab that ends with the test.
func newLab(t *testing.T) *lab.Lab { return newLabOf(t, bin) }

// newLabOf is newLab with programs of its own.
func newLabOf(t *testing.T, bin string) *lab.Lab { return newLabWith(t, lab.Config{Bin: bin}) }

// newLabWith is newLab with other wishes.
func newLabWith(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.Prefix = "pfs-e2e"
	if c.Bin == "" {
		c.Bin = bin
	}
	l := labtest.NewLab(ctx, t, c)
	watchLogs(t, l)
	return l
}

// watchLogs shows the daemons' logs of a failed test, and fails one in which they were broken.
func watchLogs(t *testing.T, l *lab.Lab) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, f := range l.Firewalls() {
				t.Logf("%s's log:\n%s", f.Name, f.Log())
			}
		}
		for _, f := range l.Firewalls() {
			if log := f.Log(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
				t.Errorf("%s's daemon:\n%s", f.Name, log)
			}
		}
	})
}

// orFew is how many of what a test wants many of: few with -short, as on an emulated processor.
func orFew(many, few int) int {
	if testing.Short() {
		return few
	}
	return many
}

// startPair starts pfsyncd on both firewalls, configures fwA with ifconfig and fwB
// with netstart, and waits until both have their bulk update.
func startPair(t *testing.T, l *lab.Lab) {
	t.Helper()
	startA(t, l)
	joinB(t, l)
	waitSynced(t, l.B)
	waitSynced(t, l.A)
}

func startA(t *testing.T, l *lab.Lab) {
	t.Helper()
	startDaemon(t, l.A)
	if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync); err != nil {
		t.Fatal(err)
	}
}

func joinB(t *testing.T, l *lab.Lab) {
	t.Helper()
	startDaemon(t, l.B)
	if err := l.B.Netstart(t.Context(), "pfsync0", "up syncdev "+lab.Sync); err != nil {
		t.Fatal(err)
	}
}

func startDaemon(t *testing.T, f *lab.Firewall, args ...string) {
	t.Helper()
	if err := f.StartDaemon(args...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func waitSynced(t *testing.T, f *lab.Firewall) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition; cond's last error says what was missing.
func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := lab.Eventually(ctx, what, cond); err != nil {
		t.Fatal(err)
	}
}

// flows returns a firewall's table by original tuple, without timeouts and ids.
func flows(t *testing.T, f *lab.Firewall) map[lab.Tuple]lab.Flow {
	t.Helper()
	entries, err := f.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table := map[lab.Tuple]lab.Flow{}
	for _, e := range entries {
		table[e.Orig] = e.Flow
	}
	return table
}

// sameTable returns an error that names a flow of from's that to lacks or has otherwise.
func sameTable(t *testing.T, from, to *lab.Firewall) error {
	t.Helper()
	have := flows(t, to)
	for orig, want := range flows(t, from) {
		got, ok := have[orig]
		if !ok {
			return fmt.Errorf("%s lacks %v", to.Name, want)
		}
		if got != want {
			return fmt.Errorf("%s has %v, want %v", to.Name, got, want)
		}
	}
	return nil
}
