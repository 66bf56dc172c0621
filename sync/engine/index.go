package engine

import (
	"hash/maphash"
	"math/bits"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// index finds records by something that is in them: an open hash of slots, which needs
// no copy of the keys. Between a half and four fifths full, it takes six bytes a state. The
// hashes are keyed: peers and whoever sends packets choose what is hashed.
//
// An entry is at its home or behind it, as near as there was room. Above the slot it has the
// lower bits of its home's number: they tell most others of the way apart without a look at
// their records, and how far an entry is from home, so that taking one out needs no hashes.
type index struct {
	table []uint32 // 0: free
	homes uint64   // as many; behind the last is room for those that found theirs taken
	reach uint64   // how far from home an entry may be
	used  int
	shift uint8 // bits of an entry that are the slot
}

const (
	indexLeast = 1 << 10
	indexReach = 1 << 10
)

func newIndex() index {
	var x index
	x.make(indexLeast, 0)
	return x
}

// make begins an empty index with that many homes, for slots up to last at least.
func (x *index) make(homes uint64, last slot) {
	*x = index{homes: homes, shift: uint8(bits.Len64(max(uint64(last), 2*homes)))}
	x.reach = min(indexReach, uint64(1)<<(32-x.shift))
	x.table = make([]uint32, homes+x.reach)
}

func (x *index) home(h uint64) (at uint64) {
	at, _ = bits.Mul64(h, x.homes)
	return at
}

// hint is what an entry has above its slot, in its place.
func (x *index) hint(home uint64) uint32 { return uint32(home) << x.shift }

// slotOf is the slot of an entry that has that hint above it, 0: it has another.
func (x *index) slotOf(entry, hint uint32) slot {
	if s := entry ^ hint; s>>x.shift == 0 {
		return slot(s)
	}
	return 0
}

func (x *index) slot(entry uint32) slot { return slot(entry & (1<<x.shift - 1)) }

func (x *index) full() bool { return uint64(x.used+1)*5 > x.homes*4 }

// place puts i, which is not there, where it belongs; false: the index must grow.
func (x *index) place(h uint64, i slot) bool {
	if x.full() || i>>x.shift != 0 {
		return false
	}
	home := x.home(h)
	for at := home; at-home < x.reach; at++ {
		if x.table[at] == 0 {
			x.table[at] = x.hint(home) | uint32(i)
			x.used++
			return true
		}
	}
	return false
}

// enter is place, for which the index grows; hash is that of a record.
func (x *index) enter(h uint64, i slot, hash func(slot) uint64) {
	for !x.place(h, i) {
		x.grow(i, hash)
	}
}

// grow makes an index half as large again, or for larger slots, of the same entries. It
// reads the records in their order: they are far more than a cache holds.
func (x *index) grow(last slot, hash func(slot) uint64) {
	held := make([]uint64, 1<<(x.shift-6)) // a bit for each slot
	for _, e := range x.table {
		if i := x.slot(e); i != 0 {
			held[i/64] |= 1 << (i % 64)
		}
	}
	homes := x.homes
	if x.full() || last>>x.shift == 0 {
		homes += homes / 2
	}
	for ; !x.fill(homes, last, held, hash); homes += homes / 2 {
	}
}

// fill begins the index anew with the slots held; false: it must be larger.
func (x *index) fill(homes uint64, last slot, held []uint64, hash func(slot) uint64) bool {
	x.make(homes, max(last, x.slot(^uint32(0))))
	for n, word := range held {
		for ; word != 0; word &= word - 1 {
			if i := slot(n*64 + bits.TrailingZeros64(word)); !x.place(hash(i), i) {
				return false
			}
		}
	}
	return true
}

// remove takes the entry at `at` out, and moves back those that it had pushed on.
func (x *index) remove(at uint64) {
	mask := uint64(1)<<(32-x.shift) - 1
	for next := at + 1; next < uint64(len(x.table)) && x.table[next] != 0; next++ {
		if far := (next - uint64(x.table[next]>>x.shift)) & mask; far >= next-at {
			x.table[at] = x.table[next]
			at = next
		}
	}
	x.table[at] = 0
	x.used--
}

// byID and byFlow are the store's two indices.

func (st *store) hashID(id pfstate.ID) uint64 { return maphash.Comparable(st.seed, id) }
func (st *store) hashFlow(f *flow) uint64     { return maphash.Comparable(st.seed, *f) }

func (st *store) hashOfID(i slot) uint64 { return st.hashID(st.at(i).id()) }

func (st *store) hashOfFlow(i slot) uint64 {
	f := st.flow(i)
	return st.hashFlow(&f)
}

// placeOfID is where the record with that id, whose hash is h, is in byID; slot 0: nowhere.
func (st *store) placeOfID(id pfstate.ID, h uint64) (uint64, slot) {
	x := &st.byID
	at := x.home(h)
	for hint := x.hint(at); at < uint64(len(x.table)) && x.table[at] != 0; at++ {
		if i := x.slotOf(x.table[at], hint); i != 0 && st.at(i).id() == id {
			return at, i
		}
	}
	return 0, 0
}

// placeOfFlow is where the record with that flow is in byFlow; slot 0: nowhere.
func (st *store) placeOfFlow(f *flow, h uint64) (uint64, slot) {
	x := &st.byFlow
	at := x.home(h)
	for hint := x.hint(at); at < uint64(len(x.table)) && x.table[at] != 0; at++ {
		if i := x.slotOf(x.table[at], hint); i != 0 && st.isFlow(i, f) {
			return at, i
		}
	}
	return 0, 0
}

// named is the record with that id, 0: none.
func (st *store) named(id pfstate.ID) slot {
	_, i := st.placeOfID(id, st.hashID(id))
	return i
}

// flowing is the record of the connection with that flow, 0: none.
func (st *store) flowing(f *flow) slot {
	_, i := st.placeOfFlow(f, st.hashFlow(f))
	return i
}

// enterID makes i the record with its id.
func (st *store) enterID(i slot) {
	id := st.at(i).id()
	h := st.hashID(id)
	if at, old := st.placeOfID(id, h); old != 0 {
		st.byID.remove(at)
	}
	st.byID.enter(h, i, st.hashOfID)
}

func (st *store) leaveID(i slot) {
	id := st.at(i).id()
	if at, is := st.placeOfID(id, st.hashID(id)); is == i {
		st.byID.remove(at)
	}
}

// enterFlow makes i the record of its connection, if none is or replace is set.
func (st *store) enterFlow(i slot, replace bool) {
	f := st.flow(i)
	h := st.hashFlow(&f)
	if at, old := st.placeOfFlow(&f, h); old != 0 {
		if !replace {
			return
		}
		st.byFlow.remove(at)
	}
	st.byFlow.enter(h, i, st.hashOfFlow)
}

func (st *store) leaveFlow(i slot) {
	f := st.flow(i)
	if at, is := st.placeOfFlow(&f, st.hashFlow(&f)); is == i {
		st.byFlow.remove(at)
	}
}
