package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// shownState is a state as pfctl --json shows it.
type shownState struct {
	ID, Creatorid, Proto, Direction string
	Wire, Stack                     [2]struct {
		Addr netip.Addr
		Port uint16
	}
	Expires        int64
	Packets, Bytes [2]int64
	NoSync         bool
}

// end names a connection by who began it: with what, from where, to where.
type end struct {
	proto    string
	src, dst netip.AddrPort
}

func (s *shownState) end() end {
	before := s.Wire
	if s.Direction == "out" {
		before = s.Stack
	}
	if s.Proto != "tcp" && s.Proto != "udp" {
		before[0].Port, before[1].Port = 0, 0
	}
	return end{s.Proto, netip.AddrPortFrom(before[0].Addr, before[0].Port), netip.AddrPortFrom(before[1].Addr, before[1].Port)}
}

// shownStates is what pfctl shows.
func shownStates(t *testing.T, f *lab.Firewall) map[end]shownState {
	t.Helper()
	all := map[end]shownState{}
	for line := range strings.Lines(pfctl(t, f, "-ss", "--json")) {
		var s shownState
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[s.end()] = s
	}
	return all
}

// tally is what the kernel has tally of an entry, and the seconds it has left.
type tally struct {
	packets, bytes [2]int64
	left           int64
}

var countersOf = regexp.MustCompile(`packets=(\d+) bytes=(\d+)`)

// kernelStates is what conntrack(8) shows of all entries.
func kernelStates(t *testing.T, f *lab.Firewall) map[end]tally {
	t.Helper()
	out, err := f.Output(t.Context(), "conntrack", "-L", "-o", "extended,id")
	if err != nil {
		t.Fatal(err)
	}
	all := map[end]tally{}
	for line := range strings.Lines(out) {
		e, err := lab.ParseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		c := tally{left: int64(e.Timeout / time.Second)}
		for i, m := range countersOf.FindAllStringSubmatch(line, 2) {
			c.packets[i], _ = strconv.ParseInt(m[1], 10, 64)
			c.bytes[i], _ = strconv.ParseInt(m[2], 10, 64)
		}
		name := pfstate.ProtoName(e.Proto)
		one := end{name, netip.AddrPortFrom(e.Orig.Src, e.Orig.SPort), netip.AddrPortFrom(e.Orig.Dst, e.Orig.DPort)}
		if name != "tcp" && name != "udp" {
			one.src, one.dst = netip.AddrPortFrom(e.Orig.Src, 0), netip.AddrPortFrom(e.Orig.Dst, 0)
		}
		all[one] = c
	}
	return all
}

// private has a firewall share nothing of 10.128.5.0/24, nor what is marked.
func private(t *testing.T, f *lab.Firewall) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "pf.conf")
	const rules = "set no-sync mark 0x10000/0x10000\npass from 10.128.5.0/24 to any keep state (no-sync) label private\n"
	if err := os.WriteFile(conf, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	pfctl(t, f, "-f", conf)
}

// What pfctl shows is the kernel's table, all of it, with the kernel's counters and times, under the
// names that both firewalls have for what they share.
func TestStatesAreTheKernels(t *testing.T) {
	l := newLab(t)
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if err := f.NS.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
			t.Fatal(err)
		}
	}
	tr := startTraffic(t, l)
	startPair(t, l)
	private(t, l.A)
	open(t, l.A, "10.128.5.1", "10.128.5.2", "10.128.6.1", "10.128.6.2")
	labtest.Run(t, l.A.NS, "conntrack -U -s 10.128.6.2 --mark 0x10000/0x10000")
	labtest.Run(t, l.A.NS, "conntrack -I -p udp -t 600 -u SEEN_REPLY -s 127.0.0.1 -d 127.0.0.53 --sport 4000 --dport 53")
	add(t, tr, 4, traffic.TCP, traffic.UDP, traffic.ICMP)
	eventually(t, "what is shared", func() error { return holds(t, l.B, "10.128.6.1") })

	before := kernelStates(t, l.A)
	shown := shownStates(t, l.A)
	after := kernelStates(t, l.A)
	compared, carried := 0, 0
	for name, s := range shown {
		from, was := before[name]
		to, is := after[name]
		if !was && !is {
			t.Errorf("%v is shown, but not by conntrack", name)
		}
		if !was || !is {
			continue // it has come or gone meanwhile
		}
		compared++
		for i := range 2 {
			if s.Packets[i] < from.packets[i] || s.Packets[i] > to.packets[i] || s.Bytes[i] < from.bytes[i] || s.Bytes[i] > to.bytes[i] {
				t.Errorf("%v: %v packets, %v bytes are shown; conntrack has %+v, then %+v", name, s.Packets, s.Bytes, from, to)
			}
		}
		if s.Packets[0] > 0 && s.Bytes[1] > 0 {
			carried++
		}
		if low, high := min(from.left, to.left)-5, max(from.left, to.left)+5; s.Expires < low || s.Expires > high {
			t.Errorf("%v: expires in %d s; conntrack has %d, then %d", name, s.Expires, from.left, to.left)
		}
	}
	for name := range before {
		if _, ok := shown[name]; !ok {
			if _, ok := after[name]; ok {
				t.Errorf("%v is not shown", name)
			}
		}
	}
	if compared < 10 || carried < 8 {
		t.Errorf("%d states were compared, %d have carried packets both ways", compared, carried)
	}

	hidden := map[string]bool{}
	for name, s := range shown {
		if s.NoSync {
			hidden[name.src.Addr().String()] = true
		}
	}
	for _, host := range []string{"10.128.5.1", "10.128.5.2", "10.128.6.2", "127.0.0.1"} {
		if !hidden[host] {
			t.Errorf("the state of %s is not shown as one that is not shared", host)
		}
		delete(hidden, host)
	}
	for host := range maps.Keys(hidden) {
		// The firewall's own conversation is never shared.
		for name, s := range shown {
			if s.NoSync && name.src.Addr().String() == host && (name.proto == "tcp" || name.proto == "udp" && !name.src.Addr().IsLoopback()) {
				t.Errorf("%v is shown as one that is not shared", name)
			}
		}
	}
	if out := pfctl(t, l.A, "-vvss", "--host", "10.128.5.1"); !strings.Contains(out, "creatorid: ") || !strings.HasSuffix(out, "\n   sync: nosync\n") {
		t.Errorf("pfctl -vv: %s", out)
	}

	same := 0
	for name, copied := range shownStates(t, l.B) {
		if own, ok := shown[name]; ok && !own.NoSync && (name.proto == "tcp" || name.proto == "udp") {
			same++
			if own.ID != copied.ID || own.Creatorid != copied.Creatorid {
				t.Errorf("%v is %s/%s on one firewall, %s/%s on the other", name, own.ID, own.Creatorid, copied.ID, copied.Creatorid)
			}
		}
	}
	if same < 5 {
		t.Errorf("%d states are shown by both", same)
	}
	flowing(t, tr)
}

