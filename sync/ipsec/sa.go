package ipsec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SA is the counters of a security association.
type SA struct {
	SPI    uint32
	Dst    netip.Addr // it leads to
	Proto  uint8      // 50 ESP, 51 AH
	Replay uint64     // the sequence number that who takes over goes on from
	Bytes  uint64     // transferred
}

func (s SA) key() saKey { return saKey{s.SPI, s.Dst, s.Proto} }

type saKey struct {
	spi   uint32
	dst   netip.Addr
	proto uint8
}

// outMargin is what a sender's numbers are ahead by, for those used since the last message
// (OpenBSD if_pfsync.c, RPL_INCR).
const outMargin = 16384

// Shapes of linux/xfrm.h, all in host order but the SPI.
const (
	aeventLen      = 48 // daddr 16, spi 4, family 2, proto 1, pad 1, saddr 16, flags 4, reqid 4
	aeventFlags    = 40
	replayLen      = 12 // oseq, seq, bitmap
	replayESNLen   = 24 // words in the bitmap, oseq, seq, their upper halves, window; the bitmap follows
	lifetimeLen    = 32 // bytes, packets, added, used
	flagReplay     = 2  // XFRM_AE_RVAL
	flagLifetime   = 4  // XFRM_AE_LVAL
	causeReplay    = 16 // XFRM_AE_CR
	causeTimer     = 32 // XFRM_AE_CE
	everyBit       = 1<<32 - 1
	attrLifetime   = nl.XFRMA_LTIME_VAL
	attrReplay     = nl.XFRMA_REPLAY_VAL
	attrReplayESN  = nl.XFRMA_REPLAY_ESN_VAL
	eventsGroupBit = 1 << (nl.XFRMNLGRP_AEVENTS - 1)
)

var errShort = errors.New("message too short")

// event is one XFRM_MSG_NEWAE.
type event struct {
	id       [aeventLen]byte // as it came
	sa       SA              // Replay without margin
	out      bool            // it sends, as far as its numbers tell
	used     bool            // traffic has changed it, not somebody who wrote it
	esn      []byte          // the replay state if it is of the long form,
	replay   []byte          // or of the short one
	lifetime []byte
}

// parseEvent reads the body of an XFRM_MSG_NEWAE. It keeps none of b.
func parseEvent(b []byte) (e event, err error) {
	if len(b) < aeventLen {
		return e, errShort
	}
	ne := binary.NativeEndian
	copy(e.id[:], b)
	e.sa.SPI, e.sa.Proto = binary.BigEndian.Uint32(b[16:]), b[22]
	switch family := ne.Uint16(b[20:]); family {
	case unix.AF_INET:
		e.sa.Dst = netip.AddrFrom4([4]byte(b[:4]))
	case unix.AF_INET6:
		e.sa.Dst = netip.AddrFrom16([16]byte(b[:16]))
	default:
		return e, fmt.Errorf("address family %d", family)
	}
	e.used = ne.Uint32(b[aeventFlags:])&(causeReplay|causeTimer) != 0
	attrs, err := netlink.NewAttributeDecoder(b[aeventLen:])
	if err != nil {
		return e, err
	}
	var oseq, seq uint64
	for attrs.Next() {
		v := attrs.Bytes()
		switch attrs.Type() {
		case attrReplay:
			if len(v) < replayLen {
				return e, errShort
			}
			e.replay, oseq, seq = v, uint64(ne.Uint32(v)), uint64(ne.Uint32(v[4:]))
		case attrReplayESN:
			if len(v) < replayESNLen {
				return e, errShort
			}
			e.esn = v
			oseq = uint64(ne.Uint32(v[12:]))<<32 | uint64(ne.Uint32(v[4:]))
			seq = uint64(ne.Uint32(v[16:]))<<32 | uint64(ne.Uint32(v[8:]))
		case attrLifetime:
			if len(v) < lifetimeLen {
				return e, errShort
			}
			e.lifetime, e.sa.Bytes = v, ne.Uint64(v)
		}
	}
	if err := attrs.Err(); err != nil {
		return e, err
	}
	if e.esn != nil { // it has both kinds for the sake of old readers
		e.replay = nil
	}
	e.sa.Replay, e.out = max(oseq, seq), oseq > seq
	return e, nil
}

// request is the body of an XFRM_MSG_GETAE about s.
func (s SA) request() []byte {
	b := make([]byte, aeventLen)
	family := uint16(unix.AF_INET)
	if s.Dst.Is6() {
		family = unix.AF_INET6
	}
	copy(b, s.Dst.AsSlice())
	binary.BigEndian.PutUint32(b[16:], s.SPI)
	binary.NativeEndian.PutUint16(b[20:], family)
	b[22] = s.Proto
	binary.NativeEndian.PutUint32(b[aeventFlags:], flagReplay|flagLifetime)
	return b
}

// with is the body of the XFRM_MSG_NEWAE that gives the SA of e the counters of s. Both
// directions go on from its number, for a TDB does not tell which it is; all before it
// counts as received, so that nothing of that can be replayed.
func (e *event) with(s SA) ([]byte, error) {
	ne := binary.NativeEndian
	attrs := netlink.NewAttributeEncoder()
	low, high := uint32(s.Replay), uint32(s.Replay>>32)
	if e.esn != nil {
		v := e.esn
		for at, x := range map[int]uint32{4: low, 8: low, 12: high, 16: high} {
			ne.PutUint32(v[at:], x)
		}
		for at := replayESNLen; at+4 <= len(v); at += 4 {
			ne.PutUint32(v[at:], everyBit)
		}
		attrs.Bytes(attrReplayESN, v)
	} else {
		v := make([]byte, replayLen)
		ne.PutUint32(v, low)
		ne.PutUint32(v[4:], low)
		ne.PutUint32(v[8:], everyBit)
		attrs.Bytes(attrReplay, v)
	}
	if e.lifetime != nil {
		ne.PutUint64(e.lifetime, s.Bytes)
		attrs.Bytes(attrLifetime, e.lifetime)
	}
	body, err := attrs.Encode()
	return append(e.id[:], body...), err
}
