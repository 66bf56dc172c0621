package engine

import "github.com/pfsync-linux/pfsync/pfstate"

// A table that checks TCP windows remembers them as of the last packet it saw. When
// a connection has gone on elsewhere, that memory is stale: were it to come back,
// its packets would be called invalid. A copy is never checked. What traffic has
// made here is, until it may have moved: when another firewall becomes master, and
// when this daemon was away for a while.
type loosening struct {
	next slot // 0: all done
}

// loosenOrders is how many orders for it wait at most: those about traffic go first.
const loosenOrders = writesBound / 2

// Yield is told that this firewall carries the traffic no longer, until it is told
// by its table that it does again.
func (e *Engine) Yield() error { return e.do(e.loosen) }

func (e *Engine) loosen() {
	e.loose.next = 1
	e.loosenTurn()
}

// loosenTurn orders the next part. It waits while peers are told of many states: the
// kernel, which they may share, and its processors have enough to do.
func (e *Engine) loosenTurn() {
	if e.walking() || e.states.queues[queueIns].len > loosenOrders {
		return
	}
	for ; e.loose.next != 0 && e.orders.n < loosenOrders; e.loose.next++ {
		if e.loose.next >= e.states.size {
			e.loose.next = 0
			return
		}
		if !e.states.used(e.loose.next) {
			continue
		}
		r := e.states.at(e.loose.next)
		if r.origin() == imported || r.proto != pfstate.ProtoTCP || r.is(loose) || r.is(absent) || r.is(shadow) || r.is(injected) {
			continue
		}
		r.set(loose)
		e.counters.add(loosened)
		// Its time is the table's: by now it may have begun to close, with less of it than the record says.
		e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true, Loosen: true}, e.loose.next)
	}
}
