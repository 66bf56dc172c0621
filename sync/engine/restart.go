package engine

import (
	"math/bits"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// After a restart of the daemon the table still holds what the peers know of us.
// So that they need not send it all, they are told its digests with the request
// for a bulk update, and say which of them agree with what they know.

// kept tells that r may be known to the peers by this id from before the restart.
func (r *record) kept(creator uint32) bool {
	return r.origin() == inherited && !r.is(injected) && !r.is(claimed) && r.creator == creator && r.said == 0
}

// sendHave tells the peers the digests of what was found in the table.
func (e *Engine) sendHave() {
	if e.states.count[inherited] == 0 {
		return
	}
	var sums [wire.Buckets]uint64
	some := false
	e.states.all(func(i slot, r *record) {
		if r.kept(e.cfg.Creator) {
			sums[wire.Bucket(r.id())] += e.name(i, terse)
			some = true
		}
	})
	if !some {
		return
	}
	e.bare(e.beacon)
	e.tellSums(wire.AttrHave, &sums)
}

// receiveHave keeps the digests until the request for a bulk update comes.
func (e *Engine) receiveHave(p *peer, body []byte) error {
	first, sums, err := wire.ParseDigests(body)
	if err != nil {
		return err
	}
	if p.have == nil {
		p.have = make(map[int]uint64)
	}
	for i := range len(sums) / wire.SumLen {
		p.have[first+i] = wire.SumAt(sums, i)
	}
	return nil
}

// compareHave gives p back the states that it made, and whose digests are as we
// know them, and tells it so.
func (e *Engine) compareHave(p *peer) {
	have := p.have
	p.have = nil
	if len(have) != wire.Buckets || p.creator == 0 {
		return
	}
	orphaned := func(r *record) bool { return r.creator == p.creator && e.orphan(r) }
	var sums [wire.Buckets]uint64
	e.states.all(func(i slot, r *record) {
		if orphaned(r) {
			sums[wire.Bucket(r.id())] += e.name(i, terse)
		}
	})
	var same [wire.Buckets / 8]byte
	for b, sum := range sums {
		if have[b] == sum {
			same[b/8] |= 1 << (b % 8)
		}
	}
	e.states.all(func(i slot, r *record) {
		if b := wire.Bucket(r.id()); same[b/8]&(1<<(b%8)) != 0 && orphaned(r) {
			e.attribute(i, word{said: e.name(i, terse), by: p.self, life: p.life}, e.packetSeq)
		}
	})
	e.log.Info("states of a restarted peer compared", "peer", p.addr, "same", bitsIn(same[:]), "buckets", wire.Buckets)
	e.bare(func(w *wire.TrailerWriter) { w.Same(p.epoch, same[:]) })
}

func bitsIn(b []byte) (n int) {
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// receiveSame takes which of our states a peer knows as they are: they need not
// be told.
func (e *Engine) receiveSame(p *peer, body []byte) error {
	epoch, same, err := wire.ParseSame(body)
	if err != nil || epoch != e.epoch {
		return err
	}
	e.states.all(func(i slot, r *record) {
		if b := wire.Bucket(r.id()); same[b/8]&(1<<(b%8)) != 0 && r.kept(e.cfg.Creator) {
			r.set(claimed)
			e.attribute(i, word{said: e.name(i, terse), by: ourselves}, 0)
		}
	})
	return nil
}
