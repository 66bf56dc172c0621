package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/pfstate/flowexport/flowexporttest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// observe starts a pfsyncd that watches the sync link, with a collector for its flow records.
func observe(t *testing.T, l *lab.Lab, scheme string) *collected {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fwC's log:\n%s", l.C.Log())
		}
	})
	c := collectFlows(t, l.C)
	startDaemon(t, l.C, "--table", "memory", "--export", fmt.Sprintf("%s://%v", scheme, c.from.Addr()))
	if _, err := l.C.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\tlisten: on\n", "\tstatus: listening\n", "\tsyncok: 0\n"} {
		shows(t, l.C, line)
	}
	return c
}

// collected is the flow records that have come.
type collected struct {
	from    *flowexporttest.Collector
	records atomic.Pointer[[]flowexporttest.Record]
}

func collectFlows(t *testing.T, f *lab.Firewall) *collected {
	t.Helper()
	c := new(collected)
	err := f.Do(func() (err error) {
		c.from, err = flowexporttest.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		var all []flowexporttest.Record
		for {
			m, err := c.from.Next(time.Hour)
			if err != nil {
				ended <- err
				return
			}
			now := slices.Concat(all, m.Records)
			all = now
			c.records.Store(&now)
		}
	}()
	t.Cleanup(func() {
		c.from.Close()
		if err := <-ended; !errors.Is(err, os.ErrClosed) && !strings.Contains(err.Error(), "closed") {
			t.Error(err)
		}
	})
	return c
}

func (c *collected) all() []flowexporttest.Record {
	if all := c.records.Load(); all != nil {
		return *all
	}
	return nil
}

// has tells which of these records have not come, or more than once.
func (c *collected) has(want ...string) error {
	count := map[string]int{}
	for _, r := range c.all() {
		count[r.String()]++
	}
	for _, w := range want {
		if count[w] != 1 {
			return fmt.Errorf("%d records %s among %v", count[w], w, count)
		}
	}
	return nil
}

// capture writes what passes the sync link of f into a file, until stop, which counts the
// packets by sender.
func capture(t *testing.T, f *lab.Firewall) (stop func() map[netip.Addr]int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sync.pcapng")
	var said lockedBuffer
	dump := exec.Command(f.Program("pfsyncdump"), "-i", lab.Sync, "-w", file)
	dump.Stderr = &said
	if err := f.Start(dump); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dump.Process.Kill(); dump.Wait() })
	eventually(t, "pfsyncdump listens", func() error {
		if !strings.Contains(said.String(), "listening on") {
			return errors.New(said.String())
		}
		return nil
	})
	return func() map[netip.Addr]int {
		t.Helper()
		if err := dump.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := dump.Wait(); err != nil || !strings.Contains(said.String(), " 0 dropped by the kernel") {
			t.Fatalf("pfsyncdump: %v: %s", err, said.String())
		}
		return senders(t, file)
	}
}

// senders counts the packets of a capture by who sent them.
func senders(t *testing.T, file string) map[netip.Addr]int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	count := map[netip.Addr]int{}
	for {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(data) < 20 || data[9] != 240 {
			t.Fatalf("%x: %v", data, err)
		}
		count[netip.AddrFrom4([4]byte(data[12:16]))]++
	}
	if i, err := r.Interface(0); err != nil || i.Name != lab.Sync {
		t.Errorf("interface %+v: %v", i, err)
	}
	return count
}

