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

// putAddr writes a into 16 bytes of zero.
func putAddr(b []byte, a netip.Addr) {
	switch {
	case a.Is4():
		*(*[4]byte)(b) = a.As4()
	case a.Is6():
		*(*[16]byte)(b) = a.As16()
	}
}

const keyRDomain, keyFamily = 36, 38 // offsets, of OpenBSD's keys

func parseKey(b []byte, family uint8, k *pfstate.Key) {
	_ = b[keyLenFreeBSD-1]
	k.Addr[0], k.Addr[1] = parseAddr(b, family), parseAddr(b[16:], family)
	k.Port = [2]uint16{binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])}
	k.RDomain = 0
	if len(b) == keyLenOpenBSD {
		k.RDomain = binary.BigEndian.Uint16(b[keyRDomain:])
	}
}

// putKey writes k into b, which is zero and as long as the dialect's keys.
func (d Dialect) putKey(b []byte, k *pfstate.Key) {
	_ = b[keyLenFreeBSD-1]
	putAddr(b, k.Addr[0])
	putAddr(b[16:], k.Addr[1])
	binary.BigEndian.PutUint16(b[32:], k.Port[0])
	binary.BigEndian.PutUint16(b[34:], k.Port[1])
	if len(b) == keyLenOpenBSD {
		binary.BigEndian.PutUint16(b[keyRDomain:], k.RDomain)
		b[keyFamily] = d.family(k.Addr[0])
	}
}
