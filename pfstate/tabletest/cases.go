package tabletest

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Fixture is an empty table under test and its local traffic.
type Fixture struct {
	Table   Table
	Traffic Traffic
	Forward func() error // has the table's host carry a packet, which may make a state or use one
}

// Case is one demand on a table.
type Case struct {
	Name string
	Run  func(t *testing.T, f Fixture)
}

// Cases is the suite.
func Cases() []Case {
	return []Case{
		{"InsertIsSilentAndThere", insertIsSilent},
		{"UpdateIsSilentAndThere", updateIsSilent},
		{"TrafficIsReportedInOrder", trafficIsReported},
		{"InsertOfAnExistingUpdatesIt", insertUpdates},
		{"UpdateOfNothingIsRefused", updateOfNothing},
		{"RenewalLeavesTheProgress", renewal},
		{"RenewalSetsTheLifetimeExactly", lifetimes},
		{"InsertedStatesAreInjected", injected},
		{"AnEmptyTableHasNothingMute", nothingMute},
		{"ForwardingIsHinted", forwarding},
		{"DeleteOfNothingIsNoError", deleteOfNothing},
		{"DeleteSparesASuccessor", deleteSparesSuccessor},
		{"DeletesLeaveTheRest", deletesLeaveTheRest},
		{"GarbageIsRefused", garbageIsRefused},
		{"TakenReplyTupleIsAClash", clash},
		{"ChangedTranslationReplaces", changedTranslation},
		{"ReversedTwinGivesWay", reversedTwin},
		{"ZonesAreApart", zones},
		{"DumpTellsEachOnce", dumpTellsEach},
		{"EachDumpHasItsFrame", dumpOfNothing},
		{"ExpiryIsNoDeletion", expiry},
		{"OrdersOfOneConnectionKeepTheirOrder", ordersKeepOrder},
		{"ManyOrdersAreAllAnswered", manyOrders},
		{"AFenceIsPassedByNothing", fence},
		{"RunEndsThoughNobodyReads", endsUnread},
	}
}

// marker makes a change by traffic and checks that nothing was said before it.
func (h *Harness) marker(f Fixture, n int) {
	h.T.Helper()
	m := UDP(n)
	if err := f.Traffic.Create(m); err != nil {
		h.T.Fatal(err)
	}
	c := h.Want(pfstate.Created)
	if diff := Diff(m, c.State); diff != "" {
		h.T.Fatalf("something was said before the marker (-marker +got):\n%s", diff)
	}
}

func (h *Harness) there(want pfstate.State) pfstate.Change {
	h.T.Helper()
	c := h.Probe(want)
	if c == nil {
		h.T.Fatalf("%v is not there", &want)
	}
	if diff := Diff(want, c.State); diff != "" {
		h.T.Fatalf("%v (-want +got):\n%s", &want, diff)
	}
	return *c
}

func insertIsSilent(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for _, s := range []pfstate.State{TCP(1), UDP(2), Translated(TCP(3), 5000)} {
		if said := h.Apply(pfstate.WriteInsert, s, 0); len(said) != 0 {
			t.Errorf("insert of %v made the table say %s", &s, KindName(said[0].Kind))
		}
		if c := h.there(s); c.Ref == 0 || c.State.ID.State == 0 {
			t.Errorf("ref %d, id %v, want both", c.Ref, c.State.ID)
		}
	}
	h.marker(f, 100)
}

func updateIsSilent(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	s := TCP(1)
	h.Apply(pfstate.WriteInsert, s, 0)
	s.Src.State, s.Timeout, s.Expire = pfstate.TCPClosing, pfstate.TCPClosingTimeout, 10*time.Minute
	if said := h.Apply(pfstate.WriteUpdate, s, 0); len(said) != 0 {
		t.Errorf("update made the table say %s", KindName(said[0].Kind))
	}
	h.there(s)
	h.marker(f, 100)
}

func trafficIsReported(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	s := TCP(1)
	var first pfstate.Change
	for i, do := range []struct {
		act  func(pfstate.State) error
		kind pfstate.ChangeKind
	}{{f.Traffic.Create, pfstate.Created}, {f.Traffic.Update, pfstate.Updated}, {f.Traffic.Delete, pfstate.Deleted}} {
		if err := do.act(s); err != nil {
			t.Fatal(err)
		}
		c := h.Want(do.kind)
		if do.kind != pfstate.Deleted {
			if diff := Diff(s, c.State); diff != "" {
				t.Errorf("%s (-want +got):\n%s", KindName(do.kind), diff)
			}
		}
		if i == 0 {
			first = c
		}
		if c.Ref == 0 || c.State.ID.State == 0 || c.Ref != first.Ref || c.State.ID != first.State.ID {
			t.Errorf("%s: ref %d id %v, want %d %v, not 0", KindName(do.kind), c.Ref, c.State.ID, first.Ref, first.State.ID)
		}
		if c.Expired {
			t.Errorf("%s: expired", KindName(do.kind))
		}
	}
}

