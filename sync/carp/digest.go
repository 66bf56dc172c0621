package carp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net"
	"net/netip"
	"slices"
)

// PassLen is how many bytes of a password count.
const PassLen = 19 // 20 with the NUL that BSD's ifconfig copies

// Signer makes and checks the digests of one vhid. It is used by one goroutine at a time.
type Signer struct {
	mac hash.Hash
	// What is hashed before the counter: as OpenBSD sends it, without link-local
	// addresses, and with them, nil if there are none.
	without, with []byte
	counter       [8]byte
	digest        [digestLen]byte
}

// NewSigner makes a Signer. Of pass the first PassLen bytes count; the addresses are
// the virtual ones of both families; lladdr is nil, or what OpenBSD hashes too: an
// address set by hand that is neither the virtual one nor the carpdev's.
func NewSigner(pass string, vhid uint8, addresses []netip.Prefix, lladdr net.HardwareAddr) *Signer {
	key := []byte(pass)
	key = key[:min(len(key), PassLen)]
	start := append([]byte{version, advertise}, lladdr...)
	start = append(start, vhid)

	var all []netip.Addr
	for _, p := range addresses {
		all = append(all, p.Addr().Unmap().WithZone(""))
	}
	slices.SortFunc(all, netip.Addr.Compare) // IPv4 first, then by the bytes
	all = slices.Compact(all)

	s := &Signer{mac: hmac.New(sha1.New, key), without: slices.Clone(start), with: start}
	for _, a := range all {
		if !a.Is6() || !a.IsLinkLocalUnicast() {
			s.without = append(s.without, a.AsSlice()...)
		}
		s.with = append(s.with, a.AsSlice()...)
	}
	if bytes.Equal(s.with, s.without) {
		s.with = nil
	}
	return s
}

// Sign returns the digest of an advert with that counter.
func (s *Signer) Sign(counter uint64) [digestLen]byte {
	s.hash(s.without, counter)
	return s.digest
}

// Verify reports whether an advert with that counter has the right digest. How long it
// takes tells nothing about the right one.
func (s *Signer) Verify(counter uint64, digest [digestLen]byte) bool {
	s.hash(s.without, counter)
	good := subtle.ConstantTimeCompare(s.digest[:], digest[:])
	if s.with != nil {
		s.hash(s.with, counter)
		good |= subtle.ConstantTimeCompare(s.digest[:], digest[:])
	}
	return good == 1
}

func (s *Signer) hash(start []byte, counter uint64) {
	s.mac.Reset()
	s.mac.Write(start)
	binary.BigEndian.PutUint64(s.counter[:], counter)
	s.mac.Write(s.counter[:])
	s.mac.Sum(s.digest[:0])
}

// VirtualMAC is the link address that all hosts of a vhid share.
func VirtualMAC(vhid uint8) net.HardwareAddr {
	return net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x01, vhid}
}
