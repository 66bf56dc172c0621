package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announce tells both LANs, switches and hosts, that the shared addresses are here now.
func (f *Firewall) announce() error {
	for _, s := range shared() {
		err := f.withLink(s.link, func(_ *netlink.Handle, l netlink.Link) error {
			mac := l.Attrs().HardwareAddr
			return f.Do(func() error {
				return sendFrames(l.Attrs().Index,
					gratuitousARP(mac, netip.MustParseAddr(s.addr)),
					unsolicitedNA(mac, netip.MustParseAddr(s.addr6)))
			})
		})
		if err != nil {
			return fmt.Errorf("announce: %w", err)
		}
	}
	return nil
}

// Send puts frames, whole from their first header on, on the wire behind a link.
func (n *NS) Send(link string, frames ...[]byte) error {
	return n.withLink(link, func(_ *netlink.Handle, l netlink.Link) error {
		return n.Do(func() error { return sendFrames(l.Attrs().Index, frames...) })
	})
}

func sendFrames(ifindex int, frames ...[]byte) error {
	// Protocol 0: the socket sends and receives nothing.
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, frame := range frames {
		if err := unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
			return err
		}
	}
	return nil
}

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

func ethernet(dst, src net.HardwareAddr, etherType uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), dst...), src...), etherType)
}

// gratuitousARP is a request for one's own address (RFC 5227, announcement).
func gratuitousARP(mac net.HardwareAddr, addr netip.Addr) []byte {
	b := ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths, request
	b = append(append(b, mac...), addr.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
}

// unsolicitedNA is a neighbour advertisement to all nodes with the router and
// override flags (RFC 4861, 4.4 and 7.2.6).
func unsolicitedNA(mac net.HardwareAddr, addr netip.Addr) []byte {
	allNodes := netip.MustParseAddr("ff02::1")
	na := []byte{136, 0, 0, 0, 0xa0, 0, 0, 0}
	na = append(na, addr.AsSlice()...)
	na = append(append(na, 2, 1), mac...) // option: target link-layer address

	pseudo := append(addr.AsSlice(), allNodes.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(na)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(na[2:], checksum(append(pseudo, na...)))

	b := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, byte(len(na)), unix.IPPROTO_ICMPV6, 255)
	b = append(append(b, addr.AsSlice()...), allNodes.AsSlice()...)
	return append(b, na...)
}

// checksum is the internet checksum of b, whose length is even (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