func insertUpdates(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	s := TCP(1)
	s.Src.State, s.Dst = pfstate.TCPSynSent, pfstate.Peer{}
	s.Timeout, s.Expire = pfstate.TCPFirstPacket, time.Minute
	if err := f.Traffic.Create(s); err != nil {
		t.Fatal(err)
	}
	created := h.Want(pfstate.Created)
	s = TCP(1)
	if said := h.Apply(pfstate.WriteInsert, s, 0); len(said) != 0 {
		t.Errorf("insert made the table say %s", KindName(said[0].Kind))
	}
	if c := h.there(s); c.Ref != created.Ref || c.State.ID != created.State.ID {
		t.Errorf("ref %d id %v, want the entry of before: %d %v", c.Ref, c.State.ID, created.Ref, created.State.ID)
	}
	// And back: a table may not be able to take back that a reply was seen, but that is no error.
	s.Src.State, s.Dst = pfstate.TCPSynSent, pfstate.Peer{}
	s.Timeout, s.Expire = pfstate.TCPFirstPacket, time.Minute
	h.Apply(pfstate.WriteInsert, s, 0)
	h.there(s)
	h.marker(f, 100)
}

func updateOfNothing(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, State: TCP(1)})
	c := h.Want(pfstate.Refused)
	if !errors.Is(c.Err, pfstate.ErrNoState) || c.Op != pfstate.WriteUpdate {
		t.Errorf("%v refused: %v, want update: ErrNoState", c.Op, c.Err)
	}
	if h.Probe(TCP(1)) != nil {
		t.Error("the update made a state")
	}
}

func deleteOfNothing(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	h.Apply(pfstate.WriteDelete, TCP(1), 0)
	h.marker(f, 100)
}

func deleteSparesSuccessor(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	s := TCP(1)
	h.Apply(pfstate.WriteInsert, s, 0)
	c := h.there(s)
	h.Apply(pfstate.WriteDelete, s, c.Ref+1)
	h.there(s)
	h.Apply(pfstate.WriteDelete, s, c.Ref)
	if h.Probe(s) != nil {
		t.Error("still there after a delete with its own ref")
	}
	h.marker(f, 100)
}

// various are states of every shape a delete can have.
func various() []pfstate.State {
	icmp := pfstate.Default()
	icmp.Proto, icmp.Timeout, icmp.Expire = pfstate.ProtoICMP, pfstate.ICMPErrorReply, 20*time.Second
	echo := Flow(1, false)
	echo.DstPort = 8
	icmp.SetTuples(echo, echo.Reversed(), 0)
	icmp6 := icmp
	echo = Flow(1, true)
	echo.DstPort, icmp6.Proto = 128, pfstate.ProtoICMPv6
	icmp6.SetTuples(echo, echo.Reversed(), 0)
	esp := UDP(4)
	bare := pfstate.Tuple{Src: Flow(4, true).Src, Dst: Flow(4, true).Dst}
	esp.Proto, esp.Timeout = 50, pfstate.OtherSingle
	esp.SetTuples(bare, bare.Reversed(), 0)
	zone := TCP(5)
	orig, reply := zone.Tuples()
	zone.SetTuples(orig, reply, 7)
	return []pfstate.State{TCP(1), UDP(2), Translated(TCP(3), 5000), icmp, icmp6, esp, zone}
}

func deletesLeaveTheRest(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	const rest = 20
	for n := range rest {
		h.Apply(pfstate.WriteInsert, TCP(1000+n), 0)
		h.Apply(pfstate.WriteInsert, UDP(1000+n), 0)
	}
	for _, s := range various() {
		h.Apply(pfstate.WriteInsert, s, 0)
		h.there(s)
		h.Apply(pfstate.WriteDelete, s, 0)
		if h.Probe(s) != nil {
			t.Errorf("%v is still there", &s)
		}
		h.Apply(pfstate.WriteDelete, s, 0)
		h.Apply(pfstate.WriteDelete, s, 12345)
		if n := len(h.Dump()); n != 2*rest {
			t.Fatalf("after deletes of %v: %d states left, want %d", &s, n, 2*rest)
		}
	}
}

