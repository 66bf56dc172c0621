package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Hello tells who the sender is.
type Hello struct {
	Creator  uint32 // host id of the sender
	Features uint32 // what it understands beyond the first of this version: FeatureCompact
}

// ParseHello reads the body of AttrHello. Fewer than HelloLen bytes are ErrShort.
func ParseHello(b []byte) (h Hello, err error) {
	if len(b) < HelloLen {
		return h, shortAttr(AttrHello, b, HelloLen)
	}
	return Hello{Creator: binary.BigEndian.Uint32(b), Features: binary.BigEndian.Uint32(b[4:])}, nil
}

// Heard is how far the sender hears another: every packet up to Seq has come, or
// was given up.
type Heard struct{ Epoch, Seq uint64 }

// HeardAt reads entry i of the body of AttrHeard, which has len(b)/HeardLen.
func HeardAt(b []byte, i int) Heard {
	b = b[i*HeardLen:]
	return Heard{Epoch: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
}

// Digest sums up states: those the sender answers for, as it last said them. Sum
// is the sum of their Said, modulo 2^64.
type Digest struct {
	States uint32
	Sum    uint64
}

// ParseDigest reads the body of AttrDigest. Fewer than DigestLen bytes are ErrShort.
func ParseDigest(b []byte) (d Digest, err error) {
	if len(b) < DigestLen {
		return d, shortAttr(AttrDigest, b, DigestLen)
	}
	return Digest{States: binary.BigEndian.Uint32(b), Sum: binary.BigEndian.Uint64(b[8:])}, nil
}

// ParseEpoch reads what begins the attributes that are for one node, its epoch,
// and returns what follows. Also the body of AttrOldest reads so.
func ParseEpoch(b []byte) (epoch uint64, rest []byte, err error) {
	if len(b) < EpochLen {
		return 0, nil, fmt.Errorf("epoch: %w: %d of %d bytes", ErrShort, len(b), EpochLen)
	}
	return binary.BigEndian.Uint64(b), b[EpochLen:], nil
}

// Range is Count packets from First on.
type Range struct {
	First uint64
	Count uint32
}

// RangeAt reads range i of what follows the epoch in AttrResend, which has len(b)/ResendLen.
func RangeAt(b []byte, i int) Range {
	b = b[i*ResendLen:]
	return Range{First: binary.BigEndian.Uint64(b), Count: binary.BigEndian.Uint32(b[8:])}
}

// ParseDigests reads the body of AttrDigests and AttrHave: the number of the first
// bucket, and the sums, SumLen bytes each. Fewer than DigestsLen bytes are ErrShort,
// buckets that do not exist are ErrValue.
func ParseDigests(b []byte) (first int, sums []byte, err error) {
	if len(b) < DigestsLen {
		return 0, nil, shortAttr(AttrDigests, b, DigestsLen)
	}
	first, sums = int(binary.BigEndian.Uint16(b)), b[DigestsLen:]
	if n := len(sums) / SumLen; first+n > Buckets {
		return 0, nil, fmt.Errorf("%v: %w: %d buckets from %d on, of %d", AttrDigests, ErrValue, n, first, Buckets)
	}
	return first, sums, nil
}

// SumAt reads sum i.
func SumAt(b []byte, i int) uint64 { return binary.BigEndian.Uint64(b[i*SumLen:]) }

// BucketAt reads bucket i of what follows the epoch in AttrAskList, which has
// len(b)/BucketLen; ok is false for one that does not exist.
func BucketAt(b []byte, i int) (bucket int, ok bool) {
	bucket = int(binary.BigEndian.Uint16(b[i*BucketLen:]))
	return bucket, bucket < Buckets
}

// ListFlags mark the parts of a list.
type ListFlags uint8

const (
	ListFirst ListFlags = 1
	ListLast  ListFlags = 2
)

// Listed is a state in a list.
type Listed struct {
	ID   pfstate.ID
	Said uint64
}

// ParseList reads the body of AttrList: which bucket, which part of its list, and
// the entries, ListedLen bytes each. Fewer than ListLen bytes are ErrShort, a bucket
// that does not exist is ErrValue.
func ParseList(b []byte) (bucket int, flags ListFlags, entries []byte, err error) {
	if len(b) < ListLen {
		return 0, 0, nil, shortAttr(AttrList, b, ListLen)
	}
	bucket = int(binary.BigEndian.Uint16(b))
	if bucket >= Buckets {
		return 0, 0, nil, fmt.Errorf("%v: %w: bucket %d of %d", AttrList, ErrValue, bucket, Buckets)
	}
	return bucket, ListFlags(b[2]), b[ListLen:], nil
}

// ListedAt reads entry i.
func ListedAt(b []byte, i int) Listed {
	b = b[i*ListedLen:]
	return Listed{
		ID:   pfstate.ID{State: binary.BigEndian.Uint64(b), Creator: binary.BigEndian.Uint32(b[8:])},
		Said: binary.BigEndian.Uint64(b[12:]),
	}
}

// ParseSame reads the body of AttrSame: whose Have it is about, and a bit for
// each bucket, the first in the lowest bit of the first byte.
func ParseSame(b []byte) (epoch uint64, bits []byte, err error) {
	if len(b) < SameLen {
		return 0, nil, shortAttr(AttrSame, b, SameLen)
	}
	return binary.BigEndian.Uint64(b), b[EpochLen:SameLen], nil
}

// Auth is an authentication code over all that precedes it in the packet.
type Auth struct {
	Hint [4]byte // of the key
	MAC  [MACLen]byte
}

// ParseAuth reads the body of AttrAuth. Fewer than AuthLen bytes are ErrShort.
func ParseAuth(b []byte) (a Auth, err error) {
	if len(b) < AuthLen {
		return a, shortAttr(AttrAuth, b, AuthLen)
	}
	return Auth{Hint: [4]byte(b), MAC: [MACLen]byte(b[4:])}, nil
}

func shortAttr(typ AttrType, b []byte, want int) error {
	return fmt.Errorf("%v: %w: %d of %d bytes", typ, ErrShort, len(b), want)
}

// TrailerWriter builds a trailer behind a packet, in the memory of the packet if
// that has the capacity. The order of calls is BeginTrailer, attributes, End. The
// caller sees to it that all fits into a datagram: before a list, see Len. A
// trailer of more than MaxLen bytes would state a wrong length.
type TrailerWriter struct {
	b     []byte
	start int
}

// BeginTrailer begins the trailer of packet, which is complete.
func BeginTrailer(packet []byte, flags TrailerFlags, epoch, seq uint64) TrailerWriter {
	w := TrailerWriter{b: packet, start: len(packet)}
	w.b = binary.BigEndian.AppendUint32(w.b, TrailerMagic)
	w.b = append(w.b, TrailerVersion, uint8(flags), 0, 0)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
	w.b = binary.BigEndian.AppendUint64(w.b, seq)
	return w
}

// End sets the trailer's length and returns packet and trailer.
func (w *TrailerWriter) End() []byte {
	binary.BigEndian.PutUint16(w.b[w.start+6:], uint16(len(w.b)-w.start))
	return w.b
}

// Len is the length of packet and trailer so far.
func (w *TrailerWriter) Len() int { return len(w.b) }

// attr appends the head of an attribute with a body of n bytes.
func (w *TrailerWriter) attr(typ AttrType, n int) {
	w.b = append(w.b, uint8(typ), 0)
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(AttrLen+n))
}

