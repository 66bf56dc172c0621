package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// outcome tells what became of a state that a peer told.
type outcome uint8

const (
	taken          outcome = iota
	refusedForNow          // told again later, it may be taken
	refusedForGood         // it need not be told again
)

// importState takes over a state that a peer made, told by an insert or by an
// update.
// said names what the sender says of it and answers for, 0: it does not.
func (e *Engine) importState(a wire.Action, s *pfstate.State, said uint64) outcome {
	acknowledge := s.Flags&pfstate.FlagAck != 0
	s.Flags &^= pfstate.FlagAck
	switch {
	case !installable(s):
		e.counters.add(neverSynced)
		return refusedForGood
	case e.graveOf(s.ID) == ended && e.packetFlags&wire.FlagHeir != 0:
		e.counters.add(buried)
		e.queueDelete(gone{id: s.ID})
		return refusedForNow
	case e.graveOf(s.ID) == ended, e.graveOf(s.ID) == deleted && (a != wire.ActIns || e.late):
		e.counters.add(buried)
		return refusedForNow
	case e.endedLongAgo(s):
		e.counters.add(buried)
		e.queueDelete(gone{id: s.ID, unknown: true})
		e.push = true
		return refusedForNow
	case e.endedHere(s):
		e.counters.add(endedAway)
		e.queueDelete(gone{id: s.ID})
		e.push = true
		return refusedForNow
	}
	e.graves.dig(s.ID)
	var twin slot
	if i := e.find(s); i != 0 {
		switch e.states.judge(i, s) {
		case keepOurs:
			e.counters.add(duplicateFlow)
			e.updateRequested(i) // so that the peer does come round
			return refusedForGood
		case adopt:
			e.adopt(i, s, said)
			if acknowledge { // the table has the connection already
				e.enqueue(i, queueAck)
			}
			return taken
		case keepBoth:
			twin = i
		case replace:
			if old := e.states.twin(i); old != 0 {
				e.forget(old, nil)
			}
			e.tellEnd(i, 0)
			e.forget(i, nil)
		}
	}
	if twin == 0 {
		twin = e.states.otherOf(s)
	}
	if e.limited(e.speaking) {
		e.counters.add(peerLimit)
		return refusedForGood
	}
	i := e.states.add(s, imported, e.now)
	e.keepMore(i)
	e.keepCounts(i, s)
	r := e.states.at(i)
	if said != 0 {
		e.told(i, said)
	}
	r.heard, r.generation = momentOf(e.now), e.dump.generation
	r.put(untimed, s.Expire == 0)
	if twin != 0 {
		e.marry(twin, i)
	}
	if r.is(shadow) && acknowledge {
		e.enqueue(i, queueAck) // the table has the connection already
		e.push = true
	}
	e.writeState(pfstate.Write{Kind: pfstate.WriteInsert, Notify: acknowledge}, i)
	return taken
}

// endedLongAgo tells that a third firewall answered somebody for a state that we made, and that is
// not here any more: it has not heard the end, and its answer would bring it back. What we
// made before a restart, a bulk update has told by now.
func (e *Engine) endedLongAgo(s *pfstate.State) bool {
	return e.packetFlags&wire.FlagAnswer != 0 && s.ID.Creator == e.cfg.Creator && e.speaking.linux && e.bulk.ok
}

// verdict says what becomes of a state whose connection is known under another id.
type verdict uint8

const (
	keepOurs verdict = iota // the peer will come round to our id
	adopt                   // call it as the peer does
	replace                 // ours is of an earlier connection
	keepBoth                // the two states of one connection through a pf: in and out
)

// judge compares the state in i with s, of the same connection and another id.
// Every firewall judges alike, so all end up with one id.
func (st *store) judge(i slot, s *pfstate.State) verdict {
	r := st.at(i)
	switch {
	case r.origin() == inherited && !r.is(claimed):
		return adopt
	case r.creator == s.ID.Creator && r.direction() != s.Direction && st.twin(i) == 0:
		return keepBoth
	case r.creator == s.ID.Creator:
		return replace
	case r.closed():
		return replace // as OpenBSD pf.c does
	case less(s.ID, r.id()):
		return adopt
	}
	return keepOurs
}

func less(a, b pfstate.ID) bool {
	if a.Creator != b.Creator {
		return a.Creator < b.Creator
	}
	return a.State < b.State
}

// adopt calls the state in i by the peer's id and merges what the peer says.
func (e *Engine) adopt(i slot, s *pfstate.State, said uint64) {
	e.states.unlink(i)
	r := e.states.at(i)
	e.heardOf(r.id())
	e.drop(r.id(), r.word(), nobody, 0)
	r.setWord(word{})
	e.states.rename(i, s.ID, imported)
	// An heir only speaks for the one who is gone: for us, who have made the entry.
	r.set(claimed)
	r.put(carrier, r.is(carrier) && !r.is(injected) && e.packetFlags&wire.FlagHeir != 0)
	e.known(i, s, said)
}

// endedHere tells that a peer speaks for a state that this firewall made, and
// that ended here while no daemon was running: the table is the same as then,
// and does not hold it, or a successor.
func (e *Engine) endedHere(s *pfstate.State) bool {
	if e.packetFlags&wire.FlagHeir == 0 || s.ID.Creator != e.cfg.Creator || !e.cfg.Continues || !e.dump.complete {
		return false
	}
	i := e.find(s)
	if i == 0 {
		return true
	}
	// A successor with the same addresses: what is made here keeps its id.
	r := e.states.at(i)
	return r.is(carrier) && r.creator == e.cfg.Creator
}

// limited tells that a peer has as many states here as it may. All BSD peers
// share one limit: whoever makes up addresses gets no more than one of them.
func (e *Engine) limited(p *peer) bool {
	if e.cfg.PeerStates == 0 {
		return false
	}
	n := p.imported
	if !p.linux {
		n = 0
		e.peers.each(func(p *peer) {
			if !p.linux {
				n += p.imported
			}
		})
	}
	return n >= e.cfg.PeerStates
}

// known merges a full state into the record that has its id. A peer that
// names other keys by it speaks of a successor.
func (e *Engine) known(i slot, s *pfstate.State, said uint64) {
	r := e.states.at(i)
	if f := flowOf(s); !r.is(shadow) && !e.states.isFlow(i, &f) {
		e.remove(i)
		if e.importState(wire.ActIns, s, said) == refusedForGood && said != 0 {
			e.refuse(s.ID, said)
		}
		return
	}
	r.set(claimed)
	e.keepCounts(i, s)
	switch {
	case said == 0:
	case e.speaking.linux || r.origin() == imported && !r.is(carrier):
		e.told(i, said)
	}
	if r.is(absent) && !r.is(retried) {
		r.learn(s.Expire, e.now)
		r.clear(untimed)
		return
	}
	// Told on request or in bulk: no sign of traffic there, so ours may be fresher.
	expire := s.Expire
	if s.Src.State == r.src.State && s.Dst.State == r.dst.State {
		expire = max(expire, r.expire(e.now))
	}
	e.update = wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout, Linux: s.Linux}
	e.merge(i, &e.update, expire)
}

// installable refuses what must never be in a table because a peer says so:
// the protocols of the firewalls themselves, and what never leaves a host.
func installable(s *pfstate.State) bool {
	switch s.Proto {
	case pfstate.ProtoPFSync, pfstate.ProtoCARP, pfstate.ProtoIGMP:
		return false
	}
	for _, k := range []*pfstate.Key{&s.Wire, &s.Stack} {
		for _, a := range k.Addr {
			if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() {
				return false
			}
		}
	}
	return true
}
