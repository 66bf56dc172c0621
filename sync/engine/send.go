package engine

import (
	"errors"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	packetsATurn  = 64              // sent before input is looked at again
	sendQuiet     = 5 * time.Second // without a failure: they leave again
	walkedPackets = 16              // of a bulk update, each millisecond: 80,000 states a second
)

// packets is the packets being built, in buffers that are used again and again.
// Messages are sorted by the flags of the packets they go into.
type packets struct {
	writers  []*wire.Writer
	compact  []*wire.CompactWriter // of the same packet, which has messages in one of both
	flags    []wire.TrailerFlags
	open     int       // writers in use
	current  [2][8]int // by form and flags: one more than the writer that takes messages
	dialect  wire.Dialect
	max      int
	spare    int // bytes for a trailer
	payloads [][]byte
	sent     []behind // of payloads
	state    pfstate.State
	update   wire.UpdC
}

// behind is what goes into the trailer of a packet.
type behind struct {
	flags   wire.TrailerFlags
	compact []byte // attributes
}

// form of a message.
type form uint8

const (
	plain form = iota // a message of pf
	terse             // a compact one, in the trailer
)

func (p *packets) begin(maxPayload, spare int) {
	p.open, p.max, p.spare = 0, maxPayload, spare
	p.current = [2][8]int{}
}

// part has all that follows go behind what is there.
func (p *packets) part() { p.current = [2][8]int{} }

// next opens another packet.
func (p *packets) next(f form, flags wire.TrailerFlags) *wire.Writer {
	if p.open == len(p.writers) {
		p.writers = append(p.writers, new(wire.Writer))
		p.compact = append(p.compact, new(wire.CompactWriter))
		p.flags = append(p.flags, 0)
	}
	w := p.writers[p.open]
	w.Spare, w.Dialect = p.spare, p.dialect
	w.Reset(p.max)
	if f == terse {
		p.compact[p.open].Reset(p.max - wire.HeaderLen)
	} else {
		p.compact[p.open].Reset(0)
	}
	p.flags[p.open] = flags
	p.open++
	p.current[f][flags] = p.open
	return w
}

// at is where the next message with those flags goes, if it fits: the number of
// the packet, counted from 0.
func (p *packets) at(f form, flags wire.TrailerFlags) int {
	if p.current[f][flags] == 0 {
		p.next(f, flags)
	}
	return p.current[f][flags] - 1
}

// put writes a message into the packet with those flags, or into a new one, and
// returns the packet's number, counted from 0.
func (p *packets) put(flags wire.TrailerFlags, write func(*wire.Writer) bool) int {
	if n := p.at(plain, flags); write(p.writers[n]) {
		return n
	}
	write(p.next(plain, flags))
	return p.current[plain][flags] - 1
}

// putCompact is put for a compact message.
func (p *packets) putCompact(flags wire.TrailerFlags, write func(*wire.CompactWriter) bool) int {
	if n := p.at(terse, flags); write(p.compact[n]) {
		return n
	}
	p.next(terse, flags)
	n := p.current[terse][flags] - 1
	write(p.compact[n])
	return n
}

func (p *packets) finish() ([][]byte, []behind) {
	p.payloads, p.sent = p.payloads[:0], p.sent[:0]
	for i, w := range p.writers[:p.open] {
		if c := p.compact[i]; !w.Empty() || !c.Empty() {
			p.payloads = append(p.payloads, w.Finish())
			p.sent = append(p.sent, behind{flags: p.flags[i], compact: c.Bytes()})
		}
	}
	return p.payloads, p.sent
}

// held tells that messages wait for the sync link to come back.
func (e *Engine) held() bool { return e.linkState.Config.Syncdev != "" && !e.linkState.Up }

// build begins to build packets.
func (e *Engine) build() { e.buildAs(e.form()) }

// buildAs begins packets of states in that form.
func (e *Engine) buildAs(f form) {
	e.out.dialect = e.dialect.Dialect
	e.out.begin(e.maxPayload(), trailerSpace+e.keys.Overhead())
	e.terse.begin(e, f)
}

// seqOf is the number that the nth packet being built will have.
func (e *Engine) seqOf(n int) uint64 { return e.seq + 1 + uint64(n) }

// flush sends what is queued, some packets at a time, and reports whether more is waiting.
func (e *Engine) flush() (more bool) {
	if !e.settings.talks() || e.held() {
		e.push = false
		return false
	}
	e.push = false
	if e.tooFast(e.patience()) {
		return true
	}
	queued := e.queued()
	e.build()
	e.putAcks()
	e.putUpdates()
	e.putDeletes()
	e.putStates(queueIns, wire.ActIns)
	e.putStates(queueUpd, wire.ActUpd)
	e.putRequests()
	e.send(e.out.finish())
	if queued {
		e.durations.add(sendDelay, time.Since(e.start)-e.waiting)
	}
	e.walkOn()
	if e.queued() {
		e.waiting = e.now
		return true
	}
	return false
}

func (e *Engine) full() bool { return e.out.open >= packetsATurn }

func (e *Engine) putAcks() {
	for !e.full() {
		i := e.states.first(queueAck)
		if i == 0 {
			return
		}
		id := e.states.at(i).id()
		e.states.unlink(i)
		e.counters.out[wire.ActInsAck]++
		e.out.put(0, func(w *wire.Writer) bool { return w.ID(wire.ActInsAck, id) })
		e.terse.show(func(p *packets) { p.put(0, func(w *wire.Writer) bool { return w.ID(wire.ActInsAck, id) }) })
	}
}

