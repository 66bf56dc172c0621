package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// What conntrack knows of a state beyond pf's words takes four bytes of its record, and four beside it where there are marks;
// the little that few states have is beside the records.

// linux gives what is known of the state in i.
func (st *store) linux(i slot, x *pfstate.Linux) {
	r := st.at(i)
	x.Has, x.Status, x.TCP, x.Mark = r.has, r.status, r.tcp, st.marks.at(i)
	if r.has&pfstate.HasRare != 0 {
		x.Rare = st.rares[i]
	}
}

// tell takes what a peer says in x of the state in i: all that may change, unless it
// says nothing (a message of pf).
func (st *store) tell(i slot, x *pfstate.Linux) {
	if x.Has == 0 {
		return
	}
	keep := st.at(i).has & (pfstate.HasHelper | pfstate.HasMaster | pfstate.HasSeqAdj)
	st.replace(i, x, keep)
}

// observe takes what the table shows. A dump shows all there is, an event only what
// has changed of labels and their like.
func (st *store) observe(i slot, c *pfstate.Change) {
	keep := pfstate.LinuxFields(0)
	if c.Kind != pfstate.Seen {
		keep = st.at(i).has & pfstate.HasRare
	}
	st.replace(i, &c.State.Linux, keep)
}

// replace makes what is known of the state in i that of x, and keeps the rare fields of
// keep that x lacks.
func (st *store) replace(i slot, x *pfstate.Linux, keep pfstate.LinuxFields) {
	r := st.at(i)
	had := r.has & pfstate.HasRare
	r.has, r.status, r.tcp = x.Has, x.Status, x.TCP
	st.marks.set(i, x.Mark)
	if (had|x.Has)&pfstate.HasRare == 0 {
		return
	}
	keep &= had &^ x.Has
	rare, old := x.Rare, st.rares[i]
	if keep&pfstate.HasLabels != 0 {
		rare.Labels = old.Labels
	}
	if keep&pfstate.HasHelper != 0 {
		rare.Helper = old.Helper
	}
	if keep&pfstate.HasMaster != 0 {
		rare.Master = old.Master
	}
	if keep&pfstate.HasSeqAdj != 0 {
		rare.SeqAdj = old.SeqAdj
	}
	if r.has |= keep; r.has&pfstate.HasRare == 0 {
		delete(st.rares, i)
		return
	}
	st.rares[i] = rare
}

// differs tells that x says something else than is known of the state in i.
func (st *store) differs(i slot, x *pfstate.Linux) bool {
	const told = pfstate.HasStatus | pfstate.HasTCP | pfstate.HasMark | pfstate.HasLabels
	r := st.at(i)
	switch {
	case x.Has == 0:
		return false
	case r.has&told != x.Has&told, st.marks.at(i) != x.Mark:
		return true
	case r.has&pfstate.HasStatus != 0 && r.status != x.Status, r.has&pfstate.HasTCP != 0 && r.tcp != x.TCP:
		return true
	case (r.has|x.Has)&pfstate.HasRare == 0:
		return false
	}
	old := st.rares[i]
	return x.Has&pfstate.HasLabels != 0 && old.Labels != x.Rare.Labels || x.Has&pfstate.HasSeqAdj != 0 && old.SeqAdj != x.Rare.SeqAdj
}

// update is what an update says of the state in i.
func (st *store) update(i slot, u *wire.UpdC) {
	r := st.at(i)
	*u = wire.UpdC{ID: r.id(), Timeout: r.timeout}
	st.ends(i, &u.Src, &u.Dst)
	st.linux(i, &u.Linux)
}

// name is what the state in i is called by who says it in that form, as it stands.
func (e *Engine) name(i slot, f form) uint64 {
	r := e.states.at(i)
	src, dst := pfstate.Peer{State: r.src.State, WScale: r.src.WScale}, pfstate.Peer{State: r.dst.State, WScale: r.dst.WScale}
	switch {
	case f == plain: // a peer reads what the dialect has of it
		return wire.Said(r.id(), &src, &dst, e.dialect.Timeout(r.timeout))
	case r.has&^pfstate.HasMark == 0 && e.states.marks.at(i) == 0:
		return wire.Said(r.id(), &src, &dst, r.timeout)
	}
	var x pfstate.Linux
	e.states.linux(i, &x)
	return wire.SaidCompact(r.id(), &src, &dst, r.timeout, &x)
}
