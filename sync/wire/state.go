package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// FreeBSD is what FreeBSD says of a state beyond pfstate.State; its format 1301 says nothing.
type FreeBSD struct {
	Queue, PQueue uint16 // of ALTQ
	Pipe, RPipe   uint16 // of dummynet
	RouteIf       pfstate.IfName
	OrigIf        pfstate.IfName // the real interface of a floating state; 1500 alone
	Tag           [64]byte       // NUL-terminated; 1500 alone
}

// ParseState reads the body of ActIns, ActUpd or ActDel. Values that pf refuses are
// ErrValue, and the error names the field; s.ID is set nevertheless, for a receiver
// of ActDel needs no more. Fewer bytes than d.StateLen are ErrShort.
//
// What is not kept: pads, the scrub fields of a peer without scrub state, the
// next hop without a route, and what FreeBSD alone says. What the dialect does not
// say has the values of pfstate.Default.
func ParseState(d Dialect, m []byte, s *pfstate.State) error { return ParseStateWith(d, m, s, nil) }

// ParseStateWith is ParseState that also reads what FreeBSD alone says, unless x is nil.
func ParseStateWith(d Dialect, m []byte, s *pfstate.State, x *FreeBSD) error {
	l := &dialects[d].layout
	if err := long(m, ActIns, l.size); err != nil {
		return err
	}
	be := binary.BigEndian
	m = m[:l.size]
	p := m[stKeys+2*l.keyLen:][:stCommon]
	s.ID = pfstate.ID{State: be.Uint64(m), Creator: be.Uint32(p[stCreator:])}
	wireFamily, stackFamily, err := d.checkState(l, m, p)
	if err != nil {
		return err
	}
	parseKey(m[stKeys:][:l.keyLen], wireFamily, &s.Wire)
	parseKey(m[stKeys+l.keyLen:][:l.keyLen], stackFamily, &s.Stack)
	s.Src = parsePeer(p[stSrc:])
	s.Dst = parsePeer(p[stDst:])
	s.Creation = parseSeconds(p[stCreation:])
	s.Expire = parseSeconds(p[stExpire:])
	s.Packets = [2]uint64{be.Uint64(p[stPackets:]), be.Uint64(p[stPackets+8:])}
	s.Bytes = [2]uint64{be.Uint64(p[stBytes:]), be.Uint64(p[stBytes+8:])}
	s.Rule = be.Uint32(p[stRule:])
	s.Anchor = be.Uint32(p[stAnchor:])
	s.NATRule = be.Uint32(p[stNATRule:])
	s.IfName = pfstate.IfName(m[stIfName:])
	s.Proto = m[l.proto]
	s.Direction = pfstate.Direction(m[l.direction])
	s.Timeout = pfstate.Timeout(m[l.timeout])
	s.Log = m[l.log]
	s.Route = parseRoute(l, m, p, wireFamily)
	if l.flags8 != 0 {
		s.Flags = pfstate.Flags(m[l.flags8])
	} else {
		s.Flags = pfstate.Flags(be.Uint16(m[l.flags:]))
	}
	s.SyncFlags, s.Updates = 0, 0
	if l.syncFlags != 0 {
		s.SyncFlags, s.Updates = m[l.syncFlags], m[l.updates]
	}
	if l.rtable == 0 {
		s.RTable, s.MaxMSS, s.MinTTL, s.SetTOS, s.SetPrio = [2]int32{-1, -1}, 0, 0, 0, [2]uint8{}
	} else {
		s.RTable = parseRTable(l, m, s.Direction)
		s.MaxMSS = be.Uint16(m[l.maxMSS:])
		s.MinTTL = m[l.minTTL]
		s.SetTOS = m[l.setTOS]
		s.SetPrio = [2]uint8(m[l.setPrio:])
	}
	if x != nil {
		x.parse(l, m)
	}
	return nil
}

// checkState refuses what pf refuses, and finds the families of both keys: their
// own, or the message's when both have none (OpenBSD if_pfsync.c, pfsync_in_ins).
func (d Dialect) checkState(l *layout, m, p []byte) (wire, stack uint8, err error) {
	if err := checkProgress(dialects[d].maxTimeout, m[l.timeout], p[stSrc+peerState], p[stDst+peerState]); err != nil {
		return 0, 0, err
	}
	if v := m[l.direction]; v > uint8(pfstate.Out) {
		return 0, 0, refuse("direction", v)
	}
	wire = m[l.family]
	if !d.isFamily(wire) {
		return 0, 0, refuse("address family", wire)
	}
	stack = wire
	if l.stackFamily != 0 {
		stack = m[l.stackFamily]
	} else if l.keyLen == keyLenOpenBSD {
		if w, s := m[stKeys+keyFamily], m[stKeys+keyLenOpenBSD+keyFamily]; w != 0 || s != 0 {
			wire, stack = w, s
		}
	}
	switch {
	case !d.isFamily(wire):
		return 0, 0, refuse("address family of the wire key", wire)
	case !d.isFamily(stack):
		return 0, 0, refuse("address family of the stack key", stack)
	}
	if binary.BigEndian.Uint32(p[stCreator:]) == 0 {
		return 0, 0, refuse("creatorid", 0)
	}
	return wire, stack, nil
}

// checkProgress holds for every message with peers.
func checkProgress(end pfstate.Timeout, timeout, src, dst uint8) error {
	switch {
	case timeout >= uint8(end):
		return refuse("timeout", timeout)
	case src > uint8(pfstate.MaxPeerState):
		return refuse("state of src", src)
	case dst > uint8(pfstate.MaxPeerState):
		return refuse("state of dst", dst)
	}
	return nil
}

func refuse(field string, value uint8) error {
	return fmt.Errorf("%s: %w %d", field, ErrValue, value)
}

