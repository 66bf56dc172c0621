package wire

import (
	"encoding/binary"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// parse reads what FreeBSD alone says of the state in m.
func (x *FreeBSD) parse(l *layout, m []byte) {
	*x = FreeBSD{}
	if l.queues != 0 {
		be := binary.BigEndian
		x.Queue, x.PQueue = be.Uint16(m[l.queues:]), be.Uint16(m[l.queues+2:])
		x.Pipe, x.RPipe = be.Uint16(m[l.queues+4:]), be.Uint16(m[l.queues+6:])
		x.RouteIf = pfstate.IfName(m[l.routeIf:])
	}
	if l.tag != 0 {
		x.OrigIf = pfstate.IfName(m[l.origIf:])
		x.Tag = [64]byte(m[l.tag:])
	}
}

// putFreeBSD writes it, x or, if that is nil, what is to be said without a pf.
func (d Dialect) putFreeBSD(l *layout, m []byte, s *pfstate.State, x *FreeBSD) {
	m[stIfName+len(pfstate.IfName{})-1] = 0 // FreeBSD 15 refuses a name without an end
	if l.stackFamily != 0 {
		m[l.stackFamily] = d.family(s.Stack.Addr[0])
		m[l.stackProto] = stackProto(s)
		*(*pfstate.IfName)(m[l.origIf:]) = s.IfName // where there is no such interface the state is left out
	}
	if x == nil {
		return
	}
	if l.queues != 0 {
		be := binary.BigEndian
		be.PutUint16(m[l.queues:], x.Queue)
		be.PutUint16(m[l.queues+2:], x.PQueue)
		be.PutUint16(m[l.queues+4:], x.Pipe)
		be.PutUint16(m[l.queues+6:], x.RPipe)
		*(*pfstate.IfName)(m[l.routeIf:]) = x.RouteIf
	}
	if l.tag != 0 {
		*(*pfstate.IfName)(m[l.origIf:]) = x.OrigIf
		*(*[64]byte)(m[l.tag:]) = x.Tag
	}
}

// stackProto is the protocol of the stack key: af-to turns one ICMP into the other.
func stackProto(s *pfstate.State) uint8 {
	if s.Wire.Addr[0].Is4() == s.Stack.Addr[0].Is4() {
		return s.Proto
	}
	switch s.Proto {
	case pfstate.ProtoICMP:
		return pfstate.ProtoICMPv6
	case pfstate.ProtoICMPv6:
		return pfstate.ProtoICMP
	}
	return s.Proto
}
