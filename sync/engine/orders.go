package engine

import (
	"encoding/binary"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	ordersEach   = 512     // in a batch: it takes the kernel a millisecond or two
	ordersPlaces = 1 << 16 // of connections, to tell which have orders waiting
)

// orders are those that the table has yet to take. They go to it some at a time, so that
// one for which somebody waits need not wait for all others.
type orders struct {
	stock  pfstate.Batches[pfstate.Write]
	urgent *pfstate.Batch[pfstate.Write]
	queue  []*pfstate.Batch[pfstate.Write] // the last one is being filled
	seq    uint32                          // of the last one
	n      int

	places []uint32 // by connection: the batch with its last order
}

func newOrders() orders {
	o := orders{stock: pfstate.NewBatches[pfstate.Write](writesBound / ordersEach), seq: 1, places: make([]uint32, ordersPlaces)}
	o.urgent = o.stock.Take()
	o.queue = append(o.queue, o.stock.Take())
	return o
}

// next is the batch to go, nil: none.
func (o *orders) next() *pfstate.Batch[pfstate.Write] {
	switch {
	case len(o.urgent.Items) > 0:
		return o.urgent
	case len(o.queue[0].Items) > 0:
		return o.queue[0]
	}
	return nil
}

// taken is called when the table has next's batch; it had n orders.
func (o *orders) taken(b *pfstate.Batch[pfstate.Write], n int) {
	o.n -= n
	if b == o.urgent {
		o.urgent = o.stock.Take()
		return
	}
	copy(o.queue, o.queue[1:])
	if o.queue = o.queue[:len(o.queue)-1]; len(o.queue) == 0 {
		o.queue = append(o.queue, o.stock.Take())
		o.seq++
	}
}

// add puts an order behind all others.
func (o *orders) add(w *pfstate.Write) {
	last := o.queue[len(o.queue)-1]
	if len(last.Items) >= ordersEach {
		last = o.stock.Take()
		o.queue = append(o.queue, last)
		o.seq++
	}
	last.Items = append(last.Items, *w)
	o.n++
	o.places[place(&w.State)] = o.seq
}

// addUrgent puts an order in front of all others, unless one about the same connection
// may be among them.
func (o *orders) addUrgent(w *pfstate.Write) {
	if first := o.seq - uint32(len(o.queue)) + 1; int32(o.places[place(&w.State)]-first) >= 0 {
		o.add(w)
		return
	}
	o.urgent.Items = append(o.urgent.Items, *w)
	o.n++
}

// place tells connections apart, more or less.
func place(s *pfstate.State) uint32 {
	orig, _ := s.Tuples()
	src, dst := orig.Src.As16(), orig.Dst.As16()
	h := binary.BigEndian.Uint32(src[12:])*0x9e3779b1 ^ binary.BigEndian.Uint32(dst[12:])*0x85ebca77 ^
		(uint32(orig.SrcPort)<<16|uint32(orig.DstPort))*0xc2b2ae3d
	return (h ^ h>>15) % ordersPlaces
}
