// Command programs shows, or installs, the external programs that a target of the
// Makefile needs: programs [-install] demo|test|bench|gobench|failover|soak|soak-conntrackd. It prints nothing when all are there.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/pfsync-linux/pfsync/test/lab"
)

func main() {
	install := flag.Bool("install", false, "install what is missing with apt-get")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: programs [-install] demo|test|bench|gobench|failover|soak|soak-conntrackd")
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
	fmt.Fprintln(os.Stderr, "installing", lab.Describe(missing))
	if err := apt("", "update", "-q"); err != nil {
		return err
	}
	whole := slices.DeleteFunc(slices.Clone(missing), lab.Program.Alone)
	if len(whole) > 0 {
		args := append([]string{"install", "-q", "-y", "--no-install-recommends"}, lab.Packages(whole)...)
		if err := apt("", args...); err != nil {
			return err
		}
	}
	for _, p := range missing {
		if p.Alone() {
			if err := takeOut(p); err != nil {
				return err
			}
		}
	}
	if missing = lab.Missing(target); len(missing) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", lab.Describe(missing))
	}
	return nil
}

// takeOut fetches the package of p and keeps nothing of it but p.
func takeOut(p lab.Program) error {
	dir, err := os.MkdirTemp("", "programs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := apt(dir, "download", "-q", p.Package); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("apt-get download %s: got %q", p.Package, found)
	}
	if err := execute("", "dpkg-deb", "-x", found[0], dir); err != nil {
		return err
	}
	return execute("", "install", "-m", "755", filepath.Join(dir, "usr", "bin", p.Name), "/usr/local/bin/")
}

func apt(dir string, args ...string) error { return execute(dir, "apt-get", args...) }

// execute writes to stderr only, so that the caller's own output stays clean.
func execute(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return nil
}
