package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/auth"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// ErrStopped is returned to those who ask an engine that has ended.
var ErrStopped = errors.New("engine has stopped")

const (
	flushBound  = time.Second     // nothing waits longer (OpenBSD if_pfsync.c)
	fastBound   = 2 * time.Second // a state heard of within this is pushed, as in OpenBSD
	sweepEvery  = 250 * time.Millisecond
	paceEvery   = time.Millisecond
	writesBound = 1 << 11 // writes waiting for the table above which no packets are read
	lastFlushes = 64      // of what is pending when the engine ends
)

// Config is what an engine is made of. It does not change.
type Config struct {
	Creator    uint32            // host id, not 0
	StateLimit int               // pf's `limit states`; bounds the bulk timeout. 0: 100000
	PeerStates int               // states that one peer may have here, all BSD peers counting as one; 0: no limit
	Continues  bool              // the table is the very one that an earlier engine of this creatorid had
	Holder     Holder            // of first packets, for defer; nil: none are held
	Queued     Queued            // of the table, for a Holder that is given connections; nil: there are none
	SAs        SAs               // nil: there is no IPsec
	Demote     func(Demotion)    // is told each change; called by Run, must not block; may be nil
	Ended      func(pfstate.End) // likewise: each end of a state that is ours to tell
	Silence    func(bool)        // likewise: whether all Linux peers have just fallen silent
	Log        *slog.Logger
}

// Settings is what ifconfig sets.
type Settings struct {
	Up     bool
	MTU    int // of pfsync0 or of the syncdev, whichever is less; counts the IP header
	MaxUpd int
	Defer  bool
	Listen bool // nothing at all is sent: see listen.go

	DeferDelay time.Duration // that a first packet waits at most, 0: pf's 20 ms

	Dialect    wire.Dialect // in which packets are written,
	DialectSet bool         // unless this is not set: then it is that of the first BSD heard
	Pair       PairMode
}

// DefaultSettings are those of a pfsync0 just made.
func DefaultSettings() Settings { return Settings{MTU: 1500, MaxUpd: 128} }

// Engine syncs one table over one link. Its methods may be called from any
// goroutine; Run owns all else.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	table Table
	link  Link
	tap   Tap
	ask   chan func()
	done  chan struct{}

	// Owned by Run.
	settings   Settings
	start      time.Time
	now        time.Duration // since start, read once a turn
	linkState  link.Status
	foreign    foreign
	states     store
	counters   counters
	orders     orders
	fences     []fence // in the order of theirs among the orders
	sampling   bool    // one of them is a sample
	sampled    time.Duration
	durations  durations
	deletes    []gone        // DEL_C to send
	waiting    time.Duration // when the oldest unsent message was queued; valid while queued
	push       bool          // send now
	sendErr    error         // why packets are being lost; nil: they leave
	sendFailed time.Duration // when one was lost last
	out        packets
	dump       dump
	graves     graves
	requests   requests
	bulk       bulk
	serving    walk // our answer to a bulk request
	sweep      sweep
	deferring  deferring
	probes     uint16 // the last one's number
	unfit      unfit
	silence    bool // as was told
	loose      loosening
	peers      peers
	from       netip.Addr    // sender of the packet being handled
	incoming   pfstate.State // the state in it being handled
	more       wire.FreeBSD  // what FreeBSD alone says of it,
	hasMore    bool          // if it does
	sendMore   wire.FreeBSD  // of a state being sent
	dialect    dialect
	paired     bool          // both halves of each connection are told
	otherHalf  pfstate.State // of the state being sent
	update     wire.UpdC     // the update in it being handled
	merged     ends          // what is made of it
	last       pfstate.State // of a state that has ended
	pace       *time.Timer
	pacing     bool

	// What goes behind the packets, and comes behind those of Linux peers.
	epoch     uint64
	seq       uint64 // of the last packet sent
	own       digest // of what we said and answer for
	ring      ring
	filter    Filter // nil: all states are advertised
	keys      auth.Keyring
	keyed     time.Duration // when the key was changed
	answering answering
	retry     retry
	unproved  []unproved
	lives     [firstPeer + peersMax]uint8 // of those who left
	past      past
	stale     bool          // copies found in the table may have been ended by their owners
	ackDue    bool          // a peer waits to be told how far we hear it
	forwarded time.Duration // when this host last carried traffic, 0: never
	gapTimer  *time.Timer
	gapsDue   time.Duration
	beaconed  time.Duration
	greeted   time.Duration
	sentAt    []uint64 // e.seq, each second
	terse     compact

	// Of the packet being handled.
	speaking    *peer
	packetSeq   uint64
	packetFlags wire.TrailerFlags
	late        bool // a later one has come before

	heardList   []wire.Heard
	ranges      []wire.Range
	bareBuf     []byte
	barePackets [1][]byte
}

