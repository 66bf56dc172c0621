package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// bulkState is how far our request for the peers' whole table has come
// (OpenBSD if_pfsync.c, struct pfsync_bulk).
type bulkState uint8

const (
	bulkNone    bulkState = iota // pfsync0 is down
	bulkStarted                  // up, waiting for the sync link
	bulkSent                     // asked, no answer yet
	bulkRunning                  // the answer is coming in
	bulkIdle                     // done, or given up
)

var bulkNames = [...]string{"none", "start", "sent", "bulk", "done"}

// bulkInput is what moves a bulk request on.
type bulkInput uint8

const (
	bulkUp        bulkInput = iota // pfsync0 went up
	bulkDown                       // pfsync0 went down
	bulkLinkUp                     // the sync link became usable
	bulkNoSyncdev                  // there is no syncdev any more
	bulkTimeout
	bulkStart // BUS start came
	bulkEnd   // BUS end came
	bulkAgain // somebody wants it once more

	numBulkInputs
)

// Times and tries of OpenBSD if_pfsync.c. An answer that stops coming is asked
// for again after bulkSilence, long before the bound that pf has.
const (
	bulkLinkWait   = 30 * time.Second
	bulkDumpWait   = 5 * time.Second
	bulkAgainAfter = 20 * time.Millisecond // a peer that is new by then may not have heard it
	bulkAnswerWait = 2 * time.Second
	bulkSettle     = 50 * time.Millisecond // by then all who are there have been heard: Linux peers greet a newcomer at once
	bulkSilence    = 5 * time.Second
	bulkTriesMax   = 12
	bulkRetryAfter = 30 * time.Second // a failed request is repeated when a peer is heard
)

type bulk struct {
	state bulkState
	timer *time.Timer
	tries int
	asked time.Duration // when we tried last
	seq   uint64        // the packet in which we did
	ok    bool          // the last request was answered to its end
	since time.Duration
	until time.Duration // pf's bound for the whole answer
	heard time.Duration

	some   bool // one peer has told all
	gaveUp bool // and said so
	waits  bool // for the table to be read: with the request goes what is in it

	overdue bool // the table takes too long for that
	states  bool // some came since the request, whoever they were for
}

// told is how far a Linux peer has come with its answer to our last request.
type told uint8

const (
	toldNothing told = iota
	tellsUs
	toldAll
)

// bulkSteps is the state machine: what is done on an input in a state. What is
// not listed has no effect.
var bulkSteps = [...][numBulkInputs]func(*Engine){
	bulkNone:    {bulkUp: (*Engine).bulkWaitLink},
	bulkStarted: {bulkDown: (*Engine).bulkStop, bulkLinkUp: (*Engine).bulkAsk, bulkTimeout: (*Engine).bulkGiveUp, bulkStart: (*Engine).bulkReceive},
	bulkSent: {
		bulkDown: (*Engine).bulkStop, bulkLinkUp: (*Engine).bulkAsk, bulkNoSyncdev: (*Engine).bulkWaitLink, bulkTimeout: (*Engine).bulkUnanswered,
		// A peer without states may answer with a bare end (OpenBSD does).
		bulkStart: (*Engine).bulkReceive, bulkEnd: (*Engine).bulkBareEnd, bulkAgain: (*Engine).bulkAsk,
	},
	bulkRunning: {
		bulkDown: (*Engine).bulkStop, bulkLinkUp: (*Engine).bulkAsk, bulkNoSyncdev: (*Engine).bulkWaitLink, bulkTimeout: (*Engine).bulkLate,
		bulkStart: (*Engine).bulkReceive, bulkEnd: (*Engine).bulkFinish,
	},
	bulkIdle: {bulkDown: (*Engine).bulkStop, bulkLinkUp: (*Engine).bulkAsk, bulkNoSyncdev: (*Engine).bulkWaitLink, bulkAgain: (*Engine).bulkAsk},
}

