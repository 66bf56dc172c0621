package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	sweepRound  = 20              // turns that it takes to look at every state: 5 s
	renewedBy   = 2 * time.Second // a timeout that is later than expected by this was renewed by traffic
	copyBound   = 5 * time.Minute // of the lifetime that a copy is believed to have
	probesBound = 1 << 13
	mutesEvery  = 5 * time.Second // states whose changes the table does not tell are looked at
)

// sweep looks at a part of the states each turn. The kernel does not say when
// traffic renews a timeout, so a state is asked after when a third of its
// lifetime has passed, and a renewal is told to the peers as an update: their
// copies live as long as the original.
type sweep struct {
	turn       int
	next       slot
	due        int // states still to be looked at, by the clock
	dumpWanted bool
}

func (e *Engine) sweepTurn() {
	s := &e.sweep
	s.turn++
	if s.turn%4 == 0 {
		e.requests.reset()
		e.retryBulk()
		e.sendRecovered(false)
		e.watchPeers()
		e.probeBSD()
		e.retireKey()
		e.retryTurn()
		e.watchDump()
	}
	e.watchSilence()
	if s.turn%8 == 0 {
		e.graves.turn()
	}
	e.armDefer()
	e.checkEarly()
	e.sendBeacon()
	e.watchForm()
	e.repairTurn()
	e.removeStale()
	e.loosenTurn()
	if e.dump.mutes > 0 && e.now-e.dump.endedAt >= max(mutesEvery, 20*e.dump.took) {
		e.startDump()
	}
	if s.dumpWanted {
		s.dumpWanted = false
		e.startDump()
	}
	n, part := int(e.states.size)-1, s.turn%sweepRound
	s.due = min(n, s.due+n*(part+1)/sweepRound-n*part/sweepRound)
	// Who cannot be asked after now, for the table is busy, comes first at the next turn.
	for ; s.due > 0 && e.orders.n < probesBound; s.due-- {
		if s.next++; s.next >= e.states.size {
			s.next = 1
		}
		if e.states.used(s.next) {
			r := e.states.at(s.next)
			r.heard.fade(e.now)
			r.active.fade(e.now)
			e.askAfter(s.next)
		}
	}
}

// askAfter probes the state in i when its timeout may have been renewed: after a
// third of its lifetime, or of pf's for its class, which may be shorter. Of a
// copy it must be known sooner when traffic has moved here: the owner's entry may
// have little time left (nf_conntrack_tcp_timeout_unacknowledged: 300 s).
func (e *Engine) askAfter(i slot) {
	r := e.states.at(i)
	if e.tendLease(i) {
		return
	}
	passed, bound := r.learnt.age(e.now), min(r.lifetime.duration(), max(time.Second, r.timeout.Default()))
	if !r.is(carrier) {
		bound = min(bound, copyBound)
	}
	if !r.is(untimed) && (passed*3 < bound || passed < time.Second) {
		return
	}
	if r.is(absent) || r.is(shadow) {
		if owner := e.ownerOf(r.word()); r.expire(e.now) == 0 && (owner == nil || !owner.linux || owner.dead) {
			e.tellEnd(i, pfstate.RanOut)
			e.forget(i, nil)
		}
		return
	}
	e.writeState(pfstate.Write{Kind: pfstate.WriteProbe}, i)
}
