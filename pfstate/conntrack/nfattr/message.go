package nfattr

import (
	"encoding/binary"
	"fmt"
)

const (
	// HeaderLen is the length of a netlink message's header in bytes.
	HeaderLen = 16
	// FamilyLen is the length of the nfgenmsg that begins every nfnetlink payload.
	FamilyLen = 4
)

// Header is a netlink message's header.
type Header struct {
	Len   uint32 // with the header
	Type  uint16
	Flags uint16
	Seq   uint32
	Port  uint32 // nlmsg_pid: port id of the socket, 0 is the kernel
}

// ParseMessage takes the first message off b: its header, its payload, and what
// follows. All share b's memory.
func ParseMessage(b []byte) (h Header, payload, rest []byte, err error) {
	if len(b) < HeaderLen {
		return h, nil, nil, fmt.Errorf("message header: %w: %d of %d bytes", ErrMalformed, len(b), HeaderLen)
	}
	h = Header{
		Len:   binary.NativeEndian.Uint32(b),
		Type:  binary.NativeEndian.Uint16(b[4:]),
		Flags: binary.NativeEndian.Uint16(b[6:]),
		Seq:   binary.NativeEndian.Uint32(b[8:]),
		Port:  binary.NativeEndian.Uint32(b[12:]),
	}
	if h.Len < HeaderLen || uint64(h.Len) > uint64(len(b)) {
		return h, nil, nil, fmt.Errorf("message: %w: length %d, buffer has %d", ErrMalformed, h.Len, len(b))
	}
	n := int(h.Len)
	return h, b[HeaderLen:n:n], b[min(align(n), len(b)):], nil
}

// BeginMessage appends a message's header and nfgenmsg (address family, version
// 0). EndMessage closes it; h.Len is ignored. mark names the message.
func BeginMessage(b []byte, h Header, family uint8) (_ []byte, mark int) {
	mark = len(b)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, h.Type)
	b = binary.NativeEndian.AppendUint16(b, h.Flags)
	b = binary.NativeEndian.AppendUint32(b, h.Seq)
	b = binary.NativeEndian.AppendUint32(b, h.Port)
	return append(b, family, 0, 0, 0), mark
}

// EndMessage closes the message that BeginMessage opened.
func EndMessage(b []byte, mark int) []byte {
	binary.NativeEndian.PutUint32(b[mark:], uint32(len(b)-mark))
	return b
}

// AddFlags sets flags in the header of the message at mark, already written.
func AddFlags(b []byte, mark int, flags uint16) {
	f := b[mark+6:]
	binary.NativeEndian.PutUint16(f, binary.NativeEndian.Uint16(f)|flags)
}
