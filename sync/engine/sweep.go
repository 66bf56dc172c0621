package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	sweepRound = 20              // turns that it takes to look at every state: 5 s
	renewedBy  = 2 * time.Second // a timeout that is later than expected by this was renewed by traffic
)

// sweep looks at a part of the states each turn. The kernel does not say when
// traffic renews a timeout, so a state is asked after when a third of its
// lifetime has passed, and a renewal is told to the peers as an update: their
// copies live as long as the original.
type sweep struct {
	turn       int
	dumpWanted bool
}

func (e *Engine) sweepTurn() {
	s := &e.sweep
	s.turn++
	if s.turn%4 == 0 {
		e.requests.reset()
		e.retryBulk()
	}
	if s.turn%8 == 0 {
		e.graves.turn()
		e.peers.expire(e.now)
	}
	if s.dumpWanted {
		s.dumpWanted = false
		e.startDump()
	}
	n, part := int(e.states.size), s.turn%sweepRound
	for i := slot(n * part / sweepRound); i < slot(n*(part+1)/sweepRound); i++ {
		if e.states.used(i) {
			e.askAfter(i)
		}
	}
}

// askAfter probes the state in i when its timeout may have been renewed.
func (e *Engine) askAfter(i slot) {
	r := e.states.at(i)
	passed := e.now - r.learnt
	if !r.unsure && (passed*3 < r.lifetime || passed < time.Second) {
		return
	}
	if r.absent || r.shadow {
		if r.expire(e.now) == 0 {
			e.forget(i)
		}
		return
	}
	if len(e.writes.Items) < writesBound {
		e.writeState(pfstate.WriteProbe, i, false)
	}
}
