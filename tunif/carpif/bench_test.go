package carpif_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// BenchmarkServe is the renewal that goes with each advert.
func BenchmarkServe(b *testing.B) {
	for _, n := range []int{1, 2, 16} {
		b.Run(fmt.Sprintf("addresses=%d", n), func(b *testing.B) {
			a := open(b, newSystem(b, newLAN(b).a))
			list := both[:min(n, 2)]
			for i := 2; i < n; i++ {
				list = append(list[:i:i], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}), 24))
			}
			check(b, a.Serve(list, lifetime))
			b.ReportAllocs()
			for b.Loop() {
				check(b, a.Serve(list, lifetime))
			}
		})
	}
}

// BenchmarkSend is one advert.
func BenchmarkSend(b *testing.B) {
	for _, family := range []carp.Family{carp.Inet, carp.Inet6} {
		b.Run(fmt.Sprintf("ipv%d", family), func(b *testing.B) {
			a := open(b, newSystem(b, newLAN(b).a))
			check(b, a.Serve(both, lifetime))
			b.ReportAllocs()
			for b.Loop() {
				check(b, a.Send(advert(1), family, netip.Addr{}, vip.Addr()))
			}
		})
	}
}

// BenchmarkTakeover is what a backup does to become the master, and back.
func BenchmarkTakeover(b *testing.B) {
	a := open(b, newSystem(b, newLAN(b).a))
	b.ReportAllocs()
	for b.Loop() {
		check(b, a.Serve(both, lifetime))
		check(b, a.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()))
		check(b, a.Send(advert(1), carp.Inet6, netip.Addr{}, vip6.Addr()))
		check(b, a.Announce(both))
		check(b, a.Withdraw())
	}
}
