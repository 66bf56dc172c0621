// Package labtest has what tests of the kernel's side begin with: namespaces, programs
// in them and things that run in the background, all gone when the test ends.
package labtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Patience bounds every wait of a test; none comes near it unless something is broken.
const Patience = 20 * time.Second

// serial tells the namespaces of this process apart.
var serial atomic.Int32

// NewNS makes a network namespace of the test's own. It needs root.
func NewNS(tb testing.TB) *lab.NS {
	tb.Helper()
	if err := lab.RequireRoot(); err != nil {
		tb.Fatal(err)
	}
	ns, err := lab.NewNS(fmt.Sprintf("pfs-test-%d-%d", os.Getpid(), serial.Add(1)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := ns.Close(); err != nil {
			tb.Error(err)
		}
	})
	return ns
}

// NewLab builds a lab that ends with the test. ctx bounds the building alone.
func NewLab(ctx context.Context, tb testing.TB, c lab.Config) *lab.Lab {
	tb.Helper()
	l, err := lab.New(ctx, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// Prebuilt names a folder with our programs: where it is in the environment, Build takes them from there. A
// machine without Go has no other way.
const Prebuilt = "PFSYNC_PREBUILT"

// Build builds our programs into dir, with the race detector if the test has it.
func Build(dir string) error { return build(dir, raceFlags()...) }

// BuildQuick is Build without the race detector, for tests of what many states take.
func BuildQuick(dir string) error { return build(dir) }

func build(dir string, flags ...string) error {
	if from := os.Getenv(Prebuilt); from != "" {
		return link(from, dir)
	}
	args := append([]string{"build", "-buildvcs=false", "-o", dir + "/"}, flags...)
	cmd := exec.Command("go", append(args, "github.com/pfsync-linux/pfsync/cmd/...")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build cmd/...: %w: %s", err, out)
	}
	return nil
}

// link makes symbolic links in dir to all that is in from.
func link(from, dir string) error {
	programs, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("%s: %w", Prebuilt, err)
	}
	for _, p := range programs {
		if err := os.Symlink(filepath.Join(from, p.Name()), filepath.Join(dir, p.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a command line, its words separated by spaces, in ns and returns what it
// printed. Its failure is the test's.
func Run(tb testing.TB, ns *lab.NS, commandLine string) string {
	tb.Helper()
	words := strings.Fields(commandLine)
	out, err := ns.Run(tb.Context(), words[0], words[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Background runs run until stop is called or the test ends, and then checks that it
// ends without an error. stop may be called again.
func Background(tb testing.TB, run func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // the test's own ends before its cleanups
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(Patience):
			tb.Error("Run does not end with its context")
		}
	})
	tb.Cleanup(stop)
	return stop
}

// Eventually waits until the kernel and what is tested have come to where ok holds.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	timeout := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			tb.Fatalf("never: %s", what)
		}
	}
}