func (e *Engine) bulkEvent(in bulkInput) {
	if step := bulkSteps[e.bulk.state][in]; step != nil {
		step(e)
	}
}

// bulkWaitLink waits for a usable sync link.
func (e *Engine) bulkWaitLink() {
	e.bulk.state, e.bulk.ok = bulkStarted, false
	e.bulk.timer.Reset(bulkLinkWait)
}

// bulkAsk begins a request with all its tries.
func (e *Engine) bulkAsk() {
	e.bulk.tries, e.bulk.ok, e.bulk.since, e.bulk.states, e.bulk.overdue = 0, false, e.now, false, false
	e.counters.add(bulkRequested)
	e.bulkTry()
}

// bulkUnanswered asks once more.
func (e *Engine) bulkUnanswered() {
	e.bulk.overdue = e.bulk.waits
	e.bulk.states = false
	e.bulkTry()
}

// bulkTry asks, as long as tries are left.
func (e *Engine) bulkTry() {
	if e.bulk.tries >= bulkTriesMax {
		e.bulkGiveUp()
		return
	}
	e.bulk.state = bulkSent
	if !e.dump.complete && !e.bulk.overdue {
		if !e.bulk.waits {
			e.bulk.waits = true
			e.bulk.timer.Reset(bulkDumpWait)
		}
		return
	}
	e.bulk.waits = false
	e.bulk.tries++
	e.bulk.asked, e.bulk.some = e.now, false
	e.peers.each(func(p *peer) { p.told = toldNothing })
	e.bulk.timer.Reset(bulkAnswerWait)
	e.sendHave()
	e.beaconed = e.now - beaconEvery // with the request goes which form we understand
	e.sendAlone(wire.ActUpdReq, func(w *wire.Writer) bool { return w.ID(wire.ActUpdReq, pfstate.ID{}) })
	e.bulk.seq = e.seq
}

// bulkReceive notes that the answer has begun.
func (e *Engine) bulkReceive() {
	e.bulk.state = bulkRunning
	e.bulk.until = e.now + e.bulkBound()
	e.bulk.heard = e.now
	e.bulk.timer.Reset(bulkSilence)
}

// bulkBound is pf's: four times what its own answer would take at 20 ms a packet.
func (e *Engine) bulkBound() time.Duration {
	packets := e.cfg.StateLimit / max(1, (e.settings.MTU-e.ipHeaderLen()-wire.HeaderLen)/e.dialect.StateLen())
	return 4 * time.Second * time.Duration(max(1, packets/50))
}

// bulkProgress notes that a part of the answer came, or of one to another firewall.
func (e *Engine) bulkProgress() {
	e.bulk.heard, e.bulk.states = e.now, true
}

// bulkBareEnd takes an end without a start for an empty answer, unless states
// came before it: then it ends an answer to somebody else.
func (e *Engine) bulkBareEnd() {
	if !e.bulk.states {
		e.bulkFinish()
	}
}

// othersTell tells that Linux peers are alive that have not told all yet; those alone that
// have begun, or all.
func (e *Engine) othersTell(begun bool) (yes bool) {
	e.peers.each(func(p *peer) {
		yes = yes || p.linux && !p.dead && (p.told == tellsUs || !begun && p.told == toldNothing)
	})
	return yes
}

// bulkLate asks again when nothing came for a while, or it takes too long in all.
func (e *Engine) bulkLate() {
	if e.bulk.some && !e.othersTell(false) {
		e.bulkWhole()
		return
	}
	if quiet := e.now - e.bulk.heard; quiet < bulkSilence && e.now < e.bulk.until {
		e.bulk.timer.Reset(bulkSilence - quiet)
		return
	}
	if e.bulk.some && !e.othersTell(true) {
		e.bulkWhole()
		return
	}
	e.bulkUnanswered()
}

