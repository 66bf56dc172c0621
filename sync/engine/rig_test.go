package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	us   = 0xaaaaaaaa // creatorid of the engine under test
	them = 0xbbbbbbbb
)

var (
	ourAddr   = netip.MustParseAddr("192.168.254.254")
	theirAddr = netip.MustParseAddr("192.168.254.253")
)

// rig is an engine whose table, link and pfsync0 are played by the test. It
// lives in a synctest bubble.
type rig struct {
	t        *testing.T
	engine   *engine.Engine
	start    time.Time
	changes  chan *pfstate.Batch[pfstate.Change]
	orders   chan *pfstate.Batch[pfstate.Write]
	received chan *pfstate.Batch[link.Packet]
	statuses chan link.Status
	batches  pfstate.Batches[pfstate.Change]
	packets  pfstate.Batches[link.Packet]
	stop     context.CancelFunc

	stopped chan struct{}
	breaks  atomic.Bool // Send fails
	base    map[string]uint64

	mu     sync.Mutex // timers of the engine run without the test's doing
	sent   []string   // messages sent since they were last asked for
	sizes  []int      // of the packets they were in
	shown  int        // packets on pfsync0
	frames []string   // messages in them
	unseen bool       // nobody watches pfsync0
	writes []pfstate.Write
	raw    []sentPacket // with their trailers, since they were last asked for
	epoch  uint64       // of the engine
	seq    uint64       // of the packet that it sent last
	log    logBook
}

// within runs test in a bubble with an engine that is up on a usable link, has
// seen an empty table and got an empty bulk update. Counters start from there.
func within(t *testing.T, test func(*rig)) {
	t.Helper()
	asking(t, nil, func(r *rig) {
		r.answered()
		r.base = r.counters()
		test(r)
	})
}

// asking runs test with an engine that has seen these states in its table and
// has just asked the peers for theirs.
func asking(t *testing.T, states []pfstate.State, test func(*rig)) {
	t.Helper()
	askingAs(t, engine.Config{}, states, test)
}

// askingAs is asking with an engine made of c.
func askingAs(t *testing.T, c engine.Config, states []pfstate.State, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf(t, c)
		r.dump(states...)
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.linkUp()
		r.expect("UPD_REQ 0000000000000000/00000000")
		r.forget()
		test(r)
		r.end()
	})
}

// answered ends the bulk request with an empty answer.
func (r *rig) answered() {
	r.bus(wire.BusStart)
	r.bus(wire.BusEnd)
	r.forget()
}

func (r *rig) bus(status wire.BusStatus) {
	r.deliver(func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: status}) })
}

func newRig(t *testing.T) *rig { return newRigOf(t, engine.Config{}) }

func newRigOf(t *testing.T, c engine.Config) *rig {
	ctx, stop := context.WithCancel(t.Context())
	r := &rig{
		t: t, start: time.Now(), stop: stop, stopped: make(chan struct{}),
		changes: make(chan *pfstate.Batch[pfstate.Change], 16), orders: make(chan *pfstate.Batch[pfstate.Write]),
		received: make(chan *pfstate.Batch[link.Packet], 16), statuses: make(chan link.Status, 1),
		batches: pfstate.NewBatches[pfstate.Change](4), packets: pfstate.NewBatches[link.Packet](4),
	}
	c.Creator, c.Log = us, slog.New(slog.NewTextHandler(&r.log, nil))
	r.engine = engine.New(c, (*rigTable)(r), (*rigLink)(r), (*rigTap)(r))
	go func() {
		defer close(r.stopped)
		r.engine.Run(ctx)
	}()
	go func() {
		for {
			select {
			case w := <-r.orders:
				r.mu.Lock()
				r.writes = append(r.writes, w.Items...)
				r.mu.Unlock()
			case <-r.stopped:
				return
			}
		}
	}()
	return r
}

func (r *rig) end() {
	r.stop()
	<-r.stopped
}

type rigTable rig

func (t *rigTable) Changes() <-chan *pfstate.Batch[pfstate.Change] { return t.changes }
func (t *rigTable) Writes() chan<- *pfstate.Batch[pfstate.Write]   { return t.orders }

type rigTap rig

func (t *rigTap) Show(payloads [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown += len(payloads)
	for _, p := range payloads {
		t.frames = append(t.frames, messages(t.t, p)...)
		t.frames = append(t.frames, compactNames(t.t, p)...)
	}
}

func (t *rigTap) Listened() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.unseen
}

type rigLink rig