// states are the lines of pfctl -s states with these words, sorted.
func states(t *testing.T, f *lab.Firewall, word string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(pfctl(t, f, "-s", "states")) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// insync tells whether fwC knows all that both others answer for.
func insync(t *testing.T, l *lab.Lab) error {
	t.Helper()
	out, err := l.C.Run(t.Context(), l.C.Program("pfsyncctl"), "peers")
	if err == nil && strings.Count(out, " yes ") != 2 {
		err = errors.New(out)
	}
	return err
}

// An observer of a pair sees it start, forward, tell each other all, and restart; of what
// it misses it learns by what they tell each other. Not a packet of its own is on the link.
func TestObserverOfAPair(t *testing.T) {
	l := newLabWith(t, lab.Config{Third: true})
	stop := capture(t, l.C)
	flowing := observe(t, l, "ipfix")
	startA(t, l)
	tr := startTraffic(t, l)
	add(t, tr, 5, traffic.TCP, traffic.TCP6, traffic.UDP)
	joinB(t, l)
	waitSynced(t, l.B)
	eventually(t, "fwC has the states of fwA", func() error {
		want, got := states(t, l.A, "ESTABLISHED:ESTABLISHED"), states(t, l.C, "ESTABLISHED:ESTABLISHED")
		if len(want) < 10 || !slices.Equal(want, got) {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return insync(t, l)
	})

	// What is lost is not asked for, but repeated when fwB restarts.
	labtest.Run(t, l.C.NS, "nft add table inet loss")
	labtest.Run(t, l.C.NS, "nft add chain inet loss input { type filter hook input priority 0 ; }")
	labtest.Run(t, l.C.NS, "nft add rule inet loss input ip protocol 240 drop")
	open(t, l.A, "10.128.0.1", "10.128.0.2")
	eventually(t, "fwB has them", func() error { return holds(t, l.B, "10.128.0.1", "10.128.0.2") })
	labtest.Run(t, l.C.NS, "nft delete table inet loss")
	eventually(t, "the loss is noticed", func() error {
		if counters(t, l.C)["lostpackets"] == 0 {
			return errors.New("no packets are lost")
		}
		return nil
	})
	shows(t, l.C, "insync: no\n")
	if got := states(t, l.C, "10.128.0."); len(got) > 0 {
		t.Errorf("fwC has %q", got)
	}
	if err := l.B.KillDaemon(); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, l.B.NS, "conntrack -F")
	joinB(t, l)
	waitSynced(t, l.B)
	eventually(t, "fwC has heard them", func() error {
		if got := states(t, l.C, "10.128.0."); len(got) != 2 {
			return fmt.Errorf("%q", got)
		}
		return insync(t, l)
	})

	labtest.Run(t, l.A.NS, "conntrack -D -s 10.128.0.1")
	tr.Close()
	eventually(t, "flow records", func() error {
		return flowing.has("10.128.0.1:1024 > 192.0.2.1:80 6 reason 4 0/0", "192.0.2.1:80 > 10.128.0.1:1024 6 reason 4 0/0")
	})
	if err := l.A.StopDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := counters(t, l.C)
	for _, name := range []string{"opackets", "obare", "link_sent", "bulkrequests", "resendsasked"} {
		if seen[name] != 0 {
			t.Errorf("%s is %d", name, seen[name])
		}
	}
	if seen["unanswered"] == 0 || seen["flow_records"] == 0 {
		t.Errorf("counted %v", seen)
	}
	a, b, c := netip.MustParseAddr("192.168.254.254"), netip.MustParseAddr("192.168.254.253"), netip.MustParseAddr("192.168.254.252")
	if by := stop(); by[a] == 0 || by[b] == 0 || len(by) != 2 {
		t.Errorf("packets by sender: %v, want those of %v and %v alone", by, a, b)
	}

	// The capture would have shown them.
	stop = capture(t, l.C)
	if _, err := l.C.Ifconfig(t.Context(), "pfsync0", "-listen"); err != nil {
		t.Fatal(err)
	}
	waitSynced(t, l.C)
	if by := stop(); by[c] == 0 {
		t.Errorf("packets by sender: %v, want some of %v", by, c)
	}
}

// An observer takes what a real OpenBSD and a real FreeBSD send, shows the states as they
// do, and has a flow of each connection when it ends.
func TestObserverOfRealBSDs(t *testing.T) {
	for _, c := range []struct{ capture, scheme, shown, flow string }{
		{"openbsd80-nat", "ipfix", "all tcp 10.2.0.1:61278 (10.1.0.2:22100) -> 10.2.0.2:8080       FIN_WAIT_2:FIN_WAIT_2\n", "10.1.0.2:22100 > 10.2.0.2:8080 6 reason 3 "},
		{"freebsd13-nat", "netflow9", "all tcp 10.2.0.1:50758 (10.1.0.2:22100) -> 10.2.0.2:8080       FIN_WAIT_2:FIN_WAIT_2\n", "10.1.0.2:22100 > 10.2.0.2:8080 6 reason 3 "},
	} {
		t.Run(c.capture, func(t *testing.T) {
			l := newLabWith(t, lab.Config{Third: true})
			labtest.Run(t, l.C.NS, "ip addr add 10.9.0.9/24 dev "+lab.Sync) // the guests' network: rp_filter looks at it
			flowing := observe(t, l, c.scheme)
			frames := corpus.Frames(t, c.capture+".pcap")
			n := slices.IndexFunc(frames, func(f corpus.Frame) bool { return deletes(t, f.Payload()) })
			if n < 0 {
				t.Fatal("nothing ends in this capture")
			}
			stop := capture(t, l.C)
			play(t, l, frames[:n])
			eventually(t, "the state is shown", func() error {
				if got := states(t, l.C, "22100"); !slices.Contains(got, c.shown) {
					return fmt.Errorf("%q, want %q", got, c.shown)
				}
				return nil
			})
			play(t, l, frames[n:])
			eventually(t, "its flow is recorded", func() error {
				var got []string
				for _, r := range flowing.all() {
					if strings.HasPrefix(r.String(), c.flow) {
						got = append(got, r.String())
					}
				}
				if len(got) != 1 {
					return fmt.Errorf("%q, want one %q", got, c.flow)
				}
				return nil
			})
			if by := stop(); by[netip.MustParseAddr("192.168.254.252")] != 0 || by[netip.MustParseAddr("10.9.0.1")] == 0 {
				t.Errorf("packets by sender: %v", by)
			}
		})
	}
}

// A firewall has a flow of each connection that it carried when it ends, with what the
// kernel has counted; the other one, which has copies, has none.
func TestFlowRecordsOfFirewalls(t *testing.T) {
	l := newLab(t)
	of := map[*lab.Firewall]*collected{}
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if err := f.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
			t.Fatal(err)
		}
		of[f] = collectFlows(t, f)
		startDaemon(t, f, "--export", fmt.Sprintf("ipfix://%v", of[f].from.Addr()))
		if _, err := f.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync); err != nil {
			t.Fatal(err)
		}
	}
	tr := startTraffic(t, l)
	add(t, tr, 3, traffic.TCP)
	client, server := netip.MustParseAddr(lab.ClientAddr), netip.MustParseAddr(lab.ServerAddr)
	connections := func(f *lab.Firewall) (n int) {
		for orig := range flows(t, f) {
			if orig.Src == client {
				n++
			}
		}
		return n
	}
	eventually(t, "fwB has copies", func() error {
		if n := connections(l.B); n != 3 {
			return fmt.Errorf("%d of 3", n)
		}
		return nil
	})
	tr.Close()
	eventually(t, "all have ended", func() error {
		if n := connections(l.A); n > 0 {
			labtest.Run(t, l.A.NS, "conntrack -D -p tcp -s "+lab.ClientAddr) // what is closed stays for two minutes
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})
	eventually(t, "the flow records", func() error {
		there, back := 0, 0
		for _, r := range of[l.A].all() {
			ended := r.Proto == 6 && r.Packets > 3 && r.Bytes > 100 && r.End.After(r.Start) && time.Since(r.End) < patience
			if ended && r.Src.Addr() == client && r.Dst.Addr() == server {
				there++
			}
			if ended && r.Src.Addr() == server && r.Dst.Addr() == client {
				back++
			}
		}
		if there != 3 || back != 3 {
			return fmt.Errorf("%d and %d of 3 each among %v", there, back, of[l.A].all())
		}
		return nil
	})
	for _, f := range []*lab.Firewall{l.A, l.B} { // what is queued is sent first
		if err := f.StopDaemon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range of[l.B].all() {
		if r.Src.Addr() == client || r.Dst.Addr() == client {
			t.Errorf("fwB has %v", r)
		}
	}
}

// A firewall may listen too, as its hostname.if file says: it has the connections of the
// other one in its kernel, which does not know of it.
func TestAFirewallThatListens(t *testing.T) {
	l := newLab(t)
	startDaemon(t, l.B)
	if err := l.B.Netstart(t.Context(), "pfsync0", "up syncdev "+lab.Sync+" listen"); err != nil {
		t.Fatal(err)
	}
	shows(t, l.B, "\tstatus: listening\n")
	startA(t, l)
	open(t, l.A, "10.128.0.1", "10.128.0.2")
	open(t, l.B, "10.128.0.3")
	eventually(t, "fwB has all", func() error { return holds(t, l.B, "10.128.0.1", "10.128.0.2", "10.128.0.3") })
	eventually(t, "fwB would have told its own", func() error {
		if counters(t, l.B)["unsent"] == 0 {
			return errors.New("nothing")
		}
		return nil
	})
	if err := holds(t, l.A, "10.128.0.1", "10.128.0.2"); err != nil {
		t.Error(err)
	}
	shows(t, l.A, "\tpeer: none heard\n")
	if _, err := l.B.Ifconfig(t.Context(), "pfsync0", "-listen"); err != nil {
		t.Fatal(err)
	}
	waitSynced(t, l.B)
	bothHold(t, l, "10.128.0.1", "10.128.0.2", "10.128.0.3")
}

// play sends frames on the sync link.
func play(t *testing.T, l *lab.Lab, frames []corpus.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := l.A.Send(lab.Sync, f.Data); err != nil {
			t.Fatal(err)
		}
	}
}

// deletes tells whether a packet ends states.
func deletes(t *testing.T, payload []byte) bool {
	t.Helper()
	h, rest, err := wire.ParseHeader(payload)
	for err == nil && len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err == nil && s.Action == wire.ActDelC {
			return true
		}
		if s.End() {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}
