package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	peersMax     = 64
	bsdForgets   = 10 * time.Minute
	linuxForgets = 24 * time.Hour  // a dead one is to be seen by those who watch
	peerStale    = 3 * time.Second // a Linux peer says something each second
	peerDead     = 6 * time.Second
	bsdStale     = time.Minute // a BSD is quiet when nothing changes
)

// owner is who said a state last, and so answers for it.
type owner uint8

const (
	nobody    owner = iota // told on behalf of somebody unknown, or of one who has restarted since
	ourselves              //
	firstPeer              // from here on the index in peers.list
)

// peers is whom we hear.
type peers struct {
	list [firstPeer + peersMax]*peer // by owner
	at   map[netip.Addr]owner
}

// peer is another firewall.
type peer struct {
	self    owner
	addr    netip.Addr
	creator uint32 // 0: not told
	linux   bool   // it sends trailers
	life    uint8  // counts its restarts: what it said in an earlier one it does not answer for
	first   time.Duration
	heard   time.Duration
	packets uint64
	dead    bool
	quiet   bool          // stale, and said so
	recheck time.Duration // when it is asked whether others have what is missing of the dead; 0: not

	epoch  uint64
	window window
	oldest uint64 // the first packet it can repeat
	missed uint64 // a listener has missed packets before this one, and cannot ask for them; 0: none

	digest    digest
	refused   map[pfstate.ID]uint64 // what it said of states that are not taken here
	took      []took
	hears     []wire.Heard // whom it hears
	heardUs   uint64       // up to which packet of ours
	heardUsAt time.Duration
	acked     uint64 // of its packets, as we told it
	provedUs  bool   // it has heard us in this epoch of ours
	insync    bool
	compared  bool          // insync is known
	differs   time.Duration // since when digests differ, 0: they do not
	repair    repair
	have      map[int]uint64 // after its restart: sums of its buckets
	tokens    float64        // packets that may be repeated for it now
	refilled  time.Duration
	deaf      bool // it does not hear us, and this was said
	impostor  bool // its use of our creatorid was said
	keyed     bool // it has shown the current key
	imported  int  // states it answers for here
	told      told
	busEnd    bool   // its bulk update is over once what is missing has come
	versioned string // what it sends is not read: whose protocol that is
	version   uint8  // of a BSD's packets
	format    string // of its states, FreeBSD's; "": none came yet
	older     bool   // than ours, which it may not read

	compact bool       // it understands compact messages
	probes  int        // of a silent BSD: how often it was asked for a state since it was heard
	probed  pfstate.ID // that state
}

// took is a state taken over from a peer: its digests do not count before it has
// heard the packet that told so.
type took struct {
	by   owner
	seq  uint64
	when time.Duration
}

func newPeers() peers { return peers{at: make(map[netip.Addr]owner)} }

// of is the peer at addr, nil if there is none.
func (ps *peers) of(addr netip.Addr) *peer { return ps.list[ps.at[addr]] }

// speaking is the peer with that epoch, nil if there is none.
func (ps *peers) speaking(epoch uint64) *peer {
	for _, p := range ps.list {
		if p != nil && p.linux && p.epoch == epoch {
			return p
		}
	}
	return nil
}

// each calls visit with every peer, in a fixed order.
func (ps *peers) each(visit func(*peer)) {
	for _, p := range ps.list {
		if p != nil {
			visit(p)
		}
	}
}

func (ps *peers) len() int { return len(ps.at) }

func (p *peer) kind() string {
	switch {
	case p.linux:
		return "linux"
	case p.versioned != "":
		return p.versioned
	case p.format != "":
		return systemOf(p.version) + " " + p.format
	}
	return systemOf(p.version)
}

// meet is the peer at addr, made if it is new; nil when there is no room.
func (e *Engine) meet(addr netip.Addr) (p *peer, fresh bool) {
	if p := e.peers.of(addr); p != nil {
		return p, false
	}
	o := e.peers.room()
	if o == nobody {
		e.counters.add(tooManyPeers)
		return nil, false
	}
	p = &peer{
		self: o, addr: addr, first: e.now, heard: e.now, refused: make(map[pfstate.ID]uint64),
		tokens: resendBurst, refilled: e.now,
	}
	if old := e.peers.list[o]; old != nil {
		p.life = old.life + 1
		e.leave(old)
	} else {
		p.life = e.lives[o] + 1
	}
	e.peers.list[o], e.peers.at[addr] = p, o
	e.log.Info("peer heard", "peer", addr)
	return p, true
}

