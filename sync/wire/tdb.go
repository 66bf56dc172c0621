package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// TDB carries the replay counter of an IPsec SA.
type TDB struct {
	SPI     uint32
	Dst     Sockaddr
	Replay  uint64
	Bytes   uint64 // transferred under the SA
	Proto   uint8  // 50 ESP, 51 AH
	Updates uint8  // sent as 0
	RDomain uint16
}

// Sockaddr is a BSD socket address as it lies in a TDB message: length, family,
// port, then an IPv4 address, or flow info, an IPv6 address and its scope.
type Sockaddr [28]byte

// NewSockaddr writes a without port and scope.
func NewSockaddr(d Dialect, a netip.Addr) (s Sockaddr) {
	switch {
	case a.Is4():
		a4 := a.As4()
		s[0], s[1] = 16, inet
		copy(s[4:], a4[:])
	case a.Is6():
		a16 := a.As16()
		s[0], s[1] = 28, dialects[d].inet6
		copy(s[8:], a16[:])
	}
	return s
}

// Addr is the address in s, the zero Addr if it is of no known family.
func (s Sockaddr) Addr(d Dialect) netip.Addr {
	switch s[1] {
	case inet:
		return netip.AddrFrom4([4]byte(s[4:]))
	case dialects[d].inet6:
		return netip.AddrFrom16([16]byte(s[8:]))
	}
	return netip.Addr{}
}

// ParseTDB reads the body of ActTDB. Fewer than TDBLen bytes are ErrShort.
func ParseTDB(m []byte) (t TDB, err error) {
	if err := long(m, ActTDB, TDBLen); err != nil {
		return t, err
	}
	be := binary.BigEndian
	return TDB{
		SPI: be.Uint32(m), Dst: Sockaddr(m[4:]), Replay: be.Uint64(m[32:]), Bytes: be.Uint64(m[40:]),
		Proto: m[48], Updates: m[49], RDomain: be.Uint16(m[50:]),
	}, nil
}

// Append appends TDBLen bytes.
func (t *TDB) Append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, t.SPI)
	b = append(b, t.Dst[:]...)
	b = be.AppendUint64(b, t.Replay)
	b = be.AppendUint64(b, t.Bytes)
	b = append(b, t.Proto, t.Updates)
	return be.AppendUint16(b, t.RDomain)
}

// ParseOldTDB reads the body of ActOldTDB. Fewer than OldTDBLen bytes are ErrShort.
func ParseOldTDB(m []byte) (t TDB, err error) {
	if err := long(m, ActOldTDB, OldTDBLen); err != nil {
		return t, err
	}
	be := binary.BigEndian
	return TDB{
		SPI: be.Uint32(m), Dst: Sockaddr(m[4:]), Replay: uint64(be.Uint32(m[32:])), Bytes: be.Uint64(m[36:]),
		Proto: m[44], Updates: m[45], RDomain: be.Uint16(m[46:]),
	}, nil
}

// AppendOld appends OldTDBLen bytes; a replay counter above 32 bits becomes the largest.
func (t *TDB) AppendOld(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, t.SPI)
	b = append(b, t.Dst[:]...)
	b = be.AppendUint32(b, uint32(min(t.Replay, math.MaxUint32)))
	b = be.AppendUint64(b, t.Bytes)
	b = append(b, t.Proto, t.Updates)
	return be.AppendUint16(b, t.RDomain)
}
