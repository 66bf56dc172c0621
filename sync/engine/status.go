package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Status is a copy of what an operator may see.
type Status struct {
	Settings  Settings
	Link      link.Status
	Dialect   wire.Dialect
	Learnt    bool   // the dialect is that of a BSD heard
	Bulk      string // none, start, sent, bulk, done, failed, listening
	SyncOK    bool   // the sync link is up, and since then a bulk update came in whole
	Local     int    // states whose creation was seen here, or that were here before
	Imported  int    // states made by peers
	Queued    int    // messages waiting
	Deferring bool   // first packets are held: somebody can acknowledge their states
	Peers     int    // heard within ten minutes
	SendErr   error  // why packets are being lost; nil: they leave
	PeerList  []PeerStatus

	KeyChanging bool // the key before the current one is still accepted
}

// PeerStatus is what is known of another firewall.
type PeerStatus struct {
	Addr     netip.Addr
	Creator  uint32        // its host id, 0: not told
	Kind     string        // linux, openbsd, freebsd with the format of its states: "freebsd 1400"; or what is not understood: "version 4"
	State    string        // up, stale (quiet for a while) or dead
	Age      time.Duration // since its last packet
	States   int           // it answers for, as far as known here
	Sync     string        // yes, no, or unknown: a BSD does not tell
	Problems []string      // what is wrong, each a short sentence: "does not hear us"
}

// Status returns the state of things.
func (e *Engine) Status() (s Status, err error) {
	err = e.do(func() {
		s = Status{
			Settings: e.settings, Dialect: e.dialect.Dialect, Learnt: e.dialect.learnt && !e.settings.DialectSet, Link: e.linkState, Bulk: bulkNames[e.bulk.state], SyncOK: e.bulk.ok && e.linkState.Up,
			Local: e.states.count[local] + e.states.count[inherited], Imported: e.states.count[imported],
			Queued: len(e.deletes), Deferring: e.deferring.armed, Peers: e.peers.len(), SendErr: e.sendErr, PeerList: e.peerList(),
			KeyChanging: e.keys.Changing(),
		}
		switch {
		case e.settings.Up && e.settings.Listen:
			s.Bulk = "listening"
		case e.bulk.state == bulkIdle && !e.bulk.ok:
			s.Bulk = "failed"
		}
		for q := range e.states.queues {
			s.Queued += e.states.queues[q].len
		}
	})
	return s, err
}

// peerList describes the peers.
func (e *Engine) peerList() (all []PeerStatus) {
	e.peers.each(func(p *peer) {
		s := PeerStatus{
			Addr: p.addr, Creator: p.creator, Kind: p.kind(), State: "up", Age: e.now - p.heard,
			States: p.imported, Sync: "unknown",
		}
		switch {
		case p.dead:
			s.State = "dead"
		case p.quiet:
			s.State = "stale"
		}
		switch {
		case !p.linux || p.quiet || !p.compared:
		case p.insync:
			s.Sync = "yes"
		default:
			s.Sync = "no"
		}
		s.Problems = p.problems()
		all = append(all, s)
	})
	return all
}

func (p *peer) problems() (all []string) {
	add := func(is bool, text string) {
		if is {
			all = append(all, text)
		}
	}
	add(p.deaf && !p.dead, "does not hear us")
	add(p.impostor, "uses our creatorid")
	add(p.versioned != "", "its packets are not understood")
	add(p.older && p.versioned == "", "its states are in an older format than ours, which it may not read: see ifconfig pfsync0 version")
	add(len(p.refused) > 0, fmt.Sprintf("%d of its states are refused here", len(p.refused)))
	return all
}

// Counters returns all counters, pf's first.
func (e *Engine) Counters() (all []pfstate.Counter, err error) {
	err = e.do(func() {
		all = e.counters.list()
		if e.deferring.holder != nil {
			all = append(all, e.deferring.hist.counters()...)
		}
	})
	return all, err
}

// States calls yield with every state known, in no order, until it returns false.
// The engine waits meanwhile: yield must be quick.
func (e *Engine) States(yield func(*pfstate.State) bool) error {
	return e.do(func() {
		var s pfstate.State
		for i := slot(1); i < e.states.size; i++ {
			if !e.states.used(i) {
				continue
			}
			if e.states.state(i, e.now, &s); !yield(&s) {
				return
			}
		}
	})
}

// RequestBulk asks the peers for their whole table now.
func (e *Engine) RequestBulk() error {
	return e.do(func() { e.bulkEvent(bulkAgain) })
}

// PushBulk tells the peers of all states now, as if a BSD had asked for them.
func (e *Engine) PushBulk() error {
	return e.do(func() { e.serveBulk(nil) })
}