// Hello appends AttrHello.
func (w *TrailerWriter) Hello(h Hello) {
	w.attr(AttrHello, HelloLen)
	w.b = binary.BigEndian.AppendUint32(w.b, h.Creator)
	w.b = binary.BigEndian.AppendUint32(w.b, h.Features)
}

// Heard appends AttrHeard.
func (w *TrailerWriter) Heard(all []Heard) {
	w.attr(AttrHeard, len(all)*HeardLen)
	for _, h := range all {
		w.b = binary.BigEndian.AppendUint64(w.b, h.Epoch)
		w.b = binary.BigEndian.AppendUint64(w.b, h.Seq)
	}
}

// Digest appends AttrDigest.
func (w *TrailerWriter) Digest(d Digest) {
	w.attr(AttrDigest, DigestLen)
	w.b = binary.BigEndian.AppendUint32(w.b, d.States)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.BigEndian.AppendUint64(w.b, d.Sum)
}

// Oldest appends AttrOldest.
func (w *TrailerWriter) Oldest(seq uint64) {
	w.attr(AttrOldest, OldestLen)
	w.b = binary.BigEndian.AppendUint64(w.b, seq)
}

// Resend appends AttrResend: a request to the sender of epoch.
func (w *TrailerWriter) Resend(epoch uint64, ranges []Range) {
	w.attr(AttrResend, EpochLen+len(ranges)*ResendLen)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
	for _, r := range ranges {
		w.b = binary.BigEndian.AppendUint64(w.b, r.First)
		w.b = binary.BigEndian.AppendUint32(w.b, r.Count)
	}
}

