package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// repairStep is how far the search for a difference with a peer has come.
type repairStep uint8

const (
	repairNone    repairStep = iota
	repairDigests            // the digest of each bucket was asked for
	repairLists              // the lists of some buckets were asked for
	repairStates             // all that differs was asked for
)

// Times of a repair.
const (
	differsFor   = 300 * time.Millisecond // what is on its way passes by
	repairRetry  = 400 * time.Millisecond
	repairTries  = 6
	repairSettle = 400 * time.Millisecond // for the states asked for to come
	repairPause  = 250 * time.Millisecond // before the next, doubled while it does not help
	repairPauses = 30 * time.Second
	repairAnyway = 30 * time.Second // though a bulk update is coming in
	listsAtOnce  = 1 << 14          // states in the lists asked for at once
	scanPause    = 100 * time.Millisecond
)

// repair is one search for what differs between what a peer answers for and what
// is known of it here.
type repair struct {
	step    repairStep
	since   time.Duration
	asked   time.Duration
	tries   int
	pause   time.Duration
	notTill time.Duration

	sums    [wire.Buckets / 64]uint64 // buckets whose digest came
	buckets []uint16                  // those that differ and are not listed yet
	listing map[uint16]bool           // asked for now; true: all of it came
	listed  map[pfstate.ID]uint64     // what was in them

	missing, extra, changed int
}

// compare judges p's digest, as of the packet being read.
func (e *Engine) compare(p *peer, d wire.Digest) {
	if len(p.window.gaps) > 0 || e.packetSeq != p.window.high || !e.comparable(p) || !e.dump.complete {
		return
	}
	if p.digest.wire() == d {
		if p.differs != 0 || !p.insync {
			e.agreed(p)
		}
		return
	}
	if p.differs == 0 {
		p.differs = e.now
	}
	if e.now-p.differs >= differsFor {
		e.startRepair(p)
	}
}

// agreed notes that all that p answers for is known here.
func (e *Engine) agreed(p *peer) {
	r := &p.repair
	if r.missing+r.extra+r.changed > 0 {
		e.repaired(p)
	}
	if !p.compared || !p.insync && p.differs != 0 {
		e.log.Info("in sync with the peer", "peer", p.addr, "states", p.digest.states)
	}
	p.insync, p.compared, p.differs, p.missed = true, true, 0, 0
	*r = repair{}
}

// repaired says what was found, once.
func (e *Engine) repaired(p *peer) {
	r := &p.repair
	e.counters.add(repairs)
	e.log.Warn("tables had drifted apart and were mended", "peer", p.addr, "missing", r.missing, "extra", r.extra, "changed", r.changed,
		"took", (e.now - r.since).Round(time.Millisecond))
}

// suspect begins a repair at the next digest that differs, without waiting.
func (e *Engine) suspect(p *peer) {
	if p.differs == 0 {
		p.differs = max(1, e.now-differsFor)
	}
}

func (e *Engine) startRepair(p *peer) {
	r := &p.repair
	if r.step != repairNone || e.now < r.notTill || len(p.refused) >= refusedMax {
		return
	}
	if e.settings.Listen {
		e.differs(p)
		return
	}
	p.insync, p.compared = false, true
	if busy := e.bulk.state == bulkSent || e.bulk.state == bulkRunning; busy && e.now-e.bulk.since < repairAnyway {
		return // what differs is on its way
	}
	e.counters.add(drifts)
	*r = repair{step: repairDigests, since: e.now, pause: r.pause}
	e.askDigests(p)
}

func (e *Engine) askDigests(p *peer) {
	r := &p.repair
	r.asked = e.now
	r.tries++
	e.bare(func(w *wire.TrailerWriter) { w.AskDigests(p.epoch) })
}

// repairTurn goes on with the repairs that wait for something.
func (e *Engine) repairTurn() {
	e.peers.each(func(p *peer) {
		r := &p.repair
		switch {
		case r.step == repairNone:
		case p.dead:
			*r = repair{pause: r.pause}
		case r.step == repairStates && e.now-r.asked >= repairSettle:
			e.endRepair(p)
		case r.step != repairStates && e.now-r.asked >= repairRetry:
			switch {
			case r.tries >= repairTries:
				e.endRepair(p)
			case r.step == repairDigests:
				e.askDigests(p)
			default:
				e.askLists(p)
			}
		}
	})
}

// endRepair leaves the repair; the next digest tells whether it helped.
func (e *Engine) endRepair(p *peer) {
	r := &p.repair
	r.step = repairNone
	r.pause = min(max(repairPause, 2*r.pause), repairPauses)
	r.notTill = e.now + r.pause
	r.listing, r.listed, r.buckets = nil, nil, nil
}

