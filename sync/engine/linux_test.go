package engine_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/auth"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const theirEpoch = 0xeeee

// linux is a Linux peer whose every packet the test writes.
type linux struct {
	r       *rig
	addr    netip.Addr
	creator uint32
	epoch   uint64
	seq     uint64 // of its last packet
	heard   uint64 // up to where it says to hear the engine; 0: as far as the engine has sent
	deaf    bool   // it names nobody whom it hears
	keys    auth.Keyring
	answers map[pfstate.ID]uint64 // what it answers for, and what it said last
}

type (
	messagesOf func(*wire.Writer)
	attrsOf    func(*wire.TrailerWriter)
)

// paired runs test with an engine that has one Linux peer: both are in sync, and
// have no states.
func paired(t *testing.T, test func(*rig, *linux)) {
	t.Helper()
	pairedAs(t, engine.Config{}, test)
}

func pairedAs(t *testing.T, c engine.Config, test func(*rig, *linux)) {
	t.Helper()
	askingAs(t, c, nil, func(r *rig) {
		p := r.linux(theirAddr, them, theirEpoch)
		time.Sleep(100 * time.Millisecond) // the engine's own clock is never 0
		p.beacon()
		for _, status := range []wire.BusStatus{wire.BusStart, wire.BusEnd} {
			p.send(0, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: status}) }, nil)
		}
		p.beacon()
		r.forget()
		r.base = r.counters()
		test(r, p)
	})
}

// linux is one more peer, of which nothing has been heard.
func (r *rig) linux(addr netip.Addr, creator uint32, epoch uint64) *linux {
	return &linux{r: r, addr: addr, creator: creator, epoch: epoch, answers: make(map[pfstate.ID]uint64)}
}

// next makes the next packet, for link.Packet to be handed on at any time.
func (p *linux) next(flags wire.TrailerFlags, messages messagesOf, attrs attrsOf) link.Packet {
	p.seq++
	return p.at(p.seq, flags, messages, attrs)
}

// at makes the packet with that sequence number.
func (p *linux) at(seq uint64, flags wire.TrailerFlags, messages messagesOf, attrs attrsOf) link.Packet {
	var m wire.Writer
	m.Reset(1400)
	if messages != nil {
		messages(&m)
	}
	w := wire.BeginTrailer(slices.Clone(m.Finish()), flags, p.epoch, seq)
	if epoch, last := p.r.named(); !p.deaf && epoch != 0 {
		if p.heard != 0 {
			last = p.heard
		}
		w.Heard([]wire.Heard{{Epoch: epoch, Seq: last}})
	}
	if attrs != nil {
		attrs(&w)
	}
	return link.Packet{Src: p.addr, TTL: 255, Payload: p.keys.Seal(w.End())}
}

// send lets the next packet come in.
func (p *linux) send(flags wire.TrailerFlags, messages messagesOf, attrs attrsOf) {
	p.r.packet(p.next(flags, messages, attrs))
}

// ask sends a packet without messages.
func (p *linux) ask(attrs attrsOf) { p.send(0, nil, attrs) }

// said are states that p says, and so answers for.
func (p *linux) said(a wire.Action, states ...pfstate.State) messagesOf {
	for _, s := range states {
		p.answers[s.ID] = wire.Said(s.ID, &s.Src, &s.Dst, s.Timeout)
	}
	return func(w *wire.Writer) {
		for _, s := range states {
			if a == wire.ActUpdC {
				w.UpdC(upd(s))
			} else {
				w.State(a, &s)
			}
		}
	}
}

// tell sends states that p answers for from then on.
func (p *linux) tell(a wire.Action, states ...pfstate.State) { p.send(0, p.said(a, states...), nil) }

// end tells that states have ended.
func (p *linux) end(states ...pfstate.State) {
	p.send(0, func(w *wire.Writer) {
		for _, s := range states {
			delete(p.answers, s.ID)
			w.ID(wire.ActDelC, s.ID)
		}
	}, nil)
}

// digest is of what p answers for.
func (p *linux) digest() (d wire.Digest) {
	for _, said := range p.answers {
		d.States++
		d.Sum += said
	}
	return d
}

func (p *linux) beacon() {
	p.ask(func(w *wire.TrailerWriter) {
		w.Hello(wire.Hello{Creator: p.creator})
		w.Digest(p.digest())
	})
}

// live lets time pass while p says each second that it is there.
func (p *linux) live(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Second, time.Until(end)))
		p.beacon()
	}
}

// sums are the digests of all buckets.
func (p *linux) sums() []uint64 {
	sums := make([]uint64, wire.Buckets)
	for id, said := range p.answers {
		sums[wire.Bucket(id)] += said
	}
	return sums
}

// sendSums answers a request for digests.
func (p *linux) sendSums() {
	const each = 128
	for first, sums := 0, p.sums(); first < len(sums); first += each {
		p.ask(func(w *wire.TrailerWriter) { w.Digests(wire.AttrDigests, first, sums[first:first+each]) })
	}
}

// sendList answers a request for what is in a bucket.
func (p *linux) sendList(bucket int) {
	var entries []wire.Listed
	for _, id := range slices.SortedFunc(maps.Keys(p.answers), func(a, b pfstate.ID) int { return int(int64(a.State - b.State)) }) {
		if wire.Bucket(id) == bucket {
			entries = append(entries, wire.Listed{ID: id, Said: p.answers[id]})
		}
	}
	p.ask(func(w *wire.TrailerWriter) { w.List(bucket, wire.ListFirst|wire.ListLast, entries) })
}

// sentPacket is what the engine sent.
type sentPacket struct {
	at time.Duration // since the rig's start
	b  []byte
}

