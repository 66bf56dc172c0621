package check

import (
	"encoding/binary"
	"net/netip"

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

// header is the packet's IPv4 header.
func (p packet) header() []byte {
	return link.AppendHeader(nil, p.src, p.dst, 512)
}

const (
	srcOffset, srcEnd = 12, 16 // of an IPv4 header
	ethertypeIPv4     = 0x0800
	familyIPv4        = 2 // NFPROTO_IPV4
	ifNameLen         = 16
	packetMulticast   = 2 // PACKET_MULTICAST, linux/if_packet.h
)

// payload reads part of the IP header.
func (p packet) payload(e *expr.Payload) value {
	begin, end := int(e.Offset), int(e.Offset)+int(e.Len)
	h := p.header()
	switch {
	case e.OperationType != expr.PayloadLoad || e.Base != expr.PayloadBaseNetworkHeader || end > len(h):
		return nil
	case end > 2 && begin < 8, end > 10 && begin < 12: // length, id, fragment; checksum: not the real ones
		return nil
	case !p.src.IsValid() && end > srcOffset && begin < srcEnd:
		return nil
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
		return value{familyIPv4}
	case expr.MetaKeyPROTOCOL:
		return binary.BigEndian.AppendUint16(nil, ethertypeIPv4)
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
