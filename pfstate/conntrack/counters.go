package conntrack

import (
	"sync/atomic"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// counter is one thing that is counted.
type counter uint8

const (
	eventsNew counter = iota
	eventsUpdate
	eventsDestroy
	eventsExpired
	eventsOwn
	ignoredProtocol
	ignoredNeighbour
	ignoredLoopback
	ignoredUnconfirmed
	ignoredUnknown
	malformed
	overruns
	dumps
	dumpsIncomplete
	dumped
	writesInsert
	writesUpdate
	writesDelete
	writesProbe
	writesDump
	existing
	twins
	retranslated
	refusedFull
	refusedClash
	refusedNoState
	refusedUnsupported
	refusedOther
	beyondRefused
	natHooksMade
	natHooksFailed
	hints
	readBuffer
	counters // count
)

var counterTable = [counters]struct{ name, help string }{
	eventsNew:          {"events_new", "states created by traffic or another program"},
	eventsUpdate:       {"events_update", "states moved on by traffic or another program"},
	eventsDestroy:      {"events_destroy", "states removed by a packet or another program"},
	eventsExpired:      {"events_expired", "states whose time ran out"},
	eventsOwn:          {"events_own", "echoes of own writes that the socket's filter let through, dropped"},
	ignoredProtocol:    {"ignored_protocol", "entries of pfsync, IGMP, CARP or VRRP"},
	ignoredNeighbour:   {"ignored_neighbour", "entries of IPv6 neighbour discovery"},
	ignoredLoopback:    {"ignored_loopback", "entries to or from a loopback address"},
	ignoredUnconfirmed: {"ignored_unconfirmed", "entries whose first packet had not left"},
	ignoredUnknown:     {"ignored_unknown", "entries in a TCP state unknown to this program"},
	malformed:          {"malformed", "netlink messages that could not be read"},
	overruns:           {"overruns", "times the kernel dropped events because they were read too slowly"},
	dumps:              {"dumps", "dumps of the whole table"},
	dumpsIncomplete:    {"dumps_incomplete", "dumps that ended early or were inconsistent"},
	dumped:             {"dumped", "states reported by dumps"},
	writesInsert:       {"writes_insert", "inserts ordered"},
	writesUpdate:       {"writes_update", "updates ordered"},
	writesDelete:       {"writes_delete", "deletes ordered"},
	writesProbe:        {"writes_probe", "probes ordered"},
	writesDump:         {"writes_dump", "dumps ordered"},
	existing:           {"existing", "inserts that met an entry of the same connection"},
	twins:              {"twins", "reversed entries of a picked-up connection, removed for an insert"},
	retranslated:       {"retranslated", "entries made anew because their translation differed"},
	refusedFull:        {"refused_full", "writes refused: table full (nf_conntrack_max)"},
	refusedClash:       {"refused_clash", "writes refused: keys taken by another connection"},
	refusedNoState:     {"refused_no_state", "updates refused: no such state"},
	refusedUnsupported: {"refused_unsupported", "writes refused: conntrack cannot express the state"},
	refusedOther:       {"refused_other", "writes refused by the kernel for another reason"},
	beyondRefused:      {"beyond_refused", "writes without the labels, helper or master that they had, which this kernel refused (no rule uses labels, no such helper, no such master)"},
	natHooksMade:       {"nat_hooks_made", "times table inet pfsyncd was made, the first time included"},
	natHooksFailed:     {"nat_hooks_failed", "times table inet pfsyncd could not be made"},
	hints:              {"forwarding_hints", "times packets had been forwarded since a tenth of a second ago"},
	readBuffer:         {"read_buffer_bytes", "receive buffer of the event socket as the kernel accounts it"},
}

type counts [counters]atomic.Uint64

func (c *counts) add(k counter, n int) { c[k].Add(uint64(n)) }

// Counters are all counters since Open, in an order that never changes. Any
// goroutine may ask, at any time.
func (t *Table) Counters() []pfstate.Counter {
	list := make([]pfstate.Counter, counters)
	for i := range list {
		list[i] = pfstate.Counter{Name: counterTable[i].name, Help: counterTable[i].help, Value: t.counts[i].Load()}
	}
	return list
}
