package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// origin tells how a state came to be known here.
type origin uint8

const (
	local     origin = iota // its creation was seen in the table
	inherited               // found in the table at the start: a peer may know it under another id
	imported                // made by a peer
)

// slot is a record's index in the store; 0 is no record.
type slot uint32

// record is what the engine knows of one state. It holds no pointer: a million
// of them cost the garbage collector nothing.
type record struct {
	id       pfstate.ID
	keys     keys
	src, dst end

	// Since the engine's start, in nanoseconds.
	learnt   time.Duration // when lifetime was learnt
	lifetime time.Duration // left at that moment
	until    time.Duration // when the table's entry runs out unless traffic renews it; 0: not known
	written  time.Duration // when the table was last ordered to change its entry, 0 never
	probed   time.Duration // when the table was last asked for it

	created stamp
	heard   stamp // last pfsync message for this state, 0 never
	active  stamp // last sign of traffic here, 0 never

	word word // what was last said of it, by us or by a peer

	ref        uint32 // the table's name of the entry
	saidIn     uint32 // the packet in which word was said: the lower half of its number
	generation uint32 // of the dump that saw it last
	probe      uint32 // the last; 0: none
	prev, next slot   // in the queue
	twin       slot   // pf's other state of the same connection

	mark   uint32
	has    pfstate.LinuxFields
	status uint8
	tcp    [2]uint8

	flags     pfstate.Flags
	proto     uint8
	direction pfstate.Direction
	timeout   pfstate.Timeout
	queue     queueKind
	updates   uint8
	origin    origin
	carrier   bool // what was last heard of it came from local traffic, not from a peer
	claimed   bool // not imported: the peers know its id, from us or from another
	absent    bool // the table does not hold it; kept to answer the peers
	retry     bool // absent for now: the table is asked again
	leased    bool // the entry lives as long as its living owner renews it
	doomed    bool // its owner ended it; a probe will tell whether traffic moved here meanwhile
	injected  bool // found in the table, and put there by an earlier daemon as a peer's
	loose     bool // its windows are not checked any more
	mute      bool // found in the table, which may tell nothing of it
	unsure    bool // the table chose the lifetime: ask before judging whether it was renewed
	askAck    bool // its insert asks for an acknowledgement
	early     bool // made out of a held packet: no event has shown its entry yet
	shadow    bool // of two twins the one that is not in the table
	extra     bool // the store has more of it
	deep      bool // and of its peers
}

// extra is what pf says of a state and Linux has no use for, kept to answer peers.
type extra struct {
	route             pfstate.Route
	rtable            [2]int32
	rule, anchor, nat uint32
	ifName            pfstate.IfName
	maxMSS            uint16
	log, syncFlags    uint8
	minTTL, setTOS    uint8
	setPrio           [2]uint8
}

// learn takes over the lifetime of s.
func (r *record) learn(s *pfstate.State, now time.Duration) {
	r.learnt, r.lifetime, r.unsure = now, s.Expire, false
}

// behind tells that u has progress that r has not. That of ICMP is its timeout:
// its peers have no states in pf.
func (r *record) behind(u *wire.UpdC) bool {
	icmp := r.proto == pfstate.ProtoICMP || r.proto == pfstate.ProtoICMPv6
	return u.Src.State > r.src.State || u.Dst.State > r.dst.State || icmp && u.Timeout > r.timeout
}

// ahead tells that r has progress that s has not.
func (r *record) ahead(s *pfstate.State) bool {
	return r.src.State > s.Src.State || r.dst.State > s.Dst.State
}

// justActive tells that traffic has moved the state here a moment ago.
func (r *record) justActive(now time.Duration) bool {
	return r.active != 0 && r.active.age(now) < fastBound
}

// closed tells that both sides of a TCP connection have ended.
func (r *record) closed() bool {
	return r.proto == pfstate.ProtoTCP && min(r.src.State, r.dst.State) >= pfstate.TCPFinWait2
}

// expire is what is left of the state's lifetime.
func (r *record) expire(now time.Duration) time.Duration {
	return max(0, r.lifetime-(now-r.learnt))
}

// extraOf takes what s says beyond a record, and whether that is more than the defaults.
func extraOf(s *pfstate.State) (extra, bool) {
	x := extra{
		route: s.Route, rtable: s.RTable, rule: s.Rule, anchor: s.Anchor, nat: s.NATRule, ifName: s.IfName,
		maxMSS: s.MaxMSS, log: s.Log, syncFlags: s.SyncFlags, minTTL: s.MinTTL, setTOS: s.SetTOS, setPrio: s.SetPrio,
	}
	d := pfstate.Default()
	plain := extra{rtable: d.RTable, rule: d.Rule, anchor: d.Anchor, nat: d.NATRule, ifName: d.IfName, route: s.Route}
	return x, x != plain || s.Route.Kind != 0
}
