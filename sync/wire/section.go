package wire

import (
	"encoding/binary"
	"fmt"
)

// Section is a run of messages of one action.
type Section struct {
	Action Action
	Size   int    // of each message as sent, in bytes; a newer sender's may be longer than known
	Count  int    // messages
	Body   []byte // Size * Count bytes, shared with the packet
}

// NextSection reads the section at the front of b and returns what follows it.
// Both share b's memory. b is what ParseHeader or NextSection left; fewer than
// SubheaderLen bytes are the end of the packet (ErrShort, if asked nevertheless).
//
// Messages that are unknown, or shorter than known, are stepped over by their
// length: no error, but Skipped reports true. Without a length or count that is
// not possible: ErrAction. Messages that go beyond b: ErrLength. After an error
// the rest of the packet cannot be read; s tells what the subheader said, without a Body.
func NextSection(b []byte) (s Section, rest []byte, err error) {
	if len(b) < SubheaderLen {
		return s, nil, fmt.Errorf("section: %w: %d of %d bytes", ErrShort, len(b), SubheaderLen)
	}
	s = Section{Action: Action(b[0]), Size: int(b[1]) * 4, Count: int(binary.BigEndian.Uint16(b[2:]))}
	b = b[SubheaderLen:]
	if s.Skipped() && (s.Size == 0 || s.Count == 0) {
		return s, nil, fmt.Errorf("section: %w %d: %d messages of %d bytes cannot be skipped",
			ErrAction, uint8(s.Action), s.Count, s.Size)
	}
	n := s.Size * s.Count
	if n > len(b) {
		return s, nil, fmt.Errorf("section %v: %w: %d messages of %d bytes in %d bytes",
			s.Action, ErrLength, s.Count, s.Size, len(b))
	}
	s.Body = b[:n:n]
	return s, b[n:], nil
}

// Skipped reports whether the messages cannot be read: of an unknown action, or
// shorter than known.
func (s Section) Skipped() bool { return !s.Action.Known() || s.Size < s.Action.Size() }

// Message returns the known prefix of message i, nil when the section is Skipped
// or has no such message.
func (s Section) Message(i int) []byte {
	if s.Skipped() || i < 0 || i >= s.Count || len(s.Body) < (i+1)*s.Size {
		return nil
	}
	return s.Body[i*s.Size:][:s.Action.Size()]
}
