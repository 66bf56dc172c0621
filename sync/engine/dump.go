package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// dump follows a dump of the table, which runs beside the events. What ends
// while it runs must not come back by an older line of it.
type dump struct {
	running    bool
	again      bool // another was wanted meanwhile
	complete   bool // one has been read to its end
	generation uint32
	endedSince map[flow]struct{} // since the dump was ordered
}

func (d *dump) ended(f flow) {
	if d.endedSince != nil {
		d.endedSince[f] = struct{}{}
	}
}

// startDump asks the table for everything, unless it is at it.
func (e *Engine) startDump() {
	if e.dump.running {
		e.dump.again = true
		return
	}
	e.dump.running = true
	e.dump.generation++
	e.dump.endedSince = make(map[flow]struct{})
	e.write(pfstate.Write{Kind: pfstate.WriteDump})
}

// seen takes one line of a dump, or the answer to a probe.
func (e *Engine) seen(c *pfstate.Change) {
	i := e.find(&c.State)
	if i == 0 {
		e.found(c)
		return
	}
	r := e.states.at(i)
	if r.origin != imported && r.id != c.State.ID {
		if _, ended := e.dump.endedSince[flowOf(&c.State)]; !ended {
			e.moved(c) // a successor whose birth was lost
		}
		return
	}
	if r.unsure && e.now-r.learnt < time.Second {
		r.generation = e.dump.generation
		return // asked before the last update was written
	}
	moved := r.src.State != c.State.Src.State || r.dst.State != c.State.Dst.State
	renewed := !r.unsure && c.State.Expire > r.expire(e.now)+renewedBy
	if !moved && !renewed {
		r.ref, r.generation = c.Ref, e.dump.generation
		r.learn(&c.State, e.now)
		return
	}
	if moved {
		e.counters.add(tableLost)
	} else {
		e.counters.add(refreshed)
	}
	e.progress(i, c)
	e.updateEvent(i)
}

// found takes a state of a dump that was not known.
func (e *Engine) found(c *pfstate.Change) {
	if _, ended := e.dump.endedSince[flowOf(&c.State)]; ended || !e.dump.running {
		return
	}
	from := inherited
	if e.dump.complete {
		from = local // its creation was lost
		e.counters.add(tableLost)
	}
	i := e.states.add(&c.State, from, e.now)
	r := e.states.at(i)
	r.ref, r.carrier, r.generation = c.Ref, true, e.dump.generation
	if from == local {
		e.queueInsert(i)
	}
}

// dumpEnded takes those for gone that a complete dump did not show.
func (e *Engine) dumpEnded(err error) {
	e.dump.running = false
	e.dump.endedSince = nil
	switch {
	case err != nil:
		e.log.Warn("state table was not read to its end, reading it anew", "err", err)
		e.dump.again = true
	case e.dump.complete:
		e.sweepGone()
	default:
		e.dump.complete = true
		if e.bulk.state == bulkIdle {
			e.offer()
		}
	}
	if e.dump.again {
		e.dump.again = false
		e.sweep.dumpWanted = true // at the next turn of the sweep: never a tight loop
	}
}

// sweepGone ends every state that the last dump should have shown and did not.
func (e *Engine) sweepGone() {
	e.states.all(func(i slot, r *record) {
		if r.generation != e.dump.generation && !r.absent && !r.shadow {
			e.counters.add(tableLost)
			e.end(i)
		}
	})
}
