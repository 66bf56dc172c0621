package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// generation is the lower part of a dump's number: what a complete one has not shown is
// gone, so that no record is left behind by as many as it counts.
type generation uint8

// dump follows a dump of the table, which runs beside the events. What ends
// while it runs must not come back by an older line of it.
type dump struct {
	running    bool
	again      bool // another was wanted meanwhile
	complete   bool // one has been read to its end
	generation generation
	endedSince map[flow]struct{} // since the dump was ordered

	began, endedAt time.Duration
	slow           bool // and that was said
	took           time.Duration
	mute           bool // the table may keep silent about what it shows
	mutes          int  // states of which it may
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
	e.dump.running, e.dump.began = true, e.now
	e.dump.generation++
	e.dump.endedSince = make(map[flow]struct{})
	e.write(pfstate.Write{Kind: pfstate.WriteDump})
}

// dumpBegun notes whether the states to come will tell of themselves.
func (e *Engine) dumpBegun(c *pfstate.Change) { e.dump.mute, e.dump.mutes = c.Mute, 0 }

// seen takes one line of a dump, or the answer to a probe.
func (e *Engine) seen(c *pfstate.Change) {
	i := e.find(&c.State)
	if i == 0 {
		e.found(c)
		return
	}
	r := e.states.at(i)
	if r.outdated(c) {
		return
	}
	if r.origin() != imported && r.id() != c.State.ID {
		if _, ended := e.dump.endedSince[flowOf(&c.State)]; !ended {
			e.moved(c) // a successor whose birth was lost
		}
		return
	}
	if r.origin() != imported && e.private(c) {
		e.withdraw(i)
		return
	}
	if r.is(mute) {
		e.dump.mutes++
	}
	r.generation = e.dump.generation
	if r.is(absent) {
		r.clear(absent | retried)
	}
	late := r.is(overtaken)
	if c.Op != pfstate.WriteProbe && e.dump.running {
		late = r.written != 0 && !stampOf(e.dump.began).after(r.written)
	}
	if late { // it was asked before the last order was carried out
		if r.is(doomed) {
			e.writeState(pfstate.Write{Kind: pfstate.WriteProbe}, i)
		}
		return
	}
	r.ref = c.Ref
	moved := r.src.State != c.State.Src.State || r.dst.State != c.State.Dst.State
	if moved && !r.is(doomed) && r.ahead(&c.State) {
		return // an event has overtaken this
	}
	switch {
	case e.touched(r, c.State.Expire), moved && r.is(leased):
	case r.is(doomed):
		e.remove(i)
		return
	case r.is(leased):
		return
	case moved:
		if !r.is(mute) {
			e.counters.add(tableLost)
		}
	case !r.is(untimed) && c.State.Expire > r.expire(e.now)+renewedBy && r.is(carrier) && e.refreshes(r):
		e.counters.add(refreshed)
	default:
		if r.is(carrier) || r.until == 0 {
			r.learn(c.State.Expire, e.now)
			r.clear(untimed)
			r.until = stampIn(c.State.Expire, e.now)
		}
		return
	}
	if r.is(doomed) {
		e.counters.add(spared)
	}
	e.progress(i, c)
	e.updateEvent(i)
}

// outdated tells that c answers an earlier probe than the last, of another state
// of this connection perhaps.
func (r *record) outdated(c *pfstate.Change) bool {
	return c.Op == pfstate.WriteProbe && c.Probe != uint32(r.probe)
}

// refreshes tells whether a renewed timeout of a state of ours is to be told:
// Linux peers keep their copies as long as we live.
func (e *Engine) refreshes(r *record) bool {
	if e.linuxHere() && !e.bsdHere() {
		return false
	}
	return !e.dump.running || r.learnt.age(e.now)*3 >= min(r.lifetime.duration(), max(time.Second, r.timeout.Default()))
}

// found takes a state of a dump that was not known.
func (e *Engine) found(c *pfstate.Change) {
	if _, ended := e.dump.endedSince[flowOf(&c.State)]; ended || !e.dump.running {
		return
	}
	if e.private(c) {
		return
	}
	from := inherited
	if e.dump.complete {
		from = local // its creation was lost
		e.counters.add(tableLost)
	}
	i := e.states.add(&c.State, from, e.now)
	r := e.states.at(i)
	r.ref, r.generation = c.Ref, e.dump.generation
	r.set(carrier)
	r.put(injected, c.Injected && looksLeased(&c.State))
	if r.put(mute, e.dump.mute && !c.Injected); r.is(mute) {
		e.dump.mutes++
	}
	if from == local {
		e.queueInsert(i)
		e.await(i)
	}
}

// dumpEnded takes those for gone that a complete dump did not show.
func (e *Engine) dumpEnded(err error) {
	e.dump.running = false
	e.dump.endedSince = nil
	e.dump.endedAt, e.dump.took = e.now, e.now-e.dump.began
	if e.dump.slow {
		e.dump.slow = false
		e.log.Info("state table has been read", "took", e.dump.took)
	}
	switch {
	case err != nil:
		e.log.Warn("state table was not read to its end, reading it anew", "err", err)
		e.dump.again = true
	case e.dump.complete:
		e.sweepGone()
	default:
		e.dump.complete = true
		switch {
		case e.bulk.state == bulkIdle:
			e.offer()
		case e.bulk.waits:
			e.bulkTry()
		}
	}
	if e.dump.again {
		e.dump.again = false
		e.sweep.dumpWanted = true // at the next turn of the sweep: never a tight loop
	}
}

// dumpBound is how long a dump may take before somebody should know: a million
// states take two seconds.
const dumpBound = 10 * time.Second

// watchDump says that a dump does not end; no peer is served before the first has.
func (e *Engine) watchDump() {
	if e.dump.running && !e.dump.slow && e.now-e.dump.began > dumpBound {
		e.dump.slow = true
		e.log.Warn("reading the state table does not end", "since", e.now-e.dump.began, "complete", e.dump.complete)
	}
}

// sweepGone ends every state that the last dump should have shown and did not.
func (e *Engine) sweepGone() {
	e.states.all(func(i slot, r *record) {
		if r.generation != e.dump.generation && !r.is(absent) && !r.is(shadow) && (r.written == 0 || stampOf(e.dump.began).after(r.written)) {
			if !r.is(mute) {
				e.counters.add(tableLost)
			}
			e.tellEnd(i, 0)
			e.end(i)
		}
	})
}
