package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/man"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// examples are the examples of the manual page with what they must print, a regular
// expression; those that capture run until they have done so, and are interrupted.
var examples = map[string]struct {
	live bool
	want string
}{
	"pfsyncdump -i pfsync0":                                                {true, `(?m)^\S+ 10\.9\.0\.1: PFSYNCv6 INS ST id: `},
	"pfsyncdump -vvv -c 10 -r capture.pcap":                                {false, `(?m)^\ttimeout=tcp\.established state_flags=`},
	"pfsyncdump -i eth2 src 10.1.0.2 and dst port 8080":                    {true, `(?s)^\S+ \S+ PFSYNCv6 INS ST id: 6b0174a5000000a6 .*\n.* DEL ST COMP id: 6b0174a5000000a6 .*\n`},
	"pfsyncdump -i eth2 'peer 10.9.0.1 and (act clr or del_c or upd_req)'": {true, `^\S+ 10\.9\.0\.1: PFSYNCv6 DEL ST COMP id: `},
	"pfsyncdump -i eth2 -w sync.pcapng":                                    {true, ``},
	"tshark -r sync.pcapng -Y pfsync.port==8080":                           {false, `(?m) PFSYNCv6 INS ST×2$`},
	"pfsyncdump -r capture.pcap -w state.pcapng id 6b0174a5000000a6":       {false, `^$`},
	"pfsyncdump --json -r capture.pcap act del_c":                          {false, `(?m)^{"time":.*"messages":\[{"action":"del_c","id":"[0-9a-f]{16}","creatorid":"a1a1a1a1"}`},
	"tcpdump -i eth2 -U -w - proto 240 | pfsyncdump -r -":                  {true, `(?m)^\S+ 10\.9\.0\.1: PFSYNCv6 INS ST id: `},
}

func TestExamplesOfTheManualPage(t *testing.T) {
	pages, err := man.Pages()
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, e := range man.Examples(pages["pfsyncdump.8"]) {
		for line := range strings.Lines(e.Text) {
			commands = append(commands, strings.TrimSpace(line)[len("# "):])
		}
	}
	if len(commands) != len(examples) {
		t.Errorf("%d examples in the page, %d known here", len(commands), len(examples))
	}
	n := labtest.NewNS(t)
	for _, dev := range []string{"eth2", "pfsync0"} {
		labtest.Run(t, n, "ip link add "+dev+" type veth peer name other-"+dev)
		labtest.Run(t, n, "ip link set "+dev+" up")
		labtest.Run(t, n, "ip link set other-"+dev+" up")
	}
	home := exampleHome(t)
	for _, c := range commands {
		e, ok := examples[c]
		if !ok {
			t.Errorf("%s: not known here", c)
			continue
		}
		t.Run(c, func(t *testing.T) { runExample(t, n, home, c, e.live, regexp.MustCompile(e.want)) })
	}
	out, _, err := run(t, nil, "-r", filepath.Join(home, "state.pcapng"))
	if err != nil || !strings.Contains(out, "INS ST id: 6b0174a5000000a6") || strings.Contains(out, "CLR ST") {
		t.Errorf("state.pcapng: %v\n%s", err, out)
	}
}

// exampleHome is a folder with what the examples need: pfsyncdump in bin, a capture,
// and Wireshark's plugin.
func exampleHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dissector, err := filepath.Abs("../../share/wireshark/pfsync.lua")
	if err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"bin/pfsyncdump": self, ".local/lib/wireshark/plugins/pfsync.lua": dissector} {
		link = filepath.Join(home, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(target, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "capture.pcap"), corpus.Capture(t, "openbsd80-nat.pcap"), 0o644); err != nil {
		t.Fatal(err)
	}
	return home
}

func runExample(t *testing.T, n *lab.NS, home, command string, live bool, want *regexp.Regexp) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second) // a hanging test fails
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "TZ=UTC", "GORACE=atexit_sleep_ms=0", "HOME="+home, "PATH="+home+"/bin:"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if live {
		eventually(t, func() error {
			if s := stderr.String(); !strings.Contains(s, "listening on ") {
				return fmt.Errorf("stderr %q", s)
			}
			return nil
		})
		for _, dev := range []string{"eth2", "pfsync0"} {
			for _, f := range corpus.Frames(t, "openbsd80-nat.pcap") {
				send(t, n, dev, f.Data)
			}
		}
		eventually(t, func() error {
			if _, file, writes := strings.Cut(command, " -i eth2 -w sync"); writes {
				if out, _, err := run(t, nil, "-r", home+"/sync"+file); err != nil || !strings.Contains(out, " 10.9.0.3: PFSYNCv6 DEL ST COMP ") {
					return fmt.Errorf("the file has %q, %v", out, err)
				}
			}
			if !want.MatchString(stdout.String()) {
				return fmt.Errorf("printed %q, want %v; stderr %q", stdout.String(), want, stderr.String())
			}
			return nil
		})
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil && !live { // sh ends by the signal itself
		t.Errorf("%v: %s", err, stderr.String())
	}
	if !want.MatchString(stdout.String()) {
		t.Errorf("printed %q, want %v; stderr %q", stdout.String(), want, stderr.String())
	}
	if strings.Contains(stdout.String(), "Lua") || strings.Contains(stderr.String(), "Lua") {
		t.Errorf("Lua complains: %s%s", stdout.String(), stderr.String())
	}
}

// output can be read while a program writes to it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
