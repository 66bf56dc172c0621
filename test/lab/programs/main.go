// Command programs shows, or installs, the external programs that a target of the
// Makefile needs: programs [-install] demo|test|bench|soak|soak-conntrackd. It prints nothing when all are there.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/pfsync-linux/pfsync/test/lab"
)

func main() {
	install := flag.Bool("install", false, "install what is missing with apt-get")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: programs [-install] demo|test|bench|soak|soak-conntrackd")
		os.Exit(1)
	}
	if err := run(flag.Arg(0), *install); err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
}

func run(target string, install bool) error {
	missing := lab.Missing(target)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); !install || err != nil {
		return fmt.Errorf("missing: %s", lab.Describe(missing))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing: %s; only root can install them", lab.Describe(missing))
	}
	packages := lab.Packages(missing)
	fmt.Fprintln(os.Stderr, "installing", packages)
	if err := apt("update", "-q"); err != nil {
		return err
	}
	args := append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)
	if err := apt(args...); err != nil {
		return err
	}
	if missing = lab.Missing(target); len(missing) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", lab.Describe(missing))
	}
	return nil
}

// apt writes to stderr only, so that the caller's own output stays clean.
func apt(args ...string) error {
	cmd := exec.Command("apt-get", args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return errors.New("apt-get " + args[0] + ": " + err.Error())
	}
	return nil
}
