package ifconfig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// AddressOp is what is to be done with an address.
type AddressOp string

const (
	AddressSet    AddressOp = "set"    // in the place of the one that was set before; inet6: as alias
	AddressAlias  AddressOp = "alias"  // beside the others
	AddressDelete AddressOp = "delete" // -alias
)

// AddressChange is one address of a command line.
type AddressChange struct {
	Op     AddressOp `json:"op"`
	Family Family    `json:"family"`
	// Prefix is the address and its length. When deleting only the address counts; the zero
	// Prefix is the first address of the family then.
	Prefix    netip.Prefix `json:"prefix"`
	Peer      netip.Addr   `json:"peer,omitzero"`      // point to point: the other end
	Broadcast netip.Addr   `json:"broadcast,omitzero"` // inet: zero for the last address of Prefix
	EUI64     bool         `json:"eui64,omitempty"`    // inet6: the host part is made from the link-layer address
	Preferred *uint32      `json:"pltime,omitempty"`   // pltime in seconds, Forever
	Valid     *uint32      `json:"vltime,omitempty"`   // vltime in seconds, Forever
}

// Forever is a lifetime without end.
const Forever = ^uint32(0)

// String prints the change as ifconfig takes it.
func (a AddressChange) String() string {
	switch {
	case a.Op == AddressDelete && !a.Prefix.IsValid():
		return string(a.Family) + " -alias"
	case a.Op == AddressDelete:
		return fmt.Sprintf("%s -alias %v", a.Family, a.Prefix.Addr())
	}
	return fmt.Sprintf("%s %v", a.Family, a.Prefix)
}

func (a AddressChange) validate() error {
	switch p := a.Prefix; {
	case a.Op != AddressSet && a.Op != AddressAlias && a.Op != AddressDelete:
		return fmt.Errorf("address: operation %s: unknown", Shown(string(a.Op)))
	case !isFamily(string(a.Family)):
		return fmt.Errorf("address: family %s: unknown", Shown(string(a.Family)))
	case a.Op == AddressDelete && p == netip.Prefix{}:
		return nil
	case !p.IsValid() || p.Addr().Zone() != "":
		return fmt.Errorf("%s: no address", a.Family)
	case p.Addr().Is4() != (a.Family == Inet):
		return fmt.Errorf("%v: not of family %s", p.Addr(), a.Family)
	}
	if !isHost(a.Prefix.Addr()) {
		return fmt.Errorf("%v: not the address of a host", a.Prefix.Addr())
	}
	return nil
}

// isHost tells whether an interface can have the address.
func isHost(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && !(a.Is4() && a.As4()[0] >= 240)
}

// addressWords are the words about an address, which have no order.
type addressWords struct {
	op        AddressOp // "": AddressSet
	bare      []string  // the address, and behind it a netmask or a destination, and a broadcast address
	netmask   *int      // its length
	prefixLen *int
	broadcast netip.Addr
	eui64     bool
	preferred *uint32
	valid     *uint32
}

// isNetmask tells whether a bare word can only be a netmask.
func isNetmask(word string) bool {
	n, err := parseNetmask(word)
	return err == nil && n >= 8
}

// parseNetmask reads a netmask in every spelling of BSD's: dotted, 0xffffff00, and FreeBSD's
// ffffff00. It returns its length.
func parseNetmask(word string) (int, error) {
	var mask uint32
	if a, err := netip.ParseAddr(word); err == nil && a.Is4() {
		b := a.As4()
		mask = binary.BigEndian.Uint32(b[:])
	} else if n, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 32); err == nil && (len(word) == 8 || strings.HasPrefix(word, "0x")) {
		mask = uint32(n)
	} else {
		return 0, errors.New("not a netmask (like 255.255.255.0 or 0xffffff00)")
	}
	length := bits.LeadingZeros32(^mask)
	if mask<<length != 0 {
		return 0, errors.New("has ones behind zeros")
	}
	return length, nil
}

func setNetmask(p *parser, arg string) error {
	if p.family == Inet6 {
		return errors.New("not for inet6 (use prefixlen)")
	}
	n, err := parseNetmask(arg)
	p.address.netmask, p.address.prefixLen = &n, nil
	return err
}