func (l *rigLink) Received() <-chan *pfstate.Batch[link.Packet] { return l.received }
func (l *rigLink) Statuses() <-chan link.Status                 { return l.statuses }
func (l *rigLink) Send(payloads [][]byte) (int, error) {
	if l.breaks.Load() {
		return 0, fmt.Errorf("no buffer space")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range payloads {
		(*rig)(l).keep(p)
		if h, _, _ := wire.ParseHeader(p); h.Len > wire.HeaderLen { // not for its trailer alone
			l.sizes = append(l.sizes, int(h.Len))
			l.sent = append(l.sent, messages(l.t, p)...)
		}
	}
	return len(payloads), nil
}

// messages names what is in a packet.
func messages(t *testing.T, payload []byte) (names []string) {
	h, rest, err := wire.ParseHeader(payload)
	if err != nil {
		t.Fatal(err)
	}
	for len(rest) > 0 {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			t.Fatal(err)
		}
		for n := range s.Count {
			names = append(names, message(t, s, s.Message(n)))
		}
	}
	return names
}

var short = map[wire.Action]string{
	wire.ActClr: "CLR", wire.ActInsAck: "INS_ACK", wire.ActUpdC: "UPD_C", wire.ActUpdReq: "UPD_REQ",
	wire.ActDelC: "DEL_C", wire.ActBus: "BUS", wire.ActIns: "INS", wire.ActUpd: "UPD",
}

func message(t *testing.T, section wire.Section, m []byte) string {
	a, name := section.Action, short[section.Action]
	if section.Dialect != wire.OpenBSD6 && a.HasState() {
		name += " " + section.Dialect.String()
	}
	switch a {
	case wire.ActIns, wire.ActUpd:
		var s pfstate.State
		if err := wire.ParseState(section.Dialect, m, &s); err != nil {
			t.Fatal(err)
		}
		name = fmt.Sprintf("%s %v %d:%d", name, s.ID, s.Src.State, s.Dst.State)
		if s.Flags&pfstate.FlagAck != 0 {
			name += " ack"
		}
		return name
	case wire.ActUpdC:
		u, err := wire.ParseUpdC(section.Dialect, m)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("UPD_C %v %d:%d", u.ID, u.Src.State, u.Dst.State)
	case wire.ActBus:
		b, err := wire.ParseBus(m)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("BUS %08x %d", b.Creator, b.Status)
	case wire.ActTDB, wire.ActOldTDB:
		parse := wire.ParseTDB
		if a == wire.ActOldTDB {
			parse = wire.ParseOldTDB
		}
		t4, err := parse(m)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%v %x %v %d: %d %d", a, t4.SPI, t4.Dst.Addr(section.Dialect), t4.Proto, t4.Replay, t4.Bytes)
	case wire.ActEOF:
		return "EOF"
	}
	id, err := wire.ParseID(m)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %v", short[a], id)
}

// expect waits until the engine is idle and compares what it sent meanwhile.
func (r *rig) expect(want ...string) {
	r.t.Helper()
	if sent, _ := r.told(); !slices.Equal(sent, want) {
		r.t.Errorf("after %v sent %q, want %q", time.Since(r.start), sent, want)
	}
}

// ordered takes the orders alone.
func (r *rig) ordered() []pfstate.Write {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	writes := slices.DeleteFunc(r.writes, func(w pfstate.Write) bool { return w.Kind == pfstate.WriteFence })
	r.writes = nil
	return writes
}

// told takes the messages and the sizes of their packets alone.
func (r *rig) told() ([]string, []int) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	sent, sizes := r.sent, r.sizes
	r.sent, r.sizes = nil, nil
	return sent, sizes
}

// forget waits until the engine is idle and forgets what it sent and ordered.
func (r *rig) forget() {
	r.told()
	r.ordered()
	r.takeRaw()
}

// wrote waits until the engine is idle and compares what it ordered from the table.
func (r *rig) wrote(want ...string) {
	r.t.Helper()
	var got []string
	for _, w := range r.ordered() {
		got = append(got, fmt.Sprintf("%v %v %d:%d", w.Kind, w.State.ID, w.State.Src.State, w.State.Dst.State))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("ordered %q, want %q", got, want)
	}
}

