package conntrack_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

func TestOverrunIsNoticedAndADumpCuresIt(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{ReadBuffer: 4096})
	k := openKernel(t, ns)
	const n = 500
	for i := range n { // nobody reads yet
		if err := k.Create(tabletest.TCP(i)); err != nil {
			t.Fatal(err)
		}
	}
	h := tabletest.Start(t, table)
	said := h.Until(pfstate.Overrun)
	if err := said[len(said)-1].Err; !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("overrun: %v, want ENOBUFS", err)
	}
	if got := counter(t, table, "overruns"); got == 0 {
		t.Error("overrun is not counted")
	}
	// What was queued comes first: until it is read, the kernel drops all else.
	if len(said) < 2 {
		t.Error("overrun is said before the events that were kept")
	}
	if err := k.Create(tabletest.UDP(2)); err != nil {
		t.Fatal(err)
	}
	h.Until(pfstate.Created)
	if got := len(h.Dump()); got != n+1 {
		t.Errorf("dump tells of %d states, want %d", got, n+1)
	}
	if err := k.Create(tabletest.UDP(1)); err != nil { // it goes on after that
		t.Fatal(err)
	}
	h.Until(pfstate.Created)
}

func TestEventsAreSwitchedOnAndLooseIsSaid(t *testing.T) {
	ns := labtest.NewNS(t)
	var log bytes.Buffer
	table := open(t, ns, conntrack.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := strings.TrimSpace(labtest.Run(t, ns, "cat /proc/sys/net/netfilter/nf_conntrack_events")); got != "1" {
		t.Errorf("nf_conntrack_events is %s, want 1", got)
	}
	if !strings.Contains(log.String(), "nf_conntrack_tcp_loose") {
		t.Errorf("nothing is said of tcp_loose=1: %s", &log)
	}
	if got := counter(t, table, "read_buffer_bytes"); got < conntrack.DefaultReadBuffer {
		t.Errorf("receive buffer %d, want %d at least", got, conntrack.DefaultReadBuffer)
	}
	log.Reset()
	if err := ns.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0"); err != nil {
		t.Fatal(err)
	}
	open(t, ns, conntrack.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if log.Len() != 0 {
		t.Errorf("said with tcp_loose=0: %s", &log)
	}
}

func TestLocalTimeoutsAreTheNamespacesOwn(t *testing.T) {
	ns := labtest.NewNS(t)
	if err := ns.Sysctl("net/netfilter/nf_conntrack_udp_timeout", "777"); err != nil {
		t.Fatal(err)
	}
	h := tabletest.Start(t, open(t, ns, conntrack.Config{}))
	s := tabletest.UDP(1)
	s.Expire = 0
	h.Apply(pfstate.WriteInsert, s, 0)
	if got := h.Probe(s).State.Expire; got < 775*time.Second || got > 777*time.Second {
		t.Errorf("lives for %v, want 777s", got)
	}
}

func TestNATHooksComeBackAfterAFlush(t *testing.T) {
	ns := labtest.NewNS(t)
	var log bytes.Buffer
	table := open(t, ns, conntrack.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	rules := labtest.Run(t, ns, "nft list table inet pfsyncd")
	if !strings.Contains(rules, "type nat hook postrouting priority srcnat; policy accept;") {
		t.Fatalf("nat hooks: %s", rules)
	}
	labtest.Run(t, ns, "nft flush ruleset")
	h := tabletest.Start(t, table)
	// Checked once a second at most: the insert that comes later than that finds them gone.
	late := time.NewTimer(1100 * time.Millisecond)
	<-late.C
	h.Apply(pfstate.WriteInsert, tabletest.Translated(tabletest.TCP(1), 5000), 0)
	if got := labtest.Run(t, ns, "nft list table inet pfsyncd"); got != rules {
		t.Errorf("nat hooks after the flush:\n%s\nwant\n%s", got, rules)
	}
	if got := counter(t, table, "nat_hooks_made"); got != 2 {
		t.Errorf("nat hooks were made %d times, want 2", got)
	}
	if !strings.Contains(log.String(), "nat hooks are gone") {
		t.Errorf("not logged: %s", &log)
	}
	h.Stop()
	if got := labtest.Run(t, ns, "nft list table inet pfsyncd"); got != rules {
		t.Errorf("nat hooks after the end:\n%s", got)
	}
}

// TestFailBackSwitchesWindowChecksOff: the memory of windows in an entry of our own
// is stale when the flow comes back, so a peer's word about it must come with BE_LIBERAL.
func TestFailBackSwitchesWindowChecksOff(t *testing.T) {
	for name, kind := range map[string]pfstate.WriteKind{"insert": pfstate.WriteInsert, "update": pfstate.WriteUpdate} {
		t.Run(name, func(t *testing.T) {
			ns := labtest.NewNS(t)
			h, k := tabletest.Start(t, open(t, ns, conntrack.Config{})), openKernel(t, ns)
			if err := k.Create(tabletest.TCP(1)); err != nil {
				t.Fatal(err)
			}
			own := h.Want(pfstate.Created)
			if got := k.only().TCP.Flags; got != [2]uint8{1, 1} {
				t.Fatalf("own entry has flags %x", got)
			}
			h.Apply(kind, own.State, 0)
			if got := k.only().TCP.Flags; got != [2]uint8{9, 9} {
				t.Errorf("flags %x, want BE_LIBERAL in both directions", got)
			}
		})
	}
}

// TestTranslationOfAnOwnEntryIsKept: an update cannot carry translation, and must not lose it.
func TestTranslationOfAnOwnEntryIsKept(t *testing.T) {
	ns := labtest.NewNS(t)
	h, k := tabletest.Start(t, open(t, ns, conntrack.Config{})), openKernel(t, ns)
	s := tabletest.Translated(tabletest.TCP(1), 5000)
	if err := k.Create(s); err != nil {
		t.Fatal(err)
	}
	created := h.Want(pfstate.Created)
	before := k.only()
	h.Apply(pfstate.WriteInsert, s, 0)
	h.Apply(pfstate.WriteUpdate, s, 0)
	if diff := cmp.Diff(liberal(alike(before)), alike(k.only()), sameAddr); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	if got := h.Probe(s); got == nil || got.Ref != created.Ref {
		t.Errorf("entry %v, want that of before, %d", got, created.Ref)
	}
}

// TestTwinsAreCounted: the responder spoke first to a firewall without
// the entry, so that the packets' outside tuple became an entry of its own.
func TestTwinsAreCounted(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	h, k := tabletest.Start(t, table), openKernel(t, ns)
	s := tabletest.Translated(tabletest.TCP(1), 5000)
	_, reply := s.Tuples()
	twin := tabletest.TCP(2)
	twin.SetTuples(reply, reply.Reversed(), 0)
	if err := k.Create(twin); err != nil {
		t.Fatal(err)
	}
	h.Want(pfstate.Created)
	h.Apply(pfstate.WriteInsert, s, 0)
	h.Apply(pfstate.WriteInsert, tabletest.Translated(s, 5001), 0)
	h.Apply(pfstate.WriteInsert, tabletest.Translated(s, 5001), 0)
	want := map[string]uint64{"twins": 1, "retranslated": 1, "existing": 1, "writes_insert": 3, "refused_clash": 0}
	for name, n := range want {
		if got := counter(t, table, name); got != n {
			t.Errorf("%s = %d, want %d", name, got, n)
		}
	}
	if diff := cmp.Diff(uint16(5001), k.only().Reply.Dport); diff != "" {
		t.Errorf("port (-want +got):\n%s", diff)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	table := open(t, labtest.NewNS(t), conntrack.Config{})
	h := tabletest.Start(t, table)
	proxy := tabletest.TCP(1)
	proxy.Src.State = pfstate.TCPProxySrc
	h.Apply(pfstate.WriteInsert, tabletest.Translated(tabletest.TCP(2), 1), 0)
	h.Write(
		pfstate.Write{Kind: pfstate.WriteInsert, Notify: true, State: proxy},
		pfstate.Write{Kind: pfstate.WriteInsert, State: tabletest.Translated(tabletest.TCP(3), 1)},
		pfstate.Write{Kind: pfstate.WriteUpdate, State: tabletest.TCP(4)},
	)
	for _, want := range []error{pfstate.ErrUnsupported, pfstate.ErrClash, pfstate.ErrNoState} {
		if c := h.Want(pfstate.Refused); !errors.Is(c.Err, want) {
			t.Errorf("%v: %v, want %v", &c.State, c.Err, want)
		}
	}
	for _, name := range []string{"refused_unsupported", "refused_clash", "refused_no_state"} {
		if got := counter(t, table, name); got != 1 {
			t.Errorf("%s = %d, want 1", name, got)
		}
	}
}

// TestDumpOfManyWhileTheTableIsInUse: events and writes go on beside a dump.
func TestDumpOfManyWhileTheTableIsInUse(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	h, k := tabletest.Start(t, table), openKernel(t, ns)
	const n = 20000
	var ws []pfstate.Write
	for i := range n {
		ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, State: tabletest.TCP(i)})
	}
	ws = append(ws, pfstate.Write{Kind: pfstate.WriteDump})
	h.Write(ws...)
	if err := k.Create(tabletest.UDP(1)); err != nil {
		t.Fatal(err)
	}
	h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, Notify: true, State: tabletest.TCP(7)})
	var seen, created, applied int
	ended := false
	for !ended || created == 0 || applied == 0 {
		switch c := h.Next(); c.Kind {
		case pfstate.Seen:
			if c.State.Proto == pfstate.ProtoTCP {
				seen++
			}
		case pfstate.Created:
			created++
		case pfstate.Applied:
			applied++
		case pfstate.DumpEnd:
			ended = true
		case pfstate.Refused, pfstate.Overrun:
			t.Fatalf("%s: %v", tabletest.KindName(c.Kind), c.Err)
		}
	}
	if seen != n {
		t.Errorf("%d states seen, want %d", seen, n)
	}
	if own := counter(t, table, "events_own"); own != 0 || created != 1 {
		t.Errorf("%d own events came through the filter, %d states were created by another program, want 0 and 1", own, created)
	}
}

