package engine

import (
	"strconv"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/hold"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Holder keeps first packets of connections back: sync/hold. Release and Arm do not
// block.
type Holder interface {
	Packets() <-chan *pfstate.Batch[hold.Packet]
	Release(ids []uint32)
	Arm(on bool)
}

// Queued makes a Created of the connection that the kernel gave with a held packet, and
// tells whether it is in the table already, so that its event comes by itself.
type Queued func(ct []byte, c *pfstate.Change) (confirmed, ok bool)

const (
	deferDelay    = 20 * time.Millisecond // of pf
	deferredMax   = 1024                  // states of which an acknowledgement is awaited, most without a packet
	heldMost      = hold.Limit - 16       // the kernel's limit counts those on their way to us too
	heldEach      = 4                     // packets of one connection
	unansweredMax = hold.Limit            // in a row, after which nothing is held until somebody answers again
	confirmWithin = time.Second           // of the release of its first packet, a state has made its entry
)

// deferral is a state that waits for a peer's word, or its first packet, or both: the
// event and the packet come by different ways, in either order.
type deferral struct {
	flow       flow       // as its packets leave
	id         pfstate.ID // zero: nothing is known of the state yet
	due        time.Duration
	since      time.Duration // when the first packet came
	packets    [heldEach]uint32
	n          uint8
	acked      bool
	preparing  bool // the table was told to expect the answer elsewhere
	early      bool // its entry is not confirmed yet
	prev, next uint16
}

// deferring is what is kept for defer. It allocates nothing once it has been in use.
type deferring struct {
	holder Holder
	armed  bool
	list   []deferral // 0 is none; linked in the order of their due times
	free   []uint16
	byFlow map[flow]uint16
	byID   map[pfstate.ID]uint16
	head   uint16
	tail   uint16
	timer  *time.Timer
	timed  bool
	held   int          // packets
	let    []uint32     // packets to let go at the end of this turn
	behind []pfstate.ID // states whose entries are there, and can be prepared, once these packets are gone
	silent int          // states in a row that nobody acknowledged
	hist   Histogram
	reused bool // an id that ended a moment ago is in use again: its end is to be told first
	made   pfstate.Change
	unsure []unsure // states made out of packets whose entries have not shown up
}

type unsure struct {
	id pfstate.ID
	at time.Duration
}

// Histogram counts hold times: Counts[i] those up to HoldBounds[i], the last one all longer ones.
type Histogram struct {
	Counts [len(HoldBounds) + 1]uint64
	Sum    time.Duration
}

// HoldBounds are the upper bounds of a Histogram.
var HoldBounds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// HoldCounter begins the names of the counters that a Histogram is shown as, behind it a bound in
// microseconds, "more" or "sum": the counts are of the packets above the bound before.
const HoldCounter = "deferhold."

func (h *Histogram) counters() (all []pfstate.Counter) {
	for i, b := range HoldBounds {
		all = append(all, pfstate.Counter{
			Name: HoldCounter + strconv.FormatInt(b.Microseconds(), 10), Help: "first packets held for at most " + b.String(), Value: h.Counts[i],
		})
	}
	return append(all,
		pfstate.Counter{Name: HoldCounter + "more", Help: "first packets held longer", Value: h.Counts[len(HoldBounds)]},
		pfstate.Counter{Name: HoldCounter + "sum", Help: "microseconds that first packets were held in all", Value: uint64(h.Sum.Microseconds())})
}

func (h *Histogram) add(d time.Duration) {
	i := 0
	for i < len(HoldBounds) && d > HoldBounds[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += d
}

func newDeferring(h Holder) deferring {
	d := deferring{
		holder: h, list: make([]deferral, deferredMax+1), byFlow: make(map[flow]uint16, deferredMax),
		byID: make(map[pfstate.ID]uint16, deferredMax), let: make([]uint32, 0, hold.Limit),
	}
	for i := deferredMax; i > 0; i-- {
		d.free = append(d.free, uint16(i))
	}
	return d
}

// heldPackets is where first packets come from; nil: none do.
func (e *Engine) heldPackets() <-chan *pfstate.Batch[hold.Packet] {
	if e.deferring.holder == nil {
		return nil
	}
	return e.deferring.holder.Packets()
}

// armDefer has packets held only while somebody can acknowledge their states.
func (e *Engine) armDefer() {
	d := &e.deferring
	want := d.holder != nil && e.settings.Defer && e.running() && !e.settings.Listen && e.answerers()
	if want == d.armed {
		return
	}
	d.armed, d.silent = want, 0
	d.holder.Arm(want)
	if !want {
		e.undeferAll()
	}
}

// answerers tells that a peer is alive that hears us, as far as can be known.
func (e *Engine) answerers() (yes bool) {
	e.peers.each(func(p *peer) {
		yes = yes || !p.dead && !p.quiet && p.versioned == "" && (!p.linux || p.provedUs && !p.deaf)
	})
	return yes
}

// await notes that the state in i, just made, is to be acknowledged, if its first packet
// may be held.
func (e *Engine) await(i slot) {
	d, r := &e.deferring, e.states.at(i)
	if !d.armed || r.queue() != queueIns || !holdable(r.proto) {
		return
	}
	f := e.leaving(i)
	n := d.byFlow[f]
	switch {
	case n == 0:
		if n = e.newDeferral(f); n == 0 {
			return
		}
	case !d.list[n].id.IsZero():
		if e.states.named(d.list[n].id) != 0 && d.list[n].id != r.id() {
			return // two states leave alike: the second is held as long as the first
		}
		delete(d.byID, d.list[n].id) // of a predecessor
		d.list[n].acked, d.list[n].preparing = false, false
	}
	d.list[n].id = r.id()
	d.byID[r.id()] = n
	r.set(askAck)
	e.states.enqueueFirst(i)
	e.prepare(n)
}

// holdable are the protocols whose packets the holder can tell apart.
func holdable(proto uint8) bool {
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoICMP, pfstate.ProtoICMPv6, pfstate.ProtoSCTP, protoUDPLite:
		return true
	}
	return false
}

const protoUDPLite = 136

// leaving is the flow of the state in i as its packets leave the firewall, translated.
func (e *Engine) leaving(i slot) flow {
	s := &e.out.state
	e.states.state(i, e.now, s)
	return leavingOf(s)
}

func leavingOf(s *pfstate.State) (f flow) {
	key, first := &s.Stack, 0
	if s.Direction == pfstate.Out {
		key, first = &s.Wire, 1
	}
	f.srcPort, f.dstPort, f.proto = key.Port[first], key.Port[1-first], s.Proto
	f.family = flatten(&f.src, key.Addr[first])
	f.family = max(f.family, flatten(&f.dst, key.Addr[1-first]))
	return f
}

// newDeferral begins to wait for f; 0: there is no room.
func (e *Engine) newDeferral(f flow) uint16 {
	d := &e.deferring
	last := len(d.free) - 1
	if last < 0 {
		return 0
	}
	n := d.free[last]
	d.free = d.free[:last]
	d.list[n] = deferral{flow: f, due: e.now + e.settings.deferDelay(), prev: d.tail}
	if d.tail != 0 {
		d.list[d.tail].next = n
	} else {
		d.head = n
	}
	d.tail = n
	d.byFlow[f] = n
	e.timeDeferrals()
	return n
}

func (s *Settings) deferDelay() time.Duration {
	if s.DeferDelay > 0 {
		return s.DeferDelay
	}
	return deferDelay
}

// timeDeferrals sets the timer to the first that is due. It may be early: it is looked again then.
func (e *Engine) timeDeferrals() {
	if d := &e.deferring; !d.timed && d.head != 0 {
		d.timed = true
		d.timer.Reset(d.list[d.head].due - e.now)
	}
}

// undefer forgets the nth deferral; its packets go on at the end of this turn.
func (e *Engine) undefer(n uint16, why counter) {
	d := &e.deferring
	x := &d.list[n]
	if x.n > 0 {
		d.let = append(d.let, x.packets[:x.n]...)
		d.held -= int(x.n)
		e.counters.n[why] += uint64(x.n)
		d.hist.add(e.now - x.since)
	}
	if x.early && !x.id.IsZero() {
		if x.flow.proto == pfstate.ProtoTCP {
			d.behind = append(d.behind, x.id)
		}
		if len(d.unsure) < deferredMax {
			d.unsure = append(d.unsure, unsure{x.id, e.now})
		}
	}
	if x.prev != 0 {
		d.list[x.prev].next = x.next
	} else {
		d.head = x.next
	}
	if x.next != 0 {
		d.list[x.next].prev = x.prev
	} else {
		d.tail = x.prev
	}
	delete(d.byFlow, x.flow)
	if !x.id.IsZero() {
		delete(d.byID, x.id)
	}
	*x = deferral{}
	d.free = append(d.free, n)
}

func (e *Engine) undeferAll() {
	for e.deferring.head != 0 {
		e.undefer(e.deferring.head, deferPassed)
	}
}

// letGo ends a turn for the packets that have waited long enough.
func (e *Engine) letGo() {
	d := &e.deferring
	if len(d.let) > 0 {
		d.holder.Release(d.let)
		d.let = d.let[:0]
	}
	for _, id := range d.behind {
		if i := e.states.named(id); i != 0 && e.states.at(i).is(early) {
			e.expectElsewhere(i)
		}
	}
	d.behind = d.behind[:0]
}

// deferralsDue lets go what nobody has acknowledged in time.
func (e *Engine) deferralsDue() {
	d := &e.deferring
	d.timed = false
	for d.head != 0 && d.list[d.head].due <= e.now {
		if x := &d.list[d.head]; !x.acked && !x.id.IsZero() {
			if d.silent++; d.silent == unansweredMax {
				e.log.Warn("no peer acknowledges states, first packets are not held until one does", "states", d.silent)
			}
		}
		e.undefer(d.head, deferTimedOut)
	}
	e.timeDeferrals()
}

// holdPacket takes a first packet that the kernel holds.
func (e *Engine) holdPacket(p *hold.Packet) {
	d := &e.deferring
	if p.Proto == 0 {
		d.let = append(d.let, p.ID) // the holder counts them
		return
	}
	if !d.armed {
		e.passPacket(p)
		return
	}
	f := flow{srcPort: p.Tuple.SrcPort, dstPort: p.Tuple.DstPort, proto: p.Proto}
	if f.family = 6; p.Tuple.Src.Is4() {
		f.family = 4
		a, b := p.Tuple.Src.As4(), p.Tuple.Dst.As4()
		copy(f.src[:], a[:])
		copy(f.dst[:], b[:])
	} else {
		f.src, f.dst = p.Tuple.Src.As16(), p.Tuple.Dst.As16()
	}
	early := len(p.CT) > 0 && e.learn(p.CT, f)
	n := d.byFlow[f]
	if i := e.states.flowing(&f); n == 0 && (i == 0 || e.states.at(i).closed()) {
		n = e.newDeferral(f) // its creation is yet to be heard of
	}
	if n == 0 || d.silent >= unansweredMax {
		e.passPacket(p)
		return
	}
	x := &d.list[n]
	if x.n == heldEach || x.acked && x.id.IsZero() {
		e.passPacket(p)
		return
	}
	if d.held >= heldMost {
		e.makeRoom(n)
	}
	if x.n == 0 {
		x.since = e.now
	}
	x.packets[x.n] = p.ID
	x.n++
	x.early = x.early || early
	d.held++
	e.counters.add(deferredPackets)
	if x.acked && !x.preparing {
		e.undefer(n, deferAcked)
		return
	}
	e.prepare(n)
}

func (e *Engine) passPacket(p *hold.Packet) {
	e.deferring.let = append(e.deferring.let, p.ID)
	e.counters.add(deferPassed)
}

// makeRoom lets the oldest packet go, as pf does, but none of the nth deferral's.
func (e *Engine) makeRoom(but uint16) {
	d := &e.deferring
	for n := d.head; n != 0; n = d.list[n].next {
		if n != but && d.list[n].n > 0 {
			e.undefer(n, deferQueueFull)
			return
		}
	}
}

// learn takes the connection that the kernel gives with a packet, before it is in the
// table, and tells whether it is not.
func (e *Engine) learn(ct []byte, f flow) (isEarly bool) {
	c := &e.deferring.made
	confirmed, ok := e.cfg.Queued(ct, c)
	if !ok || confirmed {
		return false
	}
	if leavingOf(&c.State) != f {
		return false
	}
	if i := e.find(&c.State); i != 0 && e.states.at(i).is(early) {
		return true // a SYN sent again, or another datagram: the first packet's entry will be the one
	}
	e.moved(c)
	if i := e.find(&c.State); i != 0 {
		e.states.at(i).set(early)
	}
	return true
}

// prepare has the table expect the answer to a TCP connection's first packet elsewhere. While
// the packet is held nothing else moves the entry. One that is not confirmed is not there yet:
// its turn comes when the packet has gone, and before an answer can be here, but for a busy machine.
func (e *Engine) prepare(n uint16) {
	x := &e.deferring.list[n]
	i := e.states.named(x.id)
	if x.flow.proto != pfstate.ProtoTCP || x.n != 1 || x.early || x.preparing || i == 0 {
		return
	}
	x.preparing = true
	e.expectElsewhere(i)
}

// expectElsewhere puts an entry into the state that a TCP connection has whose first packet was
// answered by way of another firewall: the initiator's next packet would be invalid here, should it
// come before the peer tells of that answer.
func (e *Engine) expectElsewhere(i slot) {
	w := pfstate.Write{Kind: pfstate.WriteUpdate, Notify: true, Ref: e.states.at(i).ref}
	e.states.state(i, e.now, &w.State)
	w.State.Src.State, w.State.Dst.State = pfstate.TCPEstablished, pfstate.TCPSynSent
	w.State.Timeout = pfstate.TimeoutOf(w.State.Proto, w.State.Src.State, w.State.Dst.State)
	w.State.Expire = 0 // a whole period
	e.orders.addUrgent(&w)
}

// prepared is called when the table has done so, or refused.
func (e *Engine) prepared(i slot) {
	d := &e.deferring
	n := d.byID[e.states.at(i).id()]
	if n == 0 || !d.list[n].preparing {
		return
	}
	d.list[n].preparing = false
	if d.list[n].acked {
		e.undefer(n, deferAcked)
	}
}

// heardOf is called when a peer has shown that it knows a state.
func (e *Engine) heardOf(id pfstate.ID) {
	d := &e.deferring
	n := d.byID[id]
	if n == 0 {
		return
	}
	d.silent = 0
	x := &d.list[n]
	if x.acked = true; x.n > 0 && !x.preparing {
		e.undefer(n, deferAcked)
	}
}

// successor tells that the state in i is over, though it has the id of a new one, s: the
// kernel has given it an entry with the place and the addresses of the old one.
func (e *Engine) successor(i slot, a wire.Action, s *pfstate.State) bool {
	r := e.states.at(i)
	return a == wire.ActIns && s.Flags&pfstate.FlagAck != 0 && !e.late && !r.is(shadow) &&
		(r.is(doomed) || s.Proto == pfstate.ProtoTCP && s.Src.State <= pfstate.TCPSynSent && r.src.State > s.Src.State)
}

// acknowledgeKnown answers for a state that was here before it was told with a request for
// an answer. One that the table has just been given is answered for when it has taken it.
func (e *Engine) acknowledgeKnown(i slot) {
	const underway = 100 * time.Millisecond
	if r := e.states.at(i); !r.is(absent) && r.queue() == queueNone && !r.writtenWithin(underway, e.now) {
		e.enqueue(i, queueAck)
	}
}

// neverHeld lets the packet of a state go that is none of the peers' business, also if it
// is yet to come.
func (e *Engine) neverHeld(s *pfstate.State) {
	d := &e.deferring
	if !d.armed || !holdable(s.Proto) {
		return
	}
	f := leavingOf(s)
	n := d.byFlow[f]
	switch {
	case n == 0:
		if n = e.newDeferral(f); n != 0 {
			d.list[n].acked = true
		}
	case d.list[n].n > 0:
		e.undefer(n, deferPassed)
	}
}

// checkEarly asks the table for states that were made out of held packets and have not
// shown up in it: a rule may have dropped the packet since.
func (e *Engine) checkEarly() {
	d := &e.deferring
	kept := d.unsure[:0]
	for _, u := range d.unsure {
		if e.now-u.at < confirmWithin {
			kept = append(kept, u)
			continue
		}
		if i := e.states.named(u.id); i != 0 && e.states.at(i).is(early) {
			e.writeState(pfstate.Write{Kind: pfstate.WriteProbe}, i)
		}
	}
	d.unsure = kept
}

// urgent tells that a peer waits for an answer, or a packet for a peer.
func (e *Engine) urgent() bool {
	if e.states.queues[queueAck].len > 0 {
		return true
	}
	first := e.states.first(queueIns)
	return first != 0 && e.states.at(first).is(askAck)
}

// sendUrgent sends that, ahead of everything else.
func (e *Engine) sendUrgent() {
	if !e.settings.talks() || e.held() {
		return
	}
	e.build()
	e.putAcks()
	if e.deferring.reused {
		e.putDeletes()
		e.deferring.reused = len(e.deletes) > 0
	}
	for !e.full() {
		i := e.states.first(queueIns)
		if i == 0 || !e.states.at(i).is(askAck) {
			break
		}
		e.putInsert(i)
	}
	e.send(e.out.finish())
}
