package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// word is what somebody said of a state: who, in which life of his, and its name.
type word struct {
	said uint64 // wire.Said, 0: nothing
	by   owner
	life uint8
	heir bool // ours: said because its owner is gone, without any traffic here
}

// digestOf is where w is summed up; nil: nowhere any more.
func (e *Engine) digestOf(w word) *digest {
	switch {
	case w.said == 0 || w.by == nobody:
		return nil
	case w.by == ourselves:
		return &e.own
	}
	if p := e.peers.list[w.by]; p != nil && p.life == w.life {
		return &p.digest
	}
	return nil
}

// ownerOf is the peer that answers for a state, nil if none does, or we do.
func (e *Engine) ownerOf(w word) *peer {
	if w.by < firstPeer || w.said == 0 {
		return nil
	}
	if p := e.peers.list[w.by]; p != nil && p.life == w.life {
		return p
	}
	return nil
}

// ours tells that we answer for a state: we said it last.
func (w word) ours() bool { return w.by == ourselves && w.said != 0 }

// orphan tells that nobody alive answers for the state.
func (e *Engine) orphan(r *record) bool {
	if r.word().ours() || r.is(carrier) {
		return false
	}
	p := e.ownerOf(r.word())
	return p == nil || p.dead
}

// drop takes a word out of its digest, by the taker's packet seq.
func (e *Engine) drop(id pfstate.ID, w word, by owner, seq uint64) {
	d := e.digestOf(w)
	if d == nil {
		return
	}
	d.sub(id, w.said)
	if p := e.ownerOf(w); p != nil {
		p.imported--
		if by != nobody && by != p.self {
			p.lost(by, seq, e.now)
		}
	}
}

// lost notes that somebody took a state over from p.
func (p *peer) lost(by owner, seq uint64, now time.Duration) {
	for i := range p.took {
		if t := &p.took[i]; t.by == by {
			t.seq, t.when = max(t.seq, seq), now
			return
		}
	}
	p.took = append(p.took, took{by: by, seq: seq, when: now})
}

// attribute replaces the word on the state in i.
func (e *Engine) attribute(i slot, w word, seq uint64) {
	r := e.states.at(i)
	e.drop(r.id(), r.word(), w.by, seq)
	r.setWord(w)
	r.saidIn = uint32(seq)
	if d := e.digestOf(w); d != nil {
		d.add(r.id(), w.said)
		if p := e.ownerOf(w); p != nil {
			p.imported++
		}
	}
}

// say notes that packet seq says the state in i in that form, and that we answer for it.
func (e *Engine) say(i slot, seq uint64, f form) {
	e.attribute(i, word{said: e.name(i, f), by: ourselves}, seq)
}

// inherit is say for a state whose owner is gone.
func (e *Engine) inherit(i slot, seq uint64, f form) {
	e.say(i, seq, f)
	e.states.at(i).set(heir)
}

// claims tells whether an update of r that we send says that we answer for it.
func (r *record) claims() bool { return r.is(carrier) || r.word().ours() }

// told notes that the packet being read says of the state in i what said stands
// for, and that its sender answers for it; unless our own word, which the sender
// had not heard, holds against it: that of the lesser creatorid.
func (e *Engine) told(i slot, said uint64) {
	p, r := e.speaking, e.states.at(i)
	if !p.linux {
		e.attribute(i, word{said: said, by: p.self, life: p.life}, 0)
		return
	}
	asHeir := e.packetFlags&wire.FlagHeir != 0
	switch {
	case r.word().ours() && asHeir && !r.is(heir):
		// We are not gone, and it will hear so.
		e.counters.add(crossedClaims)
		return
	case r.word().ours() && r.is(heir) == asHeir && e.crossed(r) && e.cfg.Creator < p.creator:
		e.counters.add(crossedClaims)
		return
	case asHeir && r.is(carrier):
		// Nor are we: said again, it is ours.
		e.attribute(i, word{said: said, by: p.self, life: p.life}, e.packetSeq)
		e.updateEvent(i)
		return
	}
	e.attribute(i, word{said: said, by: p.self, life: p.life}, e.packetSeq)
	r.clear(carrier | doomed)
}

// crossed tells that the sender of the packet being read had not heard our word on r.
func (e *Engine) crossed(r *record) bool {
	return int32(r.saidIn-uint32(e.speaking.heardUs)) > 0
}

// refuse notes that a peer said of a state that is not taken here: it counts as
// told, or it would be asked for again and again.
func (e *Engine) refuse(id pfstate.ID, said uint64) {
	p := e.speaking
	if !p.linux {
		return
	}
	e.unrefuse(p, id)
	if len(p.refused) < refusedMax {
		p.refused[id] = said
		p.digest.add(id, said)
	}
}

const refusedMax = 1 << 16

func (e *Engine) unrefuse(p *peer, id pfstate.ID) {
	if said, ok := p.refused[id]; ok {
		delete(p.refused, id)
		p.digest.sub(id, said)
	}
}

// comparable tells whether p had heard all that took states away from it when it
// summed up the rest.
func (e *Engine) comparable(p *peer) bool {
	kept := p.took[:0]
	for _, t := range p.took {
		if e.now-t.when > tookForgets || p.hearsFrom(e, t.by) >= t.seq {
			continue
		}
		kept = append(kept, t)
	}
	p.took = kept
	return len(kept) == 0
}

const tookForgets = 10 * time.Second

// hearsFrom is up to which packet of o p has heard all.
func (p *peer) hearsFrom(e *Engine, o owner) uint64 {
	if o == ourselves {
		return p.heardUs
	}
	other := e.peers.list[o]
	if other == nil {
		return ^uint64(0)
	}
	for _, h := range p.hears {
		if h.Epoch == other.epoch {
			return h.Seq
		}
	}
	return 0
}
