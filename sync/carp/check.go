package carp

import (
	"fmt"
	"net/netip"
	"slices"
)

// check returns what is wrong with c by itself.
func (c Config) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{c.Name}, args...)...)
	}
	switch {
	case c.Name == "":
		return fmt.Errorf("a carp interface needs a name, like carp0")
	case c.AdvBase < 0 || c.AdvBase > 254:
		return refuse("advbase %d: must be 0 to 254 seconds", c.AdvBase)
	case c.AdvSkew < 0 || c.AdvSkew > 254:
		return refuse("advskew %d: must be 0 to 254", c.AdvSkew)
	case c.AdvBase == 0 && c.AdvSkew == 0:
		return refuse("advbase and advskew are both 0: no time is left between adverts; set one of them")
	case c.CarpDev == c.Name:
		return refuse("carpdev %s: is the carp interface itself; name a physical one", c.CarpDev)
	case c.CarpPeer.IsValid() && (!c.CarpPeer.Is4() || c.CarpPeer.IsMulticast() || c.CarpPeer.IsUnspecified() || c.CarpPeer == broadcast):
		return refuse("carppeer %s: must be the IPv4 address of one host; -carppeer for the group", c.CarpPeer)
	case len(c.LLAddr) != 0 && (len(c.LLAddr) != 6 || c.LLAddr[0]&1 != 0):
		return refuse("lladdr %s: must be six bytes, and not a multicast address", c.LLAddr)
	}
	seen := map[netip.Addr]bool{}
	for _, p := range c.Addresses {
		a := plain(p.Addr())
		switch {
		case !p.IsValid():
			return refuse("address %s: not valid", p.Addr())
		case a.IsMulticast() || a.IsUnspecified() || a == broadcast:
			return refuse("address %s: no host can have it", a)
		case seen[a]:
			return refuse("address %s: given twice", a)
		}
		seen[a] = true
	}
	return nil
}

// conflict returns why c and other, an interface of another name, cannot both be.
func (c Config) conflict(other Config) error {
	if c.VHID != 0 && c.VHID == other.VHID && c.CarpDev != "" && c.CarpDev == other.CarpDev {
		return fmt.Errorf("%s: vhid %d is %s's on %s already; use another one", c.Name, c.VHID, other.Name, c.CarpDev)
	}
	for _, p := range c.Addresses {
		for _, q := range other.Addresses {
			if plain(p.Addr()) == plain(q.Addr()) {
				return fmt.Errorf("%s: address %s is %s's already; take it away there first", c.Name, plain(p.Addr()), other.Name)
			}
		}
	}
	return nil
}

// check returns what is wrong with o.
func (o Options) check() error {
	switch {
	case o.Dialect > FreeBSD:
		return fmt.Errorf("carp dialect %d: openbsd or freebsd", uint8(o.Dialect))
	case o.IfdownFactor < 0 || o.IfdownFactor > 255:
		return fmt.Errorf("net.inet.carp.ifdown_demotion_factor %d: must be 0 to 255", o.IfdownFactor)
	case o.SenderrFactor < 0 || o.SenderrFactor > 255:
		return fmt.Errorf("net.inet.carp.senderr_demotion_factor %d: must be 0 to 255", o.SenderrFactor)
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// clone makes c independent of its caller.
func (c Config) clone() Config {
	c.Addresses, c.Groups, c.LLAddr = slices.Clone(c.Addresses), slices.Clone(c.Groups), slices.Clone(c.LLAddr)
	return c
}