// TestASeenNeverFollowsItsDeleted: dumps run while entries go; an engine that
// believes what it hears must end with nothing.
func TestASeenNeverFollowsItsDeleted(t *testing.T) {
	ns := labtest.NewNS(t)
	h, k := tabletest.Start(t, open(t, ns, conntrack.Config{})), openKernel(t, ns)
	const n = 3000
	for i := range n {
		if err := k.Create(tabletest.TCP(i)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for i := range n {
			if err := k.Delete(tabletest.TCP(i)); err != nil {
				t.Error(err)
			}
		}
	}()
	believed := make(map[pfstate.ID]bool)
	deleted, dumping := 0, false
	for deleted < n || dumping {
		if !dumping {
			dumping = true
			h.Write(pfstate.Write{Kind: pfstate.WriteDump})
		}
		switch c := h.Next(); c.Kind {
		case pfstate.Created, pfstate.Seen:
			believed[c.State.ID] = true
		case pfstate.Deleted:
			delete(believed, c.State.ID)
			deleted++
		case pfstate.DumpEnd:
			dumping = false
		}
	}
	if len(believed) != 0 {
		t.Errorf("%d ghosts", len(believed))
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	_, err := conntrack.Open(conntrack.Config{NetNS: 9999})
	if err == nil || !strings.Contains(err.Error(), "conntrack: ") {
		t.Errorf("%v, want an error that names conntrack", err)
	}
}

// BenchmarkEvents: from the kernel to a Change. Another program makes entries as
// fast as it can; what counts is the time until the last is reported.
func BenchmarkEvents(b *testing.B) {
	const n = 50000
	batch := make([][]byte, 0, n/100)
	for i := 0; i < n; i += 100 {
		var buf []byte
		for j := range 100 {
			buf = append(buf, creation(b, i+j)...)
		}
		batch = append(batch, buf)
	}
	var took time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		ns := labtest.NewNS(b)
		table := open(b, ns, conntrack.Config{})
		h, k := tabletest.Start(b, table), openKernel(b, ns)
		k.raise()
		b.StartTimer()
		start := time.Now()
		go func() {
			for _, buf := range batch {
				k.send(buf)
			}
		}()
		for got := 0; got < n; {
			batch := <-h.Table.Changes()
			for _, c := range batch.Items {
				if c.Kind != pfstate.Created {
					b.Errorf("%s: %v", tabletest.KindName(c.Kind), c.Err)
					return
				}
			}
			got += len(batch.Items)
			batch.Free()
		}
		took += time.Since(start)
		rounds++
		b.StopTimer()
		h.Stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(n*rounds)/took.Seconds(), "events/s")
}

// BenchmarkInsert: from a Write to the kernel, the table's own events included.
func BenchmarkInsert(b *testing.B) {
	for name, state := range map[string]func(int) pfstate.State{
		"plain":      tabletest.TCP,
		"translated": func(n int) pfstate.State { return tabletest.Translated(tabletest.TCP(n), uint16(n)) },
	} {
		for _, again := range []bool{false, true} {
			if again {
				name += "-existing"
			}
			b.Run(name, func(b *testing.B) { benchmarkInsert(b, state, again) })
		}
	}
}

func benchmarkInsert(b *testing.B, state func(int) pfstate.State, again bool) {
	const n = 50000
	orders := func() (list [][]pfstate.Write) {
		for i := 0; i < n; i += 500 {
			var ws []pfstate.Write
			for j := range 500 {
				ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, State: state(i + j), Notify: i+j == n-1})
			}
			list = append(list, ws)
		}
		return list
	}
	var took time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		h := tabletest.Start(b, open(b, labtest.NewNS(b), conntrack.Config{}))
		if again {
			for _, ws := range orders() {
				h.Write(ws...)
			}
			h.Want(pfstate.Applied)
		}
		list := orders()
		b.StartTimer()
		start := time.Now()
		for _, ws := range list {
			h.Write(ws...)
		}
		h.Want(pfstate.Applied)
		took += time.Since(start)
		rounds++
		b.StopTimer()
		h.Stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(n*rounds)/took.Seconds(), "states/s")
}

