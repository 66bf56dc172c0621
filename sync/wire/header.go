package wire

import (
	"encoding/binary"
	"fmt"
)

// Header starts every pfsync packet, right after the IP header.
type Header struct {
	Version uint8
	Len     uint16   // of the packet from this header on, in bytes
	Cksum   [16]byte // MD5 of the ruleset; OpenBSD since 7.4 sends zero and looks at none
}

// Append appends h in wire format.
func (h Header) Append(b []byte) []byte {
	b = append(b, h.Version, 0)
	b = binary.BigEndian.AppendUint16(b, h.Len)
	return append(b, h.Cksum[:]...)
}

// ParseHeader reads the header at the front of b and returns what follows it, cut
// to the header's length. The rest shares b's memory. It checks, in this order,
// that there is a header (ErrShort), that the version is known (ErrVersion) and
// that the length fits (ErrLength); with the latter two h is set.
func ParseHeader(b []byte) (h Header, rest []byte, err error) {
	if len(b) < HeaderLen {
		return h, nil, fmt.Errorf("header: %w: %d of %d bytes", ErrShort, len(b), HeaderLen)
	}
	h = Header{Version: b[0], Len: binary.BigEndian.Uint16(b[2:]), Cksum: [16]byte(b[4:])}
	if h.Version != Version && h.Version != VersionFreeBSD {
		return h, nil, fmt.Errorf("header: %w: %d instead of %d or %d", ErrVersion, h.Version, Version, VersionFreeBSD)
	}
	if int(h.Len) < HeaderLen || int(h.Len) > len(b) {
		return h, nil, fmt.Errorf("header: %w: says %d bytes, packet has %d", ErrLength, h.Len, len(b))
	}
	return h, b[HeaderLen:h.Len], nil
}

// Behind returns the bytes behind the length that the header of packet b states:
// invisible to BSD receivers, empty in BSD's packets. It is nil when there are
// none or ParseHeader refuses b.
func Behind(b []byte) []byte {
	h, _, err := ParseHeader(b)
	if err != nil || int(h.Len) == len(b) {
		return nil
	}
	return b[h.Len:]
}
