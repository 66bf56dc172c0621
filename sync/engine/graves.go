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
