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
	Spare   int // bytes of memory behind the packet, for what is appended to it

	buf     []byte
	max     int
	section int // offset of the last subheader, 0 before the first
	count   uint16
}

// Reset begins a packet of at most max bytes, the header included, the IP header
// not. Nothing fits if max is less than a header and a message.
func (w *Writer) Reset(max int) {
	w.max = min(max, MaxLen)
	w.section, w.count = 0, 0
	if w.max > 0 && cap(w.buf) < w.max+w.Spare {
		w.buf = make([]byte, 0, w.max+w.Spare)
	}
	w.buf = Header{Version: Version}.Append(w.buf[:0])
}

// Empty reports whether nothing has been added since Reset.
func (w *Writer) Empty() bool { return w.section == 0 }

// Finish returns the packet with its lengths and counts set. The slice is valid
// until Reset; bytes appended to it may lie in the Writer's memory, until then too.
func (w *Writer) Finish() []byte {
	if len(w.buf) < HeaderLen {
		return nil // never Reset
	}
	binary.BigEndian.PutUint16(w.buf[2:], uint16(len(w.buf)))
	w.closeSection()
	return w.buf
}

// room makes room for a message and, if its action is new, for a section.
func (w *Writer) room(a Action) bool {
	again := w.section != 0 && Action(w.buf[w.section]) == a
	need := actions[a].size
	if !again {
		need += SubheaderLen
	}
	if len(w.buf)+need > w.max {
		return false
	}
	if !again {
		w.closeSection()
		w.section, w.count = len(w.buf), 0
		w.buf = append(w.buf, uint8(a), uint8(actions[a].size/4), 0, 0)
	}
	w.count++
	return true
}

func (w *Writer) closeSection() {
	if w.section != 0 {
		binary.BigEndian.PutUint16(w.buf[w.section+2:], w.count)
	}
}

// State adds a whole state: ActIns, ActUpd, ActDel.
func (w *Writer) State(a Action, s *pfstate.State) bool {
	if !a.HasState() || !w.room(a) {
		return false
	}
	w.buf = AppendState(w.Dialect, w.buf, s)
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
	w.buf = u.Append(w.buf)
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

// TDB adds the counters of an SA.
func (w *Writer) TDB(t *TDB) bool {
	if !w.room(ActTDB) {
		return false
	}
	w.buf = t.Append(w.buf)
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
