package engine

import (
	"hash/maphash"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// queueKind is a state's place: in one queue at most, as in pf.
type queueKind uint8

// The queues, in the order in which their sections are sent (OpenBSD if_pfsync.c):
// an old state with the same addresses is removed before its successor is inserted.
// Deletes wait as bare ids: their records are gone.
const (
	queueNone queueKind = iota
	queueAck
	queueUpdC
	queueIns
	queueUpd
	numQueues
)

// chunk is how the store grows: records never move, and growing copies none.
type chunk [1 << chunkBits]record

// store holds the records and finds them by id and by flow.
type store struct {
	chunks []*chunk
	size   slot // slots that were ever used; slot 0 is none
	free   slot // the first of those that are free, which is linked to the next by its ref
	frees  int
	seed   maphash.Seed
	byID   index
	byFlow index
	queues [numQueues]queue
	count  [3]int // by origin

	// Beside the records.
	pairsIPv4 slab[pairIPv4]
	onesIPv6  slab[oneIPv6]
	pairsAny  slab[pairAny]
	twins     column[slot] // pf's other state of the same connection
	marks     column[uint32]
	counts    column[counts]
	deep      map[slot]ends
	extras    map[slot]extra
	rares     map[slot]pfstate.Rare
	byStack   map[flow]slot         // the few redirected ones, by what the stack sees
	more      map[slot]wire.FreeBSD // what FreeBSD alone says
}

func newStore() store {
	return store{
		chunks:  []*chunk{new(chunk)},
		size:    1,
		seed:    maphash.MakeSeed(),
		byID:    newIndex(),
		byFlow:  newIndex(),
		byStack: make(map[flow]slot),
		deep:    make(map[slot]ends),
		extras:  make(map[slot]extra),
		rares:   make(map[slot]pfstate.Rare),
	}
}

// at returns the record in i, which stays where it is.
func (st *store) at(i slot) *record { return &st.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

// all calls visit with every record there is.
func (st *store) all(visit func(slot, *record)) {
	for i := slot(1); i < st.size; i++ {
		if st.used(i) {
			visit(i, st.at(i))
		}
	}
}

// add makes a record of s, which has no record yet, and returns its slot.
func (st *store) add(s *pfstate.State, from origin, now time.Duration) slot {
	var i slot
	if i = st.free; i != 0 {
		st.free = slot(st.at(i).ref)
		st.frees--
	} else {
		i = st.size
		st.size++
		if int(i>>chunkBits) == len(st.chunks) {
			st.chunks = append(st.chunks, new(chunk))
		}
	}
	r := st.at(i)
	*r = record{created: bornAt(now - s.Creation), flags: s.Flags, proto: s.Proto, timeout: s.Timeout}
	r.setID(s.ID)
	r.setOrigin(from)
	r.traits.number(directionAt, 3, uint8(s.Direction))
	r.learn(s.Expire, now)
	st.tell(i, &s.Linux)
	st.setKeys(i, s)
	st.setEnds(i, &s.Src, &s.Dst)
	st.enterID(i)
	st.enterFlow(i, false)
	if st.redirected(i) {
		st.byStack[st.stackFlow(i)] = i
	}
	if x, more := extraOf(s); more {
		st.extras[i] = x
		r.set(extended)
	}
	st.count[from]++
	if from != imported { // pf takes none over either
		st.account(i, s)
	}
	return i
}

// remove forgets the record in i.
func (st *store) remove(i slot) {
	r := st.at(i)
	st.unlink(i)
	st.untwin(i)
	st.leaveID(i)
	st.leaveFlow(i)
	if st.redirected(i) {
		st.leaveStack(i)
	}
	st.dropKeys(i)
	if r.is(deep) {
		delete(st.deep, i)
	}
	if r.is(extended) {
		delete(st.extras, i)
	}
	delete(st.more, i)
	st.counts.set(i, counts{})
	st.marks.set(i, 0)
	if r.has&pfstate.HasRare != 0 {
		delete(st.rares, i)
	}
	st.count[r.origin()]--
	*r = record{ref: uint32(st.free)}
	st.free = i
	st.frees++
}

// pair joins the two states that pf has of one connection. The table holds it by
// one of them: the one that translates, of two the one of direction in, else the older one, i.
func (st *store) pair(i, j slot) {
	st.twins.set(i, j)
	st.twins.set(j, i)
	if !st.redirected(i) && st.translated(j) && (!st.translated(i) || st.redirected(j)) {
		st.at(i).set(shadow)
		st.enterFlow(j, true)
	} else {
		st.at(j).set(shadow)
	}
}

// twin is pf's other state of the connection, 0: there is none.
func (st *store) twin(i slot) slot { return st.twins.at(i) }

// untwin parts i from its twin, which has the connection alone from now on.
func (st *store) untwin(i slot) {
	twin := st.twin(i)
	if twin == 0 {
		return
	}
	r, other := st.at(i), st.at(twin)
	if other.is(shadow) {
		other.clear(shadow)
		other.ref, other.generation = r.ref, r.generation
		st.enterFlow(twin, true)
		r.set(shadow)
	}
	st.twins.set(i, 0)
	st.twins.set(twin, 0)
}

// rename gives the record in i another id and origin.
func (st *store) rename(i slot, id pfstate.ID, to origin) {
	r := st.at(i)
	st.leaveID(i)
	r.setID(id)
	st.enterID(i)
	st.count[r.origin()]--
	st.count[to]++
	r.setOrigin(to)
}

// len is how many records there are.
func (st *store) len() int { return int(st.size) - 1 - st.frees }

// used reports whether slot i holds a record.
func (st *store) used(i slot) bool { return st.at(i).creator != 0 }

// state writes the record in i out in full, as pf's form tells it.
func (st *store) state(i slot, now time.Duration, s *pfstate.State) {
	st.bare(i, now, s)
	st.honest(i, s)
}

// bare writes the record in i out without what honest adds.
func (st *store) bare(i slot, now time.Duration, s *pfstate.State) {
	r := st.at(i)
	*s = pfstate.Default()
	s.ID = r.id()
	st.unpack(i, s)
	st.ends(i, &s.Src, &s.Dst)
	s.Creation, s.Expire = r.created.age(now), r.expire(now)
	s.Flags, s.Proto, s.Direction, s.Timeout = r.flags, r.proto, r.direction(), r.timeout
	st.linux(i, &s.Linux)
	if r.is(extended) {
		x := st.extras[i]
		s.Route, s.RTable, s.Rule, s.Anchor, s.NATRule, s.IfName = x.route, x.rtable, x.rule, x.anchor, x.nat, x.ifName
		s.MaxMSS, s.Log, s.SyncFlags, s.MinTTL, s.SetTOS, s.SetPrio = x.maxMSS, x.log, x.syncFlags, x.minTTL, x.setTOS, x.setPrio
	}
}
