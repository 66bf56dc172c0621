package engine

import (
	"hash/maphash"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// index finds records by something that is in them: an open hash of slots, which needs
// no copy of the keys. Half full on average, it takes eight bytes a state. The hashes
// are keyed: peers and whoever sends packets choose what is hashed.
type index struct {
	table []slot // 0: free; its length is a power of 2
	used  int
}

const indexLeast = 1 << 10

// reserve makes room for one more; hash is that of a record.
func (x *index) reserve(hash func(slot) uint64) {
	if (x.used+1)*4 <= len(x.table)*3 {
		return
	}
	old := x.table
	x.table = make([]slot, max(indexLeast, 2*len(old)))
	for _, i := range old {
		if i != 0 {
			x.place(hash(i), i)
		}
	}
}

// place puts i, which is not there, where it belongs.
func (x *index) place(h uint64, i slot) {
	mask := uint64(len(x.table) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		if x.table[at] == 0 {
			x.table[at] = i
			return
		}
	}
}

// remove takes the entry at `at` out, and moves back those that it had pushed on.
func (x *index) remove(at uint64, hash func(slot) uint64) {
	mask := uint64(len(x.table) - 1)
	for next := (at + 1) & mask; x.table[next] != 0; next = (next + 1) & mask {
		if home := hash(x.table[next]) & mask; (next-home)&mask >= (next-at)&mask {
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

func (st *store) hashOfID(i slot) uint64 { return st.hashID(st.at(i).id) }

func (st *store) hashOfFlow(i slot) uint64 {
	f := st.flow(i)
	return st.hashFlow(&f)
}

// placeOfID is where the record with that id is in byID, or where it would be.
func (st *store) placeOfID(id pfstate.ID) uint64 {
	mask := uint64(len(st.byID.table) - 1)
	for at := st.hashID(id) & mask; ; at = (at + 1) & mask {
		if i := st.byID.table[at]; i == 0 || st.at(i).id == id {
			return at
		}
	}
}

// placeOfFlow is where the record with that flow is in byFlow, or where it would be.
func (st *store) placeOfFlow(f *flow) uint64 {
	mask := uint64(len(st.byFlow.table) - 1)
	for at := st.hashFlow(f) & mask; ; at = (at + 1) & mask {
		if i := st.byFlow.table[at]; i == 0 || st.isFlow(i, f) {
			return at
		}
	}
}

// named is the record with that id, 0 if there is none.
func (st *store) named(id pfstate.ID) slot { return st.byID.table[st.placeOfID(id)] }

// flowing is the record of that connection, 0 if there is none.
func (st *store) flowing(f *flow) slot { return st.byFlow.table[st.placeOfFlow(f)] }

// enterID makes i the record with its id.
func (st *store) enterID(i slot) {
	st.byID.reserve(st.hashOfID)
	at := st.placeOfID(st.at(i).id)
	if st.byID.table[at] == 0 {
		st.byID.used++
	}
	st.byID.table[at] = i
}

func (st *store) leaveID(i slot) {
	if at := st.placeOfID(st.at(i).id); st.byID.table[at] == i {
		st.byID.remove(at, st.hashOfID)
	}
}

// enterFlow makes i the record of its connection, if none is or replace is set.
func (st *store) enterFlow(i slot, replace bool) {
	st.byFlow.reserve(st.hashOfFlow)
	f := st.flow(i)
	switch at := st.placeOfFlow(&f); {
	case st.byFlow.table[at] == 0:
		st.byFlow.used++
		st.byFlow.table[at] = i
	case replace:
		st.byFlow.table[at] = i
	}
}

func (st *store) leaveFlow(i slot) {
	f := st.flow(i)
	if at := st.placeOfFlow(&f); st.byFlow.table[at] == i {
		st.byFlow.remove(at, st.hashOfFlow)
	}
}
