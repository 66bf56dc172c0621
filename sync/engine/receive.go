package engine

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/auth"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const requiredTTL = 255 // a packet with less has crossed a router

// handlers says what is done with a section, by its action (OpenBSD if_pfsync.c,
// pfsync_acts). What the wire package knows and this table does not is counted
// as received and has no effect.
var handlers = [wire.ActMax]func(*Engine, wire.Section){
	wire.ActClr:    (*Engine).receiveClr,
	wire.ActInsAck: (*Engine).receiveInsAck,
	wire.ActUpdC:   (*Engine).receiveUpdC,
	wire.ActUpdReq: (*Engine).receiveUpdReq,
	wire.ActDel:    (*Engine).receiveDel,
	wire.ActDelC:   (*Engine).receiveDelC,
	wire.ActBus:    (*Engine).receiveBus,
	wire.ActIns:    (*Engine).receiveIns,
	wire.ActUpd:    (*Engine).receiveUpd,
	wire.ActTDB:    (*Engine).receiveTDB,
	wire.ActOldTDB: (*Engine).receiveOldTDB,
}

// receive handles one packet of the link, checked in pf's order.
func (e *Engine) receive(p *link.Packet) {
	if p.Src.Is6() {
		e.counters.add(inPackets6)
	} else {
		e.counters.add(inPackets)
	}
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
	case !e.fromPeer(p.Src):
		e.counters.add(badPeer)
		e.notThePeer(p.Src)
		return
	}
	h, rest, err := wire.ParseHeader(p.Payload)
	if err != nil {
		e.countHeader(err)
		e.stranger(p.Src, p.Payload, err)
		return
	}
	e.from = p.Src
	verdict, ok := e.authentic(p.Payload)
	if !ok {
		return
	}
	t, err := wire.ParseTrailer(wire.Behind(p.Payload))
	switch {
	case err == nil:
		e.receiveLinux(p, &t, &h, rest, verdict)
	case errors.Is(err, wire.ErrNoTrailer), errors.Is(err, wire.ErrVersion):
		if err := e.understood(p.Src, &h); err != nil {
			e.countHeader(err)
			e.stranger(p.Src, p.Payload, err)
			return
		}
		e.receiveBSD(p, &h, rest)
	default:
		e.counters.add(badTrailer)
	}
}

// fromPeer tells whether packets from addr are taken: only the syncpeer's, if one is set.
func (e *Engine) fromPeer(addr netip.Addr) bool {
	peer := e.linkState.Config.Peer()
	return peer.IsMulticast() || addr == peer
}

// foreign is who was named last as one that is not the syncpeer.
type foreign struct {
	addr  netip.Addr
	named time.Duration
}

// foreignAgain is after which time another address is named: who makes them up fills no log.
const foreignAgain = time.Minute

// notThePeer names who sends packets that are not taken because there is a syncpeer.
func (e *Engine) notThePeer(addr netip.Addr) {
	f := &e.foreign
	if addr == f.addr || f.addr.IsValid() && e.now-f.named < foreignAgain {
		return
	}
	f.addr, f.named = addr, e.now
	e.log.Warn("packets of a firewall that is not the syncpeer are discarded; for more than two let all have no syncpeer, or the same group",
		"peer", addr, "syncpeer", e.linkState.Config.Peer())
}

// receiveLinux handles a packet with a trailer.
func (e *Engine) receiveLinux(p *link.Packet, t *wire.Trailer, h *wire.Header, rest []byte, verdict auth.Verdict) {
	if t.Epoch == e.epoch {
		e.counters.add(ownPackets)
		return
	}
	if !e.prove(p, t) {
		return
	}
	sender, fresh := e.speaker(p.Src, t)
	if sender == nil || !e.arrived(sender, t.Seq) {
		return
	}
	if sender.addr != p.Src {
		e.readdressed(sender, p.Src)
	}
	e.came(sender)
	sender.keyed = sender.keyed || verdict == auth.Current
	e.speaking, e.packetSeq, e.packetFlags, e.late = sender, t.Seq, t.Flags, t.Seq != sender.window.high
	bad := e.preamble(sender, t)
	if t.Flags&wire.FlagPair == 0 {
		e.sections(h, rest)
		if err := e.compactMessages(t); bad == nil {
			bad = err
		}
	}
	if err := e.postscript(sender, t); bad == nil {
		bad = err
	}
	if bad != nil { // once, though the trailer is read twice
		e.counters.add(badTrailer)
		e.log.Debug("trailer refused in part", "peer", e.from, "err", bad)
	}
	if sender.busEnd && len(sender.window.gaps) == 0 {
		if sender.busEnd = false; sender.told != toldNothing {
			sender.told = toldAll
			e.bulkEvent(bulkEnd)
		}
	}
	e.newcomer(fresh)
	if fresh {
		e.greet()
	}
}

