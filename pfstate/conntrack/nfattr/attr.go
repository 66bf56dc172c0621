package nfattr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	attrHeader = 4
	typeMask   = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	nested     = 0x8000
)

// ErrMalformed: a length does not fit into what surrounds it.
var ErrMalformed = errors.New("malformed netlink data")

// Walk goes over a run of attributes:
//
//	w := nfattr.NewWalk(payload)
//	for w.Next() {
//		switch w.Type { ... w.Data ... }
//	}
//	if err := w.Err(); err != nil { ... }
type Walk struct {
	Type uint16 // without flag bits
	Data []byte
	rest []byte
	bad  bool
}

// NewWalk starts before the first attribute of b.
func NewWalk(b []byte) Walk { return Walk{rest: b} }

// Next moves to the next attribute. Up to three bytes of padding may follow the last one.
func (w *Walk) Next() bool {
	if len(w.rest) < attrHeader {
		w.bad = w.bad || !zero(w.rest)
		return false
	}
	n := int(binary.NativeEndian.Uint16(w.rest))
	if n < attrHeader || n > len(w.rest) {
		w.bad, w.rest = true, nil
		return false
	}
	w.Type = binary.NativeEndian.Uint16(w.rest[2:]) & typeMask
	w.Data = w.rest[attrHeader:n:n]
	w.rest = w.rest[min(align(n), len(w.rest)):]
	return true
}

// Err is ErrMalformed when the walk ended before the bytes did.
func (w *Walk) Err() error {
	if w.bad {
		return ErrMalformed
	}
	return nil
}

// Uint8 is the attribute's value, 0 when it is not one byte long.
func (w *Walk) Uint8() uint8 {
	if len(w.Data) != 1 {
		w.bad = true
		return 0
	}
	return w.Data[0]
}

// Uint16 is the attribute's value, 0 when it is not two bytes long.
func (w *Walk) Uint16() uint16 {
	if len(w.Data) != 2 {
		w.bad = true
		return 0
	}
	return binary.BigEndian.Uint16(w.Data)
}

// Uint32 is the attribute's value, 0 when it is not four bytes long.
func (w *Walk) Uint32() uint32 {
	if len(w.Data) != 4 {
		w.bad = true
		return 0
	}
	return binary.BigEndian.Uint32(w.Data)
}

// Uint64 is the attribute's value, 0 when it is not eight bytes long.
func (w *Walk) Uint64() uint64 {
	if len(w.Data) != 8 {
		w.bad = true
		return 0
	}
	return binary.BigEndian.Uint64(w.Data)
}

// Append appends one attribute, padded to four bytes. It panics when data is
// longer than an attribute can say (65,531 bytes): a mistake of the caller.
func Append(b []byte, typ uint16, data []byte) []byte {
	if attrHeader+len(data) > math.MaxUint16 {
		panic(fmt.Sprintf("nfattr: attribute %d of %d bytes", typ, len(data)))
	}
	b = appendHeader(b, typ, attrHeader+len(data))
	b = append(b, data...)
	return pad(b, len(data))
}

// AppendUint8 appends an attribute of one byte.
func AppendUint8(b []byte, typ uint16, v uint8) []byte {
	return append(appendHeader(b, typ, attrHeader+1), v, 0, 0, 0)
}

// AppendUint16 appends an attribute of two bytes.
func AppendUint16(b []byte, typ uint16, v uint16) []byte {
	return append(binary.BigEndian.AppendUint16(appendHeader(b, typ, attrHeader+2), v), 0, 0)
}

// AppendUint32 appends an attribute of four bytes.
func AppendUint32(b []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, typ, attrHeader+4), v)
}

// AppendUint64 appends an attribute of eight bytes.
func AppendUint64(b []byte, typ uint16, v uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, typ, attrHeader+8), v)
}

// Begin opens a nested attribute; End closes it. mark names it.
func Begin(b []byte, typ uint16) (_ []byte, mark int) {
	mark = len(b)
	return appendHeader(b, typ|nested, attrHeader), mark
}

// End closes the attribute that Begin opened.
func End(b []byte, mark int) []byte {
	n := len(b) - mark
	if n > math.MaxUint16 {
		panic(fmt.Sprintf("nfattr: nested attribute of %d bytes", n))
	}
	binary.NativeEndian.PutUint16(b[mark:], uint16(n))
	return b
}

func appendHeader(b []byte, typ uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(n))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func align(n int) int { return (n + 3) &^ 3 }

func pad(b []byte, n int) []byte {
	for ; n&3 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
