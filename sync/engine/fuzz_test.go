package engine_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// How the packets of FuzzReceive come in.
const (
	rawFirst  = 1 << iota // as they are: from a BSD, or a Linux peer not known yet
	rawSecond             //
	swapped               // the second one before the first
	withGap               // one that never comes is between them
	doubled
	muted // the engine only listens
)

// Whatever comes from the network, be it with the trailers of a peer that is
// known, the engine neither panics nor stops, sends nothing malformed, and nothing at
// all when it only listens, and makes no more states than there were messages for.
func FuzzReceive(f *testing.F) {
	add := func(payload []byte) {
		f.Add(payload, payload, uint8(0))
		f.Add(payload, payload, uint8(rawFirst|doubled))
		f.Add(payload, payload, uint8(rawSecond|withGap))
		f.Add(payload, payload, uint8(rawFirst|muted))
	}
	for _, frame := range corpus.AllFrames(f) {
		add(frame.Payload())
	}
	header := wire.Header{Version: wire.Version, Len: wire.HeaderLen}.Append(nil)
	for _, v := range corpus.Vectors(f, "trailer1") {
		switch v.Kind {
		case "frame":
			add(v.Bytes(f))
		case "trailer", "newer":
			add(append(slices.Clone(header), v.Bytes(f)...))
		}
	}
	for _, seed := range aboutOurs() {
		for how := range uint8(2 * muted) {
			f.Add(seed[0], seed[1], how)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte, how uint8) {
		synctest.Test(t, func(t *testing.T) { receiveBoth(t, first, second, how) })
	})
}

// aboutOurs are pairs of packets on states of the engine's own, and of the peer's.
func aboutOurs() (seeds [][2][]byte) {
	ours, theirs := tcp(us, 1, closing, estab), tcp(them, 9, estab, estab)
	build := func(flags wire.TrailerFlags, messages messagesOf, attrs attrsOf) []byte {
		var m wire.Writer
		m.Reset(1400)
		messages(&m)
		w := wire.BeginTrailer(slices.Clone(m.Finish()), flags, 1, 1)
		w.Heard([]wire.Heard{{Epoch: 1, Seq: 1}})
		attrs(&w)
		return w.End()
	}
	none := func(*wire.Writer) {}
	digest := func(w *wire.TrailerWriter) { w.Digest(wire.Digest{States: 1, Sum: saidOf(theirs)}) }
	ids := []pfstate.ID{ours.ID, theirs.ID}
	ask := func(w *wire.TrailerWriter) {
		w.Resend(1, []wire.Range{{First: 1, Count: 3}})
		w.AskDigests(1)
		w.AskList(1, []uint16{uint16(wire.Bucket(ours.ID)), 0, 1023})
		w.Ask(1, ids)
	}
	list := func(w *wire.TrailerWriter) {
		w.Digests(wire.AttrDigests, 0, make([]uint64, 128))
		w.List(wire.Bucket(theirs.ID), wire.ListFirst|wire.ListLast, []wire.Listed{{ID: theirs.ID, Said: saidOf(theirs)}})
		w.Same(1, make([]byte, wire.Buckets/8))
	}
	insert := func(w *wire.Writer) { w.State(wire.ActIns, &theirs); w.State(wire.ActUpd, &ours) }
	update := func(w *wire.Writer) { w.UpdC(upd(ours)); w.UpdC(upd(theirs)) }
	end := func(w *wire.Writer) { w.ID(wire.ActDelC, ours.ID); w.ID(wire.ActDelC, theirs.ID) }
	bulk := func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}); w.ID(wire.ActUpdReq, ours.ID) }
	clear := func(w *wire.Writer) {
		w.Clr(wire.Clr{Creator: them})
		w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd})
	}
	for _, pair := range [][2]messagesOf{{insert, update}, {insert, end}, {update, end}, {insert, clear}, {bulk, bulk}, {none, none}} {
		for _, flags := range []wire.TrailerFlags{0, wire.FlagAnswer, wire.FlagHeir} {
			seeds = append(seeds, [2][]byte{build(flags, pair[0], ask), build(flags, pair[1], digest)})
		}
		seeds = append(seeds, [2][]byte{build(0, pair[0], digest), build(0, pair[1], list)})
	}
	return seeds
}

