package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// CompactWriter builds the attributes of compact messages, one after the other, in one
// buffer. A run of messages of one kind and creator shares an attribute. As with Writer,
// each method that adds returns false, and changes nothing, when the message does not
// fit. TrailerWriter.Compact puts them into a trailer.
type CompactWriter struct {
	b     []byte
	max   int
	begun bool // an attribute is
	attr  int  // where it begins
}

// Reset begins anew, with room for max bytes.
func (w *CompactWriter) Reset(max int) {
	w.b, w.max, w.begun = w.b[:0], max, false
	if cap(w.b) < max {
		w.b = make([]byte, 0, max)
	}
}

// Empty reports whether nothing has been added since Reset.
func (w *CompactWriter) Empty() bool { return len(w.b) == 0 }

// Bytes are the attributes, until Reset.
func (w *CompactWriter) Bytes() []byte {
	w.end()
	return w.b
}

// end sets the length of the attribute that was begun.
func (w *CompactWriter) end() {
	if w.begun {
		binary.BigEndian.PutUint16(w.b[w.attr+2:], uint16(len(w.b)-w.attr))
	}
}

// open makes room for an entry of most bytes at most in an attribute of that type and
// creator.
func (w *CompactWriter) open(typ AttrType, creator uint32, most int) bool {
	again := w.begun && AttrType(w.b[w.attr]) == typ && binary.BigEndian.Uint32(w.b[w.attr+AttrLen:]) == creator
	if !again {
		most += AttrLen + CompactLen
	}
	if len(w.b)+most > w.max {
		return false
	}
	if !again {
		w.end()
		w.attr, w.begun = len(w.b), true
		w.b = append(w.b, uint8(typ), 0, 0, 0)
		w.b = binary.BigEndian.AppendUint32(w.b, creator)
	}
	return true
}

// State adds a whole state, which must be Terse: AttrInsert or AttrState.
func (w *CompactWriter) State(typ AttrType, s *pfstate.State) bool {
	mask, size := stateFields(s)
	if !w.open(typ, s.ID.Creator, 1+size) {
		return false
	}
	b := append(w.b, uint8(size))
	b = binary.BigEndian.AppendUint16(b, mask)
	b = binary.BigEndian.AppendUint64(b, s.ID.State)
	b = append(b, s.Proto, uint8(s.Src.State)<<4|uint8(s.Dst.State)&0x0f, uint8(s.Timeout))
	before, after := s.Tuples()
	b = appendKey(b, before)
	b = appendSeconds(b, s.Expire)
	if mask&stateTranslated != 0 {
		b = appendKey(b, after.Reversed())
	}
	x := &s.Linux
	if mask&stateWScale != 0 {
		b = append(b, s.Src.WScale, s.Dst.WScale)
	}
	if mask&stateTCP != 0 {
		b = append(b, x.TCP[:]...)
	}
	if mask&stateStatus != 0 {
		b = append(b, x.Status)
	}
	if mask&stateMark != 0 {
		b = binary.BigEndian.AppendUint32(b, x.Mark)
	}
	if mask&stateZone != 0 {
		b = binary.BigEndian.AppendUint16(b, s.Stack.RDomain)
		b = binary.BigEndian.AppendUint16(b, s.Wire.RDomain)
	}
	if mask&stateCreation != 0 {
		b = appendSeconds(b, s.Creation)
	}
	if mask&stateFlags != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(s.Flags))
	}
	if mask&stateTags != 0 {
		b = appendTags(b, &s.Src, &s.Dst)
	}
	if mask&stateLabels != 0 {
		b = append(b, x.Rare.Labels[:]...)
	}
	if mask&stateHelper != 0 {
		b = append(b, x.Rare.Helper[:]...)
	}
	if mask&stateMaster != 0 {
		b = appendMaster(b, &x.Rare.Master)
	}
	if mask&stateSeqAdj != 0 {
		b = appendSeqAdj(b, x)
	}
	w.b = b
	return true
}

// stateFields are the fields that s needs, and the size of its entry.
func stateFields(s *pfstate.State) (mask uint16, size int) {
	keys := 12
	size = stateHead + 4
	if !s.Wire.Addr[0].Is4() {
		mask |= stateV6
		keys = 36
	}
	size += keys
	has := func(field uint16, yes bool, n int) {
		if yes {
			mask |= field
			size += n
		}
	}
	x := &s.Linux
	has(stateIn, s.Direction == pfstate.In, 0)
	has(stateTranslated, s.Wire.Addr != s.Stack.Addr || s.Wire.Port != s.Stack.Port, keys)
	has(stateWScale, s.Src.WScale|s.Dst.WScale != 0, 2)
	has(stateTCP, x.Has&pfstate.HasTCP != 0, 2)
	has(stateStatus, x.Has&pfstate.HasStatus != 0, 1)
	has(stateMark, x.Has&pfstate.HasMark != 0 && x.Mark != 0, 4)
	has(stateZone, s.Stack.RDomain|s.Wire.RDomain != 0, 4)
	has(stateCreation, s.Creation > 0, 4)
	has(stateFlags, s.Flags != defaultFlags(s.Proto), 2)
	has(stateTags, tagged(&s.Src, &s.Dst), 8)
	has(stateLabels, x.Has&pfstate.HasLabels != 0, 16)
	has(stateHelper, x.Has&pfstate.HasHelper != 0, 16)
	has(stateMaster, x.Has&pfstate.HasMaster != 0, masterLen)
	has(stateSeqAdj, x.Has&pfstate.HasSeqAdj != 0, 24)
	return mask, size
}

