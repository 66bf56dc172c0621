package ifconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const (
	maxMaxUpd = 255

	// minPFSyncMTU holds IP header, pfsync header, one section and one state: less could never
	// carry an insert (20 + 20 + 4 + 264 bytes, spec/pfsync-protocol.md).
	minPFSyncMTU = 308
	maxPFSyncMTU = 65535 // IP's own limit
	minMTU       = 68    // RFC 791
	maxMTU       = 1<<31 - 1
)

// multicastPeer is the group that pfsync sends to when no syncpeer is set.
var multicastPeer = netip.AddrFrom4([4]byte{224, 0, 0, 240})

func setMTU(p *parser, arg string) error {
	lo, hi := mtuRange(p.Interface)
	n, err := number(arg, lo, hi)
	p.MTU = &n
	return err
}

func mtuRange(name string) (lo, hi int) {
	if kind, err := kindOf(name); err == nil && kind == kindPFSync {
		return minPFSyncMTU, maxPFSyncMTU
	}
	return minMTU, maxMTU
}

func setMaxUpd(p *parser, arg string) error {
	n, err := number(arg, 0, maxMaxUpd)
	n = max(n, 1) // 0 would hold no update at all: as 1
	p.MaxUpd = &n
	return err
}

func setSyncdev(p *parser, arg string) error {
	p.Syncdev = &arg
	return checkSyncdev(arg)
}

func checkSyncdev(name string) error {
	switch {
	case len(name) > maxName:
		return errors.New("interface name too long")
	case name == "pfsync0":
		return errors.New("pfsync0 cannot be its own syncdev")
	case name == "lo":
		return errors.New("no peer is reached over lo")
	}
	return checkName(name)
}

// checkName refuses what no interface of Linux's could be called.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return errors.New("interface name too long")
	case !isName(name):
		return errors.New("not the name of an interface")
	}
	return nil
}

func setSyncpeer(p *parser, arg string) error {
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		return errors.New("error in parsing address string: not an IP address (host names are not supported yet)")
	}
	addr = addr.Unmap()
	if err := checkSyncpeer(addr); err != nil {
		return err
	}
	if addr == multicastPeer {
		addr = netip.Addr{} // the default, shown as such
	}
	p.Syncpeer = &addr
	return nil
}

func checkSyncpeer(addr netip.Addr) error {
	zone := addr.Zone()
	addr = addr.WithZone("")
	switch {
	case addr.IsUnspecified():
		return errors.New("not the address of a host (-syncpeer goes back to the multicast group)")
	case addr.IsLoopback(), addr.IsInterfaceLocalMulticast():
		return errors.New("a loopback address is no other firewall's")
	case addr.Is4() && addr.As4()[0] >= 240, addr.Is4In6():
		return errors.New("neither the address of a host nor a multicast group")
	case zone != "" && !isName(zone):
		return errors.New("what is behind % is not the name of an interface")
	case zone != "" && !addr.IsLinkLocalUnicast() && !addr.IsLinkLocalMulticast():
		return fmt.Errorf("not link-local (leave %%%s out)", zone)
	}
	return nil
}

// number reads a decimal number as OpenBSD's strtonum does, with its three complaints and
// the range.
func number(arg string, lo, hi int) (int, error) {
	n, err := strconv.ParseInt(arg, 10, 64) // out of range: n is the nearest there is
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("invalid (%d to %d)", lo, hi)
	case n < int64(lo):
		return 0, fmt.Errorf("too small (%d to %d)", lo, hi)
	case n > int64(hi):
		return 0, fmt.Errorf("too large (%d to %d)", lo, hi)
	}
	return int(n), nil
}

// Validate checks what Parse checks, for a Change that came by another way (the control
// socket). The error names the word.
func (c Change) Validate() error {
	kind, err := kindOf(c.Interface)
	switch {
	case len(c.Interface) > maxName:
		return fmt.Errorf("interface name '%s' too long", Shown(c.Interface))
	case err != nil:
		return err
	case c.Destroy && c.besideDestroy() != "":
		return contradicts(c)
	case kind == kindPFSync && c.Carp != nil:
		return fmt.Errorf("%s: not a carp interface", c.Interface)
	case kind == kindCarp && (c.MTU != nil || !c.Linux.Empty()):
		return fmt.Errorf("%s: nothing can be set by the kernel", c.Interface)
	case kind != kindPFSync && c.ofPFSync():
		return fmt.Errorf("%s: not a pfsync interface", c.Interface)
	case kind == kindPFSync && c.Linux.elsewhere():
		return fmt.Errorf("%s: only description and group can be set by the kernel", c.Interface)
	case kind == kindPlain && c.Create:
		return fmt.Errorf("%s: SIOCIFCREATE: only %s can be created (use ip link add %s type ...)", c.Interface, creatable(), c.Interface)
	case kind == kindPlain && c.Destroy:
		return fmt.Errorf("%s: SIOCIFDESTROY: only %s can be destroyed (use ip link delete %s)", c.Interface, creatable(), c.Interface)
	case c.Group != nil && c.Ungroup != nil && *c.Group == *c.Ungroup:
		return fmt.Errorf("-group %s: contradicts group %s on the same line", *c.Group, *c.Group)
	case c.NoInet6 && c.Autoconf != nil && *c.Autoconf:
		return errors.New("-inet6: contradicts autoconf on the same line")
	}
	if err := c.Carp.validate(kind); err != nil {
		return err
	}
	for _, a := range c.Addresses {
		if c.NoInet6 && a.Family == Inet6 && a.Op != AddressDelete {
			return fmt.Errorf("-inet6: contradicts %v on the same line", a.Prefix.Addr())
		}
		if err := a.validate(); err != nil {
			return err
		}
	}
	if c.MTU != nil {
		lo, hi := mtuRange(c.Interface)
		if _, err := number(strconv.Itoa(*c.MTU), lo, hi); err != nil {
			return fmt.Errorf("mtu %d: %w", *c.MTU, err)
		}
	}
	if c.Version != nil && *c.Version != "" && !slices.Contains(words(versions), *c.Version) {
		return fmt.Errorf("version %s: unsupported, choose one of %s", Shown(*c.Version), versions)
	}
	if c.MaxUpd != nil {
		if _, err := number(strconv.Itoa(*c.MaxUpd), 1, maxMaxUpd); err != nil {
			return fmt.Errorf("maxupd %d: %w", *c.MaxUpd, err)
		}
	}
	if c.Syncdev != nil && *c.Syncdev != "" {
		if err := checkSyncdev(*c.Syncdev); err != nil {
			return fmt.Errorf("syncdev %s: %w", Shown(*c.Syncdev), err)
		}
	}
	if c.Syncpeer != nil && c.Syncpeer.IsValid() {
		if err := checkSyncpeer(*c.Syncpeer); err != nil {
			return fmt.Errorf("syncpeer %s: %w", Shown(c.Syncpeer.String()), err)
		}
	}
	return nil
}