// room finds a place for a new peer: a free one, or that of the one heard least,
// unless all are Linux peers alive. Who makes up addresses gets no others out.
func (ps *peers) room() owner {
	least := nobody
	for o := firstPeer; int(o) < len(ps.list); o++ {
		p := ps.list[o]
		switch {
		case p == nil:
			return o
		case p.linux && !p.dead:
		case least == nobody || p.packets < ps.list[least].packets:
			least = o
		}
	}
	return least
}

// leave forgets a peer. What it said is nobody's from now on.
func (e *Engine) leave(p *peer) {
	if p.linux {
		e.past.add(p.epoch, p.window.high)
	}
	e.lives[p.self] = p.life
	delete(e.peers.at, p.addr)
	e.peers.list[p.self] = nil
}

func (e *Engine) forgetPeers() {
	e.peers.each(e.leave)
	e.relearn()
	e.unproved = e.unproved[:0]
}

// speaker finds the peer that sent a packet with that trailer. Nil: the packet is
// to be dropped, and was counted.
func (e *Engine) speaker(addr netip.Addr, t *wire.Trailer) (p *peer, fresh bool) {
	if p = e.peers.speaking(t.Epoch); p != nil {
		return p, false
	}
	if t.Seq <= e.past.until[t.Epoch] {
		e.counters.add(oldPackets)
		return nil, false
	}
	if p, fresh = e.meet(addr); p == nil {
		return nil, false
	}
	switch {
	case !p.linux:
		p.linux, p.epoch = true, t.Epoch
		e.log.Info("peer is a Linux one", "peer", addr)
	default:
		e.restarted(p, t.Epoch)
		fresh = true
	}
	return p, fresh
}

// past remembers the epochs that peers had, so that packets recorded then and
// sent again, from wherever, pass for what they are.
type past struct {
	until map[uint64]uint64 // up to which packet of an epoch all are old
	order []uint64          // of being added
}

const pastMax = 1 << 12

func (p *past) add(epoch, seq uint64) {
	if _, known := p.until[epoch]; !known {
		if len(p.order) == pastMax {
			delete(p.until, p.order[0])
			p.order = append(p.order[:0], p.order[1:]...)
		}
		p.order = append(p.order, epoch)
	}
	p.until[epoch] = max(p.until[epoch], seq)
}

// restarted begins another life of p. What it answered for is nobody's until it,
// or another, says so again.
func (e *Engine) restarted(p *peer, epoch uint64) {
	e.counters.add(peerRestarts)
	e.log.Info("peer has restarted", "peer", p.addr, "states", p.digest.states)
	e.past.add(p.epoch, ^uint64(0))
	clear(p.refused)
	*p = peer{ // what is the firewall's, not that life's
		self: p.self, addr: p.addr, creator: p.creator, linux: true, life: p.life + 1, epoch: epoch,
		first: e.now, heard: p.heard, packets: p.packets, dead: p.dead, quiet: p.quiet, refused: p.refused,
		tokens: p.tokens, refilled: p.refilled, deaf: p.deaf, impostor: p.impostor, keyed: p.keyed,
	}
}

// came notes a valid packet of p.
func (e *Engine) came(p *peer) {
	p.heard = e.now
	p.packets++
	p.probes = 0
	if p.dead {
		p.recheck = e.now + peerStale
	}
	if p.dead || p.quiet {
		e.log.Info("peer is heard again", "peer", p.addr)
		p.dead, p.quiet = false, false
	}
}

// watchPeers says who has become quiet, dead, deaf, or was forgotten.
func (e *Engine) watchPeers() {
	e.sentAt = append(e.sentAt[:0], e.sentAt[max(0, len(e.sentAt)-deafAfter):]...)
	e.sentAt = append(e.sentAt, e.seq)
	e.peers.each(func(p *peer) {
		age := e.now - p.heard
		stale, dead, forgotten := peerStale, peerDead, linuxForgets
		if !p.linux {
			stale, dead, forgotten = bsdStale, bsdForgets, bsdForgets
		}
		switch {
		case age > forgotten && e.mayForget(p):
			e.leave(p)
			return
		case age > dead && !p.dead:
			if e.missesOf(p) {
				p.recheck = e.now + peerStale // by then the others hold it for dead too, and answer for its states
			}
			p.dead, p.insync = true, false
			e.counters.add(peerDeaths)
			e.log.Warn("peer is dead: its states are kept, on their own timeouts from now on", "peer", p.addr, "states", p.imported, "silent", age.Round(time.Second))
		case age > stale && !p.quiet:
			p.quiet = true
			if p.linux {
				e.log.Warn("peer is not heard", "peer", p.addr, "silent", age.Round(time.Second))
			}
		}
		e.watchHearing(p)
	})
	e.askForTheDead()
	e.relearn()
	e.pairTurn()
}

