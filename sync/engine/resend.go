package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// What is repeated for one peer is bounded: a ring full at once, then as much as
// a busy firewall sends.
const (
	resendBurst = ringPackets
	resendRate  = 20000 // packets a second
	rangesMax   = 32    // in one request
)

// arrived notes the sequence number of a packet of p; false: it has come before.
func (e *Engine) arrived(p *peer, seq uint64) bool {
	a, given := p.window.take(seq, e.now, e.now+gapWait)
	e.gaveUp(p, given)
	switch a {
	case arrivedAgain:
		e.counters.add(duplicates)
		return false
	case arrivedLate:
		e.counters.add(recovered)
	}
	if len(p.window.gaps) > 0 || e.gapsDue != 0 {
		e.armGaps()
	}
	if p.window.whole() >= p.acked+ackEvery {
		e.ackDue = true
	}
	return true
}

// gaveUp notes packets that will not come: what was in them has to be found by
// comparing digests.
func (e *Engine) gaveUp(p *peer, packets uint64) {
	if packets == 0 {
		return
	}
	e.counters.n[lostPackets] += packets
	e.suspect(p)
	if e.settings.Listen {
		p.missed = p.window.high
	}
}

// armGaps sets the timer to the next time that something missing is asked for.
func (e *Engine) armGaps() {
	var next time.Duration
	some := false
	for _, p := range e.peers.list {
		if p == nil || !p.linux || len(p.window.gaps) == 0 {
			continue
		}
		if due, ok := p.window.next(); ok && (!some || due < next) {
			next, some = due, true
		}
	}
	switch {
	case !some && e.gapsDue != 0:
		e.gapTimer.Stop()
		e.gapsDue = 0
	case some && next != e.gapsDue:
		e.gapsDue = next
		e.gapTimer.Reset(max(0, next-e.now))
	}
}

// askGaps asks each peer for what is missing of its packets.
func (e *Engine) askGaps() {
	e.gapsDue = 0
	e.peers.each(func(p *peer) {
		if !p.linux || len(p.window.gaps) == 0 {
			return
		}
		ranges, given := p.window.ask(e.now, e.ranges[:0:min(rangesMax, max(1, (e.bareRoom()-wire.EpochLen)/wire.ResendLen))])
		e.gaveUp(p, given)
		if len(ranges) == 0 || e.settings.Listen { // somebody else may have them repeated for all
			return
		}
		for _, r := range ranges {
			e.counters.n[resendsAsked] += uint64(r.Count)
		}
		e.bare(func(w *wire.TrailerWriter) { w.Resend(p.epoch, ranges) })
	})
	e.armGaps()
}

// receiveResend repeats the packets that p misses, as far as they are kept.
func (e *Engine) receiveResend(p *peer, body []byte) error {
	epoch, rest, err := wire.ParseEpoch(body)
	if err != nil || epoch != e.epoch || !e.answers(p) {
		return err
	}
	p.tokens = min(resendBurst, p.tokens+resendRate*(e.now-p.refilled).Seconds())
	p.refilled = e.now
	gone := false
	for i := range min(len(rest)/wire.ResendLen, rangesMax) {
		r := wire.RangeAt(rest, i)
		first, end := r.First, r.First+uint64(r.Count)
		if first < e.ring.oldest || first == 0 || end < first {
			gone = true
			first, end = max(first, e.ring.oldest), max(end, first)
		}
		for seq := first; seq < min(end, e.ring.next); seq++ {
			if p.tokens < 1 {
				e.counters.add(resendsLimited)
				return nil
			}
			p.tokens--
			e.barePackets[0] = e.ring.get(seq)
			e.counters.add(resendsSent)
			e.transmit(e.barePackets[:])
		}
	}
	if gone {
		e.greet() // tells which packet is the oldest
	}
	return nil
}