// AskDigests appends AttrAskDigests: a request to the sender of epoch.
func (w *TrailerWriter) AskDigests(epoch uint64) {
	w.attr(AttrAskDigests, EpochLen)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
}

// Digests appends AttrDigests or AttrHave: the sums of the buckets from first on.
func (w *TrailerWriter) Digests(typ AttrType, first int, sums []uint64) {
	w.attr(typ, DigestsLen+len(sums)*SumLen)
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(first))
	w.b = append(w.b, 0, 0)
	for _, s := range sums {
		w.b = binary.BigEndian.AppendUint64(w.b, s)
	}
}

// AskList appends AttrAskList: a request to the sender of epoch.
func (w *TrailerWriter) AskList(epoch uint64, buckets []uint16) {
	w.attr(AttrAskList, EpochLen+len(buckets)*BucketLen)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
	for _, k := range buckets {
		w.b = binary.BigEndian.AppendUint16(w.b, k)
	}
}

// List appends AttrList: a part of what is in a bucket.
func (w *TrailerWriter) List(bucket int, flags ListFlags, entries []Listed) {
	w.attr(AttrList, ListLen+len(entries)*ListedLen)
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(bucket))
	w.b = append(w.b, uint8(flags), 0)
	for _, e := range entries {
		w.b = AppendID(w.b, e.ID)
		w.b = binary.BigEndian.AppendUint64(w.b, e.Said)
	}
}

// Ask appends AttrAsk: a request to the sender of epoch.
func (w *TrailerWriter) Ask(epoch uint64, ids []pfstate.ID) {
	w.attr(AttrAsk, EpochLen+len(ids)*IDLen)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
	for _, id := range ids {
		w.b = AppendID(w.b, id)
	}
}

// Same appends AttrSame; bits has Buckets/8 bytes.
func (w *TrailerWriter) Same(epoch uint64, bits []byte) {
	w.attr(AttrSame, SameLen)
	w.b = binary.BigEndian.AppendUint64(w.b, epoch)
	w.b = append(w.b, bits[:Buckets/8]...)
}

// Attr appends any attribute.
func (w *TrailerWriter) Attr(typ AttrType, body []byte) {
	w.attr(typ, len(body))
	w.b = append(w.b, body...)
}

// Compact appends what a CompactWriter has built.
func (w *TrailerWriter) Compact(attrs []byte) { w.b = append(w.b, attrs...) }

// Auth appends AttrAuth. Its code is over all that precedes the code in the
// finished packet: the trailer's length, which End sets, counts it already.
func (w *TrailerWriter) Auth(a Auth) {
	w.attr(AttrAuth, AuthLen)
	w.b = append(w.b, a.Hint[:]...)
	w.b = append(w.b, a.MAC[:]...)
}
