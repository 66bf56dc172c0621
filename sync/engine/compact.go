package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// While every peer is a Linux one that understands compact messages (its Hello says
// so), states are told in that form: a fifth of the bytes, and more of what conntrack
// knows. Whoever else is heard brings pf's form back with the very next packet; a BSD
// is told all states in it, unless it asks for them anyway.
//
// What a compact message cannot say, of a state that came from a pf, goes in pf's form
// all the time; so do acknowledgements and requests.

// Probes of a BSD that is silent: its states may all be copies, of which it says nothing.
const (
	probeEvery = time.Minute
	probesMost = 3 // unanswered, before it may be forgotten
)

// compact is the form in which states are told, and what pfsync0 is shown meanwhile.
type compact struct {
	on       bool // the packets being built are in the compact form
	listened bool // they are to be shown on pfsync0, in pf's form
	shown    packets

	form    form          // spoken last
	changed time.Duration // when pf's form was taken up again, 0: the peers know all
	walked  time.Duration // when a bulk update of all states began, in pf's form
}

// Listened is what a Tap may say besides: whether anybody watches it. Then frames are
// made for him in pf's form, whatever goes over the link.
type Listened interface{ Listened() bool }

// form is the form in which states are told to those who are there.
func (e *Engine) form() form {
	if !e.linkState.Up {
		return plain
	}
	some := false
	for _, p := range e.peers.list {
		switch {
		case p == nil, p.linux && p.dead:
		case !p.linux || !p.compact:
			return plain
		default:
			some = true
		}
	}
	if some {
		return terse
	}
	return plain
}

// begin begins packets in that form.
func (c *compact) begin(e *Engine, f form) {
	if c.on = f == terse; !c.on {
		return
	}
	e.speaks(f)
	c.listened = true
	if tap, ok := e.tap.(Listened); ok {
		c.listened = tap.Listened()
	}
	c.shown.dialect = e.dialect.Dialect
	c.shown.begin(e.maxPayload(), 0)
}

// show calls put with the packets that pfsync0 is to be shown, if there are such.
func (c *compact) show(put func(*packets)) {
	if c.on && c.listened {
		put(&c.shown)
	}
}

// tell shows them.
func (c *compact) tell(tap Tap) {
	if payloads, _ := c.shown.finish(); c.listened && len(payloads) > 0 {
		tap.Show(payloads)
	}
}

// walks notes that a bulk update begins.
func (c *compact) walks(all bool, now time.Duration) {
	if all {
		c.walked = now
	}
}

// watchForm follows the changes of the form: pf's comes back for somebody who has
// understood nothing since it was left.
func (e *Engine) watchForm() {
	c := &e.terse
	if e.linkState.Up {
		e.speaks(e.form())
	}
	if c.changed == 0 || !e.running() {
		return
	}
	if c.walked < c.changed {
		e.serveBulk(nil)
	}
	c.changed = 0
}

// speaks notes the form in which states are told from now on.
func (e *Engine) speaks(f form) {
	c := &e.terse
	if f == c.form {
		return
	}
	c.form = f
	e.counters.add(formChanges)
	e.log.Debug("form of messages", "compact", f == terse)
	if c.changed = 0; f == plain && e.bsdKnown() {
		c.changed = e.now
	}
}

// bsdKnown tells that somebody without trailers is known, be he silent.
func (e *Engine) bsdKnown() (known bool) {
	e.peers.each(func(p *peer) { known = known || !p.linux })
	return known
}

// putUpdate writes an update of r, and returns the packet's number and the form.
func (e *Engine) putUpdate(flags wire.TrailerFlags, i slot, u *wire.UpdC) (n int, f form) {
	r := e.states.at(i)
	if e.terse.on && (!r.is(deep) || wire.TersePeer(&u.Src, r.proto) && wire.TersePeer(&u.Dst, r.proto)) {
		e.counters.add(outCompact)
		n, f = e.out.putCompact(flags, func(w *wire.CompactWriter) bool { return w.Update(u) }), terse
	}
	unseen(r.proto, &u.Src)
	unseen(r.proto, &u.Dst)
	e.terse.show(func(p *packets) { p.put(flags, func(w *wire.Writer) bool { return w.UpdC(u) }) })
	if f == terse {
		return n, f
	}
	if e.halves() && e.half(i) {
		e.putOtherUpdC(u)
	}
	return e.out.put(flags, func(w *wire.Writer) bool { return w.UpdC(u) }), plain
}