// missesOf tells that p has said more than came here: there are gaps, its digest differs,
// or another peer has heard more of it.
func (e *Engine) missesOf(p *peer) bool {
	if !p.linux {
		return false
	}
	misses := len(p.window.gaps) > 0 || p.differs != 0
	e.peers.each(func(q *peer) {
		if q == p || !q.linux || q.dead {
			return
		}
		for _, h := range q.hears {
			misses = misses || h.Epoch == p.epoch && h.Seq > p.window.whole()
		}
	})
	return misses
}

// askForTheDead asks the living for all when a dead peer cannot tell any more what is missing of
// it: known to be missing at its death, or told to others while they were not heard.
func (e *Engine) askForTheDead() {
	due, dead := false, false
	e.peers.each(func(p *peer) {
		dead = dead || p.linux && p.dead
		if p.recheck != 0 && p.recheck <= e.now {
			p.recheck, due = 0, true
		}
	})
	if due && dead && (e.linuxHere() || e.bsdHere()) {
		e.log.Info("asking the peers for the states of a dead one: some may be missing here")
		e.bulkEvent(bulkAgain)
	}
}

// deafAfter is how many seconds of our packets a peer may not have heard.
const deafAfter = 4

// watchHearing says when p does not hear us, or hears us again.
func (e *Engine) watchHearing(p *peer) {
	if !p.linux || p.quiet || e.settings.Listen || len(e.sentAt) <= deafAfter || e.now-p.first < deafAfter*time.Second {
		return
	}
	deaf := p.heardUs < e.sentAt[0]
	switch {
	case deaf && !p.deaf:
		e.counters.add(oneWayLinks)
		e.log.Warn("one-way link: the peer is heard but does not hear us; see its firewall rules for protocol 240, its rp_filter and syncpeer, and the cable",
			"peer", p.addr)
	case !deaf && p.deaf:
		e.log.Info("the peer hears us again", "peer", p.addr)
	}
	p.deaf = deaf
}

// introduced takes what a peer says of itself.
func (e *Engine) introduced(p *peer, h wire.Hello) {
	p.creator, p.compact = h.Creator, h.Features&wire.FeatureCompact != 0
	if h.Creator == e.cfg.Creator {
		e.ownCreator(p)
	}
}

func (e *Engine) ownCreator(p *peer) {
	e.counters.add(ownCreator)
	if !p.impostor {
		p.impostor = true
		e.log.Error("another firewall uses our creatorid; give one of them another (pfsyncd --hostid)",
			"peer", p.addr, "creatorid", fmt.Sprintf("%08x", e.cfg.Creator))
	}
}

// stranger notes who sends what is not understood.
func (e *Engine) stranger(addr netip.Addr, payload []byte, err error) {
	version := ""
	if errors.Is(err, wire.ErrVersion) {
		version = systemOf(payload[0])
	}
	p, fresh := e.meet(addr)
	if p == nil || p.linux {
		return
	}
	p.heard = e.now
	if !fresh && p.versioned == version {
		return
	}
	if p.versioned = version; version == "" && p.version == 0 {
		p.version = e.dialect.Version()
	}
	e.log.Warn("a peer's packets are not understood; it may speak another version of pfsync", "peer", addr, "err", err)
}

// heardSince is a peer whose packets are understood and that was heard since then, nil if none was.
func (ps *peers) heardSince(then time.Duration) *peer {
	for _, p := range ps.list {
		if p != nil && p.versioned == "" && p.heard > then {
			return p
		}
	}
	return nil
}

// bsdHere tells that somebody is heard who sends no trailers.
func (e *Engine) bsdHere() (here bool) {
	e.peers.each(func(p *peer) { here = here || !p.linux && p.versioned == "" && !p.quiet })
	return here
}

// linuxHere tells that a Linux peer is alive.
func (e *Engine) linuxHere() (here bool) {
	e.peers.each(func(p *peer) { here = here || p.linux && !p.dead })
	return here
}

// answers tells that requests of p may be answered: it has shown that it hears
// us, so it is on the sync link and not somebody who writes its address.
func (e *Engine) answers(p *peer) bool {
	switch {
	case e.mute(unanswered):
		return false
	case p.provedUs:
		return true
	}
	e.counters.add(requestsRefused)
	return false
}
