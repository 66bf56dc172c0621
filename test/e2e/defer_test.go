package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// startFirst starts a firewall's daemon before its rules are loaded, which a kernel needs
// that does not give a queue's reader the connection (pfsync(4)).
func startFirst(t *testing.T, f *lab.Firewall) {
	t.Helper()
	if err := f.FlushRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, f)
	if err := f.LoadRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync); err != nil {
		t.Fatal(err)
	}
}

// deferWithin turns defer on, with so many milliseconds, and waits until it works.
func deferWithin(t *testing.T, ms int, firewalls ...*lab.Firewall) {
	t.Helper()
	for _, f := range firewalls {
		if _, err := f.Run(t.Context(), f.Program("pfsyncctl"), "sysctl", fmt.Sprintf("net.pfsync.defer_delay=%d", ms)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Ifconfig(t.Context(), "pfsync0", "defer"); err != nil {
			t.Fatal(err)
		}
		shows(t, f, "\tdefer: ready\n")
		hasRules(t, f, true)
	}
}

// holdTable is what the firewall has of pfsyncd's rules that hold packets, "" if there is nothing.
func holdTable(t *testing.T, f *lab.Firewall) string {
	t.Helper()
	out, err := f.Output(t.Context(), "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(out, "table inet pfsyncd_hold {")
	table, _, _ = strings.Cut(table, "\n}")
	if !found {
		return ""
	}
	return "table" + table
}

// hasRules waits until first packets are diverted, or not.
func hasRules(t *testing.T, f *lab.Firewall, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s diverts packets: %t", f.Name, want), func() error {
		if s := holdTable(t, f); strings.Contains(s, "ct state") != want {
			return fmt.Errorf("it has %s", s)
		}
		return nil
	})
}

func count(t *testing.T, f *lab.Firewall, name string) uint64 {
	t.Helper()
	counters, err := f.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return counters[name]
}

// acknowledges has do make n connections, again if need be, until the first packets of all were held until a peer knew
// them. One may not be: the kernel has one lock for the connections of all namespaces, and while another program
// empties a table of 100,000s in whichever of them, firewalls' writes wait for a second or more.
func acknowledges(t *testing.T, f *lab.Firewall, what string, n uint64, do func()) {
	t.Helper()
	eventually(t, what+": first packets are held until they are acknowledged", func() error {
		acked, timedOut := count(t, f, "deferacked"), count(t, f, "defertimedout")
		do()
		if got := count(t, f, "deferacked") - acked; got != n {
			return fmt.Errorf("%d of %d, and %d until the time was over", got, n, count(t, f, "defertimedout")-timedOut)
		}
		return nil
	})
}

func connects(t *testing.T, tr *traffic.Traffic, kind traffic.Kind, n, workers int) traffic.Connects {
	t.Helper()
	c, err := tr.Connects(kind, n, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v: %v", kind, c)
	return c
}

// startLast starts a firewall's daemon behind its rules.
func startLast(t *testing.T, f *lab.Firewall) {
	t.Helper()
	startDaemon(t, f)
	if _, err := f.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync); err != nil {
		t.Fatal(err)
	}
}

func TestDeferCarriesAsymmetricConnections(t *testing.T) {
	deferCarries(t, startFirst, "holding first packets")
}

// deferCarries is the proof of defer. Requests go by fwA and answers by fwB, over a sync link that takes 5 ms, and both
// drop what they have no state of. Without defer connections break; with it none does, and no SYN is sent twice.
func deferCarries(t *testing.T, start func(*testing.T, *lab.Firewall), display string) {
	many, some, workers := orFew(10_000, 200), orFew(300, 60), orFew(64, 4)
	tolerated := orFew(0, some/10) // where a processor is emulated, on a busy machine, a second is not much
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l := labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-e2e", Bin: bin, Cable: true})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fwA's log:\n%s\nfwB's log:\n%s", l.A.Log(), l.B.Log())
		}
	})
	start(t, l.A)
	start(t, l.B)
	if err := l.Split(); err != nil {
		t.Fatal(err)
	}
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	l.Cable.Disturb(lab.Faults{Delay: 5 * time.Millisecond}, lab.Faults{Delay: 5 * time.Millisecond})
	tr := startTraffic(t, l)

	const few = 60
	if c := connects(t, tr, traffic.TCP, few, few); c.Lost+c.Stalled != few || c.SYNs < few-tolerated {
		t.Errorf("without defer %d of %d connections were lost and %d stalled, %d SYNs were sent again", c.Lost, few, c.Stalled, c.SYNs)
	}
	deferWithin(t, 1000, l.A, l.B) // this machine may be busy with much else
	for _, kind := range []traffic.Kind{traffic.TCP6, traffic.Service, traffic.TCP} {
		connects(t, tr, kind, workers, workers) // what the kernel and the programs do once, they do now
	}
	for _, c := range []struct {
		kind   traffic.Kind
		n      int
		holder *lab.Firewall // of the first packets
	}{{traffic.TCP6, some, l.A}, {traffic.Service, some, l.B}, {traffic.TCP, many, l.A}} {
		acked, timedOut := count(t, c.holder, "deferacked"), count(t, c.holder, "defertimedout")
		got := connects(t, tr, c.kind, c.n, workers)
		if got.Lost > tolerated || got.SYNs > tolerated {
			t.Errorf("%v: %d lost (%v), %d SYNs sent again", c.kind, got.Lost, got.Error, got.SYNs)
		}
		if n := int(count(t, c.holder, "deferacked") - acked); n < c.n-tolerated || n > c.n+tolerated {
			t.Errorf("%v: %d first packets were held until the peer acknowledged, %d until the time was over", c.kind, n,
				count(t, c.holder, "defertimedout")-timedOut)
		}
	}
	shows(t, l.A, "\tdefer: "+display+"\n")

	// What both firewalls see of a connection is merged, and it goes on by both.
	add(t, tr, 20, traffic.Kinds()...)
	flowing(t, tr)
	eventually(t, "both know the long flows alike", func() error {
		a, b := flows(t, l.A), flows(t, l.B)
		known := 0
		for orig, f := range a {
			if orig.DPort == 7 && strings.Contains(fmt.Sprint(f), "ESTABLISHED") {
				if b[orig] != f {
					return fmt.Errorf("fwB has %v, fwA %v", b[orig], f)
				}
				known++
			}
		}
		if known < 40 {
			return fmt.Errorf("%d established flows", known)
		}
		return nil
	})
	flowing(t, tr)
}

