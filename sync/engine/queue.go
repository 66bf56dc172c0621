package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
)

// heldDeletesMax bounds what is kept of ended states while the sync link is down.
const heldDeletesMax = 1 << 20

// queued reports whether a message waits.
func (e *Engine) queued() bool {
	if len(e.deletes) > 0 || len(e.requests.pending) > 0 {
		return true
	}
	for q := range e.states.queues {
		if e.states.queues[q].len > 0 {
			return true
		}
	}
	return false
}

// enqueue puts the state in i into queue q and notes when the queues stopped being empty.
func (e *Engine) enqueue(i slot, q queueKind) {
	if e.mute(unsent) {
		return
	}
	if !e.queued() {
		e.waiting = e.now
	}
	e.states.enqueue(i, q)
}

func (e *Engine) queueInsert(i slot) {
	if e.settings.Up && e.states.at(i).flags&pfstate.FlagNoSync == 0 {
		e.enqueue(i, queueIns)
	}
}

// gone is a state that has ended, and whose end is to be told.
type gone struct {
	id      pfstate.ID
	word    word // what was last said of it
	unknown bool // it is told to one who asked, because it is not known
}

func (e *Engine) queueDelete(g gone) {
	if !e.settings.Up || e.mute(unsent) {
		e.drop(g.id, g.word, nobody, 0)
		return
	}
	if len(e.deletes) >= heldDeletesMax {
		e.counters.add(heldDeletes)
		e.drop(g.id, g.word, nobody, 0)
		return
	}
	if !e.queued() {
		e.waiting = e.now
	}
	e.deletes = append(e.deletes, g)
}

// updateEvent follows pf's pfsync_update_state: OpenBSD if_pfsync.c.
func (e *Engine) updateEvent(i slot) {
	r := e.states.at(i)
	if !e.settings.Up || r.flags&pfstate.FlagNoSync != 0 {
		return
	}
	switch r.queue() {
	case queueNone, queueAck: // the update releases the peer's packet as well
		e.enqueue(i, queueUpdC)
	case queueUpdC, queueUpd:
		if r.proto == pfstate.ProtoTCP {
			r.updates++
			if int(r.updates) >= max(1, e.settings.MaxUpd) {
				e.push = true
			}
		}
	}
	if r.heard.since(e.now) < fastBound {
		e.push = true
	}
}

// updateRequested follows pf's pfsync_update_state_req.
func (e *Engine) updateRequested(i slot) {
	switch e.states.at(i).queue() {
	case queueNone, queueAck, queueUpdC:
		e.enqueue(i, queueUpd)
	}
	e.push = true
}

// dropQueues forgets what is waiting; the states stay.
func (e *Engine) dropQueues() {
	for q := range e.states.queues {
		for i := e.states.first(queueKind(q)); i != 0; i = e.states.first(queueKind(q)) {
			e.states.unlink(i)
		}
	}
	for _, g := range e.deletes {
		e.drop(g.id, g.word, nobody, 0)
	}
	e.deletes = e.deletes[:0]
	e.requests.pending = e.requests.pending[:0]
}
