package engine

import (
	"errors"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// changed handles one change of the table.
func (e *Engine) changed(c *pfstate.Change) {
	switch c.Kind {
	case pfstate.Created, pfstate.Updated:
		e.moved(c)
	case pfstate.Deleted, pfstate.Absent:
		e.ended(c)
	case pfstate.Seen:
		e.seen(c)
	case pfstate.DumpEnd:
		e.dumpEnded(c.Err)
	case pfstate.Overrun:
		e.counters.add(tableOverruns)
		e.log.Warn("changes of the state table were lost, reading it anew", "err", c.Err)
		e.startDump()
	case pfstate.Applied:
		e.applied(c)
	case pfstate.Refused:
		e.refused(c)
	case pfstate.DumpBegin:
		e.dumpBegun(c)
	case pfstate.Forwarding:
		e.forwards()
	}
}

// find returns the record of the connection that s is.
func (e *Engine) find(s *pfstate.State) slot {
	f := flowOf(s)
	return e.states.flowing(&f)
}

// moved takes what traffic made of a state: a new one, or progress.
func (e *Engine) moved(c *pfstate.Change) {
	i := e.find(&c.State)
	if i != 0 {
		if r := e.states.at(i); r.origin() != imported && r.id() != c.State.ID {
			// The end of its predecessor was lost.
			e.counters.add(tableLost)
			e.tellEnd(i, 0)
			e.end(i)
			i = 0
		}
	}
	if i == 0 {
		if e.private(c) {
			e.neverHeld(&c.State)
			return
		}
		i = e.states.add(&c.State, local, e.now)
		r := e.states.at(i)
		r.ref, r.active, r.generation = c.Ref, momentOf(e.now), e.dump.generation
		r.set(carrier)
		e.deferring.reused = e.deferring.reused || e.graves.of(r.id()) == ended
		e.graves.dig(r.id())
		e.queueInsert(i)
		e.await(i)
		return
	}
	if e.states.at(i).origin() != imported && e.private(c) {
		e.withdraw(i)
		return
	}
	e.progress(i, c)
	if r := e.states.at(i); r.is(early) {
		r.clear(early)
		if c.Kind == pfstate.Created {
			return // told already
		}
	}
	if r := e.states.at(i); c.Kind == pfstate.Created && r.origin() == inherited && !r.is(claimed) {
		// The first dump showed it before the event did: it is news all the same.
		e.states.rename(i, r.id(), local)
		e.queueInsert(i)
		e.await(i)
		return
	}
	e.updateEvent(i)
}

// progress writes what the table says of a known state into its record.
func (e *Engine) progress(i slot, c *pfstate.Change) {
	r := e.states.at(i)
	if !r.is(carrier) && r.by >= firstPeer {
		e.counters.add(takenOver)
	}
	r.ref, r.active, r.generation = c.Ref, momentOf(e.now), e.dump.generation
	r.set(carrier)
	r.clear(absent | leased | doomed | retried | untimed)
	if c.Kind != pfstate.Seen {
		r.clear(mute)
	}
	// Sequence numbers came from a peer that knows them; this table does not.
	r.src.State, r.src.WScale = c.State.Src.State, c.State.Src.WScale
	r.dst.State, r.dst.WScale = c.State.Dst.State, c.State.Dst.WScale
	r.timeout = c.State.Timeout
	e.states.observe(i, c)
	e.states.account(i, &c.State)
	r.learn(c.State.Expire, e.now)
	if c.Kind != pfstate.Seen && r.writtenWithin(time.Second, e.now) {
		// An order may have reached the table after that: a copy's time is not this one's.
		e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true}, i)
	}
}

// ended takes a state out that the table has no more.
func (e *Engine) ended(c *pfstate.Change) {
	i := e.find(&c.State)
	if i == 0 {
		return
	}
	r := e.states.at(i)
	if r.ref != 0 && c.Ref != 0 && r.ref != c.Ref || r.outdated(c) {
		return // of an earlier entry with the same keys
	}
	e.tellEndOf(i, c)
	if c.Expired && e.held() && !r.closed() {
		// The link is cut: a peer may have gone on with it, and must not hear of our end of it later.
		r.clear(carrier)
		e.attribute(i, word{}, 0)
	}
	e.end(i)
}

