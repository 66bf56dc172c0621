package link

import (
	"encoding/binary"
	"net/netip"
)

const (
	tosLowDelay  = 0x10
	dontFragment = 0x4000
)

// AppendIPv4Header appends the header that a payload of payloadLen bytes from src
// has on the wire: no options, DF, TTL 255. An invalid or IPv6 src or dst becomes 0.0.0.0.
func AppendIPv4Header(b []byte, src, dst netip.Addr, payloadLen int) []byte {
	start := len(b)
	b = append(b, 0x45, tosLowDelay)
	b = binary.BigEndian.AppendUint16(b, uint16(HeaderLen+payloadLen))
	b = append(b, 0, 0) // id: of no use with DF
	b = binary.BigEndian.AppendUint16(b, dontFragment)
	b = append(b, TTL, Protocol, 0, 0)
	b = appendAddr(b, src)
	b = appendAddr(b, dst)
	binary.BigEndian.PutUint16(b[start+10:], checksum(b[start:]))
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.Is4() && !a.Is4In6() {
		return append(b, 0, 0, 0, 0)
	}
	a4 := a.As4()
	return append(b, a4[:]...)
}

// checksum is RFC 1071's over an IPv4 header.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
