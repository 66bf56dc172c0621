package link_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// Without security associations nothing leaves, and what comes in clear stays outside and is
// counted. What goes through IPsec is tested in test/vm: this kernel has no ESP.
func TestIPsecOnlyTakesNothingInClear(t *testing.T) {
	for _, c := range []struct{ here, there string }{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		t.Run(c.here, func(t *testing.T) {
			w := newWire(t)
			here, there := netip.MustParseAddr(c.here), netip.MustParseAddr(c.there)
			if here.Is6() {
				ip(t, w.a, fmt.Sprintf("addr add %v/64 dev sis2 nodad", here))
				ip(t, w.b, fmt.Sprintf("addr add %v/64 dev sis2 nodad", there))
			}
			forger := start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: here})
			awaitUp(t, forger)
			clear := start(t, w.a, link.Config{Syncdev: "sis2", Syncpeer: there})
			awaitUp(t, clear)
			l := start(t, w.a, link.Config{Syncdev: link.IPsecOnly, Syncpeer: there})
			awaitReason(t, l, "waiting for ipsec")
			labtest.Eventually(t, "a packet counted", func() bool { // once the socket is open
				send(t, forger, "forged")
				return counter(l, "link_clear") > 0
			})
			before := counter(l, "link_clear")
			send(t, forger, "forged", "again")
			labtest.Eventually(t, "both counted", func() bool { return counter(l, "link_clear") == before+2 })
			take(t, clear, int(before)+2) // who wants them gets them
			if n := counter(l, "link_received") + counter(l, "link_receive_drops"); n != 0 || len(l.Received()) != 0 {
				t.Errorf("%d packets received", n)
			}
		})
	}
}

func TestWhatIPsecOnlyNeeds(t *testing.T) {
	w := newWire(t)
	l := link.New(slog.New(slog.DiscardHandler), link.NetNS(w.a.Fd()))
	for peer, want := range map[netip.Addr]string{
		{}:                             "syncdev enc0: needs a syncpeer",
		link.Group6:                    "syncdev enc0: needs a syncpeer",
		netip.MustParseAddr("fe80::2"): "syncpeer fe80::2: a link-local address needs an interface, and enc0 is none",
	} {
		if err := l.Configure(link.Config{Syncdev: link.IPsecOnly, Syncpeer: peer}); err == nil || err.Error() != want {
			t.Errorf("syncpeer %v: error %v, want %s", peer, err, want)
		}
	}
}

// An interface of that name is one like others.
func TestInterfaceCalledEnc0(t *testing.T) {
	w := newWire(t)
	l := start(t, w.a, link.Config{Syncdev: link.IPsecOnly, Syncpeer: addrB})
	awaitReason(t, l, "waiting for ipsec")
	ip(t, w.a, "link set sis2 down")
	ip(t, w.a, "link set sis2 name enc0 up")
	s := awaitUp(t, l)
	if s.Index == 0 || s.MTU != 1500 {
		t.Errorf("status %+v", s)
	}
	peer := start(t, w.b, link.Config{Syncdev: "sis2", Syncpeer: addrA})
	awaitUp(t, peer)
	exchange(t, l, peer, "by enc0")
}
