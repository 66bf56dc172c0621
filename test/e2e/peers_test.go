package e2e_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// peersTold runs pfsyncctl peers and returns its exit status and what it printed.
func peersTold(t *testing.T, f *lab.Firewall) (status int, out string) {
	t.Helper()
	out, err := f.Output(t.Context(), f.Program("pfsyncctl"), "peers")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out
}

// Operators see their peer and what is wrong with it: first nothing, then a link of one
// direction, then its death; scripts see it by an exit status.
func TestPeersAreShown(t *testing.T) {
	l := newLab(t)
	startA(t, l)
	shows(t, l.A, "\tpeer: none heard\n")
	if status, out := peersTold(t, l.A); status != 1 || out != "no peer is heard\n" {
		t.Errorf("alone: status %d, %s", status, out)
	}
	joinB(t, l)
	shows(t, l.A, " linux up ")
	shows(t, l.A, " insync: yes\n")
	if out, err := l.A.Ifconfig(t.Context(), "pfsync0"); err != nil || strings.Count(out, "peer: ") != 1 ||
		!strings.Contains(out, "\tpeer: 192.168.254.253 creatorid: ") {
		t.Errorf("%v: %s", err, out)
	}
	if status, out := peersTold(t, l.A); status != 0 || !strings.Contains(out, "\n192.168.254.253 ") {
		t.Errorf("in order: status %d, %s", status, out)
	}

	labtest.Run(t, l.B.NS, "nft insert rule inet filter input meta l4proto 240 drop")
	shows(t, l.A, "\t\tproblem: does not hear us\n")
	if status, out := peersTold(t, l.A); status != 1 || !strings.Contains(out, "does not hear us") {
		t.Errorf("one-way: status %d, %s", status, out)
	}
	if err := l.B.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	shows(t, l.A, " linux dead ")
	if status, out := peersTold(t, l.A); status != 1 || !strings.Contains(out, " dead ") {
		t.Errorf("dead: status %d, %s", status, out)
	}
}
