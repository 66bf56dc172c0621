package engine_test

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// fakeSAs is a kernel's security associations.
type fakeSAs struct {
	used  chan []ipsec.SA
	learn []ipsec.SA
}

func (f *fakeSAs) Used() <-chan []ipsec.SA { return f.used }
func (f *fakeSAs) Learn(s ipsec.SA)        { f.learn = append(f.learn, s) }

func withSAs(t *testing.T, test func(*rig, *fakeSAs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { // channels of the bubble
		f := &fakeSAs{used: make(chan []ipsec.SA)}
		r := newRigOf(t, engine.Config{SAs: f})
		r.up()
		r.dump()
		r.linkUp()
		test(r, f)
		r.end()
	})
}

var (
	sa4 = ipsec.SA{SPI: 0x1001, Dst: netip.MustParseAddr("192.0.2.1"), Proto: 50, Replay: 16384 + 5, Bytes: 700}
	sa6 = ipsec.SA{SPI: 0x1002, Dst: netip.MustParseAddr("2001:db8::1"), Proto: 51, Replay: 1 << 33, Bytes: 1 << 40}
)

func TestUsedSAsAreTold(t *testing.T) {
	for d, want := range map[wire.Dialect][]string{
		wire.OpenBSD6:    {"UPD TDB 1001 192.0.2.1 50: 16389 700", "UPD TDB 1002 2001:db8::1 51: 8589934592 1099511627776"},
		wire.FreeBSD1400: {"UPD TDB OLD 1001 192.0.2.1 50: 16389 700", "UPD TDB OLD 1002 2001:db8::1 51: 4294967295 1099511627776"},
	} {
		withSAs(t, func(r *rig, f *fakeSAs) {
			r.configure(func(s *engine.Settings) { s.Up, s.Dialect, s.DialectSet = true, d, true })
			r.forget()
			f.used <- []ipsec.SA{sa4, sa6}
			r.expect(want...)
			r.linkDown()
			f.used <- []ipsec.SA{sa4} // nobody hears it: it is told when it is used again
			r.expect()
			r.linkUp()
		})
	}
}

func TestPeersSAsAreLearnt(t *testing.T) {
	for _, d := range []wire.Dialect{wire.OpenBSD6, wire.FreeBSD1301} {
		withSAs(t, func(r *rig, f *fakeSAs) {
			r.configure(func(s *engine.Settings) { s.Up, s.Dialect, s.DialectSet = true, d, true })
			reserved, nowhere := wire.TDB{SPI: 255, Dst: wire.NewSockaddr(d, sa4.Dst), Proto: 50}, wire.TDB{SPI: 300, Proto: 50}
			r.deliver(func(w *wire.Writer) {
				w.Dialect = d
				w.Reset(1400)
				for _, t := range []wire.TDB{
					{SPI: sa4.SPI, Dst: wire.NewSockaddr(d, sa4.Dst), Replay: 16389, Bytes: 700, Proto: 50},
					reserved, nowhere,
					{SPI: sa6.SPI, Dst: wire.NewSockaddr(d, sa6.Dst), Replay: 9, Bytes: 1 << 40, Proto: 51},
				} {
					w.TDB(&t)
				}
			})
			short := sa6
			short.Replay = 9
			if !slices.Equal(f.learn, []ipsec.SA{sa4, short}) {
				t.Errorf("%v: learnt %+v", d, f.learn)
			}
			r.counted("badstate=2")
		})
	}
}
