package packaging_test

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// makeTarget runs make in the folder of the Makefile.
func makeTarget(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"-C", "../.."}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v: %s", args, err, out)
	}
}

// root is a copy of this machine's root. What is written in it is kept in upper, in memory.
type root struct {
	pid        int // of a process in its mount namespace
	dir, upper string
}

// inside makes the copy, says so, and keeps it until its standard input ends.
const inside = `set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc none "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount --rbind /sys "$1/root/sys"
echo ready
exec cat`

func newRoot(t *testing.T) root {
	t.Helper()
	if err := lab.Require("unshare", "dpkg-deb"); err != nil {
		t.Fatal(err)
	}
	if err := lab.RequireRoot(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("no copy of the root: %v: %s", err, &stderr)
	}
	// By way of /proc, its files can be seen from outside.
	proc := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "root", dir)
	return root{cmd.Process.Pid, filepath.Join(dir, "root"), filepath.Join(proc, "upper")}
}

// command runs args in the copy.
func (r root) command(args ...string) *exec.Cmd {
	enter := []string{"--mount", "--target", strconv.Itoa(r.pid), "--", "env", "-i", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "chroot", r.dir}
	return exec.Command("nsenter", append(enter, args...)...)
}

// run returns what args print, without the last newline.
func (r root) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := r.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args, err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// written lists the files that were written or removed in the copy, without those of dpkg
// itself, and of programs that keep a cache.
func (r root) written(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(r.upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, r.upper)
		for _, other := range []string{"/var/lib/dpkg/", "/var/log/", "/var/cache/", "/root/", "/run/"} {
			if strings.HasPrefix(name, other) {
				return nil
			}
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
