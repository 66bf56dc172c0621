package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Trailer is what a Linux sender puts behind the length that the header states.
// Every BSD overlooks it (tried on OpenBSD 8.0 and FreeBSD 13.0). Its layout is in
// the package comment.
type Trailer struct {
	Flags TrailerFlags
	Epoch uint64 // random, of the sender's start; not 0
	Seq   uint64 // of the packet within the epoch, from 1 on
	Attrs []byte // for NextAttr
}

// TrailerFlags say how the messages of the packet are meant.
type TrailerFlags uint8

const (
	// FlagAnswer: the states told in this packet are somebody else's, as the sender
	// knows them; it does not answer for them. Deleted are states that it does not know.
	FlagAnswer TrailerFlags = 1 << iota
	// FlagHeir: the states told in this packet were answered for by one who is
	// gone. The sender does so now, though it has seen no traffic of them.
	FlagHeir
	// FlagPair: the states in this packet are told to a pf alone, which has two of a
	// connection where Linux has one. It is in another packet, for Linux peers.
	FlagPair
)

// Sizes in bytes, and constants of the trailer's layout.
const (
	TrailerMagic   = 0x70664c78 // "pfLx"
	TrailerVersion = 1
	TrailerLen     = 24 // without attributes
	AttrLen        = 4  // of an attribute without a body

	HelloLen   = 8
	HeardLen   = 16
	DigestLen  = 16
	OldestLen  = 8
	ResendLen  = 12 // a range, behind the epoch
	EpochLen   = 8
	DigestsLen = 4 // what precedes the sums of Digests
	SumLen     = 8
	BucketLen  = 2
	ListLen    = 4 // what precedes the entries of List
	ListedLen  = 20
	SameLen    = EpochLen + Buckets/8
	AuthLen    = 4 + MACLen
	DeletedLen = 8
	MACLen     = 16

	magicLen    = 4
	trailerHead = 8 // magic, version, flags, length
)

// ErrNoTrailer: the bytes are none of ours, the packet is a BSD's.
var ErrNoTrailer = errors.New("no trailer")

// ParseTrailer reads what Behind gives. It checks, in this order, the magic
// (ErrNoTrailer), that there is a length (ErrShort), the version (ErrVersion), that
// the length is that of b (ErrLength), and that epoch and sequence are not 0
// (ErrValue; t is set nevertheless). The attributes are not looked at. Attrs shares
// b's memory.
func ParseTrailer(b []byte) (t Trailer, err error) {
	if len(b) < magicLen || binary.BigEndian.Uint32(b) != TrailerMagic {
		return t, ErrNoTrailer
	}
	if len(b) < trailerHead {
		return t, fmt.Errorf("trailer: %w: %d of %d bytes", ErrShort, len(b), TrailerLen)
	}
	if v := b[4]; v != TrailerVersion {
		return t, fmt.Errorf("trailer: %w: %d instead of %d", ErrVersion, v, TrailerVersion)
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	if n < TrailerLen || n != len(b) {
		return t, fmt.Errorf("trailer: %w: says %d bytes of %d", ErrLength, n, len(b))
	}
	t = Trailer{
		Flags: TrailerFlags(b[5]), Epoch: binary.BigEndian.Uint64(b[8:]), Seq: binary.BigEndian.Uint64(b[16:]),
		Attrs: b[TrailerLen:],
	}
	if t.Epoch == 0 || t.Seq == 0 {
		return t, fmt.Errorf("trailer: %w: epoch %x, sequence %d", ErrValue, t.Epoch, t.Seq)
	}
	return t, nil
}

// AttrType tells what an attribute is. Receivers step over those they do not know.
type AttrType uint8

const (
	AttrHello      AttrType = 1  // who the sender is
	AttrHeard      AttrType = 2  // whom the sender hears, and how far
	AttrDigest     AttrType = 3  // of all states that the sender answers for
	AttrOldest     AttrType = 4  // the first packet that the sender can still repeat
	AttrResend     AttrType = 5  // packets that are missing
	AttrAskDigests AttrType = 6  // the digest of each bucket is wanted
	AttrDigests    AttrType = 7  // digests of buckets
	AttrAskList    AttrType = 8  // what is in these buckets is wanted
	AttrList       AttrType = 9  // what is in a bucket
	AttrAsk        AttrType = 10 // these states are wanted, or their deletion
	AttrHave       AttrType = 11 // as Digests, of own states found in the table after a restart
	AttrSame       AttrType = 12 // these buckets of Have are as we know them
	AttrAuth       AttrType = 13 // authentication code; behind all others
	AttrInsert     AttrType = 16 // new states
	AttrState      AttrType = 17 // states told in full, on request or in a bulk update
	AttrUpdate     AttrType = 18 // progress of states
	AttrDelete     AttrType = 19 // states that have ended
)

// attrs is what is known of attributes.
var attrs = [...]struct {
	name  string
	size  int // of the body, without the list that ends it
	entry int // of that list; 0: there is none
}{
	AttrHello:      {name: "hello", size: HelloLen},
	AttrHeard:      {"heard", 0, HeardLen},
	AttrDigest:     {name: "digest", size: DigestLen},
	AttrOldest:     {name: "oldest", size: OldestLen},
	AttrResend:     {"resend", EpochLen, ResendLen},
	AttrAskDigests: {name: "ask digests", size: EpochLen},
	AttrDigests:    {"digests", DigestsLen, SumLen},
	AttrAskList:    {"ask list", EpochLen, BucketLen},
	AttrList:       {"list", ListLen, ListedLen},
	AttrAsk:        {"ask", EpochLen, IDLen},
	AttrHave:       {"have", DigestsLen, SumLen},
	AttrSame:       {name: "same", size: SameLen},
	AttrAuth:       {name: "auth", size: AuthLen},
	AttrInsert:     {name: "insert", size: CompactLen},
	AttrState:      {name: "state", size: CompactLen},
	AttrUpdate:     {name: "update", size: CompactLen},
	AttrDelete:     {"delete", CompactLen, DeletedLen},
}

// Known reports whether the attribute's body is described here.
func (a AttrType) Known() bool { return int(a) < len(attrs) && attrs[a].name != "" }

func (a AttrType) String() string {
	if a.Known() {
		return attrs[a].name
	}
	return "attribute " + strconv.Itoa(int(a))
}

// NextAttr reads the attribute at the front of b and returns what follows it.
// All share b's memory. An attribute that goes beyond b is ErrLength. So is, of
// a Known attribute, a list that does not end with a whole entry; a body that
// lacks what precedes its list is ErrShort. A body without a list may be longer
// than known. After an error the rest of the trailer cannot be read.
func NextAttr(b []byte) (typ AttrType, body, rest []byte, err error) {
	if len(b) < AttrLen {
		return 0, nil, nil, fmt.Errorf("attribute: %w: %d of %d bytes", ErrShort, len(b), AttrLen)
	}
	typ = AttrType(b[0])
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < AttrLen || n > len(b) {
		return typ, nil, nil, fmt.Errorf("%v: %w: says %d bytes of %d", typ, ErrLength, n, len(b))
	}
	body, rest = b[AttrLen:n:n], b[n:]
	if !typ.Known() {
		return typ, body, rest, nil
	}
	switch a := &attrs[typ]; {
	case len(body) < a.size:
		return typ, nil, nil, shortAttr(typ, body, a.size)
	case a.entry != 0 && (len(body)-a.size)%a.entry != 0:
		return typ, nil, nil, fmt.Errorf("%v: %w: %d bytes are no list of %d each", typ, ErrLength, len(body)-a.size, a.entry)
	}
	return typ, body, rest, nil
}