// putFull writes s, which is the state in i, and returns the packet's number and the form.
func (e *Engine) putFull(flags wire.TrailerFlags, i slot, s *pfstate.State, a wire.Action) (n int, f form) {
	more := e.moreOf(i)
	if e.terse.on && more == nil && wire.Terse(s) {
		e.counters.add(outCompact)
		typ := wire.AttrState
		if a == wire.ActIns {
			typ = wire.AttrInsert
		}
		n, f = e.out.putCompact(flags, func(w *wire.CompactWriter) bool { return w.State(typ, s) }), terse
	}
	e.states.honest(i, s)
	split := e.split(i, s)
	e.dialect.toFreeBSD(s)
	e.terse.show(func(p *packets) { p.put(flags, func(w *wire.Writer) bool { return w.StateWith(a, s, more) }) })
	if f == terse {
		return n, f
	}
	n = e.out.put(flags, func(w *wire.Writer) bool { return w.StateWith(a, s, more) })
	if split {
		e.putOther(a)
	}
	return n, plain
}

// putDelete writes the end of a state and returns the packet's number.
func (e *Engine) putDelete(flags wire.TrailerFlags, id pfstate.ID) int {
	e.terse.show(func(p *packets) { p.put(flags, func(w *wire.Writer) bool { return w.ID(wire.ActDelC, id) }) })
	if !e.terse.on {
		return e.out.put(flags, func(w *wire.Writer) bool { return w.ID(wire.ActDelC, id) })
	}
	e.counters.add(outCompact)
	return e.out.putCompact(flags, func(w *wire.CompactWriter) bool { return w.Delete(id) })
}

// compactMessages handles those in the trailer of the packet.
func (e *Engine) compactMessages(t *wire.Trailer) error {
	return attributes(t, func(typ wire.AttrType, body []byte) error {
		switch typ {
		case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
			creator, entries, err := wire.ParseCompact(typ, body)
			if err != nil {
				return err
			}
			return e.compactEntries(typ, creator, entries)
		}
		return nil
	})
}

// compactEntries handles the messages of one attribute. One with a bad value is
// counted, and the next one is read.
func (e *Engine) compactEntries(typ wire.AttrType, creator uint32, b []byte) (err error) {
	switch typ {
	case wire.AttrDelete:
		for i := range len(b) / wire.DeletedLen {
			id := wire.DeletedAt(b, creator, i)
			e.cameCompact(wire.ActDelC)
			e.removeFor(id, e.states.named(id))
		}
		return nil
	case wire.AttrState:
		e.bulkProgress()
	}
	for len(b) > 0 {
		rest := b
		if typ == wire.AttrUpdate {
			rest, err = wire.NextUpdate(creator, b, &e.update)
		} else {
			rest, err = wire.NextState(creator, b, &e.incoming)
			e.hasMore = false
		}
		if rest == nil {
			return err
		}
		b = rest
		switch {
		case err != nil:
			e.counters.add(badValue)
		case typ == wire.AttrUpdate:
			e.cameCompact(wire.ActUpdC)
			e.receiveUpdate(&e.update)
		case typ == wire.AttrInsert:
			e.cameCompact(wire.ActIns)
			e.receiveState(wire.ActIns, &e.incoming)
		default:
			e.cameCompact(wire.ActUpd)
			if !e.receiveState(wire.ActUpd, &e.incoming) {
				e.counters.add(badState)
			}
		}
	}
	return nil
}

// cameCompact counts a compact message.
func (e *Engine) cameCompact(a wire.Action) {
	e.counters.in[a]++
	e.counters.add(inCompact)
}

// probeBSD asks those BSD peers for a state who have not been heard for a minute. They
// answer if they are there and hold it; what they say then is no news.
func (e *Engine) probeBSD() {
	if !e.running() || e.held() || e.settings.Listen {
		return
	}
	e.peers.each(func(p *peer) {
		if p.linux || p.versioned != "" || e.now-p.heard < time.Duration(p.probes+1)*probeEvery {
			return
		}
		id, ok := e.states.someOf(e.cfg.Creator, slot(e.seq)%e.states.size)
		if !ok {
			return // then nothing is lost to it either
		}
		p.probes++
		p.probed = id
		if !e.queued() {
			e.waiting = e.now
		}
		e.requests.pending = append(e.requests.pending, id)
	})
}

// someOf is a state of that creator which was told, looked for from start on.
func (st *store) someOf(creator uint32, start slot) (pfstate.ID, bool) {
	for n := range st.size {
		if r := st.at((start + n) % st.size); r.creator == creator && r.said != 0 {
			return r.id(), true
		}
	}
	return pfstate.ID{}, false
}

// probeAnswered tells that the state being told by a BSD is the answer to a probe.
func (e *Engine) probeAnswered(id pfstate.ID) bool {
	p := e.speaking
	if p.linux || p.probed != id {
		return false
	}
	p.probed = pfstate.ID{}
	return e.states.named(id) != 0
}

// mayForget tells that p, not heard for long, may be forgotten: a BSD only after it
// has been asked in vain whether it is there. It does not understand what is told as
// soon as it is forgotten. A listener has nothing to tell.
func (e *Engine) mayForget(p *peer) bool {
	return p.linux || p.versioned != "" || p.probes >= probesMost || e.settings.Listen
}