// parseRoute reads the next hop. Format 1301 has its address, of the message's
// family, without the kind. A kind that is not known is no route.
func parseRoute(l *layout, m, p []byte, family uint8) pfstate.Route {
	if l.routes == nil {
		if hop := [16]byte(p[stRouteAddr:]); hop != [16]byte{} {
			return pfstate.Route{Addr: parseAddr(hop[:], family)}
		}
		return pfstate.Route{}
	}
	number := m[l.route]
	if number == 0 {
		return pfstate.Route{}
	}
	for kind, n := range l.routes {
		if n != number {
			continue
		}
		r := pfstate.Route{Kind: uint8(kind)}
		if l.routeFamily != 0 {
			family = m[l.routeFamily]
		}
		if family != 0 {
			r.Addr = parseAddr(p[stRouteAddr:], family)
		}
		return r
	}
	return pfstate.Route{}
}

// initiatorTable is the index in State.RTable of the table for the packets of the initiator.
func initiatorTable(d pfstate.Direction) int {
	if d == pfstate.Out {
		return 0
	}
	return 1
}

func parseRTable(l *layout, m []byte, d pfstate.Direction) (t [2]int32) {
	first := int32(binary.BigEndian.Uint32(m[l.rtable:]))
	if l.rtable2 != 0 {
		return [2]int32{first, int32(binary.BigEndian.Uint32(m[l.rtable2:]))}
	}
	t = [2]int32{-1, -1}
	t[initiatorTable(d)] = first
	return t
}

// AppendState appends the body of ActIns, ActUpd or ActDel: d.StateLen bytes.
// Creation is cut, Expire rounded up to seconds, both to what 32 bits hold.
// What the dialect cannot say is left out.
func AppendState(d Dialect, b []byte, s *pfstate.State) []byte { return appendStateMore(d, b, s, nil) }

var noState [maxStateLen]byte

const maxStateLen = 360

// appendStateMore is AppendState with what FreeBSD alone says; nil: nothing.
func appendStateMore(d Dialect, b []byte, s *pfstate.State, x *FreeBSD) []byte {
	l := &dialects[d].layout
	be := binary.BigEndian
	n := len(b)
	b = append(b, noState[:l.size]...)
	m := b[n:]
	p := m[stKeys+2*l.keyLen:][:stCommon]
	be.PutUint64(m, s.ID.State)
	*(*pfstate.IfName)(m[stIfName:]) = s.IfName
	d.putKey(m[stKeys:][:l.keyLen], &s.Wire)
	d.putKey(m[stKeys+l.keyLen:][:l.keyLen], &s.Stack)
	putPeer(p[stSrc:], &s.Src)
	putPeer(p[stDst:], &s.Dst)
	be.PutUint32(p[stRule:], s.Rule)
	be.PutUint32(p[stAnchor:], s.Anchor)
	be.PutUint32(p[stNATRule:], s.NATRule)
	be.PutUint32(p[stCreation:], seconds(s.Creation.Truncate(time.Second)))
	be.PutUint32(p[stExpire:], seconds(s.Expire))
	be.PutUint64(p[stPackets:], s.Packets[0])
	be.PutUint64(p[stPackets+8:], s.Packets[1])
	be.PutUint64(p[stBytes:], s.Bytes[0])
	be.PutUint64(p[stBytes+8:], s.Bytes[1])
	be.PutUint32(p[stCreator:], s.ID.Creator)
	m[l.family] = d.family(s.Wire.Addr[0])
	m[l.proto] = s.Proto
	m[l.direction] = uint8(s.Direction)
	m[l.timeout] = uint8(d.Timeout(s.Timeout))
	m[l.log] = s.Log
	if l.syncFlags != 0 {
		m[l.syncFlags], m[l.updates] = s.SyncFlags, s.Updates
	}
	if s.Route.Addr.IsValid() || s.Route.Kind != 0 {
		d.putRoute(l, m, p, &s.Route)
	}
	if l.flags8 != 0 {
		m[l.flags8] = uint8(s.Flags)
	} else {
		be.PutUint16(m[l.flags:], uint16(s.Flags))
	}
	if l.rtable != 0 {
		if l.rtable2 != 0 {
			be.PutUint32(m[l.rtable:], uint32(s.RTable[0]))
			be.PutUint32(m[l.rtable2:], uint32(s.RTable[1]))
		} else {
			be.PutUint32(m[l.rtable:], uint32(s.RTable[initiatorTable(s.Direction)]))
		}
		be.PutUint16(m[l.maxMSS:], s.MaxMSS)
		m[l.minTTL] = s.MinTTL
		m[l.setTOS] = s.SetTOS
		m[l.setPrio], m[l.setPrio+1] = s.SetPrio[0], s.SetPrio[1]
	}
	if l.keyLen == keyLenFreeBSD {
		d.putFreeBSD(l, m, s, x)
	}
	return b
}

// Timeout is t as messages have it: what the dialect cannot say of SCTP becomes what it
// says of other protocols, for a number that is not known makes a message invalid.
func (d Dialect) Timeout(t pfstate.Timeout) pfstate.Timeout {
	if t < pfstate.MaxTimeout || dialects[d].sctp {
		return t
	}
	return t.WithoutSCTP()
}

func (d Dialect) putRoute(l *layout, m, p []byte, r *pfstate.Route) {
	if l.routes != nil {
		if r.Kind == 0 || int(r.Kind) >= len(l.routes) {
			return
		}
		m[l.route] = l.routes[r.Kind]
		if l.routeFamily != 0 {
			m[l.routeFamily] = d.family(r.Addr)
		}
	}
	putAddr(p[stRouteAddr:], r.Addr)
}
