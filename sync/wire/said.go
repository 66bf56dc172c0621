package wire

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// BucketBits: states are spread over 2^BucketBits buckets, so that what differs
// between two tables can be found without listing all of it.
const (
	BucketBits = 10
	Buckets    = 1 << BucketBits
)

// Bucket is the bucket of the state id: the upper bits of the sum of both
// numbers times 2^64 divided by the golden ratio.
func Bucket(id pfstate.ID) int {
	return int((id.State + uint64(id.Creator)) * 0x9e3779b97f4a7c15 >> (64 - BucketBits))
}

// Said names what was said of a state by an insert or an update: SipHash-2-4, its
// key the bytes 0 to 15, of id and creatorid (12 bytes as in ActDelC), the states
// of src and dst, their wscale, and the timeout. It is never 0.
func Said(id pfstate.ID, src, dst *pfstate.Peer, timeout pfstate.Timeout) uint64 {
	var b [saidLen]byte
	said(b[:], id, src, dst, timeout)
	return nameOf(b[:])
}

const saidLen = IDLen + 5

func said(b []byte, id pfstate.ID, src, dst *pfstate.Peer, timeout pfstate.Timeout) {
	binary.BigEndian.PutUint64(b, id.State)
	binary.BigEndian.PutUint32(b[8:], id.Creator)
	b[12], b[13], b[14], b[15], b[16] = uint8(src.State), uint8(dst.State), src.WScale, dst.WScale, uint8(timeout)
}

func nameOf(b []byte) uint64 {
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	if h := siphash.Hash(k0, k1, b); h != 0 {
		return h
	}
	return 1
}

// SaidCompact is Said for a compact message. Without Linux-only fields that change it is
// the same; with them the bytes that are hashed are followed by these, as in AttrUpdate:
// which they are, and TCP flags, status, mark and labels, 0 where there is none.
func SaidCompact(id pfstate.ID, src, dst *pfstate.Peer, timeout pfstate.Timeout, x *pfstate.Linux) uint64 {
	mask := saidFields(x)
	if mask == 0 {
		return Said(id, src, dst, timeout)
	}
	var b [saidLen + 1 + 2 + 1 + 4 + 16]byte
	said(b[:], id, src, dst, timeout)
	b[saidLen] = mask
	if mask&updateTCP != 0 {
		b[saidLen+1], b[saidLen+2] = x.TCP[0], x.TCP[1]
	}
	if mask&updateStatus != 0 {
		b[saidLen+3] = x.Status
	}
	if mask&updateMark != 0 {
		binary.BigEndian.PutUint32(b[saidLen+4:], x.Mark)
	}
	if mask&updateLabels != 0 {
		copy(b[saidLen+8:], x.Rare.Labels[:])
	}
	return nameOf(b[:])
}