// Whatever a connection is, its first packet waits for the peer: forwarded, over IPv6, translated either way, of the
// firewall itself. What is not shared, by a rule or by a mark, does not wait.
func TestDeferHoldsWhateverIsShared(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startFirst(t, l.A)
	startFirst(t, l.B)
	waitSynced(t, l.A)
	conf := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(conf, []byte("set no-sync mark 0x10000/0x10000\npass proto tcp to port 9 keep state (no-sync)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pfctl(t, l.A, "-f", conf)
	if _, err := l.A.Run(t.Context(), "nft", "insert rule inet filter forward tcp dport 10 ct mark set 0x10000"); err != nil {
		t.Fatal(err)
	}
	deferWithin(t, 1000, l.A)

	const few = 5
	for _, kind := range traffic.Kinds() {
		acknowledges(t, l.A, kind.String(), few, func() { add(t, tr, few, kind) })
	}
	refused := func(ns *lab.NS, to string) func() {
		return func() {
			t.Helper()
			if err := ns.Do(func() error {
				_, err := net.DialTimeout("tcp", to, patience)
				return err
			}); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", to, err)
			}
		}
	}
	acknowledges(t, l.A, "of the firewall", 1, refused(l.A.NS, lab.ServerAddr+":11"))
	acknowledges(t, l.A, "of the firewall over IPv6", 1, refused(l.A.NS, "["+lab.ServerAddr6+"]:11"))
	received, passed := count(t, l.A, "hold_received"), count(t, l.A, "deferpassed")
	acknowledges(t, l.A, "no-sync by a mark", 0, refused(l.Client, lab.ServerAddr+":10"))
	if n := count(t, l.A, "hold_received") - received; n != 0 {
		t.Errorf("%d packets that are marked came to the daemon", n)
	}
	acknowledges(t, l.A, "no-sync by a rule", 0, refused(l.Client, lab.ServerAddr+":9"))
	if n := count(t, l.A, "deferpassed") - passed; n != 1 {
		t.Errorf("%d packets that a rule keeps from the peer were let go at once", n)
	}
}

// The operator's rules are loaded again and again, each time behind a flush: packets are held before and after,
// in the same place, and all that the daemon has of rules is there again.
func TestDeferOutlivesAFlush(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startFirst(t, l.A)
	startFirst(t, l.B)
	waitSynced(t, l.A)
	deferWithin(t, 500, l.A, l.B)
	for range 3 {
		acknowledges(t, l.A, "connections", 50, func() {
			if c := connects(t, tr, traffic.TCP, 50, 10); c.Lost > 0 || c.SYNs > 0 {
				t.Errorf("%d connections lost (%v), %d SYNs sent again", c.Lost, c.Error, c.SYNs)
			}
		})
		shows(t, l.A, "\tdefer: holding first packets\n")
		if err := l.A.FlushRules(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.A.LoadRules(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, l.A, "hold_restored"); n != 0 {
		t.Errorf("the rules were removed %d times, though they belong to the daemon", n)
	}
	// B writes copies of translated connections.
	if err := l.B.FlushRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.B.LoadRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fwB has its nat chain again", func() error {
		connects(t, tr, traffic.TCP, 1, 1)
		if n := count(t, l.B, "table_nat_hooks_made"); n < 2 {
			return fmt.Errorf("made %d times", n)
		}
		return nil
	})
}

// explainDefer shows what the daemons of a failed test have counted that does not stand still.
func explainDefer(t *testing.T, l *lab.Lab) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience) // the test's own has ended
	defer cancel()
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if !f.Running() {
			continue
		}
		counters, err := f.Counters(ctx)
		maps.DeleteFunc(counters, func(_ string, n uint64) bool { return n == 0 })
		t.Logf("%s has counted %v, %v", f.Name, counters, err)
	}
}

