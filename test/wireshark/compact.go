package wireshark

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// compact adds the compact messages of an attribute.
func (f Fields) compact(typ wire.AttrType, body []byte) error {
	creator, b, err := wire.ParseCompact(typ, body)
	if err != nil {
		return err
	}
	f.creator(creator)
	for len(b) > 0 {
		var s pfstate.State
		var u wire.UpdC
		rest := b
		switch typ {
		case wire.AttrDelete:
			f.add("id", "0x%016x", wire.DeletedAt(b, creator, 0).State)
			b = b[wire.DeletedLen:]
			continue
		case wire.AttrUpdate:
			rest, err = wire.NextUpdate(creator, b, &u)
		default:
			rest, err = wire.NextState(creator, b, &s)
		}
		if err != nil {
			return err
		}
		entry := b[:len(b)-len(rest)]
		b = rest
		f.add("compact.len", "%d", entry[0])
		if typ == wire.AttrUpdate {
			f.add("compact.fields", "0x%04x", entry[1])
			f.add("id", "0x%016x", u.ID.State)
			f.progress(&u.Src, &u.Dst, u.Timeout, &u.Linux)
			continue
		}
		f.add("compact.fields", "0x%04x", binary.BigEndian.Uint16(entry[1:]))
		f.add("id", "0x%016x", s.ID.State)
		f.add("state.proto", "%d", s.Proto)
		before, after := s.Tuples()
		f.tuple(before)
		f.add("state.expire", "%d", s.Expire/time.Second)
		if after.Reversed() != before {
			f.tuple(after.Reversed())
		}
		if s.Stack.RDomain|s.Wire.RDomain != 0 {
			f.add("linux.zone", "%d", s.Stack.RDomain)
			f.add("linux.zone", "%d", s.Wire.RDomain)
		}
		if s.Creation > 0 {
			f.add("state.creation", "%d", s.Creation/time.Second)
		}
		f.progress(&s.Src, &s.Dst, s.Timeout, &s.Linux)
	}
	return nil
}

func (f Fields) tuple(t pfstate.Tuple) {
	f.address("addr", t.Src)
	f.address("addr", t.Dst)
	f.add("port", "%d", t.SrcPort)
	f.add("port", "%d", t.DstPort)
}

func (f Fields) progress(src, dst *pfstate.Peer, timeout pfstate.Timeout, x *pfstate.Linux) {
	f.add("compact.src", "%d", src.State)
	f.add("compact.dst", "%d", dst.State)
	f.add("timeout", "%d", timeout)
	if src.WScale|dst.WScale != 0 {
		f.add("src.wscale", "0x%02x", src.WScale)
		f.add("dst.wscale", "0x%02x", dst.WScale)
	}
	if x.Has&pfstate.HasTCP != 0 {
		f.add("linux.tcp_flags", "0x%02x", x.TCP[0])
		f.add("linux.tcp_flags", "0x%02x", x.TCP[1])
	}
	if x.Has&pfstate.HasStatus != 0 {
		f.add("linux.status", "0x%02x", x.Status)
	}
	if x.Mark != 0 {
		f.add("linux.mark", "0x%08x", x.Mark)
	}
	if src.Scrub.Valid || dst.Scrub.Valid {
		f.add("compact.tag", "0x%08x", src.Scrub.TSMod)
		f.add("compact.tag", "0x%08x", dst.Scrub.TSMod)
	}
	r := &x.Rare
	if x.Has&pfstate.HasLabels != 0 {
		f.add("linux.labels", "%x", r.Labels)
	}
	if x.Has&pfstate.HasHelper != 0 {
		f.add("linux.helper", "%s", bytes.TrimRight(r.Helper[:], "\x00"))
	}
	if x.Has&pfstate.HasMaster != 0 {
		b := append(append([]byte{r.Master.Proto}, r.Master.Src[:]...), r.Master.Dst[:]...)
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, r.Master.SrcPort), r.Master.DstPort)
		f.add("linux.master", "%s", hex.EncodeToString(b))
	}
	if x.Has&pfstate.HasSeqAdj != 0 {
		for _, a := range r.SeqAdj {
			f.add("linux.seqadj.pos", "%d", a.Pos)
			f.add("linux.seqadj.before", "%d", a.Before)
			f.add("linux.seqadj.after", "%d", a.After)
		}
	}
}