// bulkFinish ends the request, unless others are still to tell: the first to have told all
// may be one that has little.
func (e *Engine) bulkFinish() {
	wait := bulkSettle - (e.now - e.bulk.asked)
	early := e.unfit.bulk && e.speaking.linux && wait > 0
	if !early && !e.othersTell(false) {
		e.bulkWhole()
		return
	}
	if e.bulk.state != bulkRunning {
		e.bulkReceive()
	}
	if e.bulk.some = true; early {
		e.bulk.timer.Reset(wait)
	}
}

func (e *Engine) bulkWhole() {
	e.counters.add(bulkDone)
	e.durations.add(bulkAsked, e.now-e.bulk.since)
	e.bulk.gaveUp = false
	e.log.Info("bulk update received", "states", e.states.count[imported], "took", e.now-e.bulk.since, "tries", e.bulk.tries)
	e.bulkEnded(true)
}

func (e *Engine) bulkGiveUp() {
	e.counters.add(bulkFailed)
	if !e.bulk.gaveUp {
		e.bulk.gaveUp = true
		e.logGivenUp()
	}
	e.bulkEnded(false)
}

// logGivenUp says why nobody answered, as far as that can be known: once, though
// the request is repeated.
func (e *Engine) logGivenUp() {
	if p := e.peers.heardSince(e.bulk.since); p != nil {
		e.log.Warn("bulk update given up: a peer is heard but does not answer; does its firewall let protocol 240 from here in, and its syncpeer name us?",
			"peer", p.addr, "tries", e.bulk.tries)
		return
	}
	e.log.Warn("bulk update given up: no peer is heard; it is asked for again when one is", "tries", e.bulk.tries)
}

// bulkEnded leaves the request, and offers the peers what none of them claimed;
// what the first dump has still to show is offered at its end.
func (e *Engine) bulkEnded(ok bool) {
	e.bulk.state, e.bulk.ok, e.bulk.since = bulkIdle, ok, e.now
	e.haveStates(ok)
	if ok && e.states.count[inherited] > 0 {
		e.loosen()
	}
	e.bulk.timer.Stop()
	e.offer()
}

// offer tells the peers of the states that none of them has claimed.
func (e *Engine) offer() {
	// Copies that their owners have ended meanwhile are told from the others once we
	// are in sync with them.
	e.stale = e.bulk.ok && e.linuxHere() && !e.bsdHere()
	e.states.all(func(i slot, r *record) {
		switch {
		case r.origin() == imported || r.is(claimed) || r.queue() != queueNone:
			return
		case r.origin() == inherited && r.is(injected) && e.stale:
			return
		case r.origin() == inherited && r.is(injected):
			r.learn(0, e.now) // a lease may be on it
			r.set(untimed)
			e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true}, i)
		}
		e.queueInsert(i)
	})
}

// removeStale removes the copies of before a restart that no living owner knows any
// more.
func (e *Engine) removeStale() {
	if !e.stale {
		return
	}
	ready, some := true, false
	e.peers.each(func(p *peer) {
		if p.linux && !p.dead {
			some = true
			ready = ready && p.insync && p.differs == 0 && len(p.window.gaps) == 0
		}
	})
	switch {
	case !some: // nobody will claim them
		e.offer()
		return
	case !ready:
		return
	}
	e.stale = false
	e.states.all(func(i slot, r *record) {
		if r.origin() == inherited && r.is(injected) && !r.is(claimed) && r.queue() == queueNone {
			e.counters.add(staleCopies)
			e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
			e.forget(i, nil)
		}
	})
}

func (e *Engine) bulkStop() {
	e.bulk.state, e.bulk.ok = bulkNone, false
	e.bulk.timer.Stop()
}

// retryBulk repeats a request that failed, once a peer has been heard since.
func (e *Engine) retryBulk() {
	b := &e.bulk
	if b.state != bulkIdle || b.ok || !e.running() || e.now-b.since < bulkRetryAfter {
		return
	}
	if e.peers.heardSince(b.since) != nil {
		e.bulkEvent(bulkAgain)
	}
}