// receiveBSD handles a packet without one.
func (e *Engine) receiveBSD(p *link.Packet, h *wire.Header, rest []byte) {
	sender, fresh := e.meet(p.Src)
	if sender == nil {
		return
	}
	if sender.linux && !sender.dead {
		e.counters.add(noTrailer)
		return
	}
	if sender.linux || sender.versioned != "" {
		e.leave(sender)
		if sender, fresh = e.meet(p.Src); sender == nil {
			return
		}
	}
	e.came(sender)
	sender.version = h.Version
	e.speaking, e.packetSeq, e.packetFlags, e.late = sender, 0, 0, false
	e.speaks(e.form())
	e.sections(h, rest)
	e.newcomer(fresh)
	if fresh {
		e.pairTurn()
	}
}

func (e *Engine) newcomer(fresh bool) {
	if fresh && e.bulk.state == bulkSent && (!e.speaking.linux || e.now-e.bulk.asked > bulkAgainAfter && e.speaking.heardUs < e.bulk.seq) {
		e.bulkTry() // it did not hear the request: it has come up since
	}
}

// readdressed follows a peer whose address has changed.
func (e *Engine) readdressed(p *peer, addr netip.Addr) {
	if old := e.peers.of(addr); old != nil {
		e.leave(old)
	}
	e.log.Info("peer has another address", "peer", addr, "before", p.addr)
	delete(e.peers.at, p.addr)
	p.addr = addr
	e.peers.at[addr] = p.self
}

// sections handles what follows the header.
func (e *Engine) sections(h *wire.Header, rest []byte) {
	for len(rest) >= wire.SubheaderLen {
		s, next, err := h.NextSection(rest)
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
		case s.End():
			if len(rest) > 0 {
				e.counters.add(badLength)
			}
			return
		case s.Skipped():
			e.counters.add(skippedSections)
			continue
		}
		e.counters.in[s.Action] += uint64(s.Count)
		e.formatHeard(s)
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
		if err := e.parseState(s, n); err != nil {
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
		handle(id, e.states.named(id))
	}
}

func (e *Engine) receiveInsAck(s wire.Section) {
	e.eachID(s, func(id pfstate.ID, _ slot) { e.heardOf(id) })
}

func (e *Engine) receiveIns(s wire.Section) {
	e.eachState(s, func(state *pfstate.State) { e.receiveState(wire.ActIns, state) })
}

func (e *Engine) receiveUpd(s wire.Section) {
	e.bulkProgress()
	e.eachState(s, func(state *pfstate.State) {
		if !e.receiveState(wire.ActUpd, state) {
			e.counters.add(badState)
		}
	})
}

// receiveState takes a whole state and reports whether it is in the store.
func (e *Engine) receiveState(a wire.Action, s *pfstate.State) bool {
	p := e.speaking
	if e.probeAnswered(s.ID) {
		return true
	}
	said := uint64(0) // an answer names nobody who answers for it
	if e.packetFlags&wire.FlagAnswer == 0 {
		said = wire.SaidCompact(s.ID, &s.Src, &s.Dst, s.Timeout, &s.Linux)
	}
	e.unrefuse(p, s.ID)
	i := e.states.named(s.ID)
	if i != 0 && e.successor(i, a, s) {
		e.remove(i)
		i = 0
	}
	if i != 0 {
		e.heardOf(s.ID)
		if a == wire.ActIns && s.Flags&pfstate.FlagAck != 0 {
			e.acknowledgeKnown(i)
		}
		if !e.overtaken(i) {
			e.known(i, s, said)
		}
		return true
	}
	if e.otherTold(s) {
		return true
	}
	outcome := e.importState(a, s, said)
	if outcome == refusedForGood && said != 0 {
		e.refuse(s.ID, said)
	}
	return outcome == taken
}

// overtaken tells that the sender of the packet being read has said something
// newer of the state in i already.
func (e *Engine) overtaken(i slot) bool {
	r := e.states.at(i)
	if e.late && e.ownerOf(r.word()) == e.speaking && int32(uint32(e.packetSeq)-r.saidIn) < 0 {
		e.counters.add(crossedClaims)
		return true
	}
	return false
}

func (e *Engine) receiveUpdC(s wire.Section) {
	for n := range s.Count {
		var err error
		u := &e.update // not a variable of the loop: that would be one on the heap
		if *u, err = wire.ParseUpdC(s.Dialect, s.Message(n)); err != nil {
			e.counters.add(badValue)
			continue
		}
		e.receiveUpdate(u)
	}
}

// receiveUpdate takes an update of either form.
func (e *Engine) receiveUpdate(u *wire.UpdC) {
	i := e.slotOf(u.ID)
	switch {
	case i != 0 && e.overtaken(i):
	case i != 0:
		u.ID = e.states.at(i).id()
		e.updateTold(i, u)
	case e.graveOf(u.ID) == noGrave:
		e.request(u.ID)
	}
}

