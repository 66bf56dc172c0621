package packaging_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// packageFile makes the package and puts it into the copy of the root.
func packageFile(t *testing.T, r root) (inside string, contents []string) {
	t.Helper()
	dir := t.TempDir()
	makeTarget(t, "deb", "DEBDIR="+dir, "DEBFLAGS=-Zgzip -z1") // the usual compression takes long
	found, err := filepath.Glob(filepath.Join(dir, "pfsync-linux_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("make deb made %q, %v", found, err)
	}
	// Part of the root, if the test's folder is on the same file system, but not for certain.
	copied := exec.Command("cp", found[0], filepath.Join(filepath.Dir(r.upper), "root", "pfsync-linux.deb"))
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -t`, "sh", found[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); !strings.HasSuffix(line, "/") {
			contents = append(contents, strings.TrimPrefix(line, "."))
		}
	}
	slices.Sort(contents)
	return "/pfsync-linux.deb", contents
}

// writtenBut is written without the package itself.
func (r root) writtenBut(t *testing.T, deb string) []string {
	t.Helper()
	files := slices.DeleteFunc(r.written(t), func(f string) bool { return f == deb })
	slices.Sort(files)
	return files
}

// TestPackage takes the package through its life.
func TestPackage(t *testing.T) {
	r := newRoot(t)
	deb, contents := packageFile(t, r)

	r.run(t, "dpkg", "--install", deb)
	if out := r.run(t, "dpkg-query", "--show", "--showformat=${db:Status-Status}", "pfsync-linux"); out != "installed" {
		t.Errorf("status %s", out)
	}
	if out := r.run(t, "dpkg", "--verify", "pfsync-linux"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	// Nothing but its own files: no other program is touched, no service is enabled.
	if diff := cmp.Diff(contents, r.writtenBut(t, deb)); diff != "" {
		t.Errorf("files written by the installation (-want +got):\n%s", diff)
	}
	t.Run("units", func(t *testing.T) {
		if out := r.run(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "pfsyncd.service", "pfsync-netstart.service"); strings.Contains(out, "pfsync") {
			t.Errorf("systemd-analyze verify: %s", out)
		}
	})
	t.Run("it works", func(t *testing.T) { works(t, r) })
	t.Run("completion", func(t *testing.T) { completes(t, r) })

	// An upgrade keeps what the operator wrote; removing keeps that and the daemon's memory.
	r.run(t, "systemctl", "enable", "pfsyncd.service", "pfsync-netstart.service")
	r.run(t, "sh", "-c", `echo 'PFSYNCD_OPTIONS="--log-level debug"' > /etc/default/pfsyncd`)
	r.run(t, "dpkg", "--install", deb)
	if out := r.run(t, "cat", "/etc/default/pfsyncd"); !strings.Contains(out, "debug") {
		t.Errorf("an upgrade has made /etc/default/pfsyncd: %s", out)
	}
	r.run(t, "test", "-L", "/etc/systemd/system/multi-user.target.wants/pfsyncd.service")
	r.run(t, "dpkg", "--remove", "pfsync-linux")
	if diff := cmp.Diff([]string{"/etc/default/pfsyncd", "/var/lib/pfsync/creatorid", "/var/lib/pfsync/idkey", "/var/lib/pfsync/lock"}, r.writtenBut(t, deb)); diff != "" {
		t.Errorf("left after removing (-want +got):\n%s", diff)
	}
	r.run(t, "dpkg", "--purge", "pfsync-linux")
	if left := r.writtenBut(t, deb); len(left) > 0 {
		t.Errorf("left after purging: %s", left)
	}
	if out, err := r.command("dpkg-query", "--status", "pfsync-linux").CombinedOutput(); err == nil {
		t.Errorf("still known after purging: %s", out)
	}
}

// works has the installed daemon and the installed tools work together.
func works(t *testing.T, r root) {
	ns := labtest.NewNS(t)
	daemon := r.command("/usr/sbin/pfsyncd", "--table", "memory")
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := ns.Start(daemon); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	tool := func(args ...string) (string, error) {
		cmd := r.command(args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := ns.Start(cmd); err != nil {
			return "", err
		}
		err := cmd.Wait()
		return out.String(), err
	}
	labtest.Eventually(t, "the daemon answers", func() bool { _, err := tool("pfsyncctl", "status"); return err == nil })
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pfsyncctl", "status"}, "table: memory"},
		{[]string{"pfifconfig", "pfsync0", "up"}, ""},
		{[]string{"/usr/libexec/pfsync/bsd/ifconfig", "pfsync0"}, "pfsync0: flags=1<UP>"},
		{[]string{"pfsyncctl", "stats", "--bsd"}, "pfsync:\n\t0 packets received (IPv4)"},
	} {
		if out, err := tool(c.args...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v: %s", c.args, err, out)
		}
	}
	daemon.Process.Signal(syscall.SIGTERM)
	if err := daemon.Wait(); err != nil {
		t.Errorf("pfsyncd ended with %v: %s", err, &log)
	}
}
