package wire

import (
	"encoding/binary"
	"fmt"
)

// Section is a run of messages of one action.
type Section struct {
	Action  Action
	Dialect Dialect // in which the messages are written; it matters for those with states
	Size    int     // of each message as sent, in bytes; a newer OpenBSD's may be longer than known
	Count   int     // messages
	Body    []byte  // Size * Count bytes, shared with the packet
}

// NextSection reads the section at the front of b and returns what follows it.
// Both share b's memory. h is the packet's header, b what ParseHeader or NextSection
// left; fewer than SubheaderLen bytes are the end of the packet (ErrShort, if asked
// nevertheless), and so is a section that is its End.
//
// In version 6, messages that are unknown, or shorter than known, are stepped over by
// their length: no error, but Skipped reports true. Without a length or count that is
// not possible: ErrAction; in version 5, which says no lengths, it never is.
// Messages that go beyond b: ErrLength. After an error
// the rest of the packet cannot be read; s tells what the subheader said, without a Body.
func (h *Header) NextSection(b []byte) (s Section, rest []byte, err error) {
	if len(b) < SubheaderLen {
		return s, nil, fmt.Errorf("section: %w: %d of %d bytes", ErrShort, len(b), SubheaderLen)
	}
	number, count := b[0], int(binary.BigEndian.Uint16(b[2:]))
	if h.Version == VersionFreeBSD {
		s = section5(number, count)
		if s.End() {
			return s, b[SubheaderLen:], nil
		}
	} else {
		s = Section{Action: Action(number), Size: int(b[1]) * 4, Count: count}
	}
	b = b[SubheaderLen:]
	if s.Skipped() && (s.Size == 0 || s.Count == 0) {
		return s, nil, fmt.Errorf("section: %w %d: %d messages of %d bytes cannot be skipped",
			ErrAction, number, s.Count, s.Size)
	}
	n := s.Size * s.Count
	if n > len(b) {
		return s, nil, fmt.Errorf("section %v: %w: %d messages of %d bytes in %d bytes",
			s.Name(), ErrLength, s.Count, s.Size, len(b))
	}
	s.Body = b[:n:n]
	return s, b[n:], nil
}

// section5 is a section of version 5, whose sizes are not on the wire.
func section5(number uint8, count int) Section {
	if int(number) >= len(numbers5) || !numbers5[number].known {
		return Section{Action: unknown5(number), Dialect: freebsd, Count: count}
	}
	n := &numbers5[number]
	return Section{Action: n.action, Dialect: n.dialect, Size: n.dialect.Size(n.action), Count: count}
}

// unknown5 is an action that is not Known, with that number as far as it has no meaning in version 6.
func unknown5(number uint8) Action {
	if a := Action(number); !a.Known() {
		return a
	}
	return ActMax
}

// End reports whether the section ends the packet, as FreeBSD's last one does.
func (s Section) End() bool { return s.Action == ActEOF && s.Dialect != OpenBSD6 }

// Number is the action's number on the wire.
func (s Section) Number() uint8 { return s.Dialect.Number(s.Action) }

// Name is the action's, with the format of the states if FreeBSD has several.
func (s Section) Name() string {
	if s.Dialect != OpenBSD6 && s.Action.HasState() {
		return s.Action.String() + " " + s.Dialect.String()
	}
	return s.Action.String()
}

// Skipped reports whether the messages cannot be read: of an unknown action, or
// shorter than known.
func (s Section) Skipped() bool {
	known := s.Dialect.Size(s.Action)
	return known == 0 || s.Size < known
}

// Message returns the known prefix of message i, nil when the section is Skipped
// or has no such message.
func (s Section) Message(i int) []byte {
	known := s.Dialect.Size(s.Action)
	if known == 0 || s.Size < known || i < 0 || i >= s.Count || len(s.Body) < (i+1)*s.Size {
		return nil
	}
	return s.Body[i*s.Size:][:known]
}
