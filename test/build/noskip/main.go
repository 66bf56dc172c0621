// Command noskip runs a test binary for `go test -exec` and fails when a test was
// skipped. On success it prints nothing of its own, so that go test's lines are the only ones.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"
)

var (
	skipped = regexp.MustCompile(`(?m)^ *--- SKIP: .*`)
	// What -test.v adds for tests in which nothing happened.
	noise = regexp.MustCompile(`(?m)^(=== (RUN|PAUSE|CONT) .*|\s*--- PASS: .*)\n`)
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -exec noskip")
		os.Exit(2)
	}
	os.Exit(run(os.Args[1], os.Args[2:]))
}

// run returns the exit status: the test's own, or 1 for a test that skipped something.
func run(program string, args []string) int {
	var out bytes.Buffer
	cmd := exec.Command(program, append(args, "-test.v")...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		fmt.Println("noskip:", err)
		return 1
	}
	// go test asks a test that hangs for its stacks with SIGQUIT; Ctrl-C reaches it
	// directly, and must let it clean up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()

	found := skipped.FindAll(out.Bytes(), -1)
	if err == nil && len(found) == 0 {
		fmt.Println("PASS")
		return 0
	}
	os.Stdout.Write(noise.ReplaceAll(out.Bytes(), nil))
	if len(found) > 0 {
		fmt.Printf("noskip: %d skipped; here that is a failure\n", len(found))
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Println("noskip:", err) // killed by a signal
	}
	return 1
}
