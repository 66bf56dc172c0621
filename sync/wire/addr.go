package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const inet = 2 // AF_INET of every BSD

// family is the wire's number of a's address family, 0 for the zero address.
func (d Dialect) family(a netip.Addr) uint8 {
	switch {
	case a.Is4():
		return inet
	case a.Is6():
		return dialects[d].inet6
	}
	return 0
}

// isFamily reports whether f is the number of an address family.
func (d Dialect) isFamily(f uint8) bool { return f == inet || f == dialects[d].inet6 }

// parseAddr reads 16 bytes; an IPv4 address is in the first four.
func parseAddr(b []byte, family uint8) netip.Addr {
	if family == inet {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b))
}

func appendAddr(b []byte, a netip.Addr) []byte {
	var p [16]byte
	switch {
	case a.Is4():
		a4 := a.As4()
		copy(p[:], a4[:])
	case a.Is6():
		p = a.As16()
	}
	return append(b, p[:]...)
}

// keyLen is the length of a key: two addresses, two ports, routing domain, family, pad.
const keyLen = 40

const keyFamily = 38 // offset

func parseKey(b []byte, family uint8) pfstate.Key {
	return pfstate.Key{
		Addr:    [2]netip.Addr{parseAddr(b, family), parseAddr(b[16:], family)},
		Port:    [2]uint16{binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])},
		RDomain: binary.BigEndian.Uint16(b[36:]),
	}
}

func (d Dialect) appendKey(b []byte, k *pfstate.Key) []byte {
	b = appendAddr(b, k.Addr[0])
	b = appendAddr(b, k.Addr[1])
	b = binary.BigEndian.AppendUint16(b, k.Port[0])
	b = binary.BigEndian.AppendUint16(b, k.Port[1])
	b = binary.BigEndian.AppendUint16(b, k.RDomain)
	return append(b, d.family(k.Addr[0]), 0)
}
