package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// box is a firewall with an /etc, a /var/lib and names of namespaces of its own, in which the
// programs have their BSD names.
type box struct {
	f    *lab.Firewall
	dir  string
	env  []string
	stay []*staying
	pid  int // of a process in its mount namespace
}

// inside makes the box of the folder $0, says so, and keeps it until its standard input ends.
const inside = `set -e
mount --bind "$0/etc" /etc
mount --bind "$0/lib" /var/lib
mount --bind "$0/netns" /run/netns
echo ready
exec cat`

func newBox(t *testing.T, f *lab.Firewall) *box {
	t.Helper()
	if err := lab.Require("unshare", "nsenter", "curl", "openssl", "systemd-analyze"); err != nil {
		t.Fatal(err)
	}
	b := &box{f: f, dir: t.TempDir()}
	for _, d := range []string{"lib", "netns", "stubs"} {
		if err := os.Mkdir(filepath.Join(b.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// /etc without what an operator of this machine wrote.
	const etc = `cp -a /etc "$0/etc" && cd "$0/etc" && rm -rf hostname.* rc.conf* pf.conf mygate sysctl.conf sysctl.d pfsync pfsync.key
mkdir -p default systemd/system && rm -rf default/pfsync* systemd/system/*pfsync*`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", etc, b.dir).CombinedOutput(); err != nil {
		t.Fatalf("/etc: %v: %s", err, out)
	}
	unit, err := os.ReadFile("../../share/systemd/pfsync-netstart.service")
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, "/etc/systemd/system/pfsync-netstart.service", strings.ReplaceAll(string(unit), "=pfnetstart", "="+f.Program("netstart")))
	for name, text := range map[string]string{
		"scp":    `test "$1 $3" = "-p fw-b:/etc/" && cp -p "$2" "$OTHER/etc/"`,
		"logger": `echo logged "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(b.dir, "stubs", name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.env = append(os.Environ(), "PATH="+b.dir+"/stubs:"+bin+":"+os.Getenv("PATH"),
		"SYSTEMD_OFFLINE=1", // systemctl must not speak to this machine's systemd
		"GORACE=atexit_sleep_ms=0")
	keeper := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", inside, b.dir)
	stdin, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), keeper.Wait()); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("no box for %s: %q, %v", f.Name, line, err)
	}
	b.pid = keeper.Process.Pid
	return b
}

// write makes a file of the box's /etc, as an operator who follows the page would.
func (b *box) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// command is for the shell of the box.
func (b *box) command(t *testing.T, line, argument string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "nsenter", "--mount", "--target", strconv.Itoa(b.pid), "--", "sh", "-c", line, argument)
	cmd.Env = b.env
	return cmd
}

func (b *box) run(t *testing.T, line, argument string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := b.command(t, line, argument)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := b.f.Start(cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	return out.String(), err
}

// until runs a line until it succeeds.
func (b *box) until(t *testing.T, line string) {
	t.Helper()
	eventually(t, line, func() error {
		out, err := b.run(t, line, "")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}

// carryOut runs the commands of an example, which are behind a prompt, compares what they print
// with the lines below them, and returns what all printed, and how the last one ended.
func (b *box) carryOut(t *testing.T, text, argument string) (printed string, err error) {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines)-1; {
		command, ok := strings.CutPrefix(lines[i], "# ")
		if !ok {
			command, ok = strings.CutPrefix(lines[i], "$ ")
		}
		if !ok {
			t.Fatalf("%q is no command", lines[i])
		}
		var want string
		for i++; i < len(lines) && !strings.HasPrefix(lines[i], "# ") && !strings.HasPrefix(lines[i], "$ "); i++ {
			want += lines[i]
		}
		command = strings.TrimSuffix(strings.TrimSuffix(command, "\n"), " &")
		if strings.Contains(" "+command+" ", " pfsyncd -") || command == "pfsyncd" || strings.HasPrefix(command, "pfsyncdump -i ") {
			b.stays(t, command)
			continue
		}
		var out string
		out, err = b.run(t, command, argument)
		printed += out
		if want != "" && shape(out) != shape(want) {
			t.Errorf("%s: -want +got:\n%s", command, cmp.Diff(shape(want), shape(out)))
		}
	}
	return printed, err
}

// shape is a display without what differs from one firewall to another: numbers of states and
// interfaces, ages and creatorids.
func shape(out string) string {
	return varying.ReplaceAllString(out, "$1 N")
}

var varying = regexp.MustCompile(`(index|age:|states:|creatorid:) [0-9a-f.]+`)

// staying is a program that goes on until it is stopped.
type staying struct {
	cmd *exec.Cmd
	out lockedBuffer
}

// stays starts a program and waits until it is at work.
func (b *box) stays(t *testing.T, line string) {
	t.Helper()
	s := &staying{cmd: b.command(t, line, "")}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.f.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	b.stay = append(b.stay, s)
	eventually(t, line, func() error {
		if out := s.out.String(); !strings.Contains(out, "msg=started") && !strings.Contains(out, "listening on ") {
			return errors.New("it says " + out)
		}
		return nil
	})
}

// stop ends what stays.
func (b *box) stop(t *testing.T) {
	t.Helper()
	for _, s := range slices.Backward(b.stay) {
		if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = s.cmd.Wait() // some end by the signal itself
		if out := s.out.String(); t.Failed() || strings.Contains(out, "DATA RACE") || strings.Contains(out, "panic:") {
			t.Errorf("%v: %s", s.cmd.Args, out)
		}
	}
	b.stay = nil
}

// lockedBuffer can be read while a program writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
