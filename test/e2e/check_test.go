package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// checked runs pfsyncctl check and returns its exit status and its findings as LEVEL NAME WHERE.
func checked(t *testing.T, f *lab.Firewall) (status int, findings []string) {
	t.Helper()
	out, err := f.Output(t.Context(), f.Program("pfsyncctl"), "check", "--json")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Findings []struct{ Level, Name, Where string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range answer.Findings {
		findings = append(findings, f.Level+" "+f.Name+" "+f.Where)
	}
	return status, findings
}

// finds waits until check has all of these findings, and exits as the worst of them has it.
func finds(t *testing.T, f *lab.Firewall, want ...string) {
	t.Helper()
	eventually(t, f.Name+"'s check", func() error {
		status, got := checked(t, f)
		bad := slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "error ") })
		if (status == 1) != bad {
			t.Fatalf("status %d with %v", status, got)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				return fmt.Errorf("no %q in %q", w, got)
			}
		}
		if len(want) == 0 && len(got) > 0 {
			return fmt.Errorf("finds %q", got)
		}
		return nil
	})
}

// A sound pair passes the check without a word; everything that is then broken at once is named.
func TestCheckNamesEverythingAtOnce(t *testing.T) {
	l := newLab(t)
	finds(t, l.A, "error daemon pfsyncd")
	startPair(t, l)
	finds(t, l.A)
	finds(t, l.B)
	out, err := l.A.Output(t.Context(), l.A.Program("pfsyncctl"), "check")
	if err != nil || !strings.HasPrefix(out, "pfsync shares connections alone: ") || !strings.HasSuffix(out, "\nnothing is wrong\n") {
		t.Errorf("%v: %s", err, out)
	}

	for _, c := range []string{
		"nft insert rule inet filter input meta l4proto 240 drop",
		"nft flush chain inet raw prerouting",
		"ip route add default dev sis2",
		"ip route add 192.168.254.254/32 dev sis0",
	} {
		labtest.Run(t, l.B.NS, c)
	}
	for sysctl, value := range map[string]string{
		"net/netfilter/nf_conntrack_tcp_loose": "1", "net/netfilter/nf_conntrack_tcp_be_liberal": "1", "net/netfilter/nf_conntrack_events": "0",
	} {
		if err := l.B.Sysctl(sysctl, value); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := l.B.Ifconfig(t.Context(), "pfsync0", "mtu", "1400"); err != nil {
		t.Fatal(out, err)
	}
	labtest.Run(t, l.B.NS, "ip link set sis2 mtu 1300")
	finds(t, l.B,
		"warning mtu pfsync0",
		"error rp-filter sis2",
		"error exposed sis2",
		"error dead 192.168.254.254",
		"error input-blocked inet filter input",
		"note tracked sis2",
		"error events net.netfilter.nf_conntrack_events",
		"warning tcp-loose net.netfilter.nf_conntrack_tcp_loose",
		"note tcp-be-liberal net.netfilter.nf_conntrack_tcp_be_liberal",
	)
	finds(t, l.A, "error one-way 192.168.254.253")
}

// One firewall has a syncpeer and the other has none: each end is told what it can know.
func TestCheckOfASyncpeerOnOneSide(t *testing.T) {
	l := newLab(t)
	startDaemon(t, l.A)
	if out, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync, "syncpeer", "192.168.254.253"); err != nil {
		t.Fatal(out, err)
	}
	joinB(t, l)
	finds(t, l.A, "error no-peer sis2")
	finds(t, l.B, "error one-way 192.168.254.254")
	out, _ := l.A.Output(t.Context(), l.A.Program("pfsyncctl"), "check") // its status was seen
	if !strings.Contains(out, "set a syncpeer there too, or none here") {
		t.Error(out)
	}
}

// diff tells that both tables are alike, and that a peer whose states are not taken is not.
func TestDiffOfAPair(t *testing.T) {
	l := newLab(t)
	startPair(t, l)
	if err := l.A.Load(t.Context(), 50); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fwB's diff", func() error {
		out, err := l.B.Output(t.Context(), l.B.Program("pfsyncctl"), "diff")
		if err == nil && !strings.Contains(out, "peer 192.168.254.254: answers for 50, digests equal, 0 refused here\n") {
			err = errors.New(out)
		}
		return err
	})
	if err := l.A.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fwB's diff without fwA", func() error {
		out, err := l.B.Output(t.Context(), l.B.Program("pfsyncctl"), "diff")
		if err == nil || !strings.Contains(out, "digests unknown") {
			return errors.New(out)
		}
		return nil
	})
}

// What save writes is what netstart makes of it after a restart.
func TestSaveOutlivesARestart(t *testing.T) {
	l := newLab(t)
	startDaemon(t, l.A)
	if out, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync, "syncpeer", "192.168.254.253", "maxupd", "64"); err != nil {
		t.Fatal(out, err)
	}
	dir := t.TempDir()
	labtest.Run(t, l.A.NS, l.A.Program("pfsyncctl")+" save -C "+dir)
	if err := l.A.StopDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, l.A)
	labtest.Run(t, l.A.NS, l.A.Program("netstart")+" -C "+dir+" pfsync0")
	shows(t, l.A, "syncdev: sis2 syncpeer: 192.168.254.253 maxupd: 64 defer: off\n")
}
