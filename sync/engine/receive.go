package engine

import (
	"errors"
	"fmt"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const requiredTTL = 255 // a packet with less has crossed a router

// handlers says what is done with a section, by its action (OpenBSD if_pfsync.c,
// pfsync_acts). What the wire package knows and this table does not is counted
// as received and has no effect.
var handlers = [wire.ActMax]func(*Engine, wire.Section){
	wire.ActClr:    (*Engine).receiveClr,
	wire.ActUpdC:   (*Engine).receiveUpdC,
	wire.ActUpdReq: (*Engine).receiveUpdReq,
	wire.ActDel:    (*Engine).receiveDel,
	wire.ActDelC:   (*Engine).receiveDelC,
	wire.ActBus:    (*Engine).receiveBus,
	wire.ActIns:    (*Engine).receiveIns,
	wire.ActUpd:    (*Engine).receiveUpd,
}

// receive handles one packet of the link, checked in pf's order.
func (e *Engine) receive(p *link.Packet) {
	e.counters.add(inPackets)
	switch {
	case !e.running():
		e.counters.add(notRunning)
		return
	case p.TTL != requiredTTL:
		e.counters.add(badTTL)
		return
	case p.Src == e.linkState.Addr:
		e.counters.add(ownPackets)
		return
	}
	_, rest, err := wire.ParseHeader(p.Payload)
	if err != nil {
		e.countHeader(err)
		if e.strangers.first(p.Src) {
			e.log.Warn("a peer's packets are not understood; it may speak another version of pfsync", "peer", p.Src, "err", err)
		}
		return
	}
	e.from = p.Src
	fresh := e.heardOf(p.Src)
	e.sections(rest)
	if fresh && e.bulk.state == bulkSent {
		e.bulkTry() // it did not hear the request: it has come up since
	}
}

// sections handles what follows the header.
func (e *Engine) sections(rest []byte) {
	for len(rest) >= wire.SubheaderLen {
		s, next, err := wire.NextSection(rest)
		if err != nil {
			if errors.Is(err, wire.ErrAction) {
				e.counters.add(badAction)
			} else {
				e.counters.add(badLength)
			}
			e.log.Debug("packet refused from here on", "peer", e.from, "err", err)
			return
		}
		rest = next
		switch {
		case s.Skipped():
			e.counters.add(skippedSections)
			continue
		case s.Action == wire.ActEOF:
			return
		}
		e.counters.in[s.Action] += uint64(s.Count)
		if h := handlers[s.Action]; h != nil {
			h(e, s)
		}
	}
}

func (e *Engine) countHeader(err error) {
	switch {
	case errors.Is(err, wire.ErrVersion):
		e.counters.add(badVersion)
	case errors.Is(err, wire.ErrLength):
		e.counters.add(badLength)
	default:
		e.counters.add(shortHeader)
	}
}

// eachState parses the states of a section and hands on those that are valid.
func (e *Engine) eachState(s wire.Section, handle func(*pfstate.State)) {
	for n := range s.Count {
		if err := wire.ParseState(wire.OpenBSD6, s.Message(n), &e.incoming); err != nil {
			e.counters.add(badValue)
			continue
		}
		handle(&e.incoming)
	}
}

// eachID hands on the ids of a section of short messages, with their records.
func (e *Engine) eachID(s wire.Section, handle func(pfstate.ID, slot)) {
	for n := range s.Count {
		id, err := wire.ParseID(s.Message(n))
		if err != nil {
			e.counters.add(badValue)
			continue
		}
		handle(id, e.states.byID[id])
	}
}

func (e *Engine) receiveIns(s wire.Section) {
	e.eachState(s, func(state *pfstate.State) {
		if i := e.states.byID[state.ID]; i != 0 {
			e.known(i, state)
			return
		}
		e.importState(wire.ActIns, state)
	})
}

func (e *Engine) receiveUpd(s wire.Section) {
	e.bulkProgress()
	e.eachState(s, func(state *pfstate.State) {
		if i := e.states.byID[state.ID]; i != 0 {
			e.known(i, state)
			return
		}
		if !e.importState(wire.ActUpd, state) {
			e.counters.add(badState)
		}
	})
}

func (e *Engine) receiveUpdC(s wire.Section) {
	for n := range s.Count {
		var err error
		u := &e.update // not a variable of the loop: that would be one on the heap
		if *u, err = wire.ParseUpdC(s.Message(n)); err != nil {
			e.counters.add(badValue)
			continue
		}
		i := e.states.byID[u.ID]
		switch {
		case i != 0:
			if r := e.states.at(i); r.behind(u) || !r.justActive(e.now) {
				r.carrier = false // the peer has seen traffic; else it only answers a stale message
			}
			e.merge(i, u, 0)
		case e.graves.of(u.ID) == noGrave:
			e.request(u.ID)
		}
	}
}

func (e *Engine) receiveUpdReq(s wire.Section) {
	e.eachID(s, func(id pfstate.ID, i slot) {
		switch {
		case id.IsZero():
			e.serveBulk()
		case i == 0:
			e.counters.add(badState)
		case e.states.at(i).flags&pfstate.FlagNoSync == 0:
			e.updateRequested(i)
		}
	})
}

func (e *Engine) receiveDelC(s wire.Section) {
	e.eachID(s, e.removeFor)
}

// receiveDel uses only the id of the full state, as OpenBSD does.
func (e *Engine) receiveDel(s wire.Section) {
	e.eachState(s, func(state *pfstate.State) { e.removeFor(state.ID, e.states.byID[state.ID]) })
}

// removeFor removes the state id, in slot i if it is known, because a peer says so.
// Of an unknown one a third firewall may be telling right now.
func (e *Engine) removeFor(id pfstate.ID, i slot) {
	if e.graves.of(id) == noGrave {
		e.graves.bury(id, deleted)
	}
	if i == 0 {
		e.counters.add(badState)
		return
	}
	e.states.untwin(i) // the connection lives as long as one of its states does
	e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
	e.forget(i)
}

// receiveClr removes all states of a creator. Nobody else clears our own.
func (e *Engine) receiveClr(s wire.Section) {
	for n := range s.Count {
		c, err := wire.ParseClr(s.Message(n))
		switch {
		case err != nil:
			e.counters.add(badValue)
			continue
		case c.Creator == e.cfg.Creator:
			e.counters.add(foreignClear)
			e.log.Warn("a peer wants our own states cleared, refused", "peer", e.from)
			continue
		}
		e.states.all(func(i slot, r *record) {
			if r.id.Creator == c.Creator && e.boundTo(i, c.IfName) {
				e.removeFor(r.id, i)
			}
		})
	}
}

// boundTo reports whether a CLR for ifName means the state in i: floating states
// are bound to "all", an empty name means every interface.
func (e *Engine) boundTo(i slot, ifName pfstate.IfName) bool {
	if ifName == (pfstate.IfName{}) {
		return true
	}
	name := pfstate.AnyInterface
	if e.states.at(i).extra {
		name = e.states.extras[i].ifName
	}
	return name == ifName
}

func (e *Engine) receiveBus(s wire.Section) {
	if s.Count == 0 {
		return
	}
	b, err := wire.ParseBus(s.Message(0)) // only the first is looked at, as in pf
	if err != nil {
		e.counters.add(badValue)
		return
	}
	if b.Creator == e.cfg.Creator {
		e.counters.add(ownCreator)
		if p := e.peers[e.from]; p != nil && !p.loud {
			p.loud = true
			e.log.Error("another firewall uses our creatorid; give one of them another (pfsyncd --hostid)",
				"peer", e.from, "creatorid", fmt.Sprintf("%08x", b.Creator))
		}
	}
	switch b.Status {
	case wire.BusStart:
		e.bulkEvent(bulkStart)
	case wire.BusEnd:
		e.bulkEvent(bulkEnd)
	}
}