// updateTold takes an update of the state in i.
func (e *Engine) updateTold(i slot, u *wire.UpdC) {
	r := e.states.at(i)
	e.heardOf(r.id())
	switch {
	case e.packetFlags&wire.FlagAnswer != 0:
	case e.speaking.linux:
		e.told(i, wire.SaidCompact(u.ID, &u.Src, &u.Dst, u.Timeout, &u.Linux))
	case r.behind(u) || !r.justActive(e.now):
		r.clear(carrier) // the peer has seen traffic; else it only answers a stale message
		e.told(i, wire.Said(u.ID, &u.Src, &u.Dst, u.Timeout))
	}
	e.merge(i, u, 0)
}

func (e *Engine) receiveUpdReq(s wire.Section) {
	e.eachID(s, func(id pfstate.ID, i slot) {
		if i == 0 {
			i = e.slotOf(id)
		}
		switch {
		case id.IsZero():
			e.serveBulk(e.speaking)
		case i == 0:
			e.counters.add(badState)
		case e.states.at(i).flags&pfstate.FlagNoSync == 0:
			if e.requests.served++; e.requests.served > servedMax {
				e.counters.add(requestsFlood)
				return
			}
			e.updateRequested(i)
		}
	})
}

func (e *Engine) receiveDelC(s wire.Section) {
	e.eachID(s, e.removeFor)
}

// receiveDel uses only the id of the full state, as OpenBSD does.
func (e *Engine) receiveDel(s wire.Section) {
	e.eachState(s, func(state *pfstate.State) { e.removeFor(state.ID, e.states.named(state.ID)) })
}

// removeFor removes the state id, in slot i if it is known, because a peer says so.
// Of an unknown one a third firewall may be telling right now.
func (e *Engine) removeFor(id pfstate.ID, i slot) {
	p, answer := e.speaking, e.packetFlags&wire.FlagAnswer != 0
	e.unrefuse(p, id)
	if i != 0 && p.linux && e.holds(i, answer) {
		return
	}
	if e.graves.of(id) == noGrave {
		e.graves.bury(id, deleted)
	}
	if i == 0 {
		if !answer {
			e.counters.add(badState)
		}
		return
	}
	if r := e.states.at(i); p.linux && !r.closed() && e.forwarded != 0 && !r.learnt.after(stampOf(e.forwarded)) && !r.is(absent) && !r.is(shadow) {
		// Its owner saw no more traffic; but it may have moved here, without an event.
		e.attribute(i, word{by: p.self}, e.packetSeq)
		r.set(doomed)
		e.writeState(pfstate.Write{Kind: pfstate.WriteProbe}, i)
		return
	}
	e.remove(i)
}

// remove takes the state in i out of the table, because a peer says so.
func (e *Engine) remove(i slot) {
	e.divorce(i) // the connection lives as long as one of its states does
	e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
	e.tellEnd(i, 0)
	e.forget(i, e.speaking)
}

// holds tells that the state in i stays, though a Linux peer deletes it.
func (e *Engine) holds(i slot, answer bool) bool {
	r, p := e.states.at(i), e.speaking
	switch {
	case e.overtaken(i):
		return true
	case answer: // it does not know the state: what of it, if it is another's
		if owner := e.ownerOf(r.word()); owner == p || owner == nil && !r.claims() {
			return false
		}
		return true
	case r.word().ours() && r.is(heir):
		return false
	case r.word().ours() && e.crossed(r), r.is(carrier) && !r.word().ours() && r.queue() != queueNone:
		e.counters.add(crossedClaims)
		e.updateRequested(i) // in full: it has forgotten it
		return true
	}
	return false
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
		c.IfName = c.IfName.Trimmed() // "" of OpenBSD has something behind it
		e.states.all(func(i slot, r *record) {
			if r.creator == c.Creator && e.boundTo(i, c.IfName) {
				e.removeFor(r.id(), i)
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
	if e.states.at(i).is(extended) {
		name = e.states.extras[i].ifName.Trimmed()
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
		e.ownCreator(e.speaking)
	}
	e.speaking.creator = b.Creator
	switch b.Status {
	case wire.BusStart:
		e.speaking.told = tellsUs
		e.bulkEvent(bulkStart)
	case wire.BusEnd:
		p := e.speaking
		switch {
		case b.EndTime > e.now-e.bulk.asked+time.Second: // its seconds are cut. FreeBSD if_pfsync.c, pfsync_in_bus
			e.counters.add(bulkForeign)
			return
		case len(p.window.gaps) > 0: // what is missing is a part of it
			p.busEnd = true
			return
		case p.linux && p.told == toldNothing: // it began before we asked
			e.counters.add(bulkForeign)
			return
		}
		p.told = toldAll
		e.bulkEvent(bulkEnd)
	}
}
