package engine

import (
	"errors"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	ipHeaderLen   = 20
	packetsATurn  = 64              // sent before input is looked at again
	sendQuiet     = 5 * time.Second // without a failure: they leave again
	walkedPackets = 16              // of a bulk update, each millisecond: 80,000 states a second
)

// packets is the packets being built, in buffers that are used again and again.
type packets struct {
	writers  []*wire.Writer
	open     int // writers in use; the last one takes messages
	max      int
	payloads [][]byte
	state    pfstate.State
	update   wire.UpdC
}

func (p *packets) begin(maxPayload int) { p.open, p.max = 0, maxPayload }

// next opens another packet.
func (p *packets) next() *wire.Writer {
	if p.open == len(p.writers) {
		p.writers = append(p.writers, new(wire.Writer))
	}
	w := p.writers[p.open]
	w.Reset(p.max)
	p.open++
	return w
}

// last is the packet that takes messages.
func (p *packets) last() *wire.Writer {
	if p.open == 0 {
		return p.next()
	}
	return p.writers[p.open-1]
}

// put writes a message into the last packet, or into a new one.
func (p *packets) put(write func(*wire.Writer) bool) {
	if !write(p.last()) {
		write(p.next())
	}
}

func (p *packets) finish() [][]byte {
	p.payloads = p.payloads[:0]
	for _, w := range p.writers[:p.open] {
		if !w.Empty() {
			p.payloads = append(p.payloads, w.Finish())
		}
	}
	return p.payloads
}

// held tells that messages wait for the sync link to come back.
func (e *Engine) held() bool { return e.linkState.Config.Syncdev != "" && !e.linkState.Up }

// flush sends what is queued, some packets at a time, and reports whether more is waiting.
func (e *Engine) flush() (more bool) {
	if !e.settings.Up || e.held() {
		e.push = false
		return false
	}
	e.push = false
	e.out.begin(e.maxPayload())
	e.putAcks()
	e.putUpdates()
	e.putDeletes()
	e.putStates(queueIns, wire.ActIns)
	e.putStates(queueUpd, wire.ActUpd)
	e.putRequests()
	e.send(e.out.finish())
	e.walkOn()
	if e.queued() {
		e.waiting = e.now
		return true
	}
	return false
}

func (e *Engine) full() bool { return e.out.open >= packetsATurn }

func (e *Engine) putAcks() {
	for l := &e.states.queues[queueAck]; l.head != 0 && !e.full(); {
		id := e.states.at(l.head).id
		e.states.unlink(l.head)
		e.counters.out[wire.ActInsAck]++
		e.out.put(func(w *wire.Writer) bool { return w.ID(wire.ActInsAck, id) })
	}
}

func (e *Engine) putUpdates() {
	u := &e.out.update
	for l := &e.states.queues[queueUpdC]; l.head != 0 && !e.full(); {
		r := e.states.at(l.head)
		*u = wire.UpdC{ID: r.id, Src: r.src, Dst: r.dst, Timeout: r.timeout}
		e.states.unlink(l.head)
		e.counters.out[wire.ActUpdC]++
		e.out.put(func(w *wire.Writer) bool { return w.UpdC(u) })
	}
}

func (e *Engine) putDeletes() {
	n := 0
	for ; n < len(e.deletes) && !e.full(); n++ {
		id := e.deletes[n]
		e.counters.out[wire.ActDelC]++
		e.out.put(func(w *wire.Writer) bool { return w.ID(wire.ActDelC, id) })
	}
	e.deletes = append(e.deletes[:0], e.deletes[n:]...)
}

func (e *Engine) putStates(q queueKind, a wire.Action) {
	for l := &e.states.queues[q]; l.head != 0 && !e.full(); {
		i := l.head
		e.states.unlink(i)
		e.states.at(i).claimed = e.states.at(i).claimed || e.linkState.Up
		e.putState(i, a)
	}
}

// putState writes the state in i out in full.
func (e *Engine) putState(i slot, a wire.Action) {
	s := &e.out.state
	e.states.state(i, e.now, s)
	s.Flags &^= pfstate.FlagNoSync | pfstate.FlagAck
	e.counters.out[a]++
	e.out.put(func(w *wire.Writer) bool { return w.State(a, s) })
}

// putRequests sends update requests in packets of their own, as OpenBSD does.
func (e *Engine) putRequests() {
	if len(e.requests.pending) == 0 {
		return
	}
	e.out.next()
	for _, id := range e.requests.pending {
		e.counters.out[wire.ActUpdReq]++
		e.out.put(func(w *wire.Writer) bool { return w.ID(wire.ActUpdReq, id) })
	}
	e.requests.pending = e.requests.pending[:0]
}

// send shows the packets on pfsync0 and hands them to the link, if there is one.
func (e *Engine) send(payloads [][]byte) {
	if len(payloads) == 0 {
		return
	}
	e.tap.Show(payloads)
	if !e.linkState.Up {
		return
	}
	sent, err := e.link.Send(payloads)
	e.counters.n[outPackets] += uint64(sent)
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
// and leave again. What is too big stays so until the link changes.
func (e *Engine) sendRecovered(linkChanged bool) {
	switch {
	case e.sendErr == nil:
	case linkChanged, e.now-e.sendFailed > sendQuiet && !errors.Is(e.sendErr, link.ErrTooBig):
		e.log.Info("packets leave again, telling the peers of all states", "after", e.sendErr)
		e.sendErr = nil
		e.serveBulk()
	}
}

// sendAlone sends one packet with what write puts into it, at once.
func (e *Engine) sendAlone(a wire.Action, write func(*wire.Writer) bool) {
	e.out.begin(e.maxPayload())
	e.counters.out[a]++
	e.out.put(write)
	e.send(e.out.finish())
}
