package rush

import (
	"context"
	"net/netip"
	"time"
)

// eachKind is how many connections of each kind Kinds makes.
const eachKind = 100

// kinds are the kinds of connections that one firewall may have and another lose.
var kinds = []func(n int) Entry{
	Established,
	func(n int) Entry { e := Established(n); e.scale = 7; return e },
	func(n int) Entry { return Entry{Flow: TCP(n), tcp: synSent, timeout: 120} },
	func(n int) Entry { e := Established(n); e.tcp, e.timeout = timeWait, 120; return e },
	func(n int) Entry { e := Established(n); e.timeout = 5 * 24 * 60 * 60; return e },
	func(n int) Entry { return TCP(n).over6().established() },
	func(n int) Entry { return Entry{Flow: UDP(n), status: seenReply | assured, timeout: 120} },
	func(n int) Entry { return Entry{Flow: UDP(n), timeout: 120} },
	func(n int) Entry { return Entry{Flow: UDP(n).over6(), status: seenReply, timeout: 120} },
	func(n int) Entry { return Entry{Flow: icmp(n), status: seenReply, timeout: 100} },
	func(n int) Entry { return Entry{Flow: icmp(n).over6(), status: seenReply, timeout: 100} },
	func(n int) Entry {
		e := Established(n)
		e.source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 1}), uint16(10000+n))
		return e
	},
	func(n int) Entry {
		e := Established(n)
		e.dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 2}), 8443)
		return e
	},
	func(n int) Entry { e := Established(n); e.mark = 0xbeef; return e },
	func(n int) Entry { return TCP(n).inZone(7).established() },
}

// Kinds makes a hundred connections of each kind: TCP, UDP and ICMP, IPv4 and IPv6, states,
// timeouts, window scale, translation, mark, zone.
func (t *Table) Kinds(ctx context.Context) (Made, error) {
	t.Refused()
	m := Made{Begun: len(kinds) * eachKind}
	for i, kind := range kinds {
		for n := range eachKind {
			if err := t.Create(kind(i*eachKind + n)); err != nil {
				return m, err
			}
		}
		if err := t.Send(); err != nil {
			return m, err
		}
		select {
		case <-time.After(10 * step):
		case <-ctx.Done():
			return m, context.Cause(ctx)
		}
	}
	m.Refused, m.Why = t.Refused()
	return m, nil
}