// creation is a whole message without an answer.
func creation(t testing.TB, n int) []byte {
	attrs, err := rawOf(tabletest.TCP(n)).encode()
	if err != nil {
		t.Fatal(err)
	}
	return message(attrs)
}

// An entry that a helper expected takes an update of its status like any other.
func TestUpdateOfAnExpectedEntry(t *testing.T) {
	ns := labtest.NewNS(t)
	h := tabletest.Start(t, open(t, ns, conntrack.Config{}))
	master, s := tabletest.TCP(1), tabletest.TCP(2)
	h.Apply(pfstate.WriteInsert, master, 0)
	orig, _ := master.Tuples()
	src, dst := orig.Src.As4(), orig.Dst.As4()
	s.Linux.Has = pfstate.HasMaster
	s.Linux.Rare.Master = pfstate.Master{SrcPort: orig.SrcPort, DstPort: orig.DstPort, Proto: pfstate.ProtoTCP}
	copy(s.Linux.Rare.Master.Src[:], src[:])
	copy(s.Linux.Rare.Master.Dst[:], dst[:])
	s.Src.State, s.Dst.State, s.Timeout = pfstate.TCPSynSent, pfstate.TCPClosed, pfstate.TCPFirstPacket
	h.Apply(pfstate.WriteInsert, s, 0)
	s.Src.State, s.Dst.State, s.Timeout = pfstate.TCPEstablished, pfstate.TCPEstablished, pfstate.TCPEstablishedTimeout
	h.Apply(pfstate.WriteUpdate, s, 0)
	got := h.Probe(s)
	switch {
	case got == nil:
		t.Fatal("it is gone")
	case got.State.Linux.Has&pfstate.HasMaster == 0:
		t.Error("it has no master")
	case got.State.Linux.Has&pfstate.HasStatus != 0 || got.State.Dst.State != pfstate.TCPEstablished:
		t.Errorf("status %x, states %d:%d", got.State.Linux.Status, got.State.Src.State, got.State.Dst.State)
	}
}

// Who has windows not checked any more leaves the entry's time alone, whatever the order says of it.
func TestLooseningLeavesTheTime(t *testing.T) {
	ns := labtest.NewNS(t)
	h, k := tabletest.Start(t, open(t, ns, conntrack.Config{})), openKernel(t, ns)
	s := tabletest.TCP(1)
	s.Src.State, s.Dst.State, s.Timeout, s.Expire = pfstate.TCPFinWait2, pfstate.TCPFinWait2, pfstate.TCPClosedTimeout, 30*time.Second
	if err := k.Create(s); err != nil {
		t.Fatal(err)
	}
	old := h.Want(pfstate.Created).State
	old.Src.State, old.Dst.State, old.Expire = pfstate.TCPEstablished, pfstate.TCPEstablished, 24*time.Hour
	h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true, Loosen: true, Notify: true, State: old})
	h.Want(pfstate.Applied)
	got := k.only()
	if got.Timeout > 30 || got.TCP.Flags != [2]uint8{9, 9} {
		t.Errorf("%d s left, flags %x", got.Timeout, got.TCP.Flags)
	}
}
