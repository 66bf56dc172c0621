package engine_test

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

var (
	ourAddr6   = netip.MustParseAddr("fe80::a")
	theirAddr6 = netip.MustParseAddr("fe80::b")
	thirdAddr6 = netip.MustParseAddr("fe80::c")
)

// byIPv6 moves the link there.
func (r *rig) byIPv6(syncpeer netip.Addr, mtu int) {
	r.statuses <- link.Status{Config: link.Config{Syncdev: "sis2", Syncpeer: syncpeer}, Up: true, MTU: mtu, Index: 3, Addr: ourAddr6}
	synctest.Wait()
}

// largest is the size of the largest of the datagrams that the engine sent, without IP header.
func (r *rig) largest() (size int) {
	for _, p := range r.takeRaw() {
		size = max(size, len(p.b))
	}
	return size
}

// What is sent by IPv6 leaves room for its header, which has 20 bytes more.
func TestPacketsKeepToTheMTUByIPv6(t *testing.T) {
	within(t, func(r *rig) {
		n := 0
		first := func(mtu int) int { // the size of the first packet
			r.configure(func(s *engine.Settings) { s.Up, s.MTU = true, mtu })
			r.forget()
			var all []pfstate.Change
			for range 8 {
				n++
				all = append(all, created(tcp(us, n, synSent, closed)))
			}
			r.table(all...)
			_, sizes := r.told()
			return sizes[0]
		}
		full := wire.HeaderLen + wire.SubheaderLen + 5*wire.StateLen
		mtu := full
		for first(mtu) != full {
			mtu++
		}
		r.byIPv6(link.Group6, 9000)
		for _, c := range []struct{ mtu, want int }{{mtu, full - wire.StateLen}, {mtu + 19, full - wire.StateLen}, {mtu + 20, full}} {
			if got := first(c.mtu); got != c.want {
				t.Errorf("mtu %d: the first packet has %d bytes, want %d", c.mtu, got, c.want)
			}
		}
		r.byIPv6(link.Group6, 1280)
		r.forget()
		first(1500)
		if got := r.largest(); got > 1240 {
			t.Errorf("a datagram of %d bytes by a link with an mtu of 1280", got)
		}
	})
}

// What is checked of IPv4's header is of IPv6's.
func TestReceivesByIPv6(t *testing.T) {
	within(t, func(r *rig) {
		r.byIPv6(link.Group6, 1500)
		r.base = r.counters()
		s := tcp(them, 1, estab, estab)
		var w wire.Writer
		w.Reset(1400)
		w.State(wire.ActIns, &s)
		from := func(src netip.Addr, ttl uint8) {
			r.packet(link.Packet{Src: src, Dst: link.Group6, TTL: ttl, Payload: slices.Clone(w.Finish())})
		}
		from(theirAddr6, 254)
		r.counted("ipackets6=1", "badttl=1")
		from(ourAddr6, 255)
		r.counted("ipackets6=2", "ownpackets=1", "iacts.INS ST=0")
		from(theirAddr6, 255)
		r.counted("ipackets6=3", "ipackets=0", "iacts.INS ST=1", "opackets=0")
		r.heardAs(theirAddr6, "openbsd")
		time.Sleep(2 * time.Second)
		if n := r.counters()["opackets6"]; n == 0 {
			t.Error("no packet sent by IPv6 is counted")
		}

		r.byIPv6(theirAddr6, 1500)
		from(thirdAddr6, 255)
		r.counted("badpeer=1")
		from(theirAddr6, 255)
		r.counted("badpeer=1", "iacts.INS ST=2")
		r.byIPv6(theirAddr6.WithZone("sis2"), 1500)
		r.heardAs(theirAddr6, "openbsd") // the same, written otherwise
	})
}

// A packet sent before the link became smaller is told anew, not sent again as it was.
func TestSentPacketsThatHaveBecomeTooLarge(t *testing.T) {
	for _, c := range []struct {
		name    string
		smaller func(*rig)
		most    int
	}{
		{"mtu", func(r *rig) {
			r.statuses <- link.Status{Config: link.Config{Syncdev: "sis2"}, Up: true, MTU: 800, Index: 3, Addr: ourAddr}
		}, 780},
		{"IPv6", func(r *rig) { r.byIPv6(link.Group6, 1500) }, 1460},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				var all []pfstate.Change
				for n := range 100 {
					all = append(all, created(udp(us, n+1, pfstate.Single, pfstate.NoTraffic)))
				}
				_, before := r.named()
				r.table(all...)
				epoch, last := r.named()
				c.smaller(r)
				synctest.Wait()
				p.beacon() // by IPv6 it is a new one
				r.takeRaw()
				r.base = r.counters()
				p.ask(func(w *wire.TrailerWriter) {
					w.Resend(epoch, []wire.Range{{First: before + 1, Count: uint32(last - before)}})
				})
				r.counted("resendssent=0")
				if got := r.largest(); got > c.most {
					t.Errorf("a datagram of %d bytes", got)
				}
			})
		})
	}
}
