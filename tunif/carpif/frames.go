package carpif

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	protocol     = 112
	ttl          = 255
	tosLowDelay  = 0x10 // as OpenBSD's
	dontFragment = 0x4000
	ipv4Header   = 20
	ipv6Header   = 40
)

var (
	group4    = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6    = netip.MustParseAddr("ff02::12")
	allNodes  = netip.MustParseAddr("ff02::1")
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// ethernet appends a header with the multicast address of dst, or broadcast.
func ethernet(b []byte, dst, src net.HardwareAddr, etherType uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append(b, dst...), src...), etherType)
}

// groupMAC is where Ethernet carries a multicast group (RFC 1112, RFC 2464).
func groupMAC(group netip.Addr) net.HardwareAddr {
	a := group.AsSlice()
	if group.Is4() {
		return net.HardwareAddr{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}
	}
	return net.HardwareAddr{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

// appendIPv4 appends an advert's header and the advert.
func appendIPv4(b []byte, src, dst netip.Addr, payload []byte) []byte {
	start := len(b)
	b = append(b, 0x45, tosLowDelay)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Header+len(payload)))
	b = append(b, 0, 0) // id: of no use with DF
	b = binary.BigEndian.AppendUint16(b, dontFragment)
	b = append(b, ttl, protocol, 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[start+10:], checksum(0, b[start:]))
	return append(b, payload...)
}

func appendIPv6(b []byte, src, dst netip.Addr, next uint8, payload []byte) []byte {
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, next, ttl)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, payload...)
}

// gratuitousARP is a request for one's own address, as OpenBSD sends it.
func gratuitousARP(mac net.HardwareAddr, addr netip.Addr) []byte {
	b := ethernet(nil, broadcast, mac, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths, request
	b = append(append(b, mac...), addr.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
}

// unsolicitedNA is a neighbour advertisement to all nodes that overrides what they
// knew (RFC 4861, 4.4 and 7.2.6).
func unsolicitedNA(mac net.HardwareAddr, addr netip.Addr, router bool) []byte {
	flags := byte(0x20) // override
	if router {
		flags |= 0x80
	}
	na := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, addr.AsSlice()...)
	na = append(append(na, 2, 1), mac...) // option: target link-layer address
	pseudo := uint32(len(na)) + unix.IPPROTO_ICMPV6
	for _, a := range []netip.Addr{addr, allNodes} {
		pseudo += sum(a.AsSlice())
	}
	binary.BigEndian.PutUint16(na[2:], checksum(pseudo, na))
	b := ethernet(nil, groupMAC(allNodes), mac, unix.ETH_P_IPV6)
	return appendIPv6(b, addr, allNodes, unix.IPPROTO_ICMPV6, na)
}

// sum adds up 16-bit words (RFC 1071). The length is even.
func sum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func checksum(start uint32, b []byte) uint16 {
	s := start + sum(b)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
