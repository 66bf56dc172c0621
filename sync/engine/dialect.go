package engine

import (
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// dialect is in what our packets are written. Packets of Linux peers are read
// whatever they are written in, a BSD's only in our version: it does not read ours
// otherwise, and half a conversation is worse than none.
type dialect struct {
	wire.Dialect
	learnt bool // from a BSD that is heard; not by setting
	format bool // of the states, too: version 5 has several

	// FreeBSD 13 has the id of ICMP at both ends, where the others have the type of
	// the query at the responder's (seen on its kernel).
	icmpTwice bool
}

// cautious is the format of FreeBSD that all its releases read, until a peer has
// shown its own.
const cautious = wire.FreeBSD1301

// understood tells whether the packets of a BSD at src are read, and takes to the
// dialect of the first one that is heard, unless one is set. The error names both.
func (e *Engine) understood(src netip.Addr, h *wire.Header) error {
	d := &e.dialect
	if p := e.peers.of(src); p != nil && p.linux && !p.dead {
		return nil // it is refused for another reason
	}
	switch {
	case h.Version == d.Version():
		d.learnt = true
		return nil
	case e.settings.DialectSet || d.learnt:
		return fmt.Errorf("header: %w: %d, and ours is %d (ifconfig pfsync0 version %v)", wire.ErrVersion, h.Version, d.Version(), d.Dialect)
	}
	d.learnt = true
	next := wire.OpenBSD6
	if h.Version == wire.VersionFreeBSD {
		next = cautious
	}
	if e.speak(next) && e.bulk.state != bulkSent { // a newcomer is asked then by itself
		e.bulkEvent(bulkAgain)
	}
	return nil
}

// formatHeard takes note of the format in which a BSD writes states.
func (e *Engine) formatHeard(s wire.Section) {
	p, d := e.speaking, &e.dialect
	if p.linux || s.Dialect == wire.OpenBSD6 || !s.Action.HasState() || s.Count == 0 {
		return
	}
	if p.format == s.Dialect.String() {
		e.countFormat(s)
		return
	}
	p.format = s.Dialect.String()
	if !d.format && !e.settings.DialectSet {
		d.format = true
		e.speak(s.Dialect)
	}
	e.countFormat(s)
	if p.format = s.Dialect.String(); s.Dialect < d.Dialect {
		e.log.Warn("a peer writes states in an older format than we do, and may not read ours; set that one (ifconfig pfsync0 version)",
			"peer", p.addr, "its", s.Dialect, "ours", d.Dialect)
	}
	p.older = s.Dialect < d.Dialect
}

func (e *Engine) countFormat(s wire.Section) {
	if s.Dialect != e.dialect.Dialect {
		e.counters.n[otherFormat] += uint64(s.Count)
	}
}

// speak writes packets in d from now on, and reports whether nobody who reads
// them has understood what was said before: then it is said again.
func (e *Engine) speak(d wire.Dialect) bool {
	old := e.dialect.Dialect
	if d == old {
		return false
	}
	e.dialect.Dialect = d
	e.log.Info("pfsync dialect", "version", d, "before", old)
	if d.Version() == old.Version() || !e.running() {
		return false
	}
	e.serveBulk(nil)
	return true
}

// dialectSet follows the setting.
func (e *Engine) dialectSet(old Settings) {
	switch s := &e.settings; {
	case s.DialectSet:
		e.dialect.learnt, e.dialect.format = false, true
		if e.speak(s.Dialect) {
			e.bulkEvent(bulkAgain)
		}
	case old.DialectSet:
		e.unlearn()
		e.forgetStrangers()
	}
}

// unlearn begins to listen for a dialect anew.
func (e *Engine) unlearn() {
	e.dialect = dialect{Dialect: e.dialect.Dialect}
}

// relearn does so once no BSD whose packets are read has been heard for long. A silent
// one that is not forgotten is spoken to as before, until another one is heard.
func (e *Engine) relearn() {
	if !e.dialect.learnt {
		return
	}
	some := false
	e.peers.each(func(p *peer) { some = some || !p.linux && p.versioned == "" && e.now-p.heard <= bsdForgets })
	if !some {
		e.unlearn()
	}
}

// forgetStrangers forgets the peers that were not understood: they may be now.
func (e *Engine) forgetStrangers() {
	e.peers.each(func(p *peer) {
		if p.versioned != "" {
			e.leave(p)
		}
	})
}

// systemOf is whose version of the protocol v is.
func systemOf(v uint8) string {
	switch v {
	case wire.Version:
		return "openbsd"
	case wire.VersionFreeBSD:
		return "freebsd"
	}
	return fmt.Sprintf("version %d", v)
}

// parseState reads the nth state of a section into e.incoming and e.more.
func (e *Engine) parseState(s wire.Section, n int) error {
	if s.Dialect == wire.OpenBSD6 {
		e.hasMore = false
		return wire.ParseState(s.Dialect, s.Message(n), &e.incoming)
	}
	err := wire.ParseStateWith(s.Dialect, s.Message(n), &e.incoming, &e.more)
	if err == nil && e.dialect.fromFreeBSD(&e.incoming) && !e.speaking.linux {
		e.dialect.icmpTwice = true
	}
	e.hasMore = err == nil && e.more != wire.FreeBSD{OrigIf: e.incoming.IfName} && e.more != wire.FreeBSD{}
	return err
}

// keepMore keeps what FreeBSD alone says of the state just read, to answer peers.
func (e *Engine) keepMore(i slot) {
	if e.hasMore {
		if e.states.more == nil {
			e.states.more = make(map[slot]wire.FreeBSD)
		}
		e.states.more[i] = e.more
	}
}

// moreOf is what was kept, nil: nothing.
func (e *Engine) moreOf(i slot) *wire.FreeBSD {
	if x, ok := e.states.more[i]; ok {
		e.sendMore = x
		return &e.sendMore
	}
	return nil
}

// Types of the queries that ICMP states are mostly made by.
const (
	icmpEcho   = 8
	icmpv6Echo = 128
)

func queryOf(proto uint8) uint16 {
	switch proto {
	case pfstate.ProtoICMP:
		return icmpEcho
	case pfstate.ProtoICMPv6:
		return icmpv6Echo
	}
	return 0
}

// fromFreeBSD gives the state of a ping its type, if it has the id in its place,
// and reports whether it had. The other queries have no types there either: they
// pass for pings, but for those of neighbours and multicast listeners, which have 0
// for an id.
func (d *dialect) fromFreeBSD(s *pfstate.State) bool {
	query := queryOf(s.Proto)
	if query == 0 || query == icmpv6Echo && s.Wire.Port[0] == 0 || s.Wire.Port[0] != s.Wire.Port[1] || s.Stack.Port[0] != s.Stack.Port[1] {
		return false
	}
	responder := 1
	if s.Direction == pfstate.Out {
		responder = 0
	}
	s.Wire.Port[responder], s.Stack.Port[responder] = query, query
	return true
}

// toFreeBSD is the inverse of fromFreeBSD.
func (d *dialect) toFreeBSD(s *pfstate.State) {
	if d.Dialect == wire.OpenBSD6 || !d.icmpTwice && d.Dialect != wire.FreeBSD1301 || queryOf(s.Proto) == 0 {
		return
	}
	responder := 1
	if s.Direction == pfstate.Out {
		responder = 0
	}
	for _, k := range []*pfstate.Key{&s.Wire, &s.Stack} {
		k.Port[responder] = k.Port[1-responder]
	}
}
