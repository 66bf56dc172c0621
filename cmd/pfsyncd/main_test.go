package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// asDaemon in the environment makes the test binary the daemon: it must be a
// process of its own to live in a namespace.
const asDaemon = "PFSYNCD_TEST_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		attemptOnSignal()
		main()
	}
	os.Exit(m.Run())
}

func TestCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, 0, "--state-dir DIR", ""},
		{[]string{"--help"}, 0, "ifconfig pfsync0 up syncdev", ""},
		{[]string{"--syncdev", "eth2"}, 1, "", "pfsyncd: flag provided but not defined: -syncdev"},
		{[]string{"eth2"}, 1, "", "pfsyncd: eth2: unexpected argument"},
		{[]string{"--log-level", "loud"}, 1, "", "pfsyncd: log-level loud: unknown, choose debug, info, warn or error"},
		{[]string{"--log-format", "xml"}, 1, "", "pfsyncd: log-format xml: unknown"},
		{[]string{"--hostid", "0"}, 1, "", "pfsyncd: hostid 0: must not be 0"},
		{[]string{"--hostid", "xyz"}, 1, "", "pfsyncd: hostid xyz: not a hexadecimal number of at most 8 digits"},
		{[]string{"--table", "nft", "--state-dir", file}, 1, "", "pfsyncd: table nft: unknown, choose conntrack or memory"},
		{[]string{"--peer-states", "-1"}, 1, "", "pfsyncd: peer-states -1: must not be negative"},
		{[]string{"--metrics", "localhost:9240"}, 1, "", "pfsyncd: metrics localhost:9240: not a numeric address and port, as 127.0.0.1:9240 or [::1]:9240"},
		{[]string{"--export", "192.0.2.1:4739", "--state-dir", t.TempDir()}, 1, "", "pfsyncd: export 192.0.2.1:4739: not ipfix://ADDR:PORT"},
		{[]string{"--metrics", ""}, 1, "", "pfsyncd: metrics : not a numeric address"},
		{[]string{"--metrics", "192.0.2.1:9240"}, 1, "", "pfsyncd: metrics: listen tcp 192.0.2.1:9240:"},
		{[]string{"--state-dir", file}, 1, "", "pfsyncd: state directory:"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"pfsyncd"}, c.args...), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("pfsyncd %q: status %d, stdout %q, stderr %q", c.args, code, stdout.String(), stderr.String())
		}
		if c.code != 0 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("pfsyncd %q: says more than one line: %q", c.args, stderr.String())
		}
	}
}

// daemon starts pfsyncd in ns and waits until it answers.
func daemon(t *testing.T, ns *lab.NS, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	return launch(t, ns, exec.Command(os.Args[0], args...))
}

// launch is daemon for a command line of its own, which ends in a pfsyncd. The log is
// complete when the command has ended.
func launch(t *testing.T, ns *lab.NS, cmd *exec.Cmd) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd.Env = append(cmd.Environ(), asDaemon+"=1")
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.WaitDelay = labtest.Patience // strace may keep it open
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ctx, stop := context.WithTimeout(t.Context(), labtest.Patience)
	defer stop()
	client := controltest.NewClient(ns)
	err := lab.Eventually(ctx, "the daemon answers", func() error {
		_, err := client.Status(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cmd, &log
}

func TestSIGTERMEndsItCleanly(t *testing.T) {
	ns := labtest.NewNS(t)
	dir := t.TempDir()
	cmd, log := daemon(t, ns, "--state-dir", dir, "--log-format", "json", "--table", "memory")
	if out, err := ns.Run(t.Context(), "ip", "link", "show", "pfsync0"); err != nil {
		t.Error(out, err)
	}

	// A second one in the namespace, also with a state directory of its own, is told so.
	second := exec.Command(os.Args[0], "--state-dir", t.TempDir())
	second.Env = append(os.Environ(), asDaemon+"=1")
	var said bytes.Buffer
	second.Stderr = &said
	if err := ns.Start(second); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err == nil || said.String() != "pfsyncd: pfsyncd is already running in this network namespace\n" {
		t.Errorf("second daemon: %v, %q", err, said.String())
	}

	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v: %s", err, log)
	}
	if out, err := ns.Run(t.Context(), "ip", "link", "show", "pfsync0"); err == nil {
		t.Errorf("pfsync0 is still there: %s", out)
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("log line is no JSON: %q", line)
		}
	}
	for _, name := range []string{"creatorid", "idkey"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestPfsync0OfAnotherProgramIsNamed(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "ip link add pfsync0 type veth")
	out, err := ns.Run(t.Context(), "env", asDaemon+"=1", os.Args[0], "--state-dir", t.TempDir(), "--table", "memory")
	if err == nil || !strings.Contains(out, "pfsyncd: pfsync0: an interface of this name exists") {
		t.Errorf("%v: %s", err, out)
	}
}
