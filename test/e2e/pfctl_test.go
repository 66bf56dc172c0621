package e2e_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// pfctl runs it in a firewall and returns what it printed.
func pfctl(t *testing.T, f *lab.Firewall, args ...string) string {
	t.Helper()
	out, err := f.Run(t.Context(), f.Program("pfctl"), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// open has connections from these hosts come up in a firewall's table.
func open(t *testing.T, f *lab.Firewall, hosts ...string) {
	t.Helper()
	for _, h := range hosts {
		labtest.Run(t, f.NS, "conntrack -I -p tcp -t 3600 -u SEEN_REPLY,ASSURED --state ESTABLISHED -d 192.0.2.1 --sport 1024 --dport 80 -s "+h)
	}
}

// holds tells whether a firewall has connections from exactly these of the hosts 10.128.0.0/16.
func holds(t *testing.T, f *lab.Firewall, hosts ...string) error {
	t.Helper()
	want := map[netip.Addr]bool{}
	for _, h := range hosts {
		want[netip.MustParseAddr(h)] = true
	}
	has := map[netip.Addr]bool{}
	for orig := range flows(t, f) {
		if netip.MustParsePrefix("10.128.0.0/16").Contains(orig.Src) {
			has[orig.Src] = true
			if !want[orig.Src] {
				return fmt.Errorf("%s has a connection of %v", f.Name, orig.Src)
			}
		}
	}
	if len(has) != len(want) {
		return fmt.Errorf("%s has %v, want %v", f.Name, has, want)
	}
	return nil
}

func bothHold(t *testing.T, l *lab.Lab, hosts ...string) {
	t.Helper()
	for _, f := range []*lab.Firewall{l.A, l.B} {
		eventually(t, "connections of "+strings.Join(hosts, " "), func() error { return holds(t, f, hosts...) })
	}
}

// What an operator kills is gone on both firewalls, whoever of them made it; a flush takes from the
// peer what was made here.
func TestKillIsTold(t *testing.T) {
	l := newLab(t)
	startPair(t, l)
	open(t, l.A, "10.128.0.1", "10.128.0.2", "10.128.0.3", "10.128.1.1", "10.128.1.2")
	open(t, l.B, "10.128.2.1", "10.128.2.2")
	bothHold(t, l, "10.128.0.1", "10.128.0.2", "10.128.0.3", "10.128.1.1", "10.128.1.2", "10.128.2.1", "10.128.2.2")
	if out := pfctl(t, l.B, "-ss", "--host", "10.128.0.3"); out != "all tcp 192.0.2.1:80 <- 10.128.0.3:1024       ESTABLISHED:ESTABLISHED\n" {
		t.Errorf("fwB shows of fwA's state: %s", out)
	}

	if out := pfctl(t, l.A, "-k", "10.128.0.2/31"); out != "killed 2 states from 1 sources and 0 destinations\n" {
		t.Errorf("kill: %s", out)
	}
	bothHold(t, l, "10.128.0.1", "10.128.1.1", "10.128.1.2", "10.128.2.1", "10.128.2.2")
	if out := pfctl(t, l.B, "-k", "10.128.0.1", "-k", "192.0.2.1"); out != "killed 1 states from 1 sources and 1 destinations\n" {
		t.Errorf("kill of the peer's: %s", out)
	}
	bothHold(t, l, "10.128.1.1", "10.128.1.2", "10.128.2.1", "10.128.2.2")

	file := filepath.Join(t.TempDir(), "pfsync0.pcap")
	dump := exec.Command("tcpdump", "-i", "pfsync0", "-U", "--immediate-mode", "-Z", "root", "-w", file)
	if err := l.A.Start(dump); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dump.Process.Kill(); err == nil {
			_ = dump.Wait() // killed
		}
	}()
	eventually(t, "the capture has begun", func() error {
		i, err := os.Stat(file)
		if err == nil && i.Size() == 0 {
			err = errors.New("nothing is written")
		}
		return err
	})
	if out := pfctl(t, l.A, "-F", "states"); !strings.HasSuffix(out, " states cleared\n") {
		t.Errorf("flush: %s", out)
	}
	// fwB answers for its own: they come back.
	bothHold(t, l, "10.128.2.1", "10.128.2.2")
	eventually(t, "a clear message", func() error {
		out, err := exec.Command(l.A.Program("pfsyncdump"), "-r", file).Output()
		if err == nil && strings.Count(string(out), "CLR ST creatorid: ") != 1 {
			err = fmt.Errorf("captured: %s", out)
		}
		return err
	})
}

// A connection that a rule or a mark says no-sync of never appears on the peer; one that is marked
// later is withdrawn. The rules hold over the daemon's death.
func TestNoSync(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	conf := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(conf, []byte("set no-sync mark 0x10000/0x10000\npass from 10.128.5.0/24 to any keep state (no-sync)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, l.A, "10.128.5.1", "10.128.6.1")
	bothHold(t, l, "10.128.5.1", "10.128.6.1")
	if out := pfctl(t, l.A, "-f", conf); out != "" {
		t.Errorf("pfctl -f: %s", out)
	}
	eventually(t, "the private state is withdrawn", func() error { return holds(t, l.B, "10.128.6.1") })

	// By nft's mark, on traffic.
	labtest.Run(t, l.A.NS, "nft insert rule inet filter forward ct state new ct mark set ct mark or 0x10000")
	add(t, tr, 3, traffic.TCP, traffic.UDP)
	open(t, l.A, "10.128.5.2", "10.128.6.2") // the last of all
	eventually(t, "the last state", func() error { return holds(t, l.B, "10.128.6.1", "10.128.6.2") })
	marked := 0
	onB := flows(t, l.B)
	for orig, flow := range flows(t, l.A) {
		if flow.Mark&0x10000 == 0 {
			continue
		}
		marked++
		if _, ok := onB[orig]; ok {
			t.Errorf("fwB has %v, which is marked", flow)
		}
	}
	if marked < 6 {
		t.Fatalf("%d connections are marked", marked)
	}

	// Marked later.
	labtest.Run(t, l.A.NS, "conntrack -U -s 10.128.6.2 --mark 0x10000/0x10000")
	eventually(t, "the marked state is withdrawn", func() error { return holds(t, l.B, "10.128.6.1") })
	labtest.Run(t, l.A.NS, "conntrack -U -s 10.128.6.2 --mark 0/0x10000")
	eventually(t, "it is told again", func() error { return holds(t, l.B, "10.128.6.1", "10.128.6.2") })

	if err := l.A.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	startA(t, l)
	waitSynced(t, l.A)
	if out := pfctl(t, l.A, "-sr"); out != "pass inet from 10.128.5.0/24 to any keep state (no-sync)\n" {
		t.Errorf("rules after a restart: %s", out)
	}
	open(t, l.A, "10.128.5.3", "10.128.6.3")
	eventually(t, "a state after the restart", func() error { return holds(t, l.B, "10.128.6.1", "10.128.6.2", "10.128.6.3") })
	flowing(t, tr)
}