// New returns an engine; Run starts it.
func New(cfg Config, table Table, l Link, tap Tap) *Engine {
	if cfg.StateLimit == 0 {
		cfg.StateLimit = 100000 // pf's default
	}
	e := &Engine{
		cfg: cfg, log: cfg.Log, table: table, link: l, tap: tap,
		ask: make(chan func(), 16), done: make(chan struct{}),
		settings: DefaultSettings(), states: newStore(), orders: newOrders(),
	}
	e.graves.reset()
	e.requests.reset()
	e.peers = newPeers()
	e.deferring = newDeferring(cfg.Holder)
	e.past.until = make(map[uint64]uint64)
	e.epoch = newEpoch()
	e.ranges = make([]wire.Range, 0, rangesMax)
	return e
}

// Run works until ctx ends, sends what is pending, and returns. It first asks
// the table for all it holds.
func (e *Engine) Run(ctx context.Context) {
	defer close(e.done)
	e.start = time.Now()
	e.bulk.timer = newStoppedTimer()
	e.pace = newStoppedTimer()
	e.gapTimer = newStoppedTimer()
	defer e.gapTimer.Stop()
	e.deferring.timer = newStoppedTimer()
	defer e.deferring.timer.Stop()
	sweepTimer := time.NewTicker(sweepEvery)
	defer sweepTimer.Stop()
	defer e.bulk.timer.Stop()
	defer e.pace.Stop()
	e.startDump()

	for {
		e.settle()
		e.demote()
		var writeTo chan<- *pfstate.Batch[pfstate.Write]
		orders, ordered := e.orders.next(), 0
		if orders != nil {
			ordered = len(orders.Items) // the table may free it at once
			writeTo = e.table.Writes()
		}
		received := e.link.Received()
		if e.orders.n > writesBound {
			received = nil // the socket's buffer holds them meanwhile
		}
		select {
		case <-ctx.Done():
			e.undeferAll()
			e.letGo()
			for range lastFlushes {
				if !e.flush() {
					break
				}
			}
			return
		case writeTo <- orders:
			e.orders.taken(orders, ordered)
			e.tick()
			e.loosenTurn()
		case b := <-e.table.Changes():
			e.tick()
			for i := range b.Items {
				e.changed(&b.Items[i])
			}
			b.Free()
		case b := <-received:
			e.tick()
			for i := range b.Items {
				e.receive(&b.Items[i])
			}
			b.Free()
			e.sample()
		case b := <-e.heldPackets():
			e.tick()
			for i := range b.Items {
				e.holdPacket(&b.Items[i])
			}
			b.Free()
		case list := <-e.usedSAs():
			e.tick()
			e.tellSAs(list)
		case <-e.deferring.timer.C:
			e.tick()
			e.deferralsDue()
		case s := <-e.link.Statuses():
			e.tick()
			e.linkChanged(s)
		case f := <-e.ask:
			e.tick()
			f()
		case <-e.bulk.timer.C:
			e.tick()
			e.bulkEvent(bulkTimeout)
		case <-e.pace.C:
			e.tick()
			e.pacing = false
		case <-e.gapTimer.C:
			e.tick()
			e.askGaps()
		case <-sweepTimer.C:
			e.tick()
			e.sweepTurn()
		}
	}
}

