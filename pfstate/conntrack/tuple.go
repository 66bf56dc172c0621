package conntrack

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// tuple is one direction of an entry with all that the kernel looks it up by.
type tuple struct {
	pfstate.Tuple
	proto uint8
	reply bool   // the reply direction: for ICMP the query type is at Src
	zone  uint16 // of this direction
}

// check refuses what cannot name an entry. Every encoder calls it before it
// writes a byte: a delete without a tuple would flush the whole table.
func (t *tuple) check() error {
	switch {
	case !t.Src.IsValid() || !t.Dst.IsValid():
		return fmt.Errorf("tuple %v: %w: address missing", t.Tuple, pfstate.ErrUnsupported)
	case t.Src.Is4() != t.Dst.Is4():
		return fmt.Errorf("tuple %v: %w: families differ", t.Tuple, pfstate.ErrUnsupported)
	case t.proto == pfstate.ProtoICMP && !t.Src.Is4(), t.proto == pfstate.ProtoICMPv6 && t.Src.Is4():
		return fmt.Errorf("tuple %v: %w: %s in the other family", t.Tuple, pfstate.ErrUnsupported, pfstate.ProtoName(t.proto))
	}
	if isICMP(t.proto) {
		if _, ok := inverseType(t.proto, t.query()); !ok {
			return fmt.Errorf("tuple %v: %w: %s type %d is no query", t.Tuple, pfstate.ErrUnsupported, pfstate.ProtoName(t.proto), t.query())
		}
	}
	return nil
}

// family is AF_INET or AF_INET6.
func (t *tuple) family() uint8 {
	if t.Src.Is4() {
		return 2
	}
	return 10
}

// query is the ICMP query type of the connection.
func (t *tuple) query() uint16 {
	if t.reply {
		return t.SrcPort
	}
	return t.DstPort
}

func isICMP(proto uint8) bool { return proto == pfstate.ProtoICMP || proto == pfstate.ProtoICMPv6 }

// hasPorts reports whether the kernel keys this protocol by two 16-bit numbers.
func hasPorts(proto uint8) bool {
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, protoUDPLite, pfstate.ProtoSCTP, pfstate.ProtoGRE:
		return true
	}
	return false
}

// inverseType is the type that answers an ICMP query, and the reverse. Only types
// the kernel knows an answer to can be entries.
func inverseType(proto uint8, typ uint16) (uint8, bool) {
	if proto == pfstate.ProtoICMP {
		switch typ {
		case 8:
			return 0, true
		case 0:
			return 8, true
		case 13, 15, 17: // timestamp, information, address mask
			return uint8(typ) + 1, true
		case 14, 16, 18:
			return uint8(typ) - 1, true
		}
		return 0, false
	}
	switch typ {
	case 128, 139: // echo, node information
		return uint8(typ) + 1, true
	case 129, 140:
		return uint8(typ) - 1, true
	}
	return 0, false
}

// append appends the tuple as attribute typ. withZone: the zone holds in this direction only.
func (t *tuple) append(b []byte, typ uint16, withZone bool) []byte {
	b, outer := nfattr.Begin(b, typ)
	b, ip := nfattr.Begin(b, tupleIP)
	if t.Src.Is4() {
		src, dst := t.Src.As4(), t.Dst.As4()
		b = nfattr.Append(b, ipV4Src, src[:])
		b = nfattr.Append(b, ipV4Dst, dst[:])
	} else {
		src, dst := t.Src.As16(), t.Dst.As16()
		b = nfattr.Append(b, ipV6Src, src[:])
		b = nfattr.Append(b, ipV6Dst, dst[:])
	}
	b = nfattr.End(b, ip)
	b, proto := nfattr.Begin(b, tupleProto)
	b = nfattr.AppendUint8(b, protoNum, t.proto)
	switch {
	case isICMP(t.proto):
		b = t.appendICMP(b)
	case hasPorts(t.proto) || t.proto == protoDCCP:
		b = nfattr.AppendUint16(b, protoSrcPort, t.SrcPort)
		b = nfattr.AppendUint16(b, protoDstPort, t.DstPort)
	}
	b = nfattr.End(b, proto)
	if withZone {
		b = nfattr.AppendUint16(b, tupleZone, t.zone)
	}
	return nfattr.End(b, outer)
}

func (t *tuple) appendICMP(b []byte) []byte {
	id, typ := t.SrcPort, uint8(t.DstPort)
	if t.reply {
		id = t.DstPort
		typ, _ = inverseType(t.proto, t.SrcPort)
	}
	base := uint16(protoICMPID)
	if t.proto == pfstate.ProtoICMPv6 {
		base = protoICMPv6ID
	}
	b = nfattr.AppendUint16(b, base, id)
	b = nfattr.AppendUint8(b, base+1, typ)
	return nfattr.AppendUint8(b, base+2, 0)
}
