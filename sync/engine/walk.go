package engine

import (
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// walk is a bulk update being served: every state, a few packets at a time
// between a BUS start and a BUS end.
type walk struct {
	active  bool
	started bool // BUS start is out
	again   bool // asked for once more meanwhile
	next    slot
	end     slot // of the states there were at the start
}

func (e *Engine) walking() bool { return e.serving.active && e.running() && e.dump.complete }

// serveBulk answers a request for the whole table.
func (e *Engine) serveBulk() {
	if e.serving.active {
		e.counters.add(bulkRepeated)
		e.serving.again = true
		return
	}
	e.counters.add(bulkServed)
	e.serving = walk{active: true, next: 1}
	e.log.Info("bulk update asked for by a peer", "states", len(e.states.byID))
}

// walkOn sends the next packets of the bulk update.
func (e *Engine) walkOn() {
	w := &e.serving
	if !e.walking() {
		return
	}
	e.out.begin(e.maxPayload())
	states := e.counters.out[wire.ActUpd]
	if !w.started {
		w.started, w.end = true, e.states.size
		e.putBus(wire.BusStart)
	}
	for ; w.next < w.end && e.out.open <= walkedPackets; w.next++ {
		// What waits to be inserted goes out by itself.
		if e.states.used(w.next) && e.states.at(w.next).queue != queueIns {
			e.states.at(w.next).claimed = true
			e.putState(w.next, wire.ActUpd)
		}
	}
	if w.next >= w.end {
		if states == e.counters.out[wire.ActUpd] {
			e.out.next() // only the first message of a BUS section is looked at
		}
		e.putBus(wire.BusEnd)
		again := w.again
		*w = walk{}
		if again {
			e.serveBulk()
		}
	}
	e.send(e.out.finish())
}

// putBus marks the bulk update. An end is never without a start: OpenBSD overlooks it.
func (e *Engine) putBus(status wire.BusStatus) {
	e.counters.out[wire.ActBus]++
	bus := wire.Bus{Creator: e.cfg.Creator, Status: status}
	e.out.put(func(w *wire.Writer) bool { return w.Bus(bus) })
}
