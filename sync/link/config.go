package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// Protocol is pfsync's IP protocol number.
const Protocol = 240

// TTL is that of every packet sent, and what a receiver must require.
const TTL = 255

// HeaderLen is the length of the IPv4 header that precedes a payload sent.
const HeaderLen = 20

// Group is the multicast address that is used without a syncpeer (INADDR_PFSYNC_GROUP).
var Group = netip.AddrFrom4([4]byte{224, 0, 0, 240})

// Config says over which interface, and to whom.
type Config struct {
	Syncdev  string     // "": no link
	Syncpeer netip.Addr // IPv4, unicast or multicast; zero: Group
}

// Peer is where packets are sent to.
func (c Config) Peer() netip.Addr {
	if !c.Syncpeer.IsValid() {
		return Group
	}
	return c.Syncpeer.Unmap()
}

// ErrIPv6 is returned for an IPv6 syncpeer. The words are OpenBSD's.
var ErrIPv6 = errors.New("only IPv4 addresses supported for the syncpeer")

// Check reports what is wrong with c whatever interfaces there are.
func (c Config) Check() error {
	if c.Syncdev != "" {
		if err := ifwatch.CheckName(c.Syncdev); err != nil {
			return fmt.Errorf("syncdev %w", err)
		}
	}
	peer := c.Peer()
	a4 := peer.As16()
	switch {
	case !peer.Is4():
		return ErrIPv6
	case peer.IsLoopback():
		return fmt.Errorf("syncpeer %v: is a loopback address", peer)
	case peer.IsMulticast():
		return nil
	case a4[12] == 0:
		return fmt.Errorf("syncpeer %v: is no host's address; use -syncpeer for multicast", peer)
	case a4[12] >= 240:
		return fmt.Errorf("syncpeer %v: is a broadcast or reserved address", peer)
	}
	return nil
}

// refusal tells why an interface can never serve c as it is configured, in words
// for Status.Reason; "": it can.
func (c Config) refusal(i ifwatch.Interface) string {
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
	for _, a := range i.IPv4 {
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
	if p.Bits() > 30 || !p.Contains(a) {
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

// source chooses the address that the kernel will send from: the one in the peer's
// network, else the first that others may see.
func source(addrs []ifwatch.Address, peer netip.Addr) netip.Addr {
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
