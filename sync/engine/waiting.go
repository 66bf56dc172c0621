package engine

// queue is the states that wait to be told, in order. One that leaves before its turn
// leaves its place behind, which is skipped. An empty queue that was long gives its
// memory back.
type queue struct {
	ring       []slot // by place; its length is a power of 2
	head, tail uint32 // places in use: from head to tail-1, counted on for ever
	len        int    // states that wait
}

const (
	queueLeast = 1 << 6
	queueKept  = 1 << 12 // places that an empty queue keeps
)

func (q *queue) at(place uint32) *slot { return &q.ring[place&uint32(len(q.ring)-1)] }

// waits tells that the state in i waits in that place of queue k.
func (st *store) waits(i slot, k queueKind, place uint32) bool {
	r := st.at(i)
	return r.queue() == k && r.place == uint16(place)
}

// first is the state whose turn it is in queue k, 0: nobody waits.
func (st *store) first(k queueKind) slot {
	q := &st.queues[k]
	if q.len == 0 {
		q.head = q.tail
		if len(q.ring) > queueKept {
			q.ring = nil
		}
		return 0
	}
	for ; ; q.head++ {
		if i := *q.at(q.head); st.waits(i, k, q.head) {
			return i
		}
	}
}

// enqueue moves the record in i to the end of queue k.
func (st *store) enqueue(i slot, k queueKind) {
	st.unlink(i)
	st.makeRoom(k)
	q := &st.queues[k]
	q.tail++
	st.wait(i, k, q.tail-1)
}

// enqueueFirst moves the record in i to the front of queueIns.
func (st *store) enqueueFirst(i slot) {
	st.unlink(i)
	st.makeRoom(queueIns)
	q := &st.queues[queueIns]
	q.head--
	st.wait(i, queueIns, q.head)
}

// wait gives the state in i that place.
func (st *store) wait(i slot, k queueKind, place uint32) {
	q, r := &st.queues[k], st.at(i)
	*q.at(place) = i
	q.len++
	r.setQueue(k)
	r.place, r.updates = uint16(place), 0
}

// makeRoom sees to it that queue k has a free place: those left behind are given up, or,
// where they are few, it grows.
func (st *store) makeRoom(k queueKind) {
	q := &st.queues[k]
	if int(q.tail-q.head) < len(q.ring) {
		return
	}
	old, end := *q, q.tail
	if 2*q.len >= len(q.ring) {
		q.ring = make([]slot, max(queueLeast, 2*len(q.ring)))
	}
	q.tail = q.head
	for place := old.head; place != end; place++ {
		if i := *old.at(place); st.waits(i, k, place) {
			*q.at(q.tail) = i
			st.at(i).place = uint16(q.tail)
			q.tail++
		}
	}
}

// unlink takes the record in i out of its queue, if it is in one.
func (st *store) unlink(i slot) {
	if r := st.at(i); r.queue() != queueNone {
		st.queues[r.queue()].len--
		r.setQueue(queueNone)
	}
}
