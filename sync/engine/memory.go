package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
)

// graves remembers the states that ended here a moment ago, so that a peer's
// message that was on its way does not bring one back. Two generations, turned
// every two seconds.
type graves struct{ young, old map[pfstate.ID]struct{} }

const gravesMax = 1 << 17

func (g *graves) reset() { g.young, g.old = make(map[pfstate.ID]struct{}), nil }

func (g *graves) bury(id pfstate.ID) {
	if len(g.young) >= gravesMax {
		g.turn()
	}
	g.young[id] = struct{}{}
}

func (g *graves) dig(id pfstate.ID) {
	delete(g.young, id)
	delete(g.old, id)
}

func (g *graves) holds(id pfstate.ID) bool {
	if _, in := g.young[id]; in {
		return true
	}
	_, in := g.old[id]
	return in
}

func (g *graves) turn() { g.young, g.old = make(map[pfstate.ID]struct{}), g.young }

// requests is the update requests to send, and those of the last second: none
// is repeated within it.
type requests struct {
	pending []pfstate.ID
	recent  map[pfstate.ID]struct{}
}

const requestsMax = 1 << 14

func (q *requests) reset() { q.recent = make(map[pfstate.ID]struct{}) }

// request asks the peers for a state they spoke of and that is not known here.
func (e *Engine) request(id pfstate.ID) {
	switch _, asked := e.requests.recent[id]; {
	case asked:
		e.counters.add(requestsLimited)
		return
	case len(e.requests.recent) >= requestsMax:
		e.counters.add(requestsLost)
		return
	}
	if !e.queued() {
		e.waiting = e.now
	}
	e.requests.recent[id] = struct{}{}
	e.requests.pending = append(e.requests.pending, id)
	e.push = true
}