func (r *rig) configure(change func(*engine.Settings)) {
	s := engine.DefaultSettings()
	s.Pair = engine.PairOff // a test of it says so
	change(&s)
	if err := r.engine.Configure(s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) linkUp() {
	r.statuses <- link.Status{Config: link.Config{Syncdev: "sis2"}, Up: true, MTU: 1500, Index: 3, Addr: ourAddr}
	synctest.Wait()
}

func (r *rig) linkDown() {
	r.statuses <- link.Status{Config: link.Config{Syncdev: "sis2"}, Reason: "down", MTU: 1500, Index: 3}
	synctest.Wait()
}

// table reports changes, all in one batch.
func (r *rig) table(changes ...pfstate.Change) {
	b := r.batches.Take()
	b.Items = append(b.Items, changes...)
	r.changes <- b
	synctest.Wait()
}

// backlog lets two batches wait before the engine sees the first.
func (r *rig) backlog(first, second []pfstate.Change) {
	r.table(created(tcp(us, 9999, estab, estab))) // something for States to be held at
	r.forget()
	hold := make(chan struct{})
	go r.engine.States(func(*pfstate.State) bool { <-hold; return false })
	synctest.Wait()
	for _, changes := range [][]pfstate.Change{first, second} {
		b := r.batches.Take()
		b.Items = append(b.Items, changes...)
		r.changes <- b
	}
	close(hold)
}

// dump answers the order for a dump with states.
func (r *rig) dump(states ...pfstate.State) {
	r.t.Helper()
	if !slices.ContainsFunc(r.ordered(), func(w pfstate.Write) bool { return w.Kind == pfstate.WriteDump }) {
		r.t.Fatal("no dump was asked for")
	}
	changes := []pfstate.Change{{Kind: pfstate.DumpBegin}}
	for _, s := range states {
		changes = append(changes, pfstate.Change{Kind: pfstate.Seen, State: s})
	}
	r.table(append(changes, pfstate.Change{Kind: pfstate.DumpEnd})...)
}

// deliver lets a packet of the peer come in.
func (r *rig) deliver(build func(*wire.Writer)) {
	var w wire.Writer
	w.Reset(1480)
	build(&w)
	r.packet(link.Packet{Src: theirAddr, TTL: 255, Payload: slices.Clone(w.Finish())})
}

func (r *rig) packet(p link.Packet) {
	b := r.packets.Take()
	b.Items = append(b.Items, p)
	r.received <- b
	synctest.Wait()
}

func (r *rig) counters() map[string]uint64 {
	r.t.Helper()
	all, err := r.engine.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	values := make(map[string]uint64)
	for _, c := range all {
		values[c.Name] = c.Value
	}
	return values
}

// counted compares counters, given as name=value, since the test began.
func (r *rig) counted(want ...string) {
	r.t.Helper()
	values := r.counters()
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		got, known := values[name]
		if got -= r.base[name]; !known || fmt.Sprint(got) != value {
			r.t.Errorf("counter %s is %d, want %s", name, got, value)
		}
	}
}

func (r *rig) status() engine.Status {
	s, err := r.engine.Status()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// tcp is a TCP state of a connection that n tells apart.
func tcp(creator uint32, n int, src, dst pfstate.PeerState) pfstate.State {
	s := pfstate.Default()
	s.ID = pfstate.ID{State: uint64(n), Creator: creator}
	s.Proto, s.Flags = pfstate.ProtoTCP, pfstate.FlagSloppy
	orig := pfstate.Tuple{
		Src: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), Dst: netip.AddrFrom4([4]byte{192, 0, 2, 1}),
		SrcPort: 1024 + uint16(n), DstPort: 80,
	}
	s.SetTuples(orig, orig.Reversed(), 0)
	s.Src.State, s.Dst.State = src, dst
	s.Timeout = pfstate.TimeoutOf(s.Proto, src, dst)
	s.Expire = s.Timeout.Default()
	return s
}

func udp(creator uint32, n int, src, dst pfstate.PeerState) pfstate.State {
	s := tcp(creator, n, src, dst)
	s.Proto, s.Flags = pfstate.ProtoUDP, 0
	s.Timeout = pfstate.TimeoutOf(s.Proto, src, dst)
	s.Expire = s.Timeout.Default()
	return s
}

func created(s pfstate.State) pfstate.Change { return pfstate.Change{Kind: pfstate.Created, State: s} }
func updated(s pfstate.State) pfstate.Change { return pfstate.Change{Kind: pfstate.Updated, State: s} }
func deleted(s pfstate.State) pfstate.Change { return pfstate.Change{Kind: pfstate.Deleted, State: s} }
func expired(s pfstate.State) pfstate.Change {
	return pfstate.Change{Kind: pfstate.Deleted, Expired: true, State: s}
}
