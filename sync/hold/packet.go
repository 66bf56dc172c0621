package hold

import (
	"encoding/binary"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Packet is one that is held.
type Packet struct {
	ID    uint32        // what Release takes
	Tuple pfstate.Tuple // as it leaves, translated; ICMP: the id and the query type
	Proto uint8         // 0: its headers could not be read
	// CT is the connection in ctnetlink's attributes, if the kernel gives it. It
	// shares the memory of the packet's batch.
	CT []byte
}

// The numbers that packets are read by (RFC 791, 8200, 4443).
const (
	protoHopOptions  = 0
	protoRouting     = 43
	protoFragment    = 44
	protoAH          = 51
	protoDestOptions = 60
	protoUDPLite     = 136

	icmpEcho    = 8
	icmpv6Echo  = 128
	fragmentLen = 8
)

// parse reads the headers of an IP packet, of which the front is in b.
func (p *Packet) parse(b []byte) {
	p.Proto, p.Tuple = 0, pfstate.Tuple{}
	if len(b) == 0 {
		return
	}
	switch b[0] >> 4 {
	case 4:
		p.parseIPv4(b)
	case 6:
		p.parseIPv6(b)
	}
}

func (p *Packet) parseIPv4(b []byte) {
	n := int(b[0]&15) * 4
	if n < 20 || len(b) < n || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return // a later fragment has no ports
	}
	p.Tuple.Src, p.Tuple.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.parseUpper(b[9], b[n:])
}

func (p *Packet) parseIPv6(b []byte) {
	if len(b) < 40 {
		return
	}
	p.Tuple.Src, p.Tuple.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	next, rest := b[6], b[40:]
	for len(rest) >= fragmentLen {
		n := 0
		switch next {
		case protoHopOptions, protoRouting, protoDestOptions:
			n = (int(rest[1]) + 1) * 8
		case protoAH:
			n = (int(rest[1]) + 2) * 4
		case protoFragment:
			if binary.BigEndian.Uint16(rest[2:])&^7 != 0 {
				return
			}
			n = fragmentLen
		default:
			p.parseUpper(next, rest)
			return
		}
		if n > len(rest) {
			return
		}
		next, rest = rest[0], rest[n:]
	}
}

// parseUpper sets Proto last: it says that all has been read.
func (p *Packet) parseUpper(proto uint8, b []byte) {
	if len(b) < 8 {
		return
	}
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoSCTP, protoUDPLite:
		p.Tuple.SrcPort, p.Tuple.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		p.Tuple.SrcPort, p.Tuple.DstPort = binary.BigEndian.Uint16(b[4:]), uint16(b[0])
	default:
		return
	}
	p.Proto = proto
}
