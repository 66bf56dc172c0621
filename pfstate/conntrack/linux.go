package conntrack

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// What an entry has beyond pf's words.

// parseRare reads an attribute that few entries have.
func (e *entry) parseRare(typ uint16, b []byte) error {
	r := &e.rare
	switch typ {
	case ctaLabels:
		if copy(r.Labels[:], b); r.Labels != [16]byte{} {
			e.has |= pfstate.HasLabels
		}
		return nil
	case ctaHelp:
		w := nfattr.NewWalk(b)
		for w.Next() {
			if w.Type == helpName && len(w.Data) > 0 && w.Data[0] != 0 {
				e.has |= pfstate.HasHelper
				copy(r.Helper[:len(r.Helper)-1], w.Data)
			}
		}
		return w.Err()
	case ctaTupleMaster:
		var t tuple
		if err := t.parse(b); err != nil {
			return err
		}
		if t.Src.IsValid() && t.Dst.IsValid() {
			e.has |= pfstate.HasMaster
			r.SetMaster(t.Tuple, t.proto)
		}
		return nil
	}
	a := &r.SeqAdj[typ-ctaSeqAdjOrig]
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case seqAdjPos:
			a.Pos = w.Uint32()
		case seqAdjBefore:
			a.Before = int32(w.Uint32())
		case seqAdjAfter:
			a.After = int32(w.Uint32())
		}
	}
	if *a != (pfstate.SeqAdj{}) {
		e.has |= pfstate.HasSeqAdj
	}
	return w.Err()
}

// exportLinux gives what any entry may have.
func exportLinux(e *entry, x *pfstate.Linux) {
	x.Has, x.Mark = pfstate.HasMark|e.has, e.mark
	if e.has != 0 {
		x.Rare = e.rare
	}
}

// exportBeyond gives status and flags of a TCP entry if pf's words, in s, do not imply
// them.
func exportBeyond(e *entry, s *pfstate.State) {
	x := &s.Linux
	p, status := impliedTCP(s)
	if was := e.status & (statusSeenReply | statusAssured); e.hasStatus && was != status {
		x.Has |= pfstate.HasStatus
		x.Status = uint8(was)
	}
	flags := [2]uint8{e.tcp.flags[0] & pfstate.TCPFlagsKept, e.tcp.flags[1] & pfstate.TCPFlagsKept}
	if flags != p.flags {
		x.Has |= pfstate.HasTCP
		x.TCP = flags
	}
}

// appendLinux appends what may be given at any time. A mark of 0 need not be told to a
// new entry.
func (im *image) appendLinux(b []byte, create bool) []byte {
	x := im.linux
	if x == nil || x.Has == 0 {
		return b
	}
	if x.Has&pfstate.HasMark != 0 && (x.Mark != 0 || !create) {
		b = nfattr.AppendUint32(b, ctaMark, x.Mark)
	}
	has := x.Has &^ im.without
	if has&pfstate.HasLabels != 0 {
		b = nfattr.Append(b, ctaLabels, x.Rare.Labels[:])
	}
	if has&pfstate.HasSeqAdj != 0 {
		for i := range x.Rare.SeqAdj {
			if a := &x.Rare.SeqAdj[i]; *a != (pfstate.SeqAdj{}) {
				b = appendSeqAdj(b, uint16(ctaSeqAdjOrig+i), a)
			}
		}
	}
	return b
}

// appendOnce appends what can be given to a new entry only.
func (im *image) appendOnce(b []byte) []byte {
	if im.linux == nil {
		return b
	}
	r := &im.linux.Rare
	has := im.linux.Has &^ im.without
	if has&pfstate.HasHelper != 0 {
		var outer int
		b, outer = nfattr.Begin(b, ctaHelp)
		b = nfattr.Append(b, helpName, r.Helper[:len(r.HelperName())+1]) // NUL included
		b = nfattr.End(b, outer)
	}
	if has&pfstate.HasMaster != 0 {
		master := tuple{Tuple: r.MasterTuple(im.orig.Src.Is4()), proto: r.Master.Proto}
		if master.check() == nil {
			b = master.append(b, ctaTupleMaster, false)
		}
	}
	return b
}

func appendSeqAdj(b []byte, typ uint16, a *pfstate.SeqAdj) []byte {
	b, outer := nfattr.Begin(b, typ)
	b = nfattr.AppendUint32(b, seqAdjPos, a.Pos)
	b = nfattr.AppendUint32(b, seqAdjBefore, uint32(a.Before))
	b = nfattr.AppendUint32(b, seqAdjAfter, uint32(a.After))
	return nfattr.End(b, outer)
}

// moduleLoads is how often a helper that the kernel has just loaded is tried again.
const moduleLoads = 2

// giveUp leaves out what the kernel seems to have refused with errno, and reports
// whether that is worth another try: better an entry without its helper than none.
func (im *image) giveUp(errno syscall.Errno, round int) bool {
	if im.linux == nil || errno == 0 {
		return false
	}
	var field pfstate.LinuxFields
	switch errno {
	case unix.ENOSPC: // no rule of this namespace uses labels
		field = pfstate.HasLabels
	case unix.ENOENT: // no such master
		field = pfstate.HasMaster
	case unix.EAGAIN: // the helper's module was loaded
		if field = pfstate.HasHelper; round < moduleLoads {
			return im.linux.Has&^im.without&field != 0
		}
	case unix.EOPNOTSUPP, unix.EINVAL, unix.EBUSY: // no such helper
		field = pfstate.HasHelper
	}
	if im.linux.Has&^im.without&field == 0 {
		return false
	}
	im.without |= field
	return true
}
