package engine

import "github.com/pfsync-linux/pfsync/pfstate"

// tellEnd tells whoever keeps the books that the state in i has ended; why is 0 when that
// has to be guessed. Each firewall tells of what it carried, a listener of all. The
// first of pf's two states of a connection is not its end.
func (e *Engine) tellEnd(i slot, why pfstate.Ending) {
	if e.cfg.Ended == nil {
		return
	}
	r := e.states.at(i)
	carried := r.is(carrier) || r.word().ours()
	if r.is(shadow) || !carried && !e.settings.Listen {
		return
	}
	switch {
	case r.closed():
		why = pfstate.Closed
	case why == 0 && r.expire(e.now) == 0: // nobody says why: its time was over, as far as it was told
		why = pfstate.RanOut
	case why == 0:
		why = pfstate.Removed
	}
	e.states.state(i, e.now, &e.last)
	e.cfg.Ended(pfstate.End{State: &e.last, Why: why, Idle: r.learnt.age(e.now), Carried: carried})
}

// tellEndOf is tellEnd where the table knows better, and what it has counted.
func (e *Engine) tellEndOf(i slot, c *pfstate.Change) {
	switch {
	case e.cfg.Ended == nil:
	case c.Kind != pfstate.Deleted:
		e.tellEnd(i, 0)
	default:
		e.states.account(i, &c.State)
		why := pfstate.Removed
		if c.Expired {
			why = pfstate.RanOut
		}
		e.tellEnd(i, why)
	}
}

// keepCounts keeps what a peer has counted of the state in i, as far as it is told in
// full: a listener has no counts of its own.
func (e *Engine) keepCounts(i slot, s *pfstate.State) {
	if e.settings.Listen {
		e.states.account(i, s)
	}
}
