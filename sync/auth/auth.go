package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Why Open refuses a packet.
var (
	ErrMissing = errors.New("no authentication code")
	ErrInvalid = errors.New("authentication code is not valid")
)

// Verdict tells which key a packet was sealed with.
type Verdict uint8

const (
	Unchecked Verdict = iota // there is no key: anything is taken
	Current                  // the sender has the current key
	Previous                 // only the previous one is known to it
)

const (
	codeLen  = wire.AttrLen + wire.AuthLen
	maxCodes = 2                 // current and previous; bounds what a forged packet costs
	lengthAt = 6                 // of the trailer's length, in the trailer
	hintText = "pfsync key hint" // no packet begins so: the first byte of one is its version
)

// Keyring holds the key that packets are sealed and opened with and, while it is
// being changed, the one before. The zero Keyring has none: packets stay as they
// are, and all are taken. It belongs to one goroutine and is not copied.
type Keyring struct{ current, previous *key }

// key is a key in the form that makes codes; the key itself is not kept.
type key struct {
	mac hash.Hash
	id  [sha256.Size]byte // the hint and what else tells keys apart
	sum [sha256.Size]byte // of the last packet
}

// Set makes k the current key; the one before stays valid, as the previous, until
// Retire. The current key set again changes nothing. k has 16 bytes or more, which
// those see to who read it; it is not kept.
func (r *Keyring) Set(k []byte) {
	next := newKey(k)
	if r.current != nil && hmac.Equal(next.id[:], r.current.id[:]) {
		return
	}
	r.current, r.previous = next, r.current
}

// Clear forgets all keys.
func (r *Keyring) Clear() { *r = Keyring{} }

// Retire forgets the previous key: every peer has shown that it has the current one.
func (r *Keyring) Retire() { r.previous = nil }

// On tells whether there is a key.
func (r *Keyring) On() bool { return r.current != nil }

// Changing tells whether there is a previous key too.
func (r *Keyring) Changing() bool { return r.previous != nil }

// Overhead is how many bytes Seal appends.
func (r *Keyring) Overhead() int {
	switch {
	case r.current == nil:
		return 0
	case r.previous == nil:
		return codeLen
	}
	return 2 * codeLen
}

// Seal appends the codes to packet, which begins with the pfsync header and ends
// with a complete trailer. Packets without a trailer are returned as they are, and
// no peer with a key takes them. It allocates only if packet lacks the capacity.
func (r *Keyring) Seal(packet []byte) []byte {
	trailer := wire.Behind(packet)
	if r.current == nil || len(trailer) < wire.TrailerLen {
		return packet
	}
	length := trailer[lengthAt:]
	binary.BigEndian.PutUint16(length, binary.BigEndian.Uint16(length)+uint16(r.Overhead()))
	if r.previous != nil {
		packet = r.previous.seal(packet)
	}
	return r.current.seal(packet) // last: it covers the other one too
}

// Open tells which key packet is sealed with. Nothing in a packet that it refuses may be
// believed. A packet without a code is ErrMissing. One without a right code of a key that
// is held is ErrInvalid, as is one whose trailer is malformed or has anything
// behind its codes, or more than two.
func (r *Keyring) Open(packet []byte) (Verdict, error) {
	if r.current == nil {
		return Unchecked, nil
	}
	trailer, err := wire.ParseTrailer(wire.Behind(packet))
	switch {
	case errors.Is(err, wire.ErrNoTrailer):
		return Unchecked, ErrMissing
	case err != nil:
		return Unchecked, ErrInvalid
	}
	codes, err := findCodes(trailer.Attrs)
	if err != nil {
		return Unchecked, err
	}
	first := len(packet) - codes*codeLen
	for _, by := range [...]struct {
		key     *key
		verdict Verdict
	}{{r.current, Current}, {r.previous, Previous}} {
		for end := len(packet); by.key != nil && end > first; end -= codeLen {
			if by.key.sealed(packet[:end]) {
				return by.verdict, nil
			}
		}
	}
	return Unchecked, ErrInvalid
}

// findCodes tells how many codes end the attributes.
func findCodes(attrs []byte) (codes int, err error) {
	for len(attrs) > 0 {
		typ, body, rest, err := wire.NextAttr(attrs)
		switch {
		case err != nil:
			return 0, ErrInvalid
		case typ == wire.AttrAuth:
			if codes++; codes > maxCodes || len(body) != wire.AuthLen {
				return 0, ErrInvalid
			}
		case codes > 0:
			return 0, ErrInvalid
		}
		attrs = rest
	}
	if codes == 0 {
		return 0, ErrMissing
	}
	return codes, nil
}

func newKey(k []byte) *key {
	n := &key{mac: hmac.New(sha256.New, k)}
	n.mac.Write([]byte(hintText))
	n.mac.Sum(n.id[:0])
	n.mac.Reset() // from now on it starts from what it has computed of the key, and allocates nothing
	return n
}

func (k *key) hint() []byte { return k.id[:wire.AuthLen-wire.MACLen] }

// code is the code of what precedes it. It is valid until the next one.
func (k *key) code(b []byte) []byte {
	k.mac.Reset()
	k.mac.Write(b)
	return k.mac.Sum(k.sum[:0])[:wire.MACLen]
}

func (k *key) seal(packet []byte) []byte {
	packet = append(packet, uint8(wire.AttrAuth), 0, 0, codeLen)
	packet = append(packet, k.hint()...)
	return append(packet, k.code(packet)...)
}

// sealed tells whether the last attribute of packet is this key's code.
func (k *key) sealed(packet []byte) bool {
	hint, code := packet[len(packet)-wire.AuthLen:], packet[len(packet)-wire.MACLen:]
	return bytes.HasPrefix(hint, k.hint()) && hmac.Equal(code, k.code(packet[:len(packet)-wire.MACLen]))
}