// fence has orders before it, some of them refused, and others behind it.
func fence(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	var ws []pfstate.Write
	for n := range 300 {
		ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, State: TCP(n)})
	}
	for n := range 300 {
		ws = append(ws, pfstate.Write{Kind: pfstate.WriteDelete, State: TCP(n)})
	}
	ws = append(ws, pfstate.Write{Kind: pfstate.WriteUpdate, State: TCP(1)})
	ws = append(ws, pfstate.Write{Kind: pfstate.WriteFence}) // nobody waits for it
	ws = append(ws, pfstate.Write{Kind: pfstate.WriteFence, Notify: true})
	ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, Notify: true, State: UDP(1)})
	h.Write(ws...)
	h.Want(pfstate.Refused)
	if c := h.Want(pfstate.Applied); c.Op != pfstate.WriteFence {
		t.Errorf("%v applied, want the fence", c.Op)
	}
	if c := h.Want(pfstate.Applied); c.Op != pfstate.WriteInsert {
		t.Errorf("%v applied, want what comes behind the fence", c.Op)
	}
	if n := len(h.Dump()); n != 1 {
		t.Errorf("%d states are left, want 1", n)
	}
}

func garbageIsRefused(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	h.Apply(pfstate.WriteInsert, TCP(1), 0)
	h.Apply(pfstate.WriteInsert, UDP(2), 0)
	half, mixed := TCP(3), TCP(4)
	half.Wire.Addr[0], half.Stack.Addr[0] = netip.Addr{}, netip.Addr{}
	mixed.Wire.Addr[0], mixed.Stack.Addr[0] = Flow(1, true).Dst, Flow(1, true).Dst
	for name, s := range map[string]pfstate.State{"nothing": {}, "one address": half, "mixed families": mixed} {
		for _, kind := range []pfstate.WriteKind{pfstate.WriteDelete, pfstate.WriteInsert, pfstate.WriteUpdate, pfstate.WriteProbe} {
			for _, ref := range []uint32{0, 1} {
				h.Write(pfstate.Write{Kind: kind, Ref: ref, State: s})
				c := h.Want(pfstate.Refused)
				if !errors.Is(c.Err, pfstate.ErrUnsupported) || c.Op != kind {
					t.Errorf("%v of %s: %v of %v, want ErrUnsupported", kind, name, c.Err, c.Op)
				}
			}
		}
	}
	h.Write(pfstate.Write{Kind: 99, State: TCP(1)})
	h.Want(pfstate.Refused)
	h.Write(pfstate.Write{State: TCP(1)})
	h.Want(pfstate.Refused)
	if n := len(h.Dump()); n != 2 {
		t.Fatalf("%d states are left of 2", n)
	}
}

func clash(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	a, b := Translated(TCP(1), 5000), Translated(TCP(2), 5000)
	h.Apply(pfstate.WriteInsert, a, 0)
	_, reply := a.Tuples()
	_, other := b.Tuples()
	if reply != other {
		t.Fatalf("sample states differ: %v %v", reply, other)
	}
	h.Write(pfstate.Write{Kind: pfstate.WriteInsert, State: b})
	if c := h.Want(pfstate.Refused); !errors.Is(c.Err, pfstate.ErrClash) {
		t.Errorf("refused: %v, want ErrClash", c.Err)
	}
	h.there(a)
	if h.Probe(b) != nil {
		t.Error("the refused state is there")
	}
	h.marker(f, 100)
}

func changedTranslation(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for _, s := range []pfstate.State{Translated(TCP(1), 5000), Translated(TCP(1), 5001), TCP(1), Translated(TCP(1), 5002)} {
		if said := h.Apply(pfstate.WriteInsert, s, 0); len(said) != 0 {
			t.Errorf("insert of %v made the table say %s", &s, KindName(said[0].Kind))
		}
		h.there(s)
	}
	if n := len(h.Dump()); n != 1 {
		t.Errorf("%d states, want 1", n)
	}
	h.marker(f, 100)
}

