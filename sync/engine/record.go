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

// record is what the engine knows of one state, in 88 bytes: what few states have is
// beside the records. It holds no pointer: a million of them cost the garbage collector
// nothing.
type record struct {
	number uint64 // of the id, whose other half is creator
	said   uint64 // of the word: see there
	key    key

	learnt   stamp  // when lifetime was learnt
	lifetime period // left at that moment
	until    stamp  // when the table's entry runs out unless traffic renews it; 0: not known
	written  stamp  // when the table was last ordered to change its entry, 0 never
	created  stamp

	creator uint32
	saidIn  uint32 // the packet in which the word was said: the lower half of its number
	ref     uint32 // the table's name of the entry
	traits  traits

	heard  moment // last pfsync message for this state
	active moment // last sign of traffic here
	probe  uint16 // the last one's number; 0: none
	place  uint16 // in the queue: see there

	flags    pfstate.Flags
	src, dst end
	tcp      [2]uint8
	has      pfstate.LinuxFields
	status   uint8

	proto      uint8
	timeout    pfstate.Timeout
	updates    uint8
	generation generation // of the dump that saw it last
	by         owner
	life       uint8
}

// traits are what a record says yes or no to, and, above that, its few small numbers.
type traits uint32

const (
	carrier   traits = 1 << iota // what was last heard of it came from local traffic, not from a peer
	claimed                      // not imported: the peers know its id, from us or from another
	absent                       // the table does not hold it; kept to answer the peers
	retried                      // absent for now: the table is asked again
	leased                       // the entry lives as long as its living owner renews it
	doomed                       // its owner ended it; a probe will tell whether traffic moved here meanwhile
	injected                     // found in the table, and put there by an earlier daemon as a peer's
	loose                        // its windows are not checked any more
	mute                         // found in the table, which may tell nothing of it
	untimed                      // the table chose the lifetime: ask before judging whether it was renewed
	overtaken                    // the table was ordered to change its entry since it was last asked for it
	askAck                       // its insert asks for an acknowledgement
	early                        // made out of a held packet: no event has shown its entry yet
	shadow                       // of two twins the one that is not in the table
	heir                         // of the word: see there
	extended                     // the store has an extra of it
	deep                         // and more of its peers

	originAt    = 20 // these numbers begin at that bit
	directionAt = 22
	queueAt     = 24
	keyAt       = 28
)

func (r *record) is(t traits) bool { return r.traits&t != 0 }

func (r *record) set(t traits) { r.traits |= t }

func (r *record) clear(t traits) { r.traits &^= t }

// put sets or clears t.
func (r *record) put(t traits, yes bool) {
	r.traits &^= t
	if yes {
		r.traits |= t
	}
}

func (r *record) origin() origin { return origin(r.traits >> originAt & 3) }

func (r *record) direction() pfstate.Direction { return pfstate.Direction(r.traits >> directionAt & 3) }

func (r *record) queue() queueKind { return queueKind(r.traits >> queueAt & 15) }

func (r *record) form() keyForm { return keyForm(r.traits >> keyAt & 3) }

// number puts n where the number that begins at bit `at` is, and most its highest.
func (t *traits) number(at int, most, n uint8) {
	*t = *t&^(traits(most)<<at) | traits(n)<<at
}

func (r *record) setOrigin(o origin) { r.traits.number(originAt, 3, uint8(o)) }

func (r *record) setQueue(q queueKind) { r.traits.number(queueAt, 15, uint8(q)) }

func (r *record) id() pfstate.ID { return pfstate.ID{State: r.number, Creator: r.creator} }

func (r *record) setID(id pfstate.ID) { r.number, r.creator = id.State, id.Creator }

// word is what was last said of it, by us or by a peer.
func (r *record) word() word {
	return word{said: r.said, by: r.by, life: r.life, heir: r.is(heir)}
}

func (r *record) setWord(w word) {
	r.said, r.by, r.life = w.said, w.by, w.life
	r.put(heir, w.heir)
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

// learn takes over a lifetime; 0: the table chooses it.
func (r *record) learn(lifetime, now time.Duration) {
	r.learnt, r.lifetime = stampOf(now), periodOf(lifetime)
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
func (r *record) justActive(now time.Duration) bool { return r.active.since(now) < fastBound }

// closed tells that both sides of a TCP connection have ended.
func (r *record) closed() bool {
	return r.proto == pfstate.ProtoTCP && min(r.src.State, r.dst.State) >= pfstate.TCPFinWait2
}

// expire is what is left of the state's lifetime.
func (r *record) expire(now time.Duration) time.Duration {
	return max(0, r.lifetime.duration()-r.learnt.age(now))
}

// writtenWithin tells that the table was ordered to change the entry not longer ago than d.
func (r *record) writtenWithin(d, now time.Duration) bool {
	return r.written != 0 && r.written.age(now) < d
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
