package wire

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// peerLen is the length of a peer:
//
//	scrub flags 2, ttl 1, valid 1, timestamp modulator 4
//	seqlo 4, seqhi 4, seqdiff 4, max_win 2, mss 2, state 1, wscale 1, pad 6
const peerLen = 32

// peerState is the offset of its state.
const peerState = 24

const scrubValid = 1 // PFSYNC_SCRUB_FLAG_VALID

func parsePeer(b []byte) pfstate.Peer {
	p := pfstate.Peer{
		SeqLo:   binary.BigEndian.Uint32(b[8:]),
		SeqHi:   binary.BigEndian.Uint32(b[12:]),
		SeqDiff: binary.BigEndian.Uint32(b[16:]),
		MaxWin:  binary.BigEndian.Uint16(b[20:]),
		MSS:     binary.BigEndian.Uint16(b[22:]),
		State:   pfstate.PeerState(b[peerState]),
		WScale:  b[25],
	}
	if b[3] == scrubValid {
		p.Scrub = pfstate.Scrub{
			Flags: binary.BigEndian.Uint16(b), TTL: b[2], Valid: true, TSMod: binary.BigEndian.Uint32(b[4:]),
		}
	}
	return p
}

func appendPeer(b []byte, p *pfstate.Peer) []byte {
	var zero [peerLen]byte
	b = append(b, zero[:]...)
	putPeer(b[len(b)-peerLen:], p)
	return b
}

// putPeer writes p into peerLen bytes of zero.
func putPeer(b []byte, p *pfstate.Peer) {
	_ = b[peerLen-1]
	if p.Scrub.Valid {
		binary.BigEndian.PutUint16(b, p.Scrub.Flags)
		b[2], b[3] = p.Scrub.TTL, scrubValid
		binary.BigEndian.PutUint32(b[4:], p.Scrub.TSMod)
	}
	binary.BigEndian.PutUint32(b[8:], p.SeqLo)
	binary.BigEndian.PutUint32(b[12:], p.SeqHi)
	binary.BigEndian.PutUint32(b[16:], p.SeqDiff)
	binary.BigEndian.PutUint16(b[20:], p.MaxWin)
	binary.BigEndian.PutUint16(b[22:], p.MSS)
	b[peerState], b[25] = uint8(p.State), p.WScale
}

// seconds is d in seconds, rounded up: 0 would tell "expired" or, in an expire
// field, "a full new period" of a state that has half a second left.
func seconds(d time.Duration) uint32 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return uint32(min(max(s, 0), math.MaxUint32))
}

func appendSeconds(b []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(b, seconds(d))
}

func parseSeconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second
}
