package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
)

// graves remembers the states that ended a moment ago, so that a message that was
// on its way does not bring one back. Two generations, turned every two seconds.
type graves struct{ young, old map[pfstate.ID]grave }

// grave tells whose word ended the state.
type grave uint8

const (
	noGrave grave = iota
	ended         // here: whatever a peer says of it is late
	deleted       // by a peer, who may use the id again: an insert is news, an update is late
)

const gravesMax = 1 << 17

func (g *graves) reset() { g.young, g.old = make(map[pfstate.ID]grave), nil }

func (g *graves) bury(id pfstate.ID, why grave) {
	if len(g.young) >= gravesMax {
		g.turn()
	}
	g.young[id] = why
}

func (g *graves) dig(id pfstate.ID) {
	delete(g.young, id)
	delete(g.old, id)
}

func (g *graves) of(id pfstate.ID) grave {
	if why := g.young[id]; why != noGrave {
		return why
	}
	return g.old[id]
}

func (g *graves) turn() { g.young, g.old = make(map[pfstate.ID]grave), g.young }