// keep remembers a packet of the engine. r.mu is held.
func (r *rig) keep(b []byte) {
	r.raw = append(r.raw, sentPacket{at: time.Since(r.start), b: slices.Clone(b)})
	if t, err := wire.ParseTrailer(wire.Behind(b)); err == nil {
		r.epoch, r.seq = t.Epoch, max(r.seq, t.Seq)
	}
}

// named is the engine's epoch and the number of its last packet.
func (r *rig) named() (epoch, last uint64) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch, r.seq
}

// takeRaw takes the packets sent since it was last called.
func (r *rig) takeRaw() []sentPacket {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	raw := r.raw
	r.raw = nil
	return raw
}

// trailers takes the attributes in the packets sent since they were last taken,
// of these kinds; all others are forgotten.
func (r *rig) trailers(kinds ...string) (all []string) {
	for _, p := range r.takeRaw() {
		for _, a := range attributes(r.t, p.b) {
			if kind, _, _ := strings.Cut(a, " "); slices.Contains(kinds, kind) {
				all = append(all, a)
			}
		}
	}
	return all
}

// timed is trailers with the time since `since` before each.
func (r *rig) timed(since time.Time, kinds ...string) (all []string) {
	for _, p := range r.takeRaw() {
		for _, a := range attributes(r.t, p.b) {
			if kind, _, _ := strings.Cut(a, " "); slices.Contains(kinds, kind) {
				all = append(all, fmt.Sprintf("%v %s", p.at-since.Sub(r.start), a))
			}
		}
	}
	return all
}

// asked compares what trailers asked for and told, of these kinds.
func (r *rig) asked(kinds string, want ...string) {
	r.t.Helper()
	if got := r.trailers(strings.Fields(kinds)...); !slices.Equal(got, want) {
		r.t.Errorf("after %v trailers had %q, want %q", time.Since(r.start), got, want)
	}
}

// attributes names what is in a trailer.
func attributes(t *testing.T, packet []byte) (all []string) {
	trailer, err := wire.ParseTrailer(wire.Behind(packet))
	if err != nil {
		t.Fatal(err)
	}
	if trailer.Flags != 0 {
		all = append(all, fmt.Sprintf("flags %d", trailer.Flags))
	}
	for rest := trailer.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, attribute(typ, body))
		rest = next
	}
	return all
}

func attribute(typ wire.AttrType, body []byte) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(typ.String(), " ", ""))
	_, rest, _ := wire.ParseEpoch(body) // of those that begin with one
	switch typ {
	case wire.AttrHello:
		h, _ := wire.ParseHello(body)
		fmt.Fprintf(&b, " %08x", h.Creator)
	case wire.AttrHeard:
		for i := range len(body) / wire.HeardLen {
			fmt.Fprintf(&b, " %x/%d", wire.HeardAt(body, i).Epoch, wire.HeardAt(body, i).Seq)
		}
	case wire.AttrDigest:
		d, _ := wire.ParseDigest(body)
		fmt.Fprintf(&b, " %d %016x", d.States, d.Sum)
	case wire.AttrOldest:
		seq, _, _ := wire.ParseEpoch(body)
		fmt.Fprintf(&b, " %d", seq)
	case wire.AttrResend:
		for i := range len(rest) / wire.ResendLen {
			fmt.Fprintf(&b, " %d+%d", wire.RangeAt(rest, i).First, wire.RangeAt(rest, i).Count)
		}
	case wire.AttrDigests, wire.AttrHave:
		first, sums, _ := wire.ParseDigests(body)
		fmt.Fprintf(&b, " %d+%d", first, len(sums)/wire.SumLen)
	case wire.AttrAskList:
		for i := range len(rest) / wire.BucketLen {
			bucket, _ := wire.BucketAt(rest, i)
			fmt.Fprintf(&b, " %d", bucket)
		}
	case wire.AttrList:
		bucket, flags, entries, _ := wire.ParseList(body)
		fmt.Fprintf(&b, " %d/%d", bucket, flags)
		for i := range len(entries) / wire.ListedLen {
			l := wire.ListedAt(entries, i)
			fmt.Fprintf(&b, " %v=%016x", l.ID, l.Said)
		}
	case wire.AttrAsk:
		for i := range len(rest) / wire.IDLen {
			id, _ := wire.ParseID(rest[i*wire.IDLen:])
			fmt.Fprintf(&b, " %v", id)
		}
	}
	return b.String()
}

// logBook has what the engine logged, a line each.
type logBook struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

// logged tells which lines have all of these words in them.
func (r *rig) logged(words ...string) (lines []string) {
	synctest.Wait()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	for line := range strings.Lines(r.log.lines.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// loggedTimes checks how often a line with these words was logged.
func (r *rig) loggedTimes(n int, words ...string) {
	r.t.Helper()
	if lines := r.logged(words...); len(lines) != n {
		r.t.Errorf("after %v logged %d times %q, want %d: %q", time.Since(r.start), len(lines), words, n, lines)
	}
}

// peer is what the engine knows of p.
func (p *linux) status() (s engine.PeerStatus) {
	p.r.t.Helper()
	list := p.r.status().PeerList
	i := slices.IndexFunc(list, func(s engine.PeerStatus) bool { return s.Addr == p.addr })
	if i < 0 {
		p.r.t.Fatalf("no peer %v in %+v", p.addr, list)
	}
	return list[i]
}

// is compares what the engine says of p: kind, state, number of states, in sync,
// problems.
func (p *linux) is(want string) {
	p.r.t.Helper()
	s := p.status()
	if got := strings.TrimSpace(fmt.Sprintf("%s %s %d %s %s", s.Kind, s.State, s.States, s.Sync, strings.Join(s.Problems, ", "))); got != want {
		p.r.t.Errorf("after %v peer is %q, want %q", time.Since(p.r.start), got, want)
	}
}