// What is killed is gone when pfctl returns, shared or not; of what is not, no peer hears.
func TestKilledIsGone(t *testing.T) {
	l := newLab(t)
	startPair(t, l)
	private(t, l.A)
	open(t, l.A, "10.128.5.1", "10.128.5.2", "10.128.5.3", "10.128.5.4", "10.128.6.1")
	eventually(t, "what is shared", func() error { return holds(t, l.B, "10.128.6.1") })
	told := counters(t, l.A)["oacts.DEL ST COMP"]

	killed := func(host, want string, args ...string) {
		t.Helper()
		if out := pfctl(t, l.A, args...); out != want+"\n" {
			t.Errorf("pfctl %v: %s", args, out)
		}
		if out := pfctl(t, l.A, "-ss", "--host", host); out != "" {
			t.Errorf("after pfctl %v: %s", args, out)
		}
		if _, ok := kernelStates(t, l.A)[end{"tcp", netip.AddrPortFrom(netip.MustParseAddr(host), 1024), netip.MustParseAddrPort("192.0.2.1:80")}]; ok {
			t.Errorf("after pfctl %v conntrack still has it", args)
		}
	}
	const byHost = "killed 1 states from 1 sources and 0 destinations"
	killed("10.128.5.1", byHost, "-k", "10.128.5.1")
	var id string
	for name, s := range shownStates(t, l.A) {
		if name.src.Addr().String() == "10.128.5.2" {
			id = s.ID + "/" + s.Creatorid
		}
	}
	killed("10.128.5.2", "killed 1 states", "-k", "id", "-k", id)
	killed("10.128.5.3", byHost, "-k", "10.128.5.2/31")
	killed("10.128.5.4", "killed 1 states", "-k", "label", "-k", "private")
	if now := counters(t, l.A)["oacts.DEL ST COMP"]; now != told {
		t.Errorf("%d deletes were told of what is not shared", now-told)
	}
	killed("10.128.6.1", byHost, "-k", "10.128.6.1")
	eventually(t, "the kill", func() error { return holds(t, l.B) })

	for range 5 {
		if err := l.A.Load(t.Context(), 10_000); err != nil {
			t.Fatal(err)
		}
		if out := pfctl(t, l.A, "-F", "states"); !strings.HasSuffix(out, " states cleared\n") {
			t.Errorf("flush: %s", out)
		}
		entries, err := l.A.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left := lab.Loaded(entries); len(left) > 0 {
			t.Errorf("%d entries are left after a flush: %v", len(left), left[0])
		}
	}
}

// A large table is printed by a daemon that takes no more memory for it than for a small one.
func TestManyStatesInLittleMemory(t *testing.T) {
	const n = 200_000
	quick := t.TempDir() // under the race detector events come faster than they are read
	if err := labtest.BuildQuick(quick); err != nil {
		t.Fatal(err)
	}
	l := newLabOf(t, quick)
	t.Cleanup(func() { // dumps in every namespace walk over what is there in any
		if _, err := l.A.Run(context.Background(), "conntrack", "-F"); err != nil {
			t.Error(err)
		}
	})
	startA(t, l)
	if err := l.A.Load(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all states", func() error {
		c := counters(t, l.A)
		if known := c["table_events_new"] + c["resyncmended"]; known < n { // by events, or by a dump
			return fmt.Errorf("%d are known", known)
		}
		return nil
	})
	pfctl(t, l.A, "-ss", "--host", "192.0.2.77") // none of them, once through
	dir := fmt.Sprintf("/proc/%d/", l.A.Pid())
	if err := os.WriteFile(dir+"clear_refs", []byte("5"), 0); err != nil { // forget the peak
		t.Fatal(err)
	}
	before := memoryOf(t, dir, "VmRSS")
	begun := time.Now()
	lines := strings.Count(pfctl(t, l.A, "-ss"), "\n")
	took, peak := time.Since(begun), memoryOf(t, dir, "VmHWM")
	t.Logf("%d states in %v, the daemon held %d KB more than the %d KB of before", lines, took, peak-before, before)
	if lines < n || peak-before > 16<<10 {
		t.Errorf("%d lines, %d KB more", lines, peak-before)
	}
}

// memoryOf is a value of a process's status in KB.
func memoryOf(t *testing.T, dir, name string) int {
	t.Helper()
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("%s is not in %s", name, status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
