package engine

import "github.com/pfsync-linux/pfsync/pfstate"

// Filter tells which states of this firewall are not advertised: pf's no-sync.
// mark is the table's mark of the entry (conntrack's), 0 if it has none. It is asked
// for every change of a state, so it must be quick, and must keep nothing of s.
type Filter interface {
	NoSync(s *pfstate.State, mark uint32) bool
}

// SetFilter replaces the filter; nil: all are advertised. The table is read anew:
// states that are not to be advertised any more are withdrawn from the peers, and
// those that now are, told.
func (e *Engine) SetFilter(f Filter) error {
	return e.do(func() {
		e.filter = f
		e.startDump()
	})
}

// private tells that a state is none of the peers' business. It is asked before a
// record is made: nothing is kept of such a state.
func (e *Engine) private(c *pfstate.Change) bool {
	if e.filter == nil || !e.filter.NoSync(&c.State, c.Mark) {
		return false
	}
	e.counters.add(noSync)
	return true
}

// withdraw takes back what the peers were told of the state in i, which lives on.
func (e *Engine) withdraw(i slot) {
	r := e.states.at(i)
	id, word := r.id(), r.word()
	r.said = 0 // until it is taken back, it counts
	e.forget(i, nil)
	if word.said != 0 {
		e.queueDelete(gone{id: id, word: word})
	}
}
