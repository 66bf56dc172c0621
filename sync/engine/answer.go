package engine

import (
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// receiveQuestion notes what a peer wants to know; it is answered between other
// packets.
func (e *Engine) receiveQuestion(p *peer, typ wire.AttrType, body []byte) error {
	epoch, rest, err := wire.ParseEpoch(body)
	if err != nil || epoch != e.epoch || !e.answers(p) {
		return err
	}
	a := &e.answering
	switch typ {
	case wire.AttrAskDigests:
		a.digests = true
	case wire.AttrAskList:
		for i := range len(rest) / wire.BucketLen {
			b, ok := wire.BucketAt(rest, i)
			if !ok {
				return fmt.Errorf("bucket %d: %w", b, wire.ErrValue)
			}
			a.lists[b] = true
			a.listing = true
		}
	case wire.AttrAsk:
		for i := range len(rest) / wire.IDLen {
			id, err := wire.ParseID(rest[i*wire.IDLen:])
			if err != nil {
				return err
			}
			if len(a.ids) < asksMax {
				a.ids = append(a.ids, id)
			} else {
				e.counters.add(requestsLost)
			}
		}
	}
	return nil
}

const asksMax = 1 << 16

// answering is what peers want to know.
type answering struct {
	digests bool
	listing bool
	lists   [wire.Buckets]bool
	ids     []pfstate.ID
	told    time.Duration // when digests were told
	scanned time.Duration // when states were listed
	out     []answer      // lists ready to be sent
}

// answer is a part of a list.
type answer struct {
	bucket  int
	flags   wire.ListFlags
	entries []wire.Listed
}

// answerTurn answers some of what peers asked and reports whether more is to do.
func (e *Engine) answerTurn() (more bool) {
	a := &e.answering
	if !e.running() {
		*a = answering{}
		return false
	}
	if a.digests && e.now-a.told >= scanPause {
		a.digests, a.told = false, e.now
		e.tellSums(wire.AttrDigests, &e.own.buckets)
	}
	for n := 0; len(a.ids) > 0 && n < answersATurn; n++ {
		if e.requests.served++; e.requests.served > servedMax {
			e.counters.n[requestsFlood] += uint64(len(a.ids))
			a.ids = nil // who wants them asks again
			break
		}
		id := a.ids[0]
		a.ids = a.ids[1:]
		e.answerAsk(id)
	}
	if a.listing && len(a.out) == 0 && e.now-a.scanned >= scanPause {
		a.scanned = e.now
		e.scanLists()
	}
	for n := 0; len(a.out) > 0 && n < walkedPackets; n++ {
		part := a.out[0]
		a.out = a.out[1:]
		e.bare(func(w *wire.TrailerWriter) { w.List(part.bucket, part.flags, part.entries) })
	}
	return len(a.ids) > 0 || len(a.out) > 0
}

const answersATurn = 128

// waiting tells that something is to be answered now or after a pause.
func (a *answering) waiting() bool {
	return a.digests || a.listing || len(a.ids) > 0 || len(a.out) > 0
}

// tellSums tells the sums of all buckets, as an attribute of that type.
func (e *Engine) tellSums(typ wire.AttrType, sums *[wire.Buckets]uint64) {
	each := max(1, (e.bareRoom()-wire.DigestsLen)/wire.SumLen)
	for first := 0; first < wire.Buckets; first += each {
		part := sums[first:min(first+each, wire.Buckets)]
		e.bare(func(w *wire.TrailerWriter) { w.Digests(typ, first, part) })
	}
}

// answerAsk tells a state, or that it is not known.
func (e *Engine) answerAsk(id pfstate.ID) {
	i := e.states.named(id)
	switch {
	case i == 0:
		e.queueDelete(gone{id: id, unknown: true})
		e.push = true
	case e.states.at(i).flags&pfstate.FlagNoSync == 0:
		e.updateRequested(i)
	}
}

// scanLists collects the lists that were asked for.
func (e *Engine) scanLists() {
	a := &e.answering
	lists := make(map[int][]wire.Listed)
	for b, wanted := range a.lists {
		if wanted {
			lists[b] = nil
		}
	}
	e.states.all(func(_ slot, r *record) {
		if r.word().ours() {
			if b := wire.Bucket(r.id()); a.lists[b] {
				lists[b] = append(lists[b], wire.Listed{ID: r.id(), Said: r.said})
			}
		}
	})
	each := max(1, (e.bareRoom()-wire.ListLen)/wire.ListedLen)
	for b, all := range lists {
		for n := 0; n == 0 || n < len(all); n += each {
			part := answer{bucket: b, entries: all[n:min(n+each, len(all))]}
			if n == 0 {
				part.flags |= wire.ListFirst
			}
			if n+each >= len(all) {
				part.flags |= wire.ListLast
			}
			a.out = append(a.out, part)
		}
	}
	a.listing = false
	clear(a.lists[:])
}
