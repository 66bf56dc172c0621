package check

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/pfsync-linux/pfsync/sync/link"
)

// packet is one of pfsync's as the rules see it.
type packet struct {
	in, out  string     // interfaces; one of them is ""
	src, dst netip.Addr // src may be unknown: zero
	tracked  uint32     // as what connection tracking sees it
}

// States of a connection as rules have them: bits of NF_CT_STATE_BIT in linux/netfilter/nf_conntrack_common.h.
const (
	establishedConnection uint32 = 1 << 1
	newConnection         uint32 = 1 << 3
	untracked             uint32 = 1 << 6
)

// value is a register of nftables' machine; nil: what is in it is not known.
type value []byte

// header is the packet's IP header.
func (p packet) header() []byte {
	return link.AppendHeader(nil, p.src, p.dst, 512)
}

const (
	ifNameLen       = 16
	packetMulticast = 2 // PACKET_MULTICAST, linux/if_packet.h
)

// version is what differs between the versions of IP.
type version struct {
	ethertype uint16
	family    nftables.TableFamily
	unknown   [][2]int // parts of the header that are not the real ones: from, to
	src       [2]int
}

var (
	ipv4 = version{0x0800, nftables.TableFamilyIPv4, [][2]int{{2, 8}, {10, 12}}, [2]int{12, 16}} // length, id, fragment; checksum
	ipv6 = version{0x86dd, nftables.TableFamilyIPv6, [][2]int{{4, 6}}, [2]int{8, 24}}            // length
)

func (p packet) version() version {
	if p.dst.Is6() {
		return ipv6
	}
	return ipv4
}

// otherFamily is that of the tables that do not see the packet.
func (p packet) otherFamily() nftables.TableFamily {
	if p.dst.Is6() {
		return ipv4.family
	}
	return ipv6.family
}

// payload reads part of the IP header.
func (p packet) payload(e *expr.Payload) value {
	begin, end := int(e.Offset), int(e.Offset)+int(e.Len)
	h, v := p.header(), p.version()
	if e.OperationType != expr.PayloadLoad || e.Base != expr.PayloadBaseNetworkHeader || end > len(h) {
		return nil
	}
	unknown := v.unknown
	if !p.src.IsValid() {
		unknown = append(slices.Clip(unknown), v.src)
	}
	for _, u := range unknown {
		if end > u[0] && begin < u[1] {
			return nil
		}
	}
	return h[begin:end]
}

// meta reads what nftables knows of a packet beside its bytes.
func (p packet) meta(key expr.MetaKey) value {
	switch key {
	case expr.MetaKeyIIFNAME:
		return ifName(p.in)
	case expr.MetaKeyOIFNAME:
		return ifName(p.out)
	case expr.MetaKeyL4PROTO:
		return value{link.Protocol}
	case expr.MetaKeyNFPROTO:
		return value{byte(p.version().family)}
	case expr.MetaKeyPROTOCOL:
		return binary.BigEndian.AppendUint16(nil, p.version().ethertype)
	case expr.MetaKeyPKTTYPE:
		if p.dst.IsMulticast() {
			return value{packetMulticast}
		}
		return value{0}
	}
	return nil
}

func ifName(name string) value {
	if len(name) > ifNameLen {
		return nil
	}
	return append(value(name), make([]byte, ifNameLen-len(name))...)
}