// end forgets the state in i. The peers hear of it from the firewall that
// carried its traffic: a copy that ran out here may well live there.
func (e *Engine) end(i slot) {
	r := e.states.at(i)
	id, word, carried, unheard := r.id(), r.word(), r.claims(), r.queue() == queueIns && r.said == 0
	if twin := e.states.twin(i); twin != 0 { // the other state of the same connection has ended with it
		e.states.untwin(i)
		e.states.at(twin).put(carrier, carried)
		e.end(twin)
	}
	if !carried {
		e.forget(i, nil)
		e.counters.add(copiesExpired)
		return
	}
	r.said = 0 // until its end is told, it counts
	e.forget(i, nil)
	e.graves.bury(id, ended)
	if unheard {
		e.drop(id, word, nobody, 0)
		return
	}
	e.queueDelete(gone{id: id, word: word})
}

// forget drops the record in i without a word to the peers. by is the peer that
// wants it, nil: none does.
func (e *Engine) forget(i slot, by *peer) {
	r := e.states.at(i)
	taker := nobody
	if by != nil {
		taker = by.self
	}
	e.drop(r.id(), r.word(), taker, e.packetSeq)
	e.dump.ended(e.states.flow(i))
	e.states.remove(i)
}

// applied acknowledges a state whose sender waits for it.
func (e *Engine) applied(c *pfstate.Change) {
	if c.Op == pfstate.WriteFence {
		e.passed()
		return
	}
	i := e.find(&c.State)
	switch {
	case i == 0:
	case c.Op == pfstate.WriteUpdate:
		e.prepared(i)
	case c.Op == pfstate.WriteInsert:
		if e.states.at(i).queue() == queueNone {
			e.enqueue(i, queueAck)
		}
		e.push = true // an update that waits tells it as well
	}
}

// refused deals with an order that the table did not carry out.
func (e *Engine) refused(c *pfstate.Change) {
	i := e.find(&c.State)
	if i != 0 && c.Op == pfstate.WriteUpdate {
		e.prepared(i)
	}
	if errors.Is(c.Err, pfstate.ErrNoState) && c.Op == pfstate.WriteUpdate {
		// It has just left the table, the event is on its way. If a peer carries it, ask that one.
		if i != 0 && !e.states.at(i).is(carrier) {
			id := e.states.at(i).id()
			e.counters.add(tableLost)
			e.forget(i, nil)
			e.request(id)
		}
		return
	}
	e.counters.add(tableRefused)
	switch {
	case errors.Is(c.Err, pfstate.ErrTableFull):
		e.counters.add(tableFull)
	case errors.Is(c.Err, pfstate.ErrUnsupported):
		e.counters.add(tableUnsupported)
	case errors.Is(c.Err, pfstate.ErrClash):
		e.counters.add(tableClash)
	}
	e.log.Debug("state refused", "op", c.Op, "id", c.State.ID, "err", c.Err)
	if i == 0 || c.Op != pfstate.WriteInsert {
		return
	}
	// Kept, or it would be asked for again and again. What may pass is tried again.
	r := e.states.at(i)
	if r.is(carrier) {
		return
	}
	e.counters.add(badState)
	r.set(absent)
	r.clear(leased)
	r.until = 0
	r.put(retried, !errors.Is(c.Err, pfstate.ErrUnsupported))
	if r.is(retried) {
		e.retryLater(c.Err)
	}
}

// writeState gives the table the order w for the state in i, as the record has it.
func (e *Engine) writeState(w pfstate.Write, i slot) { e.order(w, i, w.Kind == pfstate.WriteInsert) }

// order is writeState. What conntrack alone knows goes with it if beyond is set, and
// otherwise only what is of the progress: what rules do to an entry here, they keep.
func (e *Engine) order(w pfstate.Write, i slot, beyond bool) {
	r := e.states.at(i)
	if r.is(shadow) || r.is(absent) && w.Kind != pfstate.WriteInsert {
		return
	}
	w.Ref = r.ref
	e.states.bare(i, e.now, &w.State)
	switch x := &w.State.Linux; {
	case beyond:
	case w.Renew:
		x.Has = 0
	default:
		x.Has &= pfstate.HasStatus | pfstate.HasTCP
	}
	e.states.join(i, &w.State)
	if w.Kind == pfstate.WriteInsert || w.Kind == pfstate.WriteUpdate {
		if !w.Loosen {
			e.setTime(r, &w)
		}
		r.written = stampOf(e.now)
		r.set(overtaken)
	} else if w.Kind == pfstate.WriteProbe {
		r.clear(overtaken)
		e.probes = max(1, e.probes+1)
		r.probe, w.Probe = e.probes, uint32(e.probes)
	}
	if w.Notify { // a packet waits at a peer's
		e.orders.addUrgent(&w)
		return
	}
	e.write(w)
}