func (e *Engine) putUpdates() {
	u := &e.out.update
	for !e.full() {
		i := e.states.first(queueUpdC)
		if i == 0 {
			return
		}
		r := e.states.at(i)
		e.states.update(i, u)
		e.states.unlink(i)
		e.counters.out[wire.ActUpdC]++
		if !r.claims() {
			e.putUpdate(wire.FlagAnswer, i, u)
			continue
		}
		n, f := e.putUpdate(0, i, u)
		e.say(i, e.seqOf(n), f)
	}
}

func (e *Engine) putDeletes() {
	n := 0
	for ; n < len(e.deletes) && !e.full(); n++ {
		g := &e.deletes[n]
		var flags wire.TrailerFlags
		if g.unknown {
			flags = wire.FlagAnswer
		}
		e.counters.out[wire.ActDelC]++
		at := e.putDelete(flags, g.id)
		e.drop(g.id, g.word, ourselves, e.seqOf(at))
		e.putOtherDelete(g.id)
	}
	e.deletes = append(e.deletes[:0], e.deletes[n:]...)
	if n > 0 && e.halves() {
		e.out.part() // no successor may find one half of what ends here
	}
}

func (e *Engine) putStates(q queueKind, a wire.Action) {
	for !e.full() {
		i := e.states.first(q)
		if i == 0 {
			return
		}
		if a == wire.ActIns {
			e.putInsert(i)
			continue
		}
		e.states.unlink(i)
		r := e.states.at(i)
		r.traits |= e.reached()
		if r.claims() {
			n, f := e.putState(0, i, a)
			e.say(i, e.seqOf(n), f)
		} else {
			e.putState(wire.FlagAnswer, i, a)
		}
	}
}

// reached is what a state is that is told now.
func (e *Engine) reached() traits {
	if e.linkState.Up {
		return claimed
	}
	return 0
}

// putInsert tells the state in i, which waits for that.
func (e *Engine) putInsert(i slot) {
	e.states.unlink(i)
	r := e.states.at(i)
	r.traits |= e.reached()
	n, f := e.putState(0, i, wire.ActIns)
	e.say(i, e.seqOf(n), f)
}

// putState writes the state in i out in full and returns the packet's number, and in
// which form it is.
func (e *Engine) putState(flags wire.TrailerFlags, i slot, a wire.Action) (int, form) {
	s := &e.out.state
	e.states.bare(i, e.now, s)
	s.Flags &^= pfstate.FlagNoSync | pfstate.FlagAck
	if r := e.states.at(i); r.is(askAck) && a == wire.ActIns {
		s.Flags |= pfstate.FlagAck
		r.clear(askAck)
	}
	e.counters.out[a]++
	return e.putFull(flags, i, s, a)
}

// putRequests sends update requests in packets of their own, as OpenBSD does.
func (e *Engine) putRequests() {
	if len(e.requests.pending) == 0 {
		return
	}
	e.out.next(plain, 0)
	for _, id := range e.requests.pending {
		e.counters.out[wire.ActUpdReq]++
		e.out.put(0, func(w *wire.Writer) bool { return w.ID(wire.ActUpdReq, id) })
		e.terse.show(func(p *packets) { p.put(0, func(w *wire.Writer) bool { return w.ID(wire.ActUpdReq, id) }) })
	}
	e.requests.pending = e.requests.pending[:0]
}

// send shows the packets on pfsync0 and hands them to the link, if there is one.
func (e *Engine) send(payloads [][]byte, of []behind) {
	if len(payloads) == 0 {
		return
	}
	if e.linkState.Up {
		e.trailers(payloads, of)
	}
	if e.terse.on {
		e.terse.tell(e.tap)
	} else {
		e.tap.Show(payloads)
	}
	if e.linkState.Up {
		e.transmit(payloads)
	}
}

// transmit hands packets to the link. Whoever forgets that pfsync0 only listens is
// stopped here.
func (e *Engine) transmit(payloads [][]byte) {
	if e.settings.Listen {
		e.counters.n[unsent] += uint64(len(payloads))
		return
	}
	sent, err := e.link.Send(payloads)
	if e.linkState.Config.Peer().Is6() {
		e.counters.n[outPackets6] += uint64(sent)
	} else {
		e.counters.n[outPackets] += uint64(sent)
	}
	e.counters.n[outErrors] += uint64(len(payloads) - sent)
	if sent == len(payloads) {
		return
	}
	if e.sendErr == nil {
		e.log.Warn("packets cannot be sent, the peers miss changes", "err", err)
	}
	e.sendErr, e.sendFailed = err, e.now
}

// sendRecovered tells the peers of all states when packets were lost for a while
// and leave again; Linux peers ask for what they miss. What is too big stays so
// until the link changes.
func (e *Engine) sendRecovered(linkChanged bool) {
	switch {
	case e.sendErr == nil:
	case linkChanged, e.now-e.sendFailed > sendQuiet && !errors.Is(e.sendErr, link.ErrTooBig):
		e.log.Info("packets leave again", "after", e.sendErr)
		e.sendErr = nil
		if e.bsdHere() || !e.linuxHere() {
			e.serveBulk(nil)
		}
	}
}

// sendAlone sends one packet with what write puts into it, at once.
func (e *Engine) sendAlone(a wire.Action, write func(*wire.Writer) bool) {
	e.buildAs(plain)
	e.counters.out[a]++
	e.out.put(0, write)
	e.send(e.out.finish())
}
