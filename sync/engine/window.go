package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// gaps bounds what is remembered of missing packets; what is beyond is given up.
const (
	gapsMax    = 128
	gapPackets = 1 << 16
)

// gap is packets that have not come, from first to last.
type gap struct {
	first, last uint64
	tries       int
	due         time.Duration // when they are asked for
	since       time.Duration
}

// window tells which packets of a peer's epoch have come. A packet is taken once;
// one that was given up is not taken any more.
type window struct {
	high uint64 // 0: none has come
	gaps []gap  // in the order of sequence
}

// verdict of a packet's sequence number.
type arrival uint8

const (
	arrivedFresh arrival = iota
	arrivedLate          // it closes a gap
	arrivedAgain         // a duplicate, or given up
)

// take notes that packet seq has come. A gap that it opens is due at `due`. It
// returns how many packets had to be given up for lack of room.
func (w *window) take(seq uint64, now, due time.Duration) (a arrival, given uint64) {
	switch {
	case w.high == 0 || seq == w.high+1:
		w.high = seq
		return arrivedFresh, 0
	case seq > w.high:
		first := w.high + 1
		w.high = seq
		if seq-first > gapPackets {
			given = seq - gapPackets - first
			first = seq - gapPackets
		}
		if len(w.gaps) == gapsMax {
			given += w.giveUp(1)
		}
		w.gaps = append(w.gaps, gap{first: first, last: seq - 1, due: due, since: now})
		return arrivedFresh, given
	}
	for i := range w.gaps {
		g := &w.gaps[i]
		switch {
		case seq < g.first:
			return arrivedAgain, 0
		case seq > g.last:
			continue
		case g.first == g.last:
			w.gaps = append(w.gaps[:i], w.gaps[i+1:]...)
		case seq == g.first:
			g.first++
		case seq == g.last:
			g.last--
		default:
			upper := *g
			upper.first, g.last = seq+1, seq-1
			if len(w.gaps) == gapsMax {
				given = upper.last - upper.first + 1
				return arrivedLate, given
			}
			w.gaps = append(w.gaps, gap{})
			copy(w.gaps[i+2:], w.gaps[i+1:])
			w.gaps[i+1] = upper
		}
		return arrivedLate, given
	}
	return arrivedAgain, 0
}

// whole is the last packet up to which all have come or were given up.
func (w *window) whole() uint64 {
	if len(w.gaps) > 0 {
		return w.gaps[0].first - 1
	}
	return w.high
}

// giveUp forgets the first n gaps and returns how many packets that were.
func (w *window) giveUp(n int) (packets uint64) {
	for i := range w.gaps[:n] {
		packets += w.gaps[i].last - w.gaps[i].first + 1
	}
	w.gaps = append(w.gaps[:0], w.gaps[n:]...)
	return packets
}

// before gives up what is before seq.
func (w *window) before(seq uint64) (packets uint64) {
	n := 0
	for n < len(w.gaps) && w.gaps[n].last < seq {
		n++
	}
	packets = w.giveUp(n)
	if len(w.gaps) > 0 && w.gaps[0].first < seq {
		packets += seq - w.gaps[0].first
		w.gaps[0].first = seq
	}
	return packets
}

// next is when something is due, ok false: nothing is missing.
func (w *window) next() (due time.Duration, ok bool) {
	for i := range w.gaps {
		if g := &w.gaps[i]; !ok || g.due < due {
			due, ok = g.due, true
		}
	}
	return due, ok
}

// ask appends the ranges that are due at now, and puts them off; each time it
// waits longer. Those that were asked for in vain for too long are given up.
func (w *window) ask(now time.Duration, to []wire.Range) (ranges []wire.Range, given uint64) {
	old := 0
	for i := range w.gaps {
		if now-w.gaps[i].since > gapPatience {
			old = i + 1
		}
	}
	given = w.giveUp(old)
	for i := range w.gaps {
		g := &w.gaps[i]
		if g.due > now || len(to) == cap(to) {
			continue
		}
		to = append(to, wire.Range{First: g.first, Count: uint32(g.last - g.first + 1)})
		g.due = now + min(gapRetry<<g.tries, gapRetryMax)
		g.tries = min(g.tries+1, 8)
	}
	return to, given
}

// Times of asking for missing packets.
const (
	gapWait     = 3 * time.Millisecond // packets may only have changed places
	gapRetry    = 20 * time.Millisecond
	gapRetryMax = 250 * time.Millisecond
	gapPatience = 1500 * time.Millisecond // less than a grave is remembered: see graves
)
