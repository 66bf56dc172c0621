package engine

import (
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
	chunks  []*chunk
	size    slot // slots that were ever used; slot 0 is none
	free    []slot
	byID    map[pfstate.ID]slot
	byFlow  map[flow]slot
	byStack map[flow]slot // the redirected ones, by what the stack sees
	extras  map[slot]extra
	more    map[slot]wire.FreeBSD // what FreeBSD alone says
	counts  map[slot]counts
	queues  [numQueues]list
	count   [3]int // by origin
}

func newStore() store {
	return store{
		chunks:  []*chunk{new(chunk)},
		size:    1,
		byID:    make(map[pfstate.ID]slot),
		byFlow:  make(map[flow]slot),
		byStack: make(map[flow]slot),
		extras:  make(map[slot]extra),
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
		id: s.ID, wire: packKey(&s.Wire), stack: packKey(&s.Stack), src: s.Src, dst: s.Dst,
		created: now - s.Creation, flags: s.Flags, proto: s.Proto, direction: s.Direction,
		timeout: s.Timeout, origin: from,
	}
	r.learn(s, now)
	st.byID[r.id] = i
	if f := r.flow(); st.byFlow[f] == 0 {
		st.byFlow[f] = i
	}
	if r.redirected() {
		st.byStack[r.stackFlow()] = i
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
	delete(st.byID, r.id)
	if f := r.flow(); st.byFlow[f] == i {
		delete(st.byFlow, f)
	}
	if f := r.stackFlow(); r.redirected() && st.byStack[f] == i {
		delete(st.byStack, f)
	}
	if r.extra {
		delete(st.extras, i)
	}
	delete(st.more, i)
	delete(st.counts, i)
	st.count[r.origin]--
	*r = record{}
	st.free = append(st.free, i)
}

// pair joins the two states that pf has of one connection. The table holds it by
// one of them: the one that translates, of two the one of direction in, else the older one, i.
func (st *store) pair(i, j slot) {
	older, younger := st.at(i), st.at(j)
	older.twin, younger.twin = j, i
	if !older.redirected() && younger.wire != younger.stack && (older.wire == older.stack || younger.redirected()) {
		older.shadow = true
		st.byFlow[younger.flow()] = j
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
		st.byFlow[other.flow()] = r.twin
		r.shadow = true
	}
	r.twin, other.twin = 0, 0
}

// rename gives the record in i another id and origin.
func (st *store) rename(i slot, id pfstate.ID, to origin) {
	r := st.at(i)
	delete(st.byID, r.id)
	r.id = id
	st.byID[id] = i
	st.count[r.origin]--
	st.count[to]++
	r.origin = to
}

// used reports whether slot i holds a record.
func (st *store) used(i slot) bool { return st.at(i).id.Creator != 0 }

// state writes the record in i out in full.
func (st *store) state(i slot, now time.Duration, s *pfstate.State) {
	r := st.at(i)
	*s = pfstate.Default()
	s.ID, s.Wire, s.Stack, s.Src, s.Dst = r.id, r.wire.unpack(), r.stack.unpack(), r.src, r.dst
	s.Creation, s.Expire = now-r.created, r.expire(now)
	s.Flags, s.Proto, s.Direction, s.Timeout = r.flags, r.proto, r.direction, r.timeout
	unseen(r.proto, &s.Src)
	unseen(r.proto, &s.Dst)
	if c, ok := st.counts[i]; ok {
		s.Packets, s.Bytes = c.packets, c.bytes
	}
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
