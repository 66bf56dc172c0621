package conntrack_test

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// entries is the whole table as Entries shows it.
func entries(t testing.TB, table *conntrack.Table) (list []pfstate.Entry) {
	t.Helper()
	if err := table.Entries(t.Context(), func(part []pfstate.Entry) error {
		list = append(list, part...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// plain makes an entry of a protocol that ends, or does not, at this firewall.
func plain(proto uint8, src, dst string) raw {
	r := raw{Proto: proto, Status: confirmed | seenReply, Timeout: 500}
	r.Orig = rawTuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)}
	if proto == pfstate.ProtoUDP {
		r.Orig.Sport, r.Orig.Dport = 4000, 53
	}
	r.Reply = r.Orig.plain(proto)
	return r
}

// TestEntriesShowTheWholeTable compares them with a dump that other code makes. What is never shared is there.
func TestEntriesShowTheWholeTable(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	if got := entries(t, table); len(got) != 0 {
		t.Fatalf("an empty table shows %v", got)
	}
	k := openKernel(t, ns)
	for n := range 2000 { // several parts
		if err := k.Create(tabletest.TCP(n)); err != nil {
			t.Fatal(err)
		}
	}
	private := []raw{plain(pfstate.ProtoCARP, "10.0.0.2", "224.0.0.18"), plain(pfstate.ProtoPFSync, "10.0.0.2", "224.0.0.240"),
		plain(pfstate.ProtoIGMP, "10.0.0.2", "224.0.0.22"), plain(pfstate.ProtoUDP, "127.0.0.1", "127.0.0.53")}
	for _, r := range append(slices.Clone(private), plain(pfstate.ProtoUDP, "10.0.0.3", "10.0.0.53")) {
		if err := k.make(r); err != nil {
			t.Fatal(err)
		}
	}
	type line struct {
		Src, Dst     netip.Addr
		Sport, Dport uint16
		Proto        uint8
	}
	want := map[line]uint32{}
	for _, r := range k.dump() {
		want[line{r.Orig.Src, r.Orig.Dst, r.Orig.Sport, r.Orig.Dport, r.Proto}] = r.Timeout
	}
	got, hidden := map[line]uint32{}, 0
	for _, e := range entries(t, table) {
		orig, _ := e.State.Tuples()
		l := line{orig.Src, orig.Dst, orig.SrcPort, orig.DstPort, e.State.Proto}
		if got[l] != 0 {
			t.Errorf("%v is shown twice", l)
		}
		got[l] = uint32(e.State.Expire / time.Second)
		if old := want[l]; old > got[l] && old-got[l] <= 5 { // time passes
			got[l] = old
		}
		if e.State.Flags&pfstate.FlagNoSync != 0 {
			hidden++
		}
		if e.Ref == 0 || e.Known || e.State.ID.Creator != 0xc0ffee {
			t.Errorf("%+v", e)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got: %.2000s", diff)
	}
	if hidden != len(private) {
		t.Errorf("%d are never shared, want %d", hidden, len(private))
	}
	for _, c := range table.Counters() {
		if c.Name == "ignored_protocol" && c.Value != 0 {
			t.Error("looking counts as ignoring")
		}
	}
}

// TestEntriesAreRemoved which still are those that were shown. The engine hears of it.
func TestEntriesAreRemoved(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	k := openKernel(t, ns)
	h := tabletest.Start(t, table)
	for n := range 300 {
		if err := k.Create(tabletest.TCP(n)); err != nil {
			t.Fatal(err)
		}
		h.Want(pfstate.Created)
	}
	if err := errors.Join(k.make(plain(pfstate.ProtoCARP, "10.0.0.2", "224.0.0.18")), k.make(plain(pfstate.ProtoIGMP, "10.0.0.2", "224.0.0.22"))); err != nil {
		t.Fatal(err)
	}
	list := entries(t, table)
	if err := errors.Join(k.Delete(tabletest.TCP(1)), k.Delete(tabletest.TCP(2))); err != nil {
		t.Fatal(err)
	}
	h.Want(pfstate.Deleted)
	h.Want(pfstate.Deleted)
	// In the memory of its predecessor the successor would have the same id: others take that.
	const others = 64
	for n := range others {
		if err := k.Create(tabletest.TCP(1000 + n)); err != nil {
			t.Fatal(err)
		}
		h.Want(pfstate.Created)
	}
	if err := k.Create(tabletest.TCP(2)); err != nil {
		t.Fatal(err)
	}
	h.Want(pfstate.Created)
	removed, err := table.Remove(list)
	if err != nil || removed != 300 { // 298 and the two that are never shared
		t.Errorf("removed %d, %v; want 300", removed, err)
	}
	for range 298 {
		if c := h.Want(pfstate.Deleted); c.Expired {
			t.Errorf("%v has expired", &c.State)
		}
	}
	if left := k.dump(); len(left) != others+1 {
		t.Errorf("%d entries are left, want the successor and %d others", len(left), others)
	}
	bad := list[0]
	bad.State.Wire.Addr[0], bad.State.Stack.Addr[0] = netip.Addr{}, netip.Addr{}
	if removed, err := table.Remove([]pfstate.Entry{bad, entries(t, table)[0]}); removed != 1 || !errors.Is(err, pfstate.ErrUnsupported) {
		t.Errorf("removed %d, %v; want 1 and ErrUnsupported", removed, err)
	}
	if removed, err := table.Remove(nil); removed != 0 || err != nil {
		t.Errorf("nothing: removed %d, %v", removed, err)
	}
}

// TestEntriesEnd by yield's error, by their context, and with a table that is closed.
func TestEntriesEnd(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	k := openKernel(t, ns)
	k.fill(5000)
	t.Cleanup(k.flush)
	enough := errors.New("enough")
	parts := 0
	if err := table.Entries(t.Context(), func([]pfstate.Entry) error { parts++; return enough }); err != enough || parts != 1 {
		t.Errorf("%v after %d parts", err, parts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := table.Entries(ctx, func([]pfstate.Entry) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if err := table.Entries(t.Context(), func([]pfstate.Entry) error { return nil }); err == nil {
		t.Error("a closed table shows entries")
	}
}

// manyEntries are as many as the kernel lets a namespace have by default, nearly.
const manyEntries = 250_000

// TestManyEntriesTakeLittleMemory however slowly they are looked at.
func TestManyEntriesTakeLittleMemory(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	k := openKernel(t, ns)
	t.Cleanup(k.flush)
	k.fill(manyEntries)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	base, peak, seen, parts := live(), uint64(0), 0, 0
	if err := table.Entries(t.Context(), func(part []pfstate.Entry) error {
		if parts%20 == 0 {
			peak = max(peak, live())
		}
		parts++
		seen += len(part)
		return nil
	}); err != nil || seen != manyEntries {
		t.Errorf("%d entries, %v", seen, err)
	}
	grown := int64(peak) - int64(base)
	t.Logf("%d entries in %d parts hold %d KB at most", seen, parts, grown>>10)
	if grown > 4<<20 {
		t.Errorf("%d KB are held while %d entries are shown", grown>>10, seen)
	}
}

// BenchmarkEntries looks at 100,000 of them.
func BenchmarkEntries(b *testing.B) {
	const n = 100_000
	ns := labtest.NewNS(b)
	table := open(b, ns, conntrack.Config{})
	k := openKernel(b, ns)
	b.Cleanup(k.flush)
	k.fill(n)
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		if err := table.Entries(b.Context(), func(part []pfstate.Entry) error { seen += len(part); return nil }); err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "states/s")
}
