package linktest

import (
	"context"
	"math/rand/v2"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// batchSize is link's.
const batchSize = 32

// Port is one end of the wire, with the methods of link.Link. What has arrived
// waits for its reader in a queue without bound.
type Port struct {
	hub      *Hub
	received chan *pfstate.Batch[link.Packet]
	batches  pfstate.Batches[link.Packet]
	statuses chan link.Status
	arrived  chan struct{} // inbox has something

	// Guarded by hub.mu.
	random *rand.Rand
	status link.Status
	inbox  []link.Packet
	group  int
	fail   error
}

// Send is link.Link's: to all other ports, or to the one with the syncpeer's address.
func (p *Port) Send(payloads [][]byte) (sent int, err error) {
	for _, payload := range payloads {
		if err := p.send(payload); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

func (p *Port) send(payload []byte) error {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case p.fail != nil:
		return p.fail
	case !p.status.Up:
		return link.ErrDown
	}
	dst := p.status.Config.Peer()
	if link.HeaderLen(dst)+len(payload) > p.status.MTU {
		return link.ErrTooBig
	}
	if tap, src := h.tap, p.status.Addr; tap != nil {
		h.mu.Unlock() // it may ask the hub
		tap(Frame{Src: src, Dst: dst, Payload: payload})
		h.mu.Lock()
	}
	h.carry(p, dst, payload)
	return nil
}

// FailSend makes Send return err (link.ErrFull, say) until it is called with nil.
func (p *Port) FailSend(err error) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.fail = err
}

// Inject delivers a packet to this port alone, at once, whatever the conditions: a
// foreign one, with another TTL, without sense. The port takes a copy.
func (p *Port) Inject(packet link.Packet) {
	packet.Payload = append([]byte(nil), packet.Payload...)
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.hub.deliver(p, packet)
}

// Received is link.Link's.
func (p *Port) Received() <-chan *pfstate.Batch[link.Packet] { return p.received }

// Statuses is link.Link's. The first one waits there from the start.
func (p *Port) Statuses() <-chan link.Status { return p.statuses }

// Status is link.Link's.
func (p *Port) Status() link.Status {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	return p.status
}

// Configure is link.Link's. Any syncdev is there; without one the link is down.
func (p *Port) Configure(c link.Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	p.change(func(s *link.Status) {
		s.Config = c
		s.Up = c.Syncdev != "" && s.Reason == ""
	})
	return nil
}

// SetUp takes the link down, as if its cable were pulled, or up again.
func (p *Port) SetUp(up bool) {
	p.change(func(s *link.Status) {
		s.Reason = ""
		if !up {
			s.Reason = "no carrier"
		}
		s.Up = up && s.Config.Syncdev != ""
	})
}

// Replug publishes the status once more, for one who has just begun to read it.
func (p *Port) Replug() {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	select {
	case <-p.statuses:
	default:
	}
	p.statuses <- p.status
}

// SetMTU changes the MTU, in bytes.
func (p *Port) SetMTU(mtu int) { p.change(func(s *link.Status) { s.MTU = mtu }) }

// SetAddr changes the address.
func (p *Port) SetAddr(a netip.Addr) { p.change(func(s *link.Status) { s.Addr = a }) }

func (p *Port) change(f func(*link.Status)) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	s := p.status
	f(&s)
	p.publish(s)
}

// publish makes s the status. hub.mu is held.
func (p *Port) publish(s link.Status) {
	if s == p.status {
		return
	}
	p.status = s
	select {
	case <-p.statuses:
	default:
	}
	p.statuses <- s
}

func (p *Port) draw() float64 { return p.random.Float64() }

// pump moves packets from the inbox to the reader.
func (p *Port) pump(ctx context.Context) {
	for {
		batch := p.batches.Take()
		p.hub.mu.Lock()
		n := min(len(p.inbox), batchSize)
		batch.Items = append(batch.Items, p.inbox[:n]...)
		clear(p.inbox[:n])
		p.inbox = p.inbox[n:]
		p.hub.mu.Unlock()
		if n == 0 {
			batch.Free()
			select {
			case <-p.arrived:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case p.received <- batch:
		case <-ctx.Done():
			return
		}
	}
}
