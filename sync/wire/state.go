package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Offsets of the fields of a state message (OpenBSD pfvar.h, struct pfsync_state).
const (
	stIfName    = 8
	stWire      = 24
	stStack     = stWire + keyLen
	stSrc       = stStack + keyLen
	stDst       = stSrc + peerLen
	stRouteAddr = 168
	stRule      = 184
	stAnchor    = 188
	stNATRule   = 192
	stCreation  = 196
	stExpire    = 200
	stPackets   = 204
	stBytes     = 220
	stCreator   = 236
	stRTable    = 240
	stMaxMSS    = 248
	stFamily    = 250
	stProto     = 251
	stDirection = 252
	stLog       = 253
	stRoute     = 254
	stTimeout   = 255
	stSyncFlags = 256
	stUpdates   = 257
	stMinTTL    = 258
	stSetTOS    = 259
	stFlags     = 260
	stSetPrio   = 262
)

// ParseState reads the body of ActIns, ActUpd or ActDel. Values that pf refuses are
// ErrValue, and the error names the field; s.ID is set nevertheless, for a receiver
// of ActDel needs no more. Fewer than StateLen bytes are ErrShort.
//
// What is not kept: pads, the scrub fields of a peer without scrub state, the
// next hop without a route.
func ParseState(d Dialect, m []byte, s *pfstate.State) error {
	if err := long(m, ActIns, StateLen); err != nil {
		return err
	}
	be := binary.BigEndian
	s.ID = pfstate.ID{State: be.Uint64(m), Creator: be.Uint32(m[stCreator:])}
	wireFamily, stackFamily, err := d.checkState(m)
	if err != nil {
		return err
	}
	s.Wire = parseKey(m[stWire:], wireFamily)
	s.Stack = parseKey(m[stStack:], stackFamily)
	s.Src = parsePeer(m[stSrc:])
	s.Dst = parsePeer(m[stDst:])
	s.Creation = parseSeconds(m[stCreation:])
	s.Expire = parseSeconds(m[stExpire:])
	s.Packets = [2]uint64{be.Uint64(m[stPackets:]), be.Uint64(m[stPackets+8:])}
	s.Bytes = [2]uint64{be.Uint64(m[stBytes:]), be.Uint64(m[stBytes+8:])}
	s.Route = pfstate.Route{}
	if m[stRoute] != 0 { // the message's family is the wire key's, when both are set
		s.Route = pfstate.Route{Kind: m[stRoute], Addr: parseAddr(m[stRouteAddr:], wireFamily)}
	}
	s.RTable = [2]int32{int32(be.Uint32(m[stRTable:])), int32(be.Uint32(m[stRTable+4:]))}
	s.Rule = be.Uint32(m[stRule:])
	s.Anchor = be.Uint32(m[stAnchor:])
	s.NATRule = be.Uint32(m[stNATRule:])
	s.IfName = pfstate.IfName(m[stIfName:])
	s.Flags = pfstate.Flags(be.Uint16(m[stFlags:]))
	s.MaxMSS = be.Uint16(m[stMaxMSS:])
	s.Proto = m[stProto]
	s.Direction = pfstate.Direction(m[stDirection])
	s.Timeout = pfstate.Timeout(m[stTimeout])
	s.Log = m[stLog]
	s.SyncFlags = m[stSyncFlags]
	s.Updates = m[stUpdates]
	s.MinTTL = m[stMinTTL]
	s.SetTOS = m[stSetTOS]
	s.SetPrio = [2]uint8(m[stSetPrio:])
	return nil
}

// checkState refuses what pf refuses, and finds the families of both keys: their
// own, or the message's when both have none (OpenBSD if_pfsync.c, pfsync_in_ins).
func (d Dialect) checkState(m []byte) (wire, stack uint8, err error) {
	if err := checkProgress(dialects[d].maxTimeout, m[stTimeout], m[stSrc+peerState], m[stDst+peerState]); err != nil {
		return 0, 0, err
	}
	if v := m[stDirection]; v > uint8(pfstate.Out) {
		return 0, 0, refuse("direction", v)
	}
	family := m[stFamily]
	if !d.isFamily(family) {
		return 0, 0, refuse("address family", family)
	}
	wire, stack = m[stWire+keyFamily], m[stStack+keyFamily]
	switch {
	case wire == 0 && stack == 0:
		wire, stack = family, family
	case !d.isFamily(wire):
		return 0, 0, refuse("address family of the wire key", wire)
	case !d.isFamily(stack):
		return 0, 0, refuse("address family of the stack key", stack)
	}
	if binary.BigEndian.Uint32(m[stCreator:]) == 0 {
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

// AppendState appends the body of ActIns, ActUpd or ActDel: StateLen bytes.
// Creation is cut, Expire rounded up to seconds, both to what 32 bits hold.
func AppendState(d Dialect, b []byte, s *pfstate.State) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, s.ID.State)
	b = append(b, s.IfName[:]...)
	b = d.appendKey(b, &s.Wire)
	b = d.appendKey(b, &s.Stack)
	b = appendPeer(b, &s.Src)
	b = appendPeer(b, &s.Dst)
	b = appendAddr(b, s.Route.Addr)
	b = be.AppendUint32(b, s.Rule)
	b = be.AppendUint32(b, s.Anchor)
	b = be.AppendUint32(b, s.NATRule)
	b = appendSeconds(b, s.Creation.Truncate(time.Second))
	b = appendSeconds(b, s.Expire)
	b = be.AppendUint64(b, s.Packets[0])
	b = be.AppendUint64(b, s.Packets[1])
	b = be.AppendUint64(b, s.Bytes[0])
	b = be.AppendUint64(b, s.Bytes[1])
	b = be.AppendUint32(b, s.ID.Creator)
	b = be.AppendUint32(b, uint32(s.RTable[0]))
	b = be.AppendUint32(b, uint32(s.RTable[1]))
	b = be.AppendUint16(b, s.MaxMSS)
	b = append(b, d.family(s.Wire.Addr[0]), s.Proto, uint8(s.Direction), s.Log, s.Route.Kind, uint8(s.Timeout),
		s.SyncFlags, s.Updates, s.MinTTL, s.SetTOS)
	b = be.AppendUint16(b, uint16(s.Flags))
	return append(b, s.SetPrio[0], s.SetPrio[1])
}
