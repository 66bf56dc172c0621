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

// list is a queue of records, linked through them.
type list struct {
	head, tail slot
	len        int
}

// chunk is how the store grows: records never move, and growing copies none.
type chunk [1 << chunkBits]record

const chunkBits = 10

// store holds the records and finds them by id and by flow.
type store struct {
	chunks []*chunk
	size   slot // slots that were ever used; slot 0 is none
	free   []slot
	seed   maphash.Seed
	byID   index
	byFlow index
	wides  []wide
	deep   map[slot]ends
	extras map[slot]extra
	rares  map[slot]pfstate.Rare
	queues [numQueues]list
	count  [3]int // by origin

	byStack map[flow]slot         // the few redirected ones, by what the stack sees
	more    map[slot]wire.FreeBSD // what FreeBSD alone says
	counts  map[slot]counts

	freeWides []uint32
}

func newStore() store {
	return store{
		chunks:  []*chunk{new(chunk)},
		size:    1,
		seed:    maphash.MakeSeed(),
		byID:    index{table: make([]slot, indexLeast)},
		byFlow:  index{table: make([]slot, indexLeast)},
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
	if n := len(st.free); n > 0 {
		i, st.free = st.free[n-1], st.free[:n-1]
	} else {
		i = st.size
		st.size++
		if int(i>>chunkBits) == len(st.chunks) {
			st.chunks = append(st.chunks, new(chunk))
		}
	}
	r := st.at(i)
	*r = record{
		id: s.ID, created: bornAt(now - s.Creation), flags: s.Flags, proto: s.Proto, direction: s.Direction,
		timeout: s.Timeout, origin: from,
	}
	r.learn(s, now)
	st.tell(i, &s.Linux)
	st.setKeys(i, s)
	st.setEnds(i, &s.Src, &s.Dst)
	st.enterID(i)
	st.enterFlow(i, false)
	if st.redirected(i) {
		st.byStack[st.stackFlow(i)] = i
	}
	if x, more := extraOf(s); more {
		st.extras[i], r.extra = x, true
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
	if r.deep {
		delete(st.deep, i)
	}
	if r.extra {
		delete(st.extras, i)
	}
	delete(st.more, i)
	delete(st.counts, i)
	if r.has&pfstate.HasRare != 0 {
		delete(st.rares, i)
	}
	st.count[r.origin]--
	*r = record{}
	st.free = append(st.free, i)
}

// pair joins the two states that pf has of one connection. The table holds it by
// one of them: the one that translates, of two the one of direction in, else the older one, i.
func (st *store) pair(i, j slot) {
	older, younger := st.at(i), st.at(j)
	older.twin, younger.twin = j, i
	if !st.redirected(i) && st.translated(j) && (!st.translated(i) || st.redirected(j)) {
		older.shadow = true
		st.enterFlow(j, true)
	} else {
		younger.shadow = true
	}
}

// untwin parts i from its twin, which has the connection alone from now on.
func (st *store) untwin(i slot) {
	r := st.at(i)
	if r.twin == 0 {
		return
	}
	other := st.at(r.twin)
	if other.shadow {
		other.shadow, other.ref, other.generation = false, r.ref, r.generation
		st.enterFlow(r.twin, true)
		r.shadow = true
	}
	r.twin, other.twin = 0, 0
}

// rename gives the record in i another id and origin.
func (st *store) rename(i slot, id pfstate.ID, to origin) {
	r := st.at(i)
	st.leaveID(i)
	r.id = id
	st.enterID(i)
	st.count[r.origin]--
	st.count[to]++
	r.origin = to
}

// len is how many records there are.
func (st *store) len() int { return int(st.size) - 1 - len(st.free) }

// used reports whether slot i holds a record.
func (st *store) used(i slot) bool { return st.at(i).id.Creator != 0 }

// state writes the record in i out in full, as pf's form tells it.
func (st *store) state(i slot, now time.Duration, s *pfstate.State) {
	st.bare(i, now, s)
	st.honest(i, s)
}

// bare writes the record in i out without what honest adds.
func (st *store) bare(i slot, now time.Duration, s *pfstate.State) {
	r := st.at(i)
	*s = pfstate.Default()
	s.ID = r.id
	st.unpack(i, s)
	st.ends(i, &s.Src, &s.Dst)
	s.Creation, s.Expire = r.created.age(now), r.expire(now)
	s.Flags, s.Proto, s.Direction, s.Timeout = r.flags, r.proto, r.direction, r.timeout
	st.linux(i, &s.Linux)
	if r.extra {
		x := st.extras[i]
		s.Route, s.RTable, s.Rule, s.Anchor, s.NATRule, s.IfName = x.route, x.rtable, x.rule, x.anchor, x.nat, x.ifName
		s.MaxMSS, s.Log, s.SyncFlags, s.MinTTL, s.SetTOS, s.SetPrio = x.maxMSS, x.log, x.syncFlags, x.minTTL, x.setTOS, x.setPrio
	}
}

// enqueue moves the record in i to the end of queue q.
func (st *store) enqueue(i slot, q queueKind) {
	st.unlink(i)
	l, r := &st.queues[q], st.at(i)
	r.queue, r.prev, r.updates = q, l.tail, 0
	if l.tail != 0 {
		st.at(l.tail).next = i
	} else {
		l.head = i
	}
	l.tail = i
	l.len++
}

// enqueueFirst moves the record in i to the front of queueIns.
func (st *store) enqueueFirst(i slot) {
	st.unlink(i)
	l, r := &st.queues[queueIns], st.at(i)
	r.queue, r.next, r.updates = queueIns, l.head, 0
	if l.head != 0 {
		st.at(l.head).prev = i
	} else {
		l.tail = i
	}
	l.head = i
	l.len++
}

// unlink takes the record in i out of its queue, if it is in one.
func (st *store) unlink(i slot) {
	r := st.at(i)
	if r.queue == queueNone {
		return
	}
	l := &st.queues[r.queue]
	if r.prev != 0 {
		st.at(r.prev).next = r.next
	} else {
		l.head = r.next
	}
	if r.next != 0 {
		st.at(r.next).prev = r.prev
	} else {
		l.tail = r.prev
	}
	l.len--
	r.queue, r.prev, r.next = queueNone, 0, 0
}