func reversedTwin(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for _, s := range []pfstate.State{TCP(1), Translated(TCP(2), 5000)} {
		_, reply := s.Tuples()
		twin := Reversed(s)
		twin.SetTuples(reply, reply.Reversed(), 0)
		if err := f.Traffic.Create(twin); err != nil {
			t.Fatal(err)
		}
		created := h.Want(pfstate.Created)
		said := h.Apply(pfstate.WriteInsert, s, 0)
		if len(said) == 0 { // events and answers are two streams
			said = append(said, h.Next())
		}
		if len(said) != 1 || said[0].Kind != pfstate.Deleted || said[0].Expired || said[0].State.ID != created.State.ID {
			t.Errorf("%v: said %v, want the twin deleted", &s, said)
		}
		h.there(s)
		if h.Probe(twin) != nil {
			t.Errorf("%v: the twin is still there", &s)
		}
	}
	h.marker(f, 100)
}

func zones(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	sample := TCP(1)
	orig, reply := sample.Tuples()
	for zone := range uint16(3) {
		s := TCP(1)
		s.SetTuples(orig, reply, zone)
		s.Expire += time.Duration(zone) * time.Hour
		h.Apply(pfstate.WriteInsert, s, 0)
	}
	s := TCP(1)
	s.SetTuples(orig, reply, 1)
	s.Expire += time.Hour
	h.there(s)
	h.Apply(pfstate.WriteDelete, s, 0)
	if n := len(h.Dump()); n != 2 {
		t.Errorf("%d states are left, want 2", n)
	}
	if h.Probe(s) != nil {
		t.Error("another zone's state was deleted")
	}
}

// renewal brings an old word of a state whose traffic has moved on.
func renewal(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for _, s := range []pfstate.State{TCP(1), UDP(1)} {
		h.Apply(pfstate.WriteInsert, s, 0)
		old := s
		old.Src.State, old.Dst.State = pfstate.Single, pfstate.NoTraffic
		if s.Proto == pfstate.ProtoTCP {
			old.Src.State, old.Dst.State = pfstate.TCPSynSent, pfstate.TCPClosed
		}
		old.Timeout = pfstate.TimeoutOf(s.Proto, old.Src.State, old.Dst.State)
		old.Expire = s.Expire + time.Hour
		h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true, Notify: true, State: old})
		h.Want(pfstate.Applied)
		s.Expire = old.Expire
		h.there(s)
	}
}

// lifetimes are longer and shorter than any table's own idea of them, in turns.
func lifetimes(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for _, s := range various() {
		h.Apply(pfstate.WriteInsert, s, 0)
		for _, expire := range []time.Duration{30 * 24 * time.Hour, 7 * time.Second, time.Hour} {
			s.Expire = expire
			h.Write(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true, Notify: true, State: s})
			h.Want(pfstate.Applied)
			h.there(s)
		}
		// Orders but renewals do as much.
		for _, kind := range []pfstate.WriteKind{pfstate.WriteUpdate, pfstate.WriteInsert} {
			s.Expire += 30 * 24 * time.Hour
			h.Apply(kind, s, 0)
			h.there(s)
		}
	}
}

// injected: what a Write made is told apart for as long as it lives.
func injected(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for i, s := range various() {
		h.Apply(pfstate.WriteInsert, s, 0)
		if c := h.there(s); !c.Injected {
			t.Errorf("probe of %v: not injected", &s)
		}
		h.Apply(pfstate.WriteUpdate, s, 0)
		h.Apply(pfstate.WriteInsert, s, 0)
		if c := h.there(s); !c.Injected {
			t.Errorf("probe of %v after an update: not injected", &s)
		}
		seen := h.Dump()
		if len(seen) != i+1 {
			t.Errorf("%d states in the dump, want %d", len(seen), i+1)
		}
		for _, c := range seen {
			if !c.Injected {
				t.Errorf("dump of %v: not injected", &c.State)
			}
		}
	}
	// Nor does a change by traffic make it a state of traffic.
	s := TCP(1)
	if err := f.Traffic.Update(s); err != nil {
		t.Fatal(err)
	}
	h.Want(pfstate.Updated)
	if c := h.there(s); !c.Injected {
		t.Error("not injected after traffic has used it")
	}
}

func nothingMute(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for n := range 2 {
		h.Write(pfstate.Write{Kind: pfstate.WriteDump})
		if c := h.Want(pfstate.DumpBegin); c.Mute {
			t.Errorf("dump %d: mute", n)
		}
		h.Until(pfstate.DumpEnd)
		h.Apply(pfstate.WriteInsert, TCP(1), 0)
	}
}