// receiveDigests compares the digests of buckets.
func (e *Engine) receiveDigests(p *peer, body []byte) error {
	first, sums, err := wire.ParseDigests(body)
	r := &p.repair
	if err != nil || r.step != repairDigests {
		return err
	}
	for i := range len(sums) / wire.SumLen {
		b := first + i
		if r.sums[b/64]&(1<<(b%64)) != 0 {
			continue
		}
		r.sums[b/64] |= 1 << (b % 64)
		if wire.SumAt(sums, i) != p.digest.buckets[b] {
			r.buckets = append(r.buckets, uint16(b))
		}
	}
	for _, word := range r.sums {
		if word != ^uint64(0) {
			return nil
		}
	}
	r.step, r.tries = repairLists, 0
	e.askLists(p)
	return nil
}

// askLists asks for the lists of the next buckets, or again for those that did not come.
func (e *Engine) askLists(p *peer) {
	r := &p.repair
	r.asked = e.now
	r.tries++
	if len(r.listing) == 0 {
		if len(r.buckets) == 0 {
			r.step = repairStates
			return
		}
		each := max(1, p.digest.states/wire.Buckets)
		n := min(len(r.buckets), max(1, listsAtOnce/each), 256)
		r.listing, r.listed = make(map[uint16]bool), make(map[pfstate.ID]uint64)
		for _, b := range r.buckets[:n] {
			r.listing[b] = false
		}
		r.buckets = r.buckets[n:]
		r.tries = 1
	}
	var want []uint16
	for b, came := range r.listing {
		if !came {
			want = append(want, b)
		}
	}
	e.bare(func(w *wire.TrailerWriter) { w.AskList(p.epoch, want) })
}

// receiveList takes a part of the list of a bucket.
func (e *Engine) receiveList(p *peer, body []byte) error {
	bucket, flags, entries, err := wire.ParseList(body)
	r := &p.repair
	if err != nil || r.step != repairLists {
		return err
	}
	if came, asked := r.listing[uint16(bucket)]; !asked || came {
		return nil
	}
	for i := range len(entries) / wire.ListedLen {
		l := wire.ListedAt(entries, i)
		if len(r.listed) < 8*listsAtOnce && wire.Bucket(l.ID) == bucket {
			r.listed[l.ID] = l.Said
		}
	}
	if flags&wire.ListLast == 0 {
		r.asked = e.now
		return nil
	}
	// Only a part of it may have come, the rest being lost or late: then what is
	// not listed is asked after for nothing, no more.
	r.listing[uint16(bucket)] = true
	for _, came := range r.listing {
		if !came {
			return nil
		}
	}
	e.mend(p)
	r.listing, r.listed, r.tries = nil, nil, 0
	e.askLists(p)
	return nil
}

// mend asks p for what differs in the buckets just listed.
func (e *Engine) mend(p *peer) {
	r := &p.repair
	var ask []pfstate.ID
	for id, said := range r.listed {
		i := e.states.named(id)
		switch {
		case i == 0 && p.refused[id] == said:
		case i == 0:
			r.missing++
			e.counters.add(mendedMissing)
			ask = append(ask, id)
		default:
			if e.dispute(p, i, said) {
				r.changed++
				e.counters.add(mendedChanged)
				ask = append(ask, id)
			}
		}
	}
	extra := func(id pfstate.ID) {
		if _, listed := r.listed[id]; !listed && r.listing[uint16(wire.Bucket(id))] {
			r.extra++
			e.counters.add(mendedExtra)
			ask = append(ask, id)
		}
	}
	e.states.all(func(_ slot, rec *record) {
		if rec.by == p.self && rec.life == p.life && rec.said != 0 {
			extra(rec.id())
		}
	})
	for id := range p.refused {
		extra(id)
	}
	perPacket := max(1, (e.bareRoom()-wire.EpochLen)/wire.IDLen)
	for len(ask) > 0 {
		n := min(len(ask), perPacket)
		e.bare(func(w *wire.TrailerWriter) { w.Ask(p.epoch, ask[:n]) })
		ask = ask[n:]
	}
}

// dispute settles who answers for the state in i, which p lists, and reports
// whether p has to tell what it last said.
func (e *Engine) dispute(p *peer, i slot, said uint64) (ask bool) {
	r := e.states.at(i)
	switch owner := e.ownerOf(r.word()); {
	case owner == p:
		return r.said != said
	case r.claims():
		// It has not heard our word, or we not its. Said again, it counts.
		if r.is(carrier) || e.cfg.Creator < p.creator {
			e.updateEvent(i)
			e.push = true
			return false
		}
		return true
	}
	if e.name(i, terse) != said && e.name(i, plain) != said {
		return true
	}
	e.attribute(i, word{said: said, by: p.self, life: p.life}, e.packetSeq)
	e.lease(i)
	return false
}
