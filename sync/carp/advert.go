package carp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// Protocol is CARP's number in the IP header.
	Protocol = 112
	// AdvertLen is the length of an advert without its IP header, in bytes.
	AdvertLen = 36
	// TTL is what adverts must arrive with: none has been forwarded.
	TTL = 255

	version   = 2
	advertise = 1   // the only type
	authLen   = 7   // counter and digest, in 32-bit words
	gone      = 255 // advbase and advskew of a master's last advert
	digestLen = 20
)

// What can be wrong with an advert. Host counts by them (OpenBSD's counter in brackets).
var (
	// ErrShort: fewer bytes than an advert has (badlen).
	ErrShort = errors.New("too short")
	// ErrChecksum: the checksum does not fit (badsum).
	ErrChecksum = errors.New("checksum is wrong")
)

// Advert is what a master says in regular intervals.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|version| type  |     vhid      |    advskew    |    authlen    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    demote     |    advbase    |           checksum            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      counter, 64 bits ...                     |
//	|                      digest, 160 bits ...                     |
//
// The digest does not cover the first 8 bytes, but for version, type and vhid.
type Advert struct {
	Version, Type uint8 // 4 bits each
	VHID          uint8
	AdvSkew       uint8 // 1/256 seconds
	AuthLen       uint8 // nobody looks at it
	Demote        uint8 // 0 from FreeBSD and ucarp
	AdvBase       uint8 // seconds
	Counter       uint64
	Digest        [digestLen]byte
}

// Append appends a to b in wire format, with its checksum.
func (a Advert) Append(b []byte) []byte {
	start := len(b)
	b = append(b, a.Version<<4|a.Type&0x0f, a.VHID, a.AdvSkew, a.AuthLen, a.Demote, a.AdvBase, 0, 0)
	b = binary.BigEndian.AppendUint64(b, a.Counter)
	b = append(b, a.Digest[:]...)
	binary.BigEndian.PutUint16(b[start+6:], ^sum(b[start:]))
	return b
}

// ParseAdvert reads an Advert, of any version, from the front of b. What may follow it
// is overlooked, as in OpenBSD.
func ParseAdvert(b []byte) (Advert, error) {
	if len(b) < AdvertLen {
		return Advert{}, fmt.Errorf("advert: %w: %d of %d bytes", ErrShort, len(b), AdvertLen)
	}
	if sum(b[:AdvertLen]) != 0xffff {
		return Advert{}, fmt.Errorf("advert: %w", ErrChecksum)
	}
	a := Advert{
		Version: b[0] >> 4, Type: b[0] & 0x0f, VHID: b[1], AdvSkew: b[2], AuthLen: b[3], Demote: b[4], AdvBase: b[5],
		Counter: binary.BigEndian.Uint64(b[8:]),
	}
	copy(a.Digest[:], b[16:AdvertLen])
	return a, nil
}

// BowOut reports whether a is the last word of a master that goes down.
func (a Advert) BowOut() bool { return a.AdvBase == gone && a.AdvSkew == gone }

// sum is the ones' complement sum of b, of even length, 0xffff when its checksum fits.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
