package carp_test

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

// What an advert costs without the host: parsing and checking, making and writing.
func BenchmarkAdvert(b *testing.B) {
	v := vectors(b)[0]
	packet, s := unhex(b, v.Hex), carp.NewSigner(v.Pass, v.VHID, prefixes(v.VIPs...), nil)
	b.Run("receive", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a, err := carp.ParseAdvert(packet)
			if err != nil || !s.Verify(a.Counter, a.Digest) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("send", func(b *testing.B) {
		b.ReportAllocs()
		out := make([]byte, 0, carp.AdvertLen)
		a := carp.Advert{Version: 2, Type: 1, VHID: 1, AuthLen: 7, AdvBase: 1, Counter: 7}
		for b.Loop() {
			a.Digest = s.Sign(a.Counter)
			out = a.Append(out[:0])
		}
	})
}

// What an advert costs with the ways between the goroutines: a backup that receives, and
// a master of 16 vhids that is made to send by a demotion.
func BenchmarkHost(b *testing.B) {
	start := func(b *testing.B, vhids int) (*carptest.System, *carp.Host) {
		sys := carptest.NewLAN().System("fw", carptest.Ports{"sis0": {netip.MustParseAddr("10.0.0.254")}})
		host := carp.New(sys, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			host.Run(ctx)
		}()
		b.Cleanup(func() {
			cancel()
			<-ended
		})
		for i := range vhids {
			addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24)
			check(b, host.Configure(carp.Config{
				Name: "carp" + string(rune('a'+i)), VHID: uint8(i + 1), Pass: "foo", AdvBase: 100, CarpDev: "sis0",
				Addresses: []netip.Prefix{addr}, Up: true,
			}))
		}
		for all := false; !all; { // INIT is left when the devices are open
			status, err := host.Status()
			check(b, err)
			all = true
			for _, s := range status {
				all = all && s.State == carp.Backup
			}
		}
		return sys, host
	}
	b.Run("receive", func(b *testing.B) {
		sys, host := start(b, 1)
		b.ReportAllocs()
		a := carp.Advert{Version: 2, Type: 1, VHID: 1, AuthLen: 7, AdvBase: 1, Counter: 1 << 63}
		a.Digest = carp.NewSigner("foo", 1, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, nil).Sign(a.Counter)
		p := multicast(a.Append(nil))
		n := uint64(0)
		for b.Loop() {
			sys.Inject("sis0", p)
			if n++; n%32 == 0 { // the device's queue has 64
				for received(b, host) < n {
					runtime.Gosched()
				}
			}
		}
		if sys.Dropped() > 0 {
			b.Errorf("%d packets dropped", sys.Dropped())
		}
	})
	b.Run("send", func(b *testing.B) {
		sys, host := start(b, 16)
		check(b, host.Force("carpa", carp.Master))
		for len(sys.Calls(carptest.Send)) == 0 {
			time.Sleep(time.Millisecond)
		}
		b.ReportAllocs()
		for b.Loop() {
			check(b, host.Demote("carp", 1))
		}
	})
}

// received is how many packets the host has handled.
func received(b *testing.B, host *carp.Host) uint64 {
	all, err := host.Counters()
	check(b, err)
	return all[0].Value // carp_ipackets
}