// ofPFSync tells whether there are words that only pfsync0 has.
func (c Change) ofPFSync() bool {
	return c.Syncdev != nil || c.Syncpeer != nil || c.MaxUpd != nil || c.Defer != nil || c.Version != nil || c.Pair != nil || c.Key != nil || c.Bulk || c.Push
}

// ForDaemon is c without what the kernel applies.
func (c Change) ForDaemon() Change {
	c.Linux, c.Warnings = Linux{}, nil
	return c
}

// elsewhere tells whether there are words that pfsync0 has not.
func (l Linux) elsewhere() bool {
	l.Description, l.Group, l.Ungroup = nil, nil, nil
	return !l.Empty()
}

// Empty tells whether there is nothing for the kernel to do.
func (l Linux) Empty() bool { return reflect.ValueOf(l).IsZero() }

// creatable lists what can be created, for errors.
func creatable() string {
	var names []string
	for _, name := range Cloners() {
		if name != "pfsync" {
			name += "N"
		} else {
			name += "0"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// besideDestroy is a word of c that makes no sense for what is destroyed, or "".
func (c Change) besideDestroy() string {
	for _, word := range []struct {
		name  string
		given bool
	}{
		{"create", c.Create}, {"up", c.Up != nil && *c.Up}, {"down", c.Up != nil}, {"mtu", c.MTU != nil},
		{"syncdev", c.Syncdev != nil}, {"syncpeer", c.Syncpeer != nil}, {"maxupd", c.MaxUpd != nil}, {"defer", c.Defer != nil},
		{"listen", c.Listen != nil},
		{"version", c.Version != nil}, {"pair", c.Pair != nil},
		{"key", c.Key != nil}, {"bulk", c.Bulk}, {"push", c.Push}, {"words of carp", c.Carp != nil},
		{"an address", len(c.Addresses) > 0}, {"description", c.Description != nil},
		{"other words", !c.Linux.Empty()},
	} {
		if word.given {
			return word.name
		}
	}
	return ""
}

func contradicts(c Change) error {
	return fmt.Errorf("destroy: contradicts %s on the same line", c.besideDestroy())
}

// Merge adds a later command for the same interface to c: what it mentions wins, and
// its addresses follow c's.
func (c *Change) Merge(later Change) {
	c.Create = c.Create || later.Create
	c.Destroy = c.Destroy || later.Destroy
	keep(&c.Up, later.Up)
	keep(&c.MTU, later.MTU)
	keep(&c.Syncdev, later.Syncdev)
	keep(&c.Syncpeer, later.Syncpeer)
	keep(&c.MaxUpd, later.MaxUpd)
	keep(&c.Defer, later.Defer)
	keep(&c.Listen, later.Listen)
	keep(&c.Version, later.Version)
	keep(&c.Pair, later.Pair)
	keep(&c.Key, later.Key)
	c.Bulk = c.Bulk || later.Bulk
	c.Push = c.Push || later.Push
	if later.Carp != nil {
		all := CarpChange{}
		if c.Carp != nil {
			all = *c.Carp
		}
		all.merge(*later.Carp)
		c.Carp = &all
	}
	c.Linux.merge(later.Linux)
	c.Warnings = append(c.Warnings, later.Warnings...)
}

func (l *Linux) merge(later Linux) {
	keep(&l.Description, later.Description)
	keep(&l.Group, later.Group)
	keep(&l.Ungroup, later.Ungroup)
	keep(&l.LLAddr, later.LLAddr)
	keep(&l.ARP, later.ARP)
	keep(&l.Promisc, later.Promisc)
	keep(&l.Rename, later.Rename)
	keep(&l.VNetID, later.VNetID)
	keep(&l.Parent, later.Parent)
	keep(&l.Patch, later.Patch)
	l.Add = append(l.Add, later.Add...)
	l.Del = append(l.Del, later.Del...)
	keep(&l.Autoconf, later.Autoconf)
	l.NoInet6 = l.NoInet6 || later.NoInet6
	l.Addresses = append(l.Addresses, later.Addresses...)
}

func keep[T any](field **T, later *T) {
	if later != nil {
		*field = later
	}
}
