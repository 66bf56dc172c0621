package wire

import (
	"encoding/binary"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Writer builds one packet after the other in one buffer. Messages are added in
// the order in which they shall be sent; a run of the same action shares a
// section. Each method that adds returns false, and changes nothing, when the
// message does not fit: send what Finish gives, Reset, and add it again. It also
// returns false for an action that is not of that kind of message.
//
// Reset comes first: the zero Writer has room for nothing.
type Writer struct {
	Dialect Dialect
	EOF     bool     // end with FreeBSD's section of that name; not for a packet with a trailer
	Cksum   [16]byte // of the header
	Spare   int      // bytes of memory behind the packet, for what is appended to it

	buf     []byte
	max     int
	section int // offset of the last subheader, 0 before the first
	count   uint16
	last    Action // of that section
	as      Dialect
	size    int // of its messages
}

// Reset begins a packet of at most max bytes, the header included, the IP header
// not. Nothing fits if max is less than a header and a message.
func (w *Writer) Reset(max int) {
	w.max = min(max, MaxLen)
	w.section, w.count = 0, 0
	if w.max > 0 && cap(w.buf) < w.max+w.Spare {
		w.buf = make([]byte, 0, w.max+w.Spare)
	}
	w.buf = Header{Version: w.Dialect.Version(), Cksum: w.Cksum}.Append(w.buf[:0])
	if w.EOF {
		w.max -= SubheaderLen
	}
}

// Empty reports whether nothing has been added since Reset.
func (w *Writer) Empty() bool { return w.section == 0 }

// Finish returns the packet with its lengths and counts set. The slice is valid
// until Reset; bytes appended to it may lie in the Writer's memory, until then too.
func (w *Writer) Finish() []byte {
	if len(w.buf) < HeaderLen {
		return nil // never Reset
	}
	w.closeSection()
	b := w.buf
	if w.EOF {
		b = append(b, uint8(ActEOF), 0, 0, 1)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// room makes room for a message and, if its action is new, for a section.
func (w *Writer) room(a Action) bool {
	if w.section != 0 && a == w.last && w.Dialect == w.as {
		if len(w.buf)+w.size > w.max {
			return false
		}
		w.count++
		return true
	}
	m := &messages[w.Dialect][a]
	if m.size == 0 || len(w.buf)+SubheaderLen+int(m.size) > w.max {
		return false
	}
	w.closeSection()
	w.section, w.count = len(w.buf), 1
	w.last, w.as, w.size = a, w.Dialect, int(m.size)
	w.buf = append(w.buf, m.number, m.words, 0, 0)
	return true
}

func (w *Writer) closeSection() {
	if w.section != 0 {
		binary.BigEndian.PutUint16(w.buf[w.section+2:], w.count)
	}
}

// State adds a whole state: ActIns, ActUpd, ActDel.
func (w *Writer) State(a Action, s *pfstate.State) bool { return w.StateWith(a, s, nil) }

// StateWith adds a whole state with what FreeBSD alone says of it, which the
// dialect may not be able to; nil: nothing is known.
func (w *Writer) StateWith(a Action, s *pfstate.State, x *FreeBSD) bool {
	if !a.HasState() || !w.room(a) {
		return false
	}
	w.buf = appendStateMore(w.Dialect, w.buf, s, x)
	return true
}

// ID adds a message that is only an ID: ActInsAck, ActUpdReq, ActDelC.
func (w *Writer) ID(a Action, id pfstate.ID) bool {
	if !a.HasID() || !w.room(a) {
		return false
	}
	w.buf = AppendID(w.buf, id)
	return true
}

// UpdC adds a compressed update.
func (w *Writer) UpdC(u *UpdC) bool {
	if !w.room(ActUpdC) {
		return false
	}
	w.buf = u.Append(w.Dialect, w.buf)
	return true
}

// Clr adds an order to clear states.
func (w *Writer) Clr(c Clr) bool {
	if !w.room(ActClr) {
		return false
	}
	w.buf = c.Append(w.buf)
	return true
}

// Bus adds the status of a bulk update.
func (w *Writer) Bus(u Bus) bool {
	if !w.room(ActBus) {
		return false
	}
	w.buf = u.Append(w.buf)
	return true
}

// TDB adds the counters of an SA, in the older form where there is no other.
func (w *Writer) TDB(t *TDB) bool {
	switch {
	case w.room(ActTDB):
		w.buf = t.Append(w.buf)
	case w.Dialect.Size(ActTDB) == 0 && w.room(ActOldTDB):
		w.buf = t.AppendOld(w.buf)
	default:
		return false
	}
	return true
}

// Message adds any message.
func (w *Writer) Message(x *Message) bool {
	if !x.Action.Known() || !w.room(x.Action) {
		return false
	}
	w.buf = w.Dialect.Append(w.buf, x)
	return true
}