func setPrefixLen(p *parser, arg string) error {
	limit := 32
	if p.family == Inet6 {
		limit = 128
	}
	n, err := number(arg, 0, limit)
	p.address.prefixLen, p.address.netmask = &n, nil
	return err
}

func setBroadcast(p *parser, arg string) error {
	a, err := netip.ParseAddr(arg)
	if p.family == Inet6 {
		return errors.New("not for inet6")
	}
	if err != nil || !a.Is4() {
		return errors.New("not an IPv4 address")
	}
	p.address.broadcast = a
	return nil
}

func setEUI64(p *parser, _ string) error {
	if p.family != Inet6 {
		return errors.New("for inet6 only")
	}
	p.address.eui64 = true
	return nil
}

func setPLTime(p *parser, arg string) (err error) {
	p.address.preferred, err = lifetime(p, arg)
	return err
}

func setVLTime(p *parser, arg string) (err error) {
	p.address.valid, err = lifetime(p, arg)
	return err
}

func lifetime(p *parser, arg string) (*uint32, error) {
	if p.family != Inet6 {
		return nil, errors.New("for inet6 only")
	}
	if arg == "infty" {
		return new(Forever), nil
	}
	n, err := number(arg, 0, int(Forever)-1)
	return new(uint32(n)), err
}

// finishAddress makes an AddressChange of the words about an address, if there are any.
func (p *parser) finishAddress() error {
	w := &p.address
	if len(w.bare) == 0 {
		return p.finishWithoutAddress()
	}
	a := AddressChange{Op: w.op, Family: p.family, EUI64: w.eui64, Preferred: w.preferred, Valid: w.valid, Broadcast: w.broadcast}
	if a.Op == "" {
		a.Op = AddressSet
	}
	addr, length, err := p.parseAddress(w.bare[0])
	if err != nil {
		return err
	}
	if length >= 0 && (w.netmask != nil || w.prefixLen != nil) {
		return fmt.Errorf("%s: has a length, and there is another one on the line", w.bare[0])
	}
	for _, n := range []*int{w.netmask, w.prefixLen} {
		if n != nil {
			length = *n
		}
	}
	if length, err = w.positional(&a, addr, length); err != nil {
		return err
	}
	if length < 0 {
		length = p.defaultLength(&a, addr)
	}
	a.Prefix = netip.PrefixFrom(addr, length)
	if a.Op == AddressDelete {
		a = AddressChange{Op: a.Op, Family: a.Family, Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	}
	if err := a.checkParts(); err != nil {
		return err
	}
	p.Addresses = append(p.Addresses, a)
	return nil
}

// finishWithoutAddress refuses words that need an address.
func (p *parser) finishWithoutAddress() error {
	w := &p.address
	for _, word := range []struct {
		name  string
		given bool
	}{
		{"netmask", w.netmask != nil}, {"prefixlen", w.prefixLen != nil}, {"broadcast", w.broadcast.IsValid()}, {"eui64", w.eui64},
		{"pltime", w.preferred != nil}, {"vltime", w.valid != nil}, {"alias", w.op == AddressAlias},
	} {
		if word.given {
			return fmt.Errorf("%s: no address on the line (ifconfig %s %s ADDRESS ...)", word.name, p.Interface, p.family)
		}
	}
	if w.op == AddressDelete {
		p.Addresses = append(p.Addresses, AddressChange{Op: AddressDelete, Family: p.family})
	}
	return nil
}

// parseAddress reads an address with or without a length behind it; length is -1 without.
func (p *parser) parseAddress(word string) (addr netip.Addr, length int, err error) {
	text, slash, hasLength := strings.Cut(word, "/")
	length = -1
	if addr, err = netip.ParseAddr(text); err != nil {
		return addr, length, fmt.Errorf("%s: bad value (not an address)", Shown(word))
	}
	switch zone := addr.Zone(); {
	case addr.Is6() && p.family == Inet:
		return addr, length, fmt.Errorf("%s: not an IPv4 address (ifconfig %s inet6 %s)", Shown(word), p.Interface, Shown(word))
	case addr.Is4() && p.family == Inet6:
		return addr, length, fmt.Errorf("%s: not an IPv6 address (ifconfig %s inet %s)", Shown(word), p.Interface, Shown(word))
	case zone != "" && zone != p.Interface:
		return addr, length, fmt.Errorf("%s: belongs to %s, not to %s", Shown(word), Shown(zone), p.Interface)
	}
	addr = addr.WithZone("")
	if hasLength {
		if length, err = number(slash, 0, addr.BitLen()); err != nil {
			return addr, length, fmt.Errorf("%s: prefix length %s: %w", Shown(word), Shown(slash), err)
		}
	}
	if !isHost(addr) {
		return addr, length, fmt.Errorf("%s: not the address of a host", Shown(word))
	}
	return addr, length, nil
}

// positional reads the bare words behind the address: a netmask, if it can be nothing else,
// and then a broadcast address; without a netmask there, a destination or, of a network with
// a known length, its broadcast address.
func (w *addressWords) positional(a *AddressChange, addr netip.Addr, length int) (int, error) {
	rest := w.bare[1:]
	if len(rest) > 0 && addr.Is4() && isNetmask(rest[0]) {
		if length >= 0 {
			return length, fmt.Errorf("%s: both prefix and mask", rest[0])
		}
		length, _ = parseNetmask(rest[0])
		if rest = rest[1:]; len(rest) > 0 {
			b, err := netip.ParseAddr(rest[0])
			if err != nil || !b.Is4() {
				return length, fmt.Errorf("%s: bad value (behind the netmask stands the broadcast address)", Shown(rest[0]))
			}
			a.Broadcast, rest = b, rest[1:]
		}
	}
	if len(rest) > 0 {
		other, err := netip.ParseAddr(rest[0])
		switch {
		case err != nil || other.Is4() != addr.Is4() || other.Zone() != "":
			return length, fmt.Errorf("%s: bad value (behind the address stands its netmask or a destination)", Shown(rest[0]))
		case addr.Is4() && length >= 0 && length < 31 && other == lastOf(netip.PrefixFrom(addr, length)):
			a.Broadcast = other
		default:
			a.Peer = other
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return length, fmt.Errorf("%s: bad value (one word too many)", Shown(rest[0]))
	}
	return length, nil
}

// defaultLength is what BSD takes when nothing is said: the address's class, or one host.
func (p *parser) defaultLength(a *AddressChange, addr netip.Addr) int {
	switch {
	case a.Op == AddressDelete || a.Peer.IsValid():
		return addr.BitLen()
	case addr.Is6():
		return 64
	}
	length := 24
	if first := addr.As4()[0]; first < 128 {
		length = 8
	} else if first < 192 {
		length = 16
	}
	p.warn("no netmask for %v, using %v", addr, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-length)))))
	return length
}

