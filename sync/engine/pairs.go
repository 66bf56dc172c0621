package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// PairMode says when an entry of the table is told as the two states that a pf has
// of a forwarded connection.
type PairMode uint8

const (
	PairAuto PairMode = iota // while a BSD is heard
	PairOn
	PairOff
)

// The other halves go in packets of their own, with wire.FlagPair: Linux peers have
// the whole in the packet before. Nobody answers for them: a BSD that asks for one
// gets both.

// pairTurn follows who is heard. A BSD that has heard one half only is told the other.
func (e *Engine) pairTurn() {
	is := e.settings.Pair == PairOn || e.settings.Pair == PairAuto && e.bsdHere()
	if is == e.paired {
		return
	}
	e.paired = is
	if is && e.running() && e.states.count[local]+e.states.count[inherited] > 0 {
		e.serveBulk(nil)
	}
}

// hasPartner tells that the state with that id is made of one entry, ours or that
// of another Linux firewall: a pf sends both of its states by itself.
func (e *Engine) hasPartner(id pfstate.ID) bool {
	if id.Partner().State == 0 {
		return false
	}
	if id.Creator == e.cfg.Creator {
		return true
	}
	some := false
	e.peers.each(func(p *peer) { some = some || p.linux && p.creator == id.Creator })
	return some
}

// half tells whether the state in i is to be told with another half.
func (e *Engine) half(i slot) bool {
	r := e.states.at(i)
	return e.paired && e.states.twin(i) == 0 && e.hasPartner(r.id())
}

// halves tells that they are told in the packets being built: the compact form is for
// Linux peers alone.
func (e *Engine) halves() bool { return e.paired && !e.terse.on }

// split makes of s, which is the state in i, what is to be told under its id, and
// its other half. With both ends translated none of the halves says all, so that as
// long as a Linux peer listens a BSD gets no state out that it could use.
func (e *Engine) split(i slot, s *pfstate.State) bool {
	if !e.halves() || !e.half(i) {
		return false
	}
	in, out := s.Split()
	switch {
	case in.ID == s.ID:
		*s, e.otherHalf = in, out
	case in.Translated() && e.linuxHere():
		e.counters.add(pairsWhole)
		e.otherHalf = in
	default:
		*s, e.otherHalf = out, in
	}
	e.otherHalf.Flags &^= pfstate.FlagAck // one answer is enough, and the other half follows at once
	return true
}

// putOther writes the other half of the state last split.
func (e *Engine) putOther(a wire.Action) {
	s := &e.otherHalf
	e.counters.add(pairHalves)
	e.dialect.toFreeBSD(s)
	e.out.put(wire.FlagPair, func(w *wire.Writer) bool { return w.State(a, s) })
}

// putOtherUpdC writes the same update for the other half.
func (e *Engine) putOtherUpdC(u *wire.UpdC) {
	e.counters.add(pairHalves)
	id := u.ID
	u.ID = id.Partner()
	e.out.put(wire.FlagPair, func(w *wire.Writer) bool { return w.UpdC(u) })
	u.ID = id
}

// putOtherDelete ends the other half. Whoever has none overlooks it.
func (e *Engine) putOtherDelete(id pfstate.ID) {
	if e.halves() && e.hasPartner(id) {
		e.counters.add(pairHalves)
		e.out.put(wire.FlagPair, func(w *wire.Writer) bool { return w.ID(wire.ActDelC, id.Partner()) })
	}
}

// slotOf finds the record of id, or that whose other half a BSD means by it.
func (e *Engine) slotOf(id pfstate.ID) slot {
	if i := e.states.named(id); i != 0 || !e.paired || e.speaking.linux {
		return i
	}
	if i := e.states.named(id.Partner()); i != 0 && e.half(i) {
		return i
	}
	return 0
}

// graveOf is that of id, or of the state whose other half a BSD means by it.
func (e *Engine) graveOf(id pfstate.ID) grave {
	g := e.graves.of(id)
	if g == noGrave && e.paired && !e.speaking.linux && e.hasPartner(id) {
		g = e.graves.of(id.Partner())
	}
	return g
}

// otherTold takes what a BSD says in full of the other half of a state of ours, and
// reports whether it was that.
func (e *Engine) otherTold(s *pfstate.State) bool {
	i := e.slotOf(s.ID)
	if i == 0 {
		return false
	}
	e.update = wire.UpdC{ID: e.states.at(i).id(), Src: s.Src, Dst: s.Dst, Timeout: s.Timeout}
	e.updateTold(i, &e.update)
	return true
}

// stackFlow is the connection as the stack sees it: of a state in after, of a state
// out before translation. The two states of a pf have it in common.
func (st *store) stackFlow(i slot) flow {
	_, first := before(st.at(i).direction())
	return st.flowBy(i, stackKey, first)
}

// leaveStack is leaveFlow for byStack.
func (st *store) leaveStack(i slot) {
	if f := st.stackFlow(i); st.byStack[f] == i {
		delete(st.byStack, f)
	}
}

// redirected tells that the record in i is a pf's state of direction in whose
// destination is translated: the connection has another flow behind it.
func (st *store) redirected(i slot) bool {
	return st.at(i).direction() == pfstate.In && st.translated(i)
}

// otherOf finds the other state of the connection that s is a half of, where the
// two have different flows, 0: it is not known.
func (st *store) otherOf(s *pfstate.State) slot {
	_, first := before(s.Direction)
	f := flowIn(&s.Stack, first, s.Proto)
	i := slot(0)
	switch {
	case s.Direction == pfstate.Out:
		i = st.byStack[f]
	case s.Translated():
		i = st.flowing(&f)
	}
	if i == 0 {
		return 0
	}
	other := st.at(i)
	if st.twin(i) != 0 || other.origin() != imported || other.creator != s.ID.Creator || other.direction() == s.Direction {
		return 0
	}
	return i
}

// join makes of s, which is the state in i, the one entry that both states of its
// connection are.
func (st *store) join(i slot, s *pfstate.State) {
	r := st.at(i)
	twin := st.twin(i)
	if twin == 0 {
		return
	}
	other := st.at(twin)
	var t pfstate.State
	st.unpack(twin, &t)
	t.Direction, t.Proto = other.direction(), other.proto
	in, out := s, &t
	if r.direction() == pfstate.Out {
		in, out = out, in
	}
	if pfstate.Halves(in, out) {
		orig, reply := pfstate.Join(in, out)
		s.SetTuples(orig, reply, s.Wire.RDomain)
	}
}

// marry makes the states in i and j, the younger one, twins, and sees to it that
// the table has one entry of both.
func (e *Engine) marry(i, j slot) {
	apart := e.states.flow(i) != e.states.flow(j)
	if apart && !e.states.redirected(i) {
		e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i) // by another flow than the two will have
	}
	e.states.pair(i, j)
	if e.states.at(j).is(shadow) && apart && e.states.translated(j) {
		// The entry is there, but not yet what becomes of its source.
		e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
		e.writeState(pfstate.Write{Kind: pfstate.WriteInsert}, i)
	}
}

// divorce parts the state in i, which is about to go, from its twin, which has the
// connection alone from now on: under its own flow, if that is another.
func (e *Engine) divorce(i slot) {
	r := e.states.at(i)
	twin := e.states.twin(i)
	apart := twin != 0 && !r.is(shadow) && e.states.flow(i) != e.states.flow(twin)
	if apart {
		e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
	}
	e.states.untwin(i)
	if apart {
		e.states.at(twin).ref = 0
		e.writeState(pfstate.Write{Kind: pfstate.WriteInsert}, twin)
	}
}