// forwarding: packets are hinted at, orders are not.
func forwarding(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for range 3 {
		for _, kind := range []pfstate.WriteKind{pfstate.WriteInsert, pfstate.WriteUpdate, pfstate.WriteDelete} {
			h.Apply(kind, UDP(500), 0)
		}
		h.Dump()
		before := h.Hints
		if err := f.Forward(); err != nil {
			t.Fatal(err)
		}
		h.Hint()
		if got := h.Hints - before; got != 1 {
			t.Errorf("%d hints of one packet, want 1", got)
		}
	}
	if h.Hints != 3 {
		t.Errorf("%d hints of 3 packets that were apart in time, and orders between", h.Hints)
	}
}

func dumpTellsEach(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	want := make(map[pfstate.Key]pfstate.State)
	var ws []pfstate.Write
	for n := range 1000 {
		s := TCP(n)
		if n%2 == 1 {
			s = UDP(n)
		}
		want[s.Wire] = s
		ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, State: s})
	}
	h.Write(ws...)
	for _, c := range h.Dump() {
		s, ok := want[c.State.Wire]
		if !ok {
			t.Fatalf("%v: unknown, or seen twice", &c.State)
		}
		if diff := Diff(s, c.State); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		delete(want, c.State.Wire)
	}
	if len(want) != 0 {
		t.Errorf("%d states were not seen", len(want))
	}
}

func dumpOfNothing(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for range 3 {
		h.Write(pfstate.Write{Kind: pfstate.WriteDump})
		h.Want(pfstate.DumpBegin)
		if c := h.Want(pfstate.DumpEnd); c.Err != nil {
			t.Error(c.Err)
		}
	}
}

func expiry(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	s := UDP(1)
	s.Expire = time.Second
	if err := f.Traffic.Create(s); err != nil {
		t.Fatal(err)
	}
	created := h.Want(pfstate.Created)
	c := h.Want(pfstate.Deleted)
	if !c.Expired || c.State.ID != created.State.ID || c.Ref != created.Ref {
		t.Errorf("expired %v, id %v ref %d, want true, %v %d", c.Expired, c.State.ID, c.Ref, created.State.ID, created.Ref)
	}
	// A copy expires like anything else: time is no write.
	h.Apply(pfstate.WriteInsert, s, 0)
	if c := h.Want(pfstate.Deleted); !c.Expired {
		t.Error("copy: deleted, want expired")
	}
}

func ordersKeepOrder(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	closing, fresh := TCP(1), TCP(1)
	closing.Dst.State, closing.Timeout, closing.Expire = pfstate.TCPClosing, pfstate.TCPClosingTimeout, 5*time.Minute
	fresh.Expire = 30 * time.Minute
	for range 2 { // the second time the entry is there
		h.Write(
			pfstate.Write{Kind: pfstate.WriteInsert, State: TCP(1)},
			pfstate.Write{Kind: pfstate.WriteInsert, State: TCP(2)},
			pfstate.Write{Kind: pfstate.WriteUpdate, State: closing},
		)
		h.there(closing)
	}
	h.Write(
		pfstate.Write{Kind: pfstate.WriteInsert, State: closing},
		pfstate.Write{Kind: pfstate.WriteDelete, State: closing},
		pfstate.Write{Kind: pfstate.WriteInsert, State: fresh},
	)
	h.there(fresh)
	h.marker(f, 100)
}

func manyOrders(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	const n = 3000
	for _, kind := range []pfstate.WriteKind{pfstate.WriteInsert, pfstate.WriteInsert, pfstate.WriteUpdate, pfstate.WriteDelete} {
		var ws []pfstate.Write
		for i := range n {
			ws = append(ws, pfstate.Write{Kind: kind, Notify: true, State: TCP(i)})
		}
		h.Write(ws...)
		for i := range n {
			c := h.Want(pfstate.Applied)
			if want := TCP(i); c.Op != kind || c.State.Wire != want.Wire {
				t.Fatalf("answer %d: %v of %v, want %v of %v", i, c.Op, &c.State, kind, &want)
			}
		}
	}
	if left := len(h.Dump()); left != 0 {
		t.Errorf("%d states are left", left)
	}
}

func endsUnread(t *testing.T, f Fixture) {
	h := Start(t, f.Table)
	for n := range 2000 {
		if err := f.Traffic.Create(TCP(n)); err != nil {
			t.Fatal(err)
		}
	}
	ws := []pfstate.Write{{Kind: pfstate.WriteDump}}
	for n := range 500 {
		ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, Notify: true, State: UDP(n)})
	}
	h.Table.Writes() <- &pfstate.Batch[pfstate.Write]{Items: ws}
	h.Stop()
}
