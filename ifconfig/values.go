package ifconfig

import (
	"errors"
	"fmt"
	"net/netip"
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

func setMTU(c *Change, arg string) error {
	lo, hi := mtuRange(c.Interface)
	n, err := number(arg, lo, hi)
	c.MTU = &n
	return err
}

func mtuRange(name string) (lo, hi int) {
	if kind, err := kindOf(name); err == nil && kind == kindPFSync {
		return minPFSyncMTU, maxPFSyncMTU
	}
	return minMTU, maxMTU
}

func setMaxUpd(c *Change, arg string) error {
	n, err := number(arg, 0, maxMaxUpd)
	n = max(n, 1) // 0 would hold no update at all: as 1
	c.MaxUpd = &n
	return err
}

func setSyncdev(c *Change, arg string) error {
	c.Syncdev = &arg
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
	case name == "" || name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == ':' || r <= ' ' || !strconv.IsPrint(r) || r == '\uFFFD'
	}):
		return errors.New("not the name of an interface")
	}
	return nil
}

func setSyncpeer(c *Change, arg string) error {
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		return errors.New("error in parsing address string: not an IPv4 address (host names are not supported yet)")
	}
	if err := checkSyncpeer(addr); err != nil {
		return err
	}
	if addr == multicastPeer {
		addr = netip.Addr{} // the default, shown as such
	}
	c.Syncpeer = &addr
	return nil
}

func checkSyncpeer(addr netip.Addr) error {
	switch {
	case !addr.Is4():
		return errors.New("only IPv4 addresses supported for the syncpeer")
	case addr.IsUnspecified():
		return errors.New("not the address of a host (-syncpeer goes back to the multicast group)")
	case addr.IsLoopback():
		return errors.New("a loopback address is no other firewall's")
	case addr.As4()[0] >= 240:
		return errors.New("neither the address of a host nor a multicast group")
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
	case kind != kindPFSync && (c.Create || c.Destroy || c.Syncdev != nil || c.Syncpeer != nil || c.MaxUpd != nil ||
		c.Defer != nil || c.Key != nil || c.Bulk):
		return fmt.Errorf("%s: not a pfsync interface", c.Interface)
	}
	if c.MTU != nil {
		lo, hi := mtuRange(c.Interface)
		if _, err := number(strconv.Itoa(*c.MTU), lo, hi); err != nil {
			return fmt.Errorf("mtu %d: %w", *c.MTU, err)
		}
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
			return fmt.Errorf("syncpeer %v: %w", *c.Syncpeer, err)
		}
	}
	return nil
}

// besideDestroy is a word of c that makes no sense for what is destroyed, or "".
func (c Change) besideDestroy() string {
	for _, word := range []struct {
		name  string
		given bool
	}{
		{"create", c.Create}, {"up", c.Up != nil && *c.Up}, {"down", c.Up != nil}, {"mtu", c.MTU != nil},
		{"syncdev", c.Syncdev != nil}, {"syncpeer", c.Syncpeer != nil}, {"maxupd", c.MaxUpd != nil}, {"defer", c.Defer != nil},
		{"key", c.Key != nil}, {"bulk", c.Bulk},
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

// Merge adds a later command for the same interface to c: what it mentions wins.
func (c *Change) Merge(later Change) {
	c.Create = c.Create || later.Create
	c.Destroy = c.Destroy || later.Destroy
	keep(&c.Up, later.Up)
	keep(&c.MTU, later.MTU)
	keep(&c.Syncdev, later.Syncdev)
	keep(&c.Syncpeer, later.Syncpeer)
	keep(&c.MaxUpd, later.MaxUpd)
	keep(&c.Defer, later.Defer)
	keep(&c.Key, later.Key)
	c.Bulk = c.Bulk || later.Bulk
}

func keep[T any](field **T, later *T) {
	if later != nil {
		*field = later
	}
}