// tagged tells that there are tags of SCTP; 0 is none.
func tagged(src, dst *pfstate.Peer) bool {
	return src.Scrub.Valid && src.Scrub.TSMod != 0 || dst.Scrub.Valid && dst.Scrub.TSMod != 0
}

func appendKey(b []byte, t pfstate.Tuple) []byte {
	b = appendPlainAddr(b, t.Src)
	b = appendPlainAddr(b, t.Dst)
	b = binary.BigEndian.AppendUint16(b, t.SrcPort)
	return binary.BigEndian.AppendUint16(b, t.DstPort)
}

func appendPlainAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		a4 := a.As4()
		return append(b, a4[:]...)
	}
	a16 := a.As16()
	return append(b, a16[:]...)
}

func appendTags(b []byte, src, dst *pfstate.Peer) []byte {
	for _, p := range [2]*pfstate.Peer{src, dst} {
		tag := p.Scrub.TSMod
		if !p.Scrub.Valid {
			tag = 0
		}
		b = binary.BigEndian.AppendUint32(b, tag)
	}
	return b
}

func appendMaster(b []byte, m *pfstate.Master) []byte {
	b = append(b, m.Proto)
	b = append(b, m.Src[:]...)
	b = append(b, m.Dst[:]...)
	b = binary.BigEndian.AppendUint16(b, m.SrcPort)
	return binary.BigEndian.AppendUint16(b, m.DstPort)
}

func appendSeqAdj(b []byte, x *pfstate.Linux) []byte {
	for i := range x.Rare.SeqAdj {
		a := &x.Rare.SeqAdj[i]
		b = binary.BigEndian.AppendUint32(b, a.Pos)
		b = binary.BigEndian.AppendUint32(b, uint32(a.Before))
		b = binary.BigEndian.AppendUint32(b, uint32(a.After))
	}
	return b
}

// Update adds an update, whose peers must be TersePeer.
func (w *CompactWriter) Update(u *UpdC) bool {
	mask := updateFields(u)
	if !w.open(AttrUpdate, u.ID.Creator, 1+updateMost) { // where a packet ends is no matter of bytes
		return false
	}
	at := len(w.b)
	x := &u.Linux
	b := append(w.b, 0, mask)
	b = binary.BigEndian.AppendUint64(b, u.ID.State)
	b = append(b, uint8(u.Src.State)<<4|uint8(u.Dst.State)&0x0f, uint8(u.Timeout))
	if mask&updateWScale != 0 {
		b = append(b, u.Src.WScale, u.Dst.WScale)
	}
	if mask&updateTCP != 0 {
		b = append(b, x.TCP[:]...)
	}
	if mask&updateStatus != 0 {
		b = append(b, x.Status)
	}
	if mask&updateMark != 0 {
		b = binary.BigEndian.AppendUint32(b, x.Mark)
	}
	if mask&updateTags != 0 {
		b = appendTags(b, &u.Src, &u.Dst)
	}
	if mask&updateLabels != 0 {
		b = append(b, x.Rare.Labels[:]...)
	}
	if mask&updateSeqAdj != 0 {
		b = appendSeqAdj(b, x)
	}
	b[at] = uint8(len(b) - at - 1)
	w.b = b
	return true
}

func updateFields(u *UpdC) (mask uint8) {
	mask = saidFields(&u.Linux)
	if u.Src.WScale|u.Dst.WScale != 0 {
		mask |= updateWScale
	}
	if tagged(&u.Src, &u.Dst) {
		mask |= updateTags
	}
	if u.Linux.Has&pfstate.HasSeqAdj != 0 {
		mask |= updateSeqAdj
	}
	return mask
}

// saidFields are the fields of x that Said names.
func saidFields(x *pfstate.Linux) (mask uint8) {
	if x.Has&pfstate.HasTCP != 0 {
		mask |= updateTCP
	}
	if x.Has&pfstate.HasStatus != 0 {
		mask |= updateStatus
	}
	if x.Has&pfstate.HasMark != 0 && x.Mark != 0 {
		mask |= updateMark
	}
	if x.Has&pfstate.HasLabels != 0 {
		mask |= updateLabels
	}
	return mask
}

// Delete adds the end of a state.
func (w *CompactWriter) Delete(id pfstate.ID) bool {
	if !w.open(AttrDelete, id.Creator, DeletedLen) {
		return false
	}
	w.b = binary.BigEndian.AppendUint64(w.b, id.State)
	return true
}