// receiveBoth lets both packets come in and checks what the engine makes of it.
func receiveBoth(t *testing.T, first, second []byte, how uint8) {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	table := memory.New(memory.Config{Creator: us})
	l := &fuzzLink{t: t, received: make(chan *pfstate.Batch[link.Packet], 8), statuses: make(chan link.Status, 1)}
	e := engine.New(engine.Config{Creator: us, Log: slog.New(slog.DiscardHandler)}, table, l, noTap{})
	running.Go(func() { table.Run(ctx) })
	running.Go(func() { e.Run(ctx) })
	up := engine.DefaultSettings()
	up.Up = true
	e.Configure(up)
	l.statuses <- link.Status{Config: link.Config{Syncdev: "sis2"}, Up: true, MTU: 1500, Addr: ourAddr}
	table.Create(tcp(0, 1, estab, estab))
	table.Create(udp(0, 2, pfstate.Multiple, pfstate.Multiple))
	time.Sleep(time.Second)

	seq := uint64(1)
	bare := wire.Header{Version: wire.Version, Len: wire.HeaderLen}.Append(nil)
	w := wire.BeginTrailer(bare, 0, theirEpoch, seq)
	w.Hello(wire.Hello{Creator: them})
	w.Heard([]wire.Heard{{Epoch: l.named(), Seq: 1}})
	l.deliver(w.End())

	if how&muted != 0 {
		up.Listen = true
		e.Configure(up)
		l.silence()
	}
	packets := make([][]byte, 0, 4)
	for n, payload := range [][]byte{first, second} {
		seq++
		if how&withGap != 0 && n == 1 {
			seq++
		}
		if raw := []uint8{rawFirst, rawSecond}[n]; how&raw == 0 {
			payload = ofThePeer(payload, l.named(), seq)
		}
		packets = append(packets, payload)
	}
	if how&swapped != 0 {
		slices.Reverse(packets)
	}
	if how&doubled != 0 {
		packets = append(packets, packets...)
	}
	for n, payload := range packets {
		l.deliver(payload)
		time.Sleep([]time.Duration{time.Millisecond, time.Second, 10 * time.Millisecond, time.Millisecond}[n])
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()

	s, err := e.Status()
	if err != nil {
		t.Fatal(err)
	}
	most := 2 * (len(first) + len(second)) / wire.StateLen
	if s.Local+s.Imported > 2+most || table.Len() > 2+most {
		t.Errorf("%d local and %d imported states, %d entries, from at most %d messages", s.Local, s.Imported, table.Len(), most)
	}
	held := 0
	for _, p := range s.PeerList {
		if held += p.States; p.States < 0 {
			t.Errorf("%v has %d states", p.Addr, p.States)
		}
	}
	if held > s.Local+s.Imported {
		t.Errorf("peers answer for %d of %d states", held, s.Local+s.Imported)
	}
}

// ofThePeer makes a packet one of the known peer: its epoch, its next number, and
// the engine's epoch in what is for one node. A packet without a trailer gets one.
func ofThePeer(payload []byte, epoch, seq uint64) []byte {
	b := slices.Clone(payload)
	trailer := wire.Behind(b)
	if _, err := wire.ParseTrailer(trailer); err != nil {
		if _, _, err := wire.ParseHeader(b); err != nil {
			return b
		}
		w := wire.BeginTrailer(b[:len(b)-len(trailer)], 0, theirEpoch, seq)
		return w.End()
	}
	binary.BigEndian.PutUint64(trailer[8:], theirEpoch)
	binary.BigEndian.PutUint64(trailer[16:], seq)
	for rest := trailer[wire.TrailerLen:]; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			break
		}
		switch typ {
		case wire.AttrHeard, wire.AttrResend, wire.AttrAskDigests, wire.AttrAskList, wire.AttrAsk, wire.AttrSame:
			if len(body) >= wire.EpochLen {
				binary.BigEndian.PutUint64(body, epoch)
			}
		}
		rest = next
	}
	return b
}

// fuzzLink brings packets to the engine and checks those that it sends.
type fuzzLink struct {
	t        *testing.T
	received chan *pfstate.Batch[link.Packet]
	statuses chan link.Status

	mu     sync.Mutex
	epoch  uint64
	silent bool
}

// silence has nothing be sent any more.
func (l *fuzzLink) silence() {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

func (l *fuzzLink) Received() <-chan *pfstate.Batch[link.Packet] { return l.received }
func (l *fuzzLink) Statuses() <-chan link.Status                 { return l.statuses }

func (l *fuzzLink) Send(payloads [][]byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent {
		l.t.Errorf("%d packets are sent by one who only listens", len(payloads))
	}
	for _, p := range payloads {
		if len(p) > 1480 {
			l.t.Errorf("%d bytes are sent", len(p))
		}
		messages(l.t, p)
		attributes(l.t, p)
		trailer, _ := wire.ParseTrailer(wire.Behind(p))
		l.epoch = trailer.Epoch
	}
	return len(payloads), nil
}

// named is the engine's epoch.
func (l *fuzzLink) named() uint64 {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

func (l *fuzzLink) deliver(payload []byte) {
	l.received <- &pfstate.Batch[link.Packet]{Items: []link.Packet{{Src: theirAddr, TTL: 255, Payload: payload}}}
	synctest.Wait()
}
