package link

import (
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// Protocol is pfsync's IP protocol number.
const Protocol = 240

// TTL is that of every packet sent, IPv6's hop limit too, and what a receiver must require.
const TTL = 255

// Group is the multicast address that is used without a syncpeer (INADDR_PFSYNC_GROUP).
var Group = netip.AddrFrom4([4]byte{224, 0, 0, 240})

// Group6 is FreeBSD's group of IPv6: a transient one, of the link (if_pfsync.h, 14.0).
var Group6 = netip.MustParseAddr("ff12::f0")

// Config says over which interface, and to whom.
type Config struct {
	Syncdev  string     // "": no link
	Syncpeer netip.Addr // unicast or multicast; a zone, if any, is Syncdev; zero: Group
}

// Peer is where packets are sent to. It has no zone: that is always Syncdev.
func (c Config) Peer() netip.Addr {
	if !c.Syncpeer.IsValid() {
		return Group
	}
	return c.Syncpeer.Unmap().WithZone("")
}

// Scoped is an address of Peer's network as a person may use it elsewhere: a link-local one with
// Syncdev as its zone.
func (c Config) Scoped(a netip.Addr) netip.Addr {
	if c.Syncdev == "" || !a.IsLinkLocalUnicast() {
		return a
	}
	return a.WithZone(c.Syncdev)
}

// Check reports what is wrong with c whatever interfaces there are.
func (c Config) Check() error {
	if c.Syncdev != "" {
		if err := ifwatch.CheckName(c.Syncdev); err != nil {
			return fmt.Errorf("syncdev %w", err)
		}
	}
	peer := c.Peer()
	switch {
	case peer.IsLoopback(), peer.IsInterfaceLocalMulticast():
		return fmt.Errorf("syncpeer %v: is a loopback address", peer)
	case peer.IsUnspecified(), peer.Is4() && peer.As4()[0] == 0:
		return fmt.Errorf("syncpeer %v: is no host's address; use -syncpeer for multicast", peer)
	case peer.Is4() && peer.As4()[0] >= 240:
		return fmt.Errorf("syncpeer %v: is a broadcast or reserved address", peer)
	}
	return c.checkZone()
}

func (c Config) checkZone() error {
	zone := c.Syncpeer.Zone()
	switch {
	case zone == "":
		return nil
	case !linkLocal(c.Peer()):
		return fmt.Errorf("syncpeer %v: is not link-local, so it takes no %%%s", c.Syncpeer, zone)
	case c.Syncdev != "" && zone != c.Syncdev:
		return fmt.Errorf("syncpeer %v: is on %s, and the syncdev is %s; set both", c.Syncpeer, zone, c.Syncdev)
	}
	return nil
}

// linkLocal tells whether a means something on one link only.
func linkLocal(a netip.Addr) bool {
	return a.IsLinkLocalUnicast() || a.Is6() && a.IsLinkLocalMulticast()
}

// refusal tells why an interface can never serve c as it is configured, in words
// for Status.Reason; "": it can. addrs are its addresses of the syncpeer's family.
func (c Config) refusal(i ifwatch.Interface, addrs []ifwatch.Address) string {
	peer := c.Peer()
	if i.Loopback {
		return "loopback"
	}
	if peer.IsMulticast() {
		if !i.Multicast {
			return "no multicast"
		}
		return ""
	}
	for _, a := range addrs {
		switch {
		case a.Prefix.Addr() == peer:
			return "syncpeer is our own address"
		case isBroadcast(a.Prefix, peer):
			return "syncpeer is a broadcast address"
		}
	}
	return ""
}

// refuse turns a refusal into an error with its remedy.
func (c Config) refuse(reason string) error {
	switch reason {
	case "":
		return nil
	case "loopback":
		return fmt.Errorf("syncdev %s: is a loopback interface", c.Syncdev)
	case "no multicast":
		return fmt.Errorf("syncdev %s: cannot multicast; set a syncpeer", c.Syncdev)
	}
	return fmt.Errorf("syncpeer %v: %s on %s; name the other firewall's", c.Peer(), reason[len("syncpeer "):], c.Syncdev)
}

func isBroadcast(p netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || p.Bits() > 30 || !p.Contains(a) {
		return false
	}
	b := a.As4()
	for bit := p.Bits(); bit < 32; bit++ {
		if b[bit/8]&(0x80>>(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// source chooses the address to send from; an invalid one: there is none, for that reason.
func source(addrs []ifwatch.Address, peer netip.Addr) (addr netip.Addr, reason string) {
	if peer.Is6() {
		return source6(addrs, peer)
	}
	if addr = source4(addrs, peer); !addr.IsValid() {
		reason = "no address"
	}
	return addr, reason
}

// source6 is among those of the peer's scope the one in its network, and one that lasts.
func source6(addrs []ifwatch.Address, peer netip.Addr) (best netip.Addr, reason string) {
	most := 0
	reason = "no IPv6 address"
	for _, a := range addrs {
		if a.HostScope || a.Prefix.Addr().IsLinkLocalUnicast() != linkLocal(peer) {
			continue
		}
		if a.Tentative {
			if most == 0 {
				reason = "IPv6 address is tentative"
			}
			continue
		}
		merit := 1
		if a.Prefix.Contains(peer) {
			merit += 2
		}
		if !a.Passing {
			merit++
		}
		if merit > most {
			best, most, reason = a.Prefix.Addr(), merit, ""
		}
	}
	return best, reason
}

// source4 is what the kernel will choose: the address in the peer's network, else the first that
// others may see.
func source4(addrs []ifwatch.Address, peer netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range addrs {
		switch {
		case a.HostScope:
		case a.Prefix.Contains(peer):
			return a.Prefix.Addr()
		case !first.IsValid():
			first = a.Prefix.Addr()
		}
	}
	return first
}
