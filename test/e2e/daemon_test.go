package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

func stop(t *testing.T, f *lab.Firewall) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.StopDaemon(ctx); err != nil {
		t.Fatal(err)
	}
}

// The end of a daemon, clean or not, touches no traffic and no state, here and there;
// after a restart states have the names they had.
func TestDaemonRestart(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 10, traffic.TCP, traffic.UDP)
	alike(t, l)
	before := flows(t, l.B)

	for _, end := range []func(){
		func() {
			if err := l.A.KillDaemon(); err != nil {
				t.Fatal(err)
			}
		},
		func() { stop(t, l.A) },
	} {
		end()
		if out, err := l.A.Run(t.Context(), "ip", "link", "show", "pfsync0"); err == nil {
			t.Errorf("pfsync0 is still there: %s", out)
		}
		flowing(t, tr)
		startA(t, l)
		waitSynced(t, l.A)
		flowing(t, tr)
		if after := flows(t, l.B); len(after) != len(before) {
			t.Errorf("fwB holds %d entries, had %d", len(after), len(before))
		}
	}
	add(t, tr, 5, traffic.TCP)
	alike(t, l)
	// A restarted fwA still ends the states that it made before.
	tr.Close()
	labtest.Run(t, l.A.NS, "conntrack -F")
	eventually(t, "fwB has forgotten what fwA made", func() error {
		if n := len(flows(t, l.B)); n > 0 {
			return fmt.Errorf("%d entries left", n)
		}
		return nil
	})
	if strings.Contains(l.A.Log(), "level=ERROR") || strings.Contains(l.B.Log(), "level=ERROR") {
		t.Errorf("errors were logged:\n%s\n%s", l.A.Log(), l.B.Log())
	}
}

// A flush on the firewall that carries nothing must not end the connections of the other.
func TestFlushOnTheBackup(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	add(t, tr, 5, traffic.TCP)
	alike(t, l)
	labtest.Run(t, l.B.NS, "conntrack -F")
	flowing(t, tr)
	if n := len(flows(t, l.A)); n < 5 {
		t.Errorf("fwA holds %d entries after a flush on fwB", n)
	}
}

// What tcpdump sees on pfsync0 is what pfsyncdump reads.
func TestCaptureOnPfsync0(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	file := filepath.Join(t.TempDir(), "pfsync0.pcap")
	dump := exec.Command("tcpdump", "-i", "pfsync0", "-U", "--immediate-mode", "-Z", "root", "-w", file)
	if err := l.A.Start(dump); err != nil {
		t.Fatal(err)
	}
	var out []byte
	read := func() error {
		var err error
		out, err = exec.Command(l.A.Program("pfsyncdump"), "-r", file).Output()
		if err == nil && !strings.Contains(string(out), "INS ST") {
			err = errors.New("no insert yet")
		}
		return err
	}
	eventually(t, "an insert on pfsync0", func() error {
		add(t, tr, 1, traffic.TCP)
		return read()
	})
	if err := dump.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	dump.Wait()
	for _, want := range []string{"192.168.254.254", "INS ST id: ", "tcp 10.0.0.1:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("pfsyncdump lacks %q:\n%s", want, out)
		}
	}
}

// pfsync0 exists and can be configured with a table in memory, and takes part if told.
func TestTableInMemory(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startA(t, l)
	add(t, tr, 5, traffic.TCP, traffic.UDP)
	startDaemon(t, l.B, "--table", "memory")
	if _, err := l.B.Ifconfig(t.Context(), "pfsync0", "syncdev", "sis2", "up", "-listen"); err != nil {
		t.Fatal(err)
	}
	waitSynced(t, l.B)
	if n := len(flows(t, l.B)); n != 0 {
		t.Errorf("it wrote %d states into the kernel", n)
	}
}