// tick reads the clock for this turn. It is never 0: that stands for never.
func (e *Engine) tick() { e.now = max(1, time.Since(e.start)) }

// settle ends a turn: what can leave leaves, once no input is waiting or a bound is reached.
func (e *Engine) settle() {
	defer e.acknowledge()
	e.letGo()
	if e.urgent() {
		e.sendUrgent()
	}
	busy := len(e.table.Changes()) > 0 || len(e.link.Received()) > 0 || len(e.ask) > 0
	if e.pacing || !e.queued() && !e.walking() && !e.answering.waiting() {
		return
	}
	if busy && !e.push && !(e.queued() && e.now-e.waiting >= flushBound) {
		return
	}
	more := e.answering.waiting() && e.answerTurn()
	if e.flush() || more || e.walking() {
		e.pace.Reset(paceEvery)
		e.pacing = true
	}
}

func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// do runs f in the goroutine of Run and waits for it.
func (e *Engine) do(f func()) error {
	ran := make(chan struct{})
	select {
	case e.ask <- func() { defer close(ran); f() }:
	case <-e.done:
		return ErrStopped
	}
	select {
	case <-ran:
		return nil
	case <-e.done:
		return ErrStopped
	}
}

// Configure replaces the settings.
func (e *Engine) Configure(s Settings) error {
	return e.do(func() { e.configure(s) })
}

func (e *Engine) configure(s Settings) {
	old := e.settings
	e.settings = s
	defer e.armDefer()
	e.dialectSet(old)
	e.pairTurn()
	switch talks, talked := s.talks(), old.talks(); {
	case talks && !talked:
		e.awaitStates()
		e.bulkEvent(bulkUp)
		if e.linkState.Up {
			e.bulkEvent(bulkLinkUp)
		}
	case !talks && talked:
		e.unfit.bulk = false
		e.sendErr = nil
		e.dropQueues()
		e.serving = walk{}
		e.bulkEvent(bulkDown)
	}
}

// linkChanged follows the syncdev. A usable link leads to a bulk request.
func (e *Engine) linkChanged(s link.Status) {
	old, room := e.linkState, e.maxDatagram()
	if e.linkState = s; e.maxDatagram() < room {
		e.ring.clear() // what is too large now is told in other words
	}
	defer e.armDefer()
	defer e.watchSilence()
	if s.Up && old.Up && (s.MTU != old.MTU || s.Addr != old.Addr) {
		e.log.Info("sync link changed", "syncdev", s.Config.Syncdev, "mtu", s.MTU, "addr", s.Addr)
		e.sendRecovered(true)
	}
	if old.Config.Syncdev == "" && s.Config.Syncdev != "" && e.settings.talks() {
		e.awaitStates()
	}
	if s.Config.Syncdev != old.Config.Syncdev || s.Config.Peer() != old.Config.Peer() {
		e.forgetPeers()
	}
	if s.Up == old.Up && s.Config == old.Config {
		return
	}
	switch {
	case s.Up:
		if e.settings.talks() {
			e.bulkEvent(bulkLinkUp)
		}
	case s.Config.Syncdev == "":
		e.serving = walk{}
		if e.settings.talks() {
			e.bulkEvent(bulkNoSyncdev)
		}
	default:
		e.serving = walk{}
	}
}

// running tells whether packets of peers are taken.
func (e *Engine) running() bool { return e.settings.Up && e.linkState.Up }

// write queues an order for the table.
func (e *Engine) write(w pfstate.Write) { e.orders.add(&w) }

// maxPayload is what fits between the IP header and a trailer.
func (e *Engine) maxPayload() int {
	return max(e.maxDatagram()-trailerSpace-e.keys.Overhead(), wire.HeaderLen+wire.SubheaderLen+e.dialect.StateLen())
}
