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
	var b [IDLen + 5]byte
	binary.BigEndian.PutUint64(b[:], id.State)
	binary.BigEndian.PutUint32(b[8:], id.Creator)
	b[12], b[13], b[14], b[15], b[16] = uint8(src.State), uint8(dst.State), src.WScale, dst.WScale, uint8(timeout)
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	if h := siphash.Hash(k0, k1, b[:]); h != 0 {
		return h
	}
	return 1
}