// Whatever becomes of the daemon or its peer, connections go on; and nothing of it stays behind.
func TestDeferFailsOpen(t *testing.T) {
	const half = 500 // of the second after which a SYN is sent again
	l := newLab(t)
	t.Cleanup(func() { explainDefer(t, l) })
	tr := startTraffic(t, l)
	startFirst(t, l.A)
	startLast(t, l.B)
	waitSynced(t, l.A)
	deferWithin(t, half, l.A)
	mustConnect := func(what string, n, workers, syns int) {
		t.Helper()
		if c := connects(t, tr, traffic.TCP, n, workers); c.Lost > 0 || c.SYNs > syns {
			t.Fatalf("%s: %d of %d connections lost (%v), %d SYNs sent again", what, c.Lost, n, c.Error, c.SYNs)
		}
	}
	acknowledges(t, l.A, "defer", 50, func() { mustConnect("defer", 50, 10, 0) })

	// Stopped: the kernel holds what it has room for, and the SYNs that are repeated pass.
	if err := l.A.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	mustConnect("stopped", 200, 200, 128)
	if err := l.A.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bypassed packets are counted", func() error {
		if n := count(t, l.A, "hold_bypassed"); n < 50 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	mustConnect("continued", 50, 10, 0)

	if err := l.A.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	mustConnect("killed", 200, 100, 0)
	eventually(t, "nothing stays behind", func() error {
		if s := holdTable(t, l.A); s != "" {
			return fmt.Errorf("left: %s", s)
		}
		return nil
	})

	startFirst(t, l.A)
	waitSynced(t, l.A)
	deferWithin(t, half, l.A)
	acknowledges(t, l.A, "started again", 50, func() { mustConnect("started again", 50, 10, 0) })

	// Without a peer nothing is held, and packets do not come to the daemon.
	if err := l.B.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	shows(t, l.A, "\tdefer: no peer to wait for\n")
	hasRules(t, l.A, false)
	received := count(t, l.A, "hold_received")
	mustConnect("alone", 100, 50, 0)
	if n := count(t, l.A, "hold_received"); n != received {
		t.Fatalf("alone %d first packets were handed over", n-received)
	}
	startLast(t, l.B)
	hasRules(t, l.A, true)
	if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "-defer"); err != nil {
		t.Fatal(err)
	}
	hasRules(t, l.A, false)
	mustConnect("-defer", 50, 50, 0)
	if err := l.A.StopDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := holdTable(t, l.A); s != "" {
		t.Fatalf("left: %s", s)
	}
}

// givesConnections tells whether the kernel gives a queue's reader the connection with its packet:
// NETFILTER_NETLINK_GLUE_CT.
func givesConnections(t *testing.T) bool {
	t.Helper()
	labtest.Run(t, labtest.NewNS(t), "conntrack --count") // loads what the symbols are of
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(symbols), " ctnetlink_glue_build")
}

// Rules that were loaded before the daemon was started have packets come before their connections are in the
// table. A kernel that gives them with the packet makes no difference of it; on any other nothing is held, and
// log, display and check say so.
func TestDeferBehindTheRules(t *testing.T) {
	if givesConnections(t) {
		t.Log("this kernel gives the connection with its packet")
		deferCarries(t, startLast, "holding first packets before they are confirmed")
		return
	}
	l := newLab(t)
	tr := startTraffic(t, l)
	startPair(t, l)
	deferWithin(t, 1000, l.A)
	if c := connects(t, tr, traffic.TCP, 20, 1); c.Lost > 0 || traffic.Quantile(c.Opened, 0.5) > 500*time.Millisecond {
		t.Errorf("%d lost, connected in %v", c.Lost, traffic.Quantile(c.Opened, 0.5))
	}
	shows(t, l.A, "\tdefer: rule order wrong: nothing is held\n")
	if n := count(t, l.A, "hold_received"); n != 0 {
		t.Errorf("%d packets were held", n)
	}
	if log := l.A.Log(); strings.Count(log, "rule order wrong") != 1 {
		t.Errorf("the log does not say so once: %s", log)
	}
	out, err := l.A.Run(t.Context(), l.A.Program("pfsyncctl"), "check")
	if err == nil || !strings.Contains(out, "error: inet pfsyncd_hold: defer holds nothing: rules that track connections were loaded before pfsyncd was started") {
		t.Errorf("pfsyncctl check: %v: %s", err, out)
	}
}
