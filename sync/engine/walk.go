package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// walk is a bulk update being served: every state, a few packets at a time
// between a BUS start and a BUS end.
type walk struct {
	active          bool
	all             bool          // also what other Linux peers answer for: a BSD asks, or all are told. In pf's form
	started         bool          // BUS start is out
	began           time.Duration // when it was
	since           uint64        // what we have said in later packets the asker has heard
	again, againAll bool          // asked for once more meanwhile
	againFor        *peer         // who did so last
	againSince      uint64
	next            slot
	end             slot // of the states there were at the start
}

func (e *Engine) walking() bool { return e.serving.active && e.running() && e.dump.complete }

// serveBulk tells the peers of all states. p is the peer that asked, nil: none did.
func (e *Engine) serveBulk(p *peer) {
	w := &e.serving
	all := p == nil || !p.linux
	if e.settings.Listen {
		e.overhearBulk(p)
		return
	}
	if w.active {
		e.counters.add(bulkRepeated)
		w.again, w.againAll, w.againFor, w.againSince = true, w.againAll || all, p, e.seq
		return
	}
	if p != nil && p.linux {
		e.compareHave(p)
	}
	e.counters.add(bulkServed)
	*w = walk{active: true, all: all, next: 1, since: e.seq}
	e.terse.walks(all, e.now)
	if p != nil {
		e.log.Info("bulk update asked for", "peer", p.addr, "states", e.states.len())
	}
}

// walkOn sends the next packets of the bulk update.
func (e *Engine) walkOn() {
	w := &e.serving
	if !e.walking() || e.tooFast(peerDead) {
		return
	}
	f := e.form()
	if w.all {
		f = plain
	}
	e.buildAs(f)
	states := e.counters.out[wire.ActUpd]
	if !w.started {
		w.started, w.began, w.end = true, e.now, e.states.size
		e.putBus(e.out.next(plain, 0), wire.BusStart)
	}
	for ; w.next < w.end && e.out.open <= walkedPackets; w.next++ {
		if e.states.used(w.next) {
			e.serve(w.next)
		}
	}
	if w.next >= w.end {
		if f == terse || states == e.counters.out[wire.ActUpd] || e.out.flags[e.out.open-1] == wire.FlagPair ||
			!e.putBus(e.out.writers[e.out.open-1], wire.BusEnd) {
			// Only the first message of a BUS section is looked at.
			e.putBus(e.out.next(plain, 0), wire.BusEnd)
		}
		old := *w
		e.durations.add(bulkTold, e.now-old.began)
		if *w = (walk{}); old.again {
			e.serveBulk(old.againFor)
			w.all, w.since = w.all || old.againAll, old.againSince
		}
	}
	e.send(e.out.finish())
}

// serve tells the state in i, unless the asker has heard it since or will: what waits to be
// inserted goes out by itself. What
// nobody answers for any more we answer for from now on.
func (e *Engine) serve(i slot) {
	switch r := e.states.at(i); {
	case r.queue() == queueIns, !e.serving.all && r.word().ours() && e.saidSince(r, e.serving.since):
	case r.origin() == inherited && !r.is(claimed) && (r.is(injected) || !e.serving.all && e.bulk.state != bulkIdle):
		// Perhaps a copy of before the restart: its owner has not told yet what it
		// calls it. What nobody does is offered when our own bulk update is over.
	case r.claims():
		r.set(claimed)
		n, f := e.putState(0, i, wire.ActUpd)
		e.say(i, e.seqOf(n), f)
	case e.orphan(r):
		r.set(claimed)
		n, f := e.putState(wire.FlagHeir, i, wire.ActUpd)
		e.inherit(i, e.seqOf(n), f)
	case e.serving.all || !e.ownerOf(r.word()).linux:
		r.set(claimed)
		e.putState(wire.FlagAnswer, i, wire.ActUpd)
	}
}

// saidSince tells that the word on r, ours, is in a packet later than that.
func (e *Engine) saidSince(r *record, seq uint64) bool {
	return r.saidIn-uint32(seq)-1 < uint32(e.seq-seq)
}

// putBus marks the bulk update. An end is never without a start: OpenBSD overlooks it.
func (e *Engine) putBus(w *wire.Writer, status wire.BusStatus) bool {
	if !w.Bus(wire.Bus{Creator: e.cfg.Creator, Status: status}) {
		return false
	}
	e.counters.out[wire.ActBus]++
	e.terse.show(func(p *packets) { p.next(plain, 0).Bus(wire.Bus{Creator: e.cfg.Creator, Status: status}) })
	return true
}
