package packaging_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// theirs are names that Linux's own packages have, and that must not be hidden.
var theirs = []string{"ifconfig", "netstat", "netstart", "sysctl", "tcpdump", "route", "arp"}

// TestInstall installs below a folder, as one who makes a package does.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	makeTarget(t, "install", "DESTDIR="+dest, "PREFIX=/opt/pfsync")
	prefix := filepath.Join(dest, "opt/pfsync")
	var files []string
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path) // behind links
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dest)
		files = append(files, name)
		if !strings.HasPrefix(name, "/opt/pfsync/") && name != "/etc/default/pfsyncd" {
			t.Errorf("%s: outside of PREFIX", name)
		}
		isProgram := strings.Contains(name, "/sbin/") || strings.Contains(name, "/libexec/")
		want := fs.FileMode(0o644)
		if isProgram {
			want = 0o755
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), want)
		}
		if strings.Contains(name, "/sbin/") || strings.Contains(name, "/bsd/") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if left := regexp.MustCompile(`@[A-Z]+@|/usr/local/`).Find(text); left != nil {
			t.Errorf("%s: %s is left in it", name, left)
		}
		if other := regexp.MustCompile(`(?m)^\.Xr (ifconfig|netstart) 8`).Find(text); other != nil {
			t.Errorf("%s: %s is another program's page", name, other)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	sources, err := filepath.Glob("../../cmd/*")
	if err != nil || len(sources) < 5 {
		t.Fatalf("programs: %q, %v", sources, err)
	}
	completed, err := os.ReadFile(filepath.Join(prefix, "share/bash-completion/completions/pfsyncd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		name := filepath.Base(source)
		if slices.Contains(theirs, name) {
			if target, err := os.Readlink(filepath.Join(prefix, "libexec/pfsync/bsd", name)); err != nil || target != "../../../sbin/pf"+name {
				t.Errorf("%s under its BSD name: %s, %v", name, target, err)
			}
			name = "pf" + name
		}
		// pfctl takes no --help and says its usage, as on the BSDs.
		if out, err := exec.CommandContext(t.Context(), filepath.Join(prefix, "sbin", name), "--help").CombinedOutput(); !strings.Contains(strings.ToLower(string(out)), "usage:") {
			t.Errorf("%s --help: %v: %s", name, err, out)
		}
		for _, file := range []string{
			"/share/man/man8/" + name + ".8", "/share/bash-completion/completions/" + name, "/share/fish/vendor_completions.d/" + name + ".fish",
		} {
			if !slices.Contains(files, "/opt/pfsync"+file) {
				t.Errorf("%s has no %s", name, file)
			}
		}
		if !slices.Contains(strings.Fields(string(completed)), name) {
			t.Errorf("%s: not completed", name)
		}
	}
	for _, file := range files {
		if strings.Contains(file, "/sbin/") && slices.Contains(theirs, filepath.Base(file)) {
			t.Errorf("%s would hide the system's own", file)
		}
	}

	// All of share, and what it runs, is there.
	for pattern, folder := range map[string]string{
		"systemd/*": "lib/systemd/system", "sysctl.d/*": "lib/sysctl.d", "modules-load.d/*": "lib/modules-load.d",
		"prometheus/*": "share/pfsync/prometheus", "grafana/*": "share/pfsync/grafana", "wireshark/*": "lib/wireshark/plugins",
		"completions/zsh/*": "share/zsh/site-functions",
		"keepalived/*.conf": "share/pfsync/keepalived", "keepalived/pfsync-*": "libexec/pfsync",
	} {
		shared, err := filepath.Glob("../../share/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shared {
			installed := filepath.Join(folder, filepath.Base(s))
			text, err := os.ReadFile(filepath.Join(prefix, installed))
			if err != nil {
				t.Errorf("%s is not installed: %v", s, err)
			}
			for _, m := range regexp.MustCompile(`(?m)^Exec(?:Start|Reload)=(\S+)|(/[\w/]+/(?:pfsync-complete|pfsync-keepalived|pfsyncctl))`).FindAllStringSubmatch(string(text), -1) {
				if m[2] != "" {
					m[1] = m[2]
				}
				if !slices.Contains(files, m[1]) {
					t.Errorf("%s runs %s, which is not installed", installed, m[1])
				}
			}
		}
	}

	// What the operator wrote stays.
	options := filepath.Join(dest, "etc/default/pfsyncd")
	if err := os.WriteFile(options, []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	makeTarget(t, "install", "DESTDIR="+dest, "PREFIX=/opt/pfsync")
	if text, err := os.ReadFile(options); err != nil || string(text) != "mine\n" {
		t.Errorf("installed again: %q, %v", text, err)
	}
}
