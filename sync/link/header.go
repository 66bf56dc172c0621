package link

import (
	"encoding/binary"
	"net/netip"
)

const (
	tosLowDelay  = 0x10
	dontFragment = 0x4000
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
)

// HeaderLen is the length of the IP header of a packet to dst: no options, no extension headers.
func HeaderLen(dst netip.Addr) int {
	if dst.Is6() {
		return ipv6HeaderLen
	}
	return ipv4HeaderLen
}

// AppendHeader appends the IP header that a payload of payloadLen bytes from src to dst has on the
// wire: no options, TTL 255, DF in IPv4. The family is dst's; a src of another one becomes the
// unspecified address, and so does an invalid dst, of IPv4.
func AppendHeader(b []byte, src, dst netip.Addr, payloadLen int) []byte {
	if dst.Is6() {
		return appendIPv6Header(b, src, dst, payloadLen)
	}
	return appendIPv4Header(b, src, dst, payloadLen)
}

// appendIPv6Header leaves the traffic class 0, as FreeBSD does.
func appendIPv6Header(b []byte, src, dst netip.Addr, payloadLen int) []byte {
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(payloadLen))
	b = append(b, Protocol, TTL)
	if !src.Is6() {
		src = netip.IPv6Unspecified()
	}
	s, d := src.As16(), dst.As16()
	return append(append(b, s[:]...), d[:]...)
}

func appendIPv4Header(b []byte, src, dst netip.Addr, payloadLen int) []byte {
	start := len(b)
	b = append(b, 0x45, tosLowDelay)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+payloadLen))
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
