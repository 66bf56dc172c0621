// Package linktest is a sync link in memory, for tests of what uses one: a Hub is
// the wire, its Ports behave as link.Link does. Packets can be lost, doubled,
// delayed and reordered, always the same ones for the same seed, and the wire can be cut.
//
// There are only channels and timers, so it works in a testing/synctest bubble.
package linktest

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// Conditions are those of the wire, for each packet and each receiver. Probabilities
// are from 0 to 1.
type Conditions struct {
	Loss      float64
	Duplicate float64
	Reorder   float64       // to take ReorderBy longer, and so be overtaken
	ReorderBy time.Duration // 0: 10 ms
	Delay     time.Duration
	Jitter    time.Duration // up to this is added to Delay; packets overtake each other
}

// Counters tell what became of the packets. All but Sent count each receiver for itself.
type Counters struct {
	Sent        uint64 // taken by Send
	Delivered   uint64
	Lost        uint64
	Duplicated  uint64
	Reordered   uint64
	Partitioned uint64 // lost because of Partition
	Down        uint64 // lost because the receiver's link was down
}

// Frame is a packet as a Tap sees it.
type Frame struct {
	Src, Dst netip.Addr
	Payload  []byte // of the sender: valid during the call
}

// Hub is a wire. Its methods may be called by any goroutine, also before Run.
type Hub struct {
	seed uint64
	wake chan struct{} // something is due earlier than before

	mu         sync.Mutex
	ports      []*Port
	conditions Conditions
	counters   Counters
	tap        func(Frame)
	flight     flight
	sequence   uint64
	start      func(*Port) // nil unless Run runs
}

// NewHub makes a perfect wire. Equal seeds lose the same packets under equal conditions.
func NewHub(seed uint64) *Hub {
	return &Hub{seed: seed, wake: make(chan struct{}, 1)}
}

// Port plugs a link with that address in. It is up, multicasts, and has an MTU of 1500.
func (h *Hub) Port(addr netip.Addr) *Port {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &Port{
		hub:      h,
		random:   rand.New(rand.NewPCG(h.seed, uint64(len(h.ports)))), // its own: senders that race draw the same
		received: make(chan *pfstate.Batch[link.Packet]),
		batches:  pfstate.NewBatches[link.Packet](8),
		statuses: make(chan link.Status, 1),
		arrived:  make(chan struct{}, 1),
	}
	h.ports = append(h.ports, p)
	p.publish(link.Status{
		Config: link.Config{Syncdev: "sis2"}, Up: true, Index: len(h.ports), MTU: 1500, Addr: addr,
	})
	if h.start != nil {
		h.start(p)
	}
	return p
}

// Run delivers packets until ctx ends, and returns when its goroutines have ended.
func (h *Hub) Run(ctx context.Context) {
	var pumps sync.WaitGroup
	h.mu.Lock()
	h.start = func(p *Port) { pumps.Go(func() { p.pump(ctx) }) }
	for _, p := range h.ports {
		h.start(p)
	}
	h.mu.Unlock()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if wait, some := h.deliverDue(time.Now()); some {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		case <-timer.C:
		}
	}
	h.mu.Lock()
	h.start = nil
	h.mu.Unlock()
	pumps.Wait()
}

// Set changes the conditions for packets sent from now on.
func (h *Hub) Set(c Conditions) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conditions = c
}

// Tap calls f with every packet that a port sends, lost or not, before it is delivered.
func (h *Hub) Tap(f func(Frame)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tap = f
}

// Partition cuts the wire between groups. Ports that are in none are a group of their
// own; Partition() heals the wire.
func (h *Hub) Partition(groups ...[]*Port) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		p.group = 0
	}
	for i, g := range groups {
		for _, p := range g {
			p.group = i + 1
		}
	}
}

// Counters are the counters since NewHub.
func (h *Hub) Counters() Counters {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counters
}

// carry sends one packet from p on its way to every port that it is for. h.mu is held.
func (h *Hub) carry(p *Port, dst netip.Addr, payload []byte) {
	h.counters.Sent++
	for _, to := range h.ports {
		if to == p || !dst.IsMulticast() && to.status.Addr != dst {
			continue
		}
		lost, doubled, late := p.draw(), p.draw(), p.draw() // always, so that one setting does not shift another's luck
		copies := 1
		switch {
		case to.group != p.group:
			h.counters.Partitioned++
			continue
		case lost < h.conditions.Loss:
			h.counters.Lost++
			continue
		case doubled < h.conditions.Duplicate:
			h.counters.Duplicated++
			copies = 2
		}
		for range copies {
			delay := h.conditions.Delay + time.Duration(p.draw()*float64(h.conditions.Jitter))
			if late < h.conditions.Reorder {
				h.counters.Reordered++
				delay += h.reorderBy()
				late = 1 // not the copy, too
			}
			h.post(to, delay, link.Packet{Src: p.status.Addr, Dst: dst, TTL: link.TTL, Payload: append([]byte(nil), payload...)})
		}
	}
}

func (h *Hub) reorderBy() time.Duration {
	if h.conditions.ReorderBy > 0 {
		return h.conditions.ReorderBy
	}
	return 10 * time.Millisecond
}

// post delivers packet after delay. h.mu is held.
func (h *Hub) post(to *Port, delay time.Duration, packet link.Packet) {
	if delay <= 0 {
		h.deliver(to, packet)
		return
	}
	h.sequence++
	heap.Push(&h.flight, flying{due: time.Now().Add(delay), sequence: h.sequence, to: to, packet: packet})
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// deliver puts packet into the queue of its port. h.mu is held.
func (h *Hub) deliver(to *Port, packet link.Packet) {
	if !to.status.Up {
		h.counters.Down++
		return
	}
	h.counters.Delivered++
	to.inbox = append(to.inbox, packet)
	select {
	case to.arrived <- struct{}{}:
	default:
	}
}

// deliverDue delivers what is due and tells how long the next packet has to wait.
func (h *Hub) deliverDue(now time.Time) (wait time.Duration, some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.flight) > 0 {
		if wait := h.flight[0].due.Sub(now); wait > 0 {
			return wait, true
		}
		f := heap.Pop(&h.flight).(flying)
		h.deliver(f.to, f.packet)
	}
	return 0, false
}

// flight is a heap of packets on their way, the next to arrive first.
type flight []flying

type flying struct {
	due      time.Time
	sequence uint64 // equal delays keep the order of sending
	to       *Port
	packet   link.Packet
}

func (f flight) Len() int      { return len(f) }
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(flying)) }
func (f flight) Less(i, j int) bool {
	if f[i].due.Equal(f[j].due) {
		return f[i].sequence < f[j].sequence
	}
	return f[i].due.Before(f[j].due)
}

func (f *flight) Pop() any {
	last := (*f)[len(*f)-1]
	(*f)[len(*f)-1] = flying{}
	*f = (*f)[:len(*f)-1]
	return last
}
