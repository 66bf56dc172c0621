package pfsyncprint

import (
	"fmt"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsynclayer"
)

// Link types beyond gopacket's names.
const (
	linkRawBSD     layers.LinkType = 12 // DLT_RAW
	linkRawOpenBSD layers.LinkType = 14 // DLT_RAW of OpenBSD
	linkSLL2       layers.LinkType = 20 // LINKTYPE_LINUX_SLL2, 276: gopacket keeps eight bits of it

	sll2Len = 20
)

// CheckLink returns an error for a link type that a Printer cannot read.
func CheckLink(link layers.LinkType) error {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeRaw, linkRawBSD, linkRawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6,
		layers.LinkTypeLinuxSLL, linkSLL2, layers.LinkTypeNull, layers.LinkTypeLoop,
		pfsynclayer.LinkTypePFSync, pfsynclayer.LinkTypePFSyncOpenBSD, pfsynclayer.LinkTypePFSyncFreeBSD:
		return nil
	}
	return fmt.Errorf("link type %d is not one that carries pfsync: Ethernet, raw IP, Linux cooked or PFSYNC expected", uint8(link))
}

// Portable returns a frame under the link type that most programs read, and that
// gopacket can write into a file: the systems' own numbers of raw IP become
// layers.LinkTypeRaw, and so do Linux cooked captures of version 2, without their
// header, and those on pfsync0 that have an IP header. The memory is that of data.
func Portable(link layers.LinkType, data []byte) (layers.LinkType, []byte) {
	switch link {
	case linkRawBSD, linkRawOpenBSD:
		return layers.LinkTypeRaw, data
	case linkSLL2:
		if len(data) < sll2Len {
			return link, data
		}
		return layers.LinkTypeRaw, data[sll2Len:]
	case pfsynclayer.LinkTypePFSync, pfsynclayer.LinkTypePFSyncOpenBSD, pfsynclayer.LinkTypePFSyncFreeBSD:
		if len(data) == 0 || data[0]>>4 == 0 { // the first byte is pfsync's version
			return pfsynclayer.LinkTypePFSync, data
		}
		return layers.LinkTypeRaw, data
	}
	return link, data
}

// datagram is what a frame holds of pfsync.
type datagram struct {
	src, dst netip.Addr // invalid without IP header
	payload  []byte
	fragment bool
	cut      bool // the capture does not have all of it
}

// find looks for pfsync in a frame.
func find(link layers.LinkType, data []byte, cut bool) (d datagram, ok bool) {
	switch link, data = Portable(link, data); link {
	case layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		link = layers.LinkTypeRaw
	case pfsynclayer.LinkTypePFSync: // no IP header
		return datagram{payload: data, cut: cut}, true
	case linkSLL2:
		return d, false
	}
	packet := gopacket.NewPacket(data, link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	switch ip := packet.NetworkLayer().(type) {
	case *layers.IPv4:
		if ip.Protocol != pfstate.ProtoPFSync {
			return d, false
		}
		d.fragment = ip.FragOffset != 0 || ip.Flags&layers.IPv4MoreFragments != 0
		d.src, _ = netip.AddrFromSlice(ip.SrcIP)
		d.dst, _ = netip.AddrFromSlice(ip.DstIP)
		d.payload = ip.Payload
	case *layers.IPv6:
		next := ip.NextHeader
		if next == layers.IPProtocolIPv6Fragment {
			if f, ok := packet.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
				next, d.fragment = f.NextHeader, true
			}
		}
		if next != pfstate.ProtoPFSync {
			return d, false
		}
		d.src, _ = netip.AddrFromSlice(ip.SrcIP)
		d.dst, _ = netip.AddrFromSlice(ip.DstIP)
		d.payload = ip.Payload
	default:
		return d, false
	}
	d.cut = cut
	return d, true
}