// checkParts refuses parts that do not fit together.
func (a *AddressChange) checkParts() error {
	switch {
	case a.EUI64 && a.Prefix.Bits() > 64:
		return fmt.Errorf("eui64: takes the last 64 bits, the prefix has %d", a.Prefix.Bits())
	case a.EUI64 && a.Prefix.Addr().As16() != netip.PrefixFrom(a.Prefix.Addr(), 64).Masked().Addr().As16():
		return fmt.Errorf("%v: eui64 makes the last 64 bits, which must be zero", a.Prefix.Addr())
	case a.Valid != nil && a.Preferred != nil && *a.Preferred > *a.Valid:
		return errors.New("pltime: longer than vltime")
	case a.Valid != nil && *a.Valid == 0:
		return errors.New("vltime 0: too small (1 to 4294967294, or infty)")
	case a.Peer.IsValid() && a.Peer == a.Prefix.Addr():
		return fmt.Errorf("%v: the destination must be another address", a.Peer)
	case a.Peer.IsValid() && !isHost(a.Peer):
		return fmt.Errorf("%v: not the address of a host", a.Peer)
	}
	return nil
}

// lastOf is the last address of an IPv4 network, its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// BroadcastAddr is the broadcast address that a is to have; the zero Addr for none.
func (a AddressChange) BroadcastAddr() netip.Addr {
	switch {
	case a.Broadcast.IsValid():
		return a.Broadcast
	case a.Family != Inet || a.Peer.IsValid() || a.Prefix.Bits() > 30: // RFC 3021
		return netip.Addr{}
	}
	return lastOf(a.Prefix)
}
