package bsd_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pfsync-linux/pfsync/test/bsd/peer"
)

// The cases of FreeBSD's tests that are about what states carry, by their names. What is
// about pf's own rules becomes: what a Linux firewall between two such boxes does with it.

// keeps has a box tell us a state and lose it: it gets it back as it was.
func (b *bench) keeps(s peer.State) {
	b.Helper()
	b.New(s)
	b.settle()
	want := b.States()[s.ID]
	b.Restart()
	b.Join()
	b.settle()
	got := b.States()[s.ID]
	got.Creation, got.Expire = want.Creation, want.Expire
	if got != want {
		b.Errorf("it came back as\n%+v, was\n%+v\n%q", got, want, b.Heard())
	}
	b.content()
}

// in runs test beside these systems.
func in(t *testing.T, systems []*peer.System, test func(*bench)) {
	t.Helper()
	for _, y := range systems {
		t.Run(y.Name, func(t *testing.T) { beside(t, y, test) })
	}
}

func since(y *peer.System) []*peer.System {
	all := peer.Systems()
	return all[slices.Index(all, y):]
}

func TestFreeBSDCases(t *testing.T) {
	for _, c := range []struct {
		name    string
		systems []*peer.System
		test    func(*bench)
	}{
		{"rtable", since(peer.FreeBSD14), func(b *bench) {
			s := theirTCP(1)
			s.RTable[0] = 3 // there are no such tables here
			b.New(s)
			s.Src.State = 7
			b.Moved(s)
			b.has(theirText(1, "7:4"))
			b.Forget()
			b.Box.AddTables(4)
			b.keeps(s)
		}},
		// 1301 does not say the kind of a route, and FreeBSD takes it from an equal ruleset,
		// which a Linux firewall never has. The state is taken; that it goes another way, by
		// Linux's routes, is the operator's affair.
		{"route_to_1301", []*peer.System{peer.FreeBSD13}, route1301},
		{"route_to_1301_bad_ruleset", []*peer.System{peer.FreeBSD13}, func(b *bench) {
			// A box without equal rules does not take it from us either: so it must be told the
			// route, or it would send the connection elsewhere.
			s := routed1301()
			b.New(s)
			b.has(theirText(1, "4:4"))
			b.Restart()
			b.Join()
			b.settle()
			if n := len(b.States()); n != 0 {
				b.Errorf("it has %d states: without their route", n)
			}
			b.content()
		}},
		{"route_to_1400_bad_ruleset", since(peer.FreeBSD14), func(b *bench) {
			s := theirTCP(1)
			s.Route, s.Hop, s.RouteIf = 2, netip.MustParseAddr("10.2.0.254"), "em0"
			b.keeps(s)
			b.has(theirText(1, "4:4"))
		}},
		{"route_to_1400_bad_ifname", since(peer.FreeBSD14), func(b *bench) {
			s := theirTCP(1)
			s.Route, s.Hop, s.RouteIf = 2, netip.MustParseAddr("10.2.0.254"), "em9" // no interface of anybody's
			b.New(s)
			b.has(theirText(1, "4:4")) // conntrack binds nothing to interfaces
			b.Restart()
			b.Join()
			b.settle()
			if n := len(b.States()); n != 0 {
				b.Errorf("it has %d states: the route was not told", n)
			}
			b.content()
		}},
		// NAT64 is not expressible in conntrack (TestWhatTheKernelCannotHave): the state is
		// kept for its peers, and shown.
		{"af_to_in_floating", []*peer.System{peer.OpenBSD, peer.FreeBSD15}, func(b *bench) { b.keeps(afTo()) }},
		{"af_to_in_if_bound", []*peer.System{peer.OpenBSD, peer.FreeBSD15}, func(b *bench) {
			s := afTo()
			s.IfName = "em0"
			b.keeps(s)
		}},
		{"af_to_out_if_bound", []*peer.System{peer.OpenBSD, peer.FreeBSD15}, func(b *bench) {
			s := afTo()
			s.IfName, s.Direction = "em0", 2
			s.Wire, s.Stack = s.Stack, s.Wire
			s.Proto, s.StackProto = 1, 58
			b.keeps(s)
		}},
		{"tag", []*peer.System{peer.FreeBSD15}, func(b *bench) {
			s := theirTCP(1)
			s.Tag = "from-inside"
			b.keeps(s)
		}},
		{"altq_queues", since(peer.FreeBSD14), func(b *bench) {
			s := theirTCP(1)
			s.Queues = [4]uint16{7, 8, 0, 0}
			b.keeps(s)
		}},
		{"rt_af", []*peer.System{peer.FreeBSD15}, func(b *bench) {
			for n, hop := range []string{"10.2.0.254", "fd00:2::254"} {
				s := theirTCP(n + 1)
				s.Route, s.Hop, s.RouteIf = 2, netip.MustParseAddr(hop), "em0"
				b.keeps(s)
			}
		}},
		// What a route-to rule made is usable at once when the other firewall takes over,
		// which on Linux means: its connection is in the table.
		{"pfsync_pbr", since(peer.FreeBSD14), func(b *bench) {
			s := theirTCP(1)
			s.Route, s.Hop, s.RouteIf = 4, netip.MustParseAddr("10.1.0.254"), "em0" // reply-to
			b.New(s)
			b.has(theirText(1, "4:4"))
			here := ourTCP(1, 7, 4) // traffic comes here
			here.SetTuples(theirTuples(1))
			b.update(here)
			b.hears("UPD_C 1 7:4")
			b.content()
		}},
	} {
		t.Run(c.name, func(t *testing.T) { in(t, c.systems, c.test) })
	}
}

func routed1301() peer.State {
	s := theirTCP(1)
	s.Hop, s.Rule = netip.MustParseAddr("10.2.0.254"), 3
	return s
}

func route1301(b *bench) {
	s := routed1301()
	b.New(s)
	b.has(theirText(1, "4:4"))
	s.Src.State = 7
	b.Moved(s) // and it goes on as any other
	b.has(theirText(1, "7:4"))
	here := ourTCP(1, 7, 7)
	here.SetTuples(theirTuples(1))
	b.update(here)
	b.hears("UPD_C 1 7:7")
	b.content()
}

// afTo is a ping through NAT64, as it comes in.
func afTo() peer.State {
	s := peer.Connection(peer.ID{State: 64, Creator: them}, 58, addrPort("[fd00:1::2]:77"), addrPort("[64:ff9b::a02:2]:128"))
	s.Direction, s.StackProto = 1, 1
	s.Wire.Addr[0], s.Wire.Addr[1] = s.Wire.Addr[1], s.Wire.Addr[0]
	s.Wire.Port[0], s.Wire.Port[1] = s.Wire.Port[1], s.Wire.Port[0]
	s.Stack = peer.Key{Addr: [2]netip.Addr{netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("10.2.0.2")}, Port: [2]uint16{77, 8}}
	return s
}
