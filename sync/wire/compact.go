package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// FeatureCompact in Hello.Features: the sender understands AttrInsert, AttrState,
// AttrUpdate and AttrDelete.
const FeatureCompact = 1

// CompactLen is the length of what precedes the entries of AttrInsert, AttrState,
// AttrUpdate and AttrDelete: their creatorid.
const CompactLen = 4

// Fields of a compact state that are there only if they say something, in this order.
// Their layout is in the package comment.
const (
	stateV6 = 1 << iota
	stateIn
	stateTranslated
	stateWScale
	stateTCP
	stateStatus
	stateMark
	stateZone
	stateCreation
	stateFlags
	stateTags
	stateLabels
	stateHelper
	stateMaster
	stateSeqAdj
)

// Fields of a compact update, likewise.
const (
	updateWScale = 1 << iota
	updateTCP
	updateStatus
	updateMark
	updateTags
	updateLabels
	updateSeqAdj
)

const (
	stateHead  = 2 + 8 + 3 // fields, id, protocol, progress, timeout
	updateHead = 1 + 8 + 2 // fields, id, progress, timeout
	updateMost = updateHead + 2 + 2 + 1 + 4 + 8 + 16 + 24
)

// Terse reports whether a compact message can say all that pf's whole message would of
// s. It cannot if s has what only a pf knows: sequence numbers, rules, routes.
func Terse(s *pfstate.State) bool {
	d := pfstate.Default()
	return (s.Direction == pfstate.Out || s.Direction == pfstate.In) && s.Rule == d.Rule && s.Anchor == d.Anchor && s.NATRule == d.NATRule &&
		s.IfName == d.IfName && s.Route == d.Route && s.RTable == d.RTable && s.MaxMSS == 0 && s.Log == 0 && s.SyncFlags == 0 &&
		s.MinTTL == 0 && s.SetTOS == 0 && s.SetPrio == d.SetPrio && s.Packets == d.Packets && s.Bytes == d.Bytes &&
		TersePeer(&s.Src, s.Proto) && TersePeer(&s.Dst, s.Proto) && terseKeys(s)
}

// TersePeer is Terse for what an update says of one end.
func TersePeer(p *pfstate.Peer, proto uint8) bool {
	tags := p.Scrub
	if proto == pfstate.ProtoSCTP {
		tags.TSMod, tags.Valid = 0, false
	}
	return p.SeqLo == 0 && p.SeqHi == 0 && p.SeqDiff == 0 && p.MaxWin == 0 && p.MSS == 0 && tags == pfstate.Scrub{} && p.State < 16
}

// terseKeys: all addresses of one family, and without zone.
func terseKeys(s *pfstate.State) bool {
	is4 := s.Wire.Addr[0].Is4()
	for _, k := range []*pfstate.Key{&s.Wire, &s.Stack} {
		for _, a := range k.Addr {
			if !a.IsValid() || a.Is4() != is4 || a.Zone() != "" {
				return false
			}
		}
	}
	return true
}

// defaultFlags are those of a state that conntrack has made.
func defaultFlags(proto uint8) pfstate.Flags {
	if proto == pfstate.ProtoTCP {
		return pfstate.FlagSloppy
	}
	return 0
}

// ParseCompact reads the body of AttrInsert, AttrState, AttrUpdate and AttrDelete: whose
// states they are, and the entries. Fewer than CompactLen bytes are ErrShort.
func ParseCompact(typ AttrType, b []byte) (creator uint32, entries []byte, err error) {
	if len(b) < CompactLen {
		return 0, nil, shortAttr(typ, b, CompactLen)
	}
	return binary.BigEndian.Uint32(b), b[CompactLen:], nil
}

// DeletedAt reads entry i of AttrDelete, which has len(b)/DeletedLen.
func DeletedAt(b []byte, creator uint32, i int) pfstate.ID {
	return pfstate.ID{State: binary.BigEndian.Uint64(b[i*DeletedLen:]), Creator: creator}
}

// fields reads the optional fields of an entry one after the other. What is not there
// is nil, and makes short true.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) next(n int) []byte {
	if len(f.b) < n {
		f.short = true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

// nextEntry cuts the entry at the front of b off.
func nextEntry(typ AttrType, b []byte, head int) (entry, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("%v: %w: no entry", typ, ErrShort)
	}
	n := int(b[0])
	if 1+n > len(b) {
		return nil, nil, fmt.Errorf("%v: %w: entry of %d bytes, %d left", typ, ErrLength, n, len(b)-1)
	}
	if n < head {
		return nil, nil, fmt.Errorf("%v: %w: entry of %d bytes, at least %d", typ, ErrShort, n, head)
	}
	return b[1 : 1+n], b[1+n:], nil
}

// NextState reads the entry at the front of what ParseCompact gives of AttrInsert or
// AttrState into s and returns what follows it. ErrShort and ErrLength end the
// attribute. After ErrValue (s.ID is set) rest can be read on.
func NextState(creator uint32, b []byte, s *pfstate.State) (rest []byte, err error) {
	e, rest, err := nextEntry(AttrState, b, stateHead)
	if err != nil {
		return nil, err
	}
	mask := binary.BigEndian.Uint16(e)
	*s = pfstate.Default()
	s.ID = pfstate.ID{State: binary.BigEndian.Uint64(e[2:]), Creator: creator}
	s.Proto, s.Timeout = e[10], pfstate.Timeout(e[12])
	s.Src.State, s.Dst.State = pfstate.PeerState(e[11]>>4), pfstate.PeerState(e[11]&0x0f)
	if mask&stateIn != 0 {
		s.Direction = pfstate.In
	}
	f := fields{b: e[stateHead:]}
	v6 := mask&stateV6 != 0
	before := f.key(v6)
	after := before
	if x := f.next(4); x != nil {
		s.Expire = parseSeconds(x)
	}
	if mask&stateTranslated != 0 {
		after = f.key(v6)
	}
	s.SetTuples(before, after.Reversed(), 0)
	s.Flags = defaultFlags(s.Proto)
	f.progress(mask, s)
	if f.short {
		return nil, fmt.Errorf("%v: %w: entry of %d bytes with fields %04x", AttrState, ErrShort, len(e), mask)
	}
	if s.ID.State == 0 || creator == 0 {
		return rest, fmt.Errorf("%v: %w: id %v", AttrState, ErrValue, s.ID)
	}
	return rest, checkProgress(pfstate.MaxSCTPTimeout, e[12], uint8(s.Src.State), uint8(s.Dst.State))
}

// progress reads what follows the keys of a state.
func (f *fields) progress(mask uint16, s *pfstate.State) {
	x := &s.Linux
	x.Has = pfstate.HasMark
	if mask&stateWScale != 0 {
		f.wscale(&s.Src, &s.Dst)
	}
	if mask&stateTCP != 0 {
		f.tcp(x)
	}
	if mask&stateStatus != 0 {
		f.status(x)
	}
	if mask&stateMark != 0 {
		f.mark(x)
	}
	if mask&stateZone != 0 {
		if b := f.next(4); b != nil {
			s.Stack.RDomain, s.Wire.RDomain = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	}
	if mask&stateCreation != 0 {
		if b := f.next(4); b != nil {
			s.Creation = parseSeconds(b)
		}
	}
	if mask&stateFlags != 0 {
		if b := f.next(2); b != nil {
			s.Flags = pfstate.Flags(binary.BigEndian.Uint16(b))
		}
	}
	if mask&stateTags != 0 {
		f.tags(&s.Src, &s.Dst)
	}
	if mask&stateLabels != 0 {
		f.labels(x)
	}
	if mask&stateHelper != 0 {
		x.Has |= pfstate.HasHelper
		copy(x.Rare.Helper[:], f.next(len(x.Rare.Helper)))
	}
	if mask&stateMaster != 0 {
		f.master(x)
	}
	if mask&stateSeqAdj != 0 {
		f.seqAdj(x)
	}
}

// key reads whom the initiator called: the packets of one direction.
func (f *fields) key(v6 bool) (t pfstate.Tuple) {
	if v6 {
		if b := f.next(36); b != nil {
			t.Src, t.Dst = netip.AddrFrom16([16]byte(b)), netip.AddrFrom16([16]byte(b[16:]))
			t.SrcPort, t.DstPort = binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])
		}
		return t
	}
	if b := f.next(12); b != nil {
		t.Src, t.Dst = netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:]))
		t.SrcPort, t.DstPort = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	}
	return t
}

func (f *fields) wscale(src, dst *pfstate.Peer) {
	if b := f.next(2); b != nil {
		src.WScale, dst.WScale = b[0], b[1]
	}
}

func (f *fields) tcp(x *pfstate.Linux) {
	x.Has |= pfstate.HasTCP
	copy(x.TCP[:], f.next(2))
}

func (f *fields) status(x *pfstate.Linux) {
	x.Has |= pfstate.HasStatus
	if b := f.next(1); b != nil {
		x.Status = b[0]
	}
}

func (f *fields) mark(x *pfstate.Linux) {
	if b := f.next(4); b != nil {
		x.Mark = binary.BigEndian.Uint32(b)
	}
}

func (f *fields) tags(src, dst *pfstate.Peer) {
	if b := f.next(8); b != nil {
		for i, p := range []*pfstate.Peer{src, dst} {
			if tag := binary.BigEndian.Uint32(b[4*i:]); tag != 0 {
				p.Scrub.Valid, p.Scrub.TSMod = true, tag
			}
		}
	}
}

func (f *fields) labels(x *pfstate.Linux) {
	x.Has |= pfstate.HasLabels
	copy(x.Rare.Labels[:], f.next(len(x.Rare.Labels)))
}

func (f *fields) master(x *pfstate.Linux) {
	x.Has |= pfstate.HasMaster
	if b := f.next(masterLen); b != nil {
		m := &x.Rare.Master
		m.Proto, m.SrcPort, m.DstPort = b[0], binary.BigEndian.Uint16(b[33:]), binary.BigEndian.Uint16(b[35:])
		copy(m.Src[:], b[1:])
		copy(m.Dst[:], b[17:])
	}
}

const masterLen = 1 + 16 + 16 + 2 + 2

func (f *fields) seqAdj(x *pfstate.Linux) {
	x.Has |= pfstate.HasSeqAdj
	if b := f.next(24); b != nil {
		for i := range x.Rare.SeqAdj {
			a := &x.Rare.SeqAdj[i]
			a.Pos = binary.BigEndian.Uint32(b[12*i:])
			a.Before, a.After = int32(binary.BigEndian.Uint32(b[12*i+4:])), int32(binary.BigEndian.Uint32(b[12*i+8:]))
		}
	}
}

// NextUpdate reads the entry at the front of what ParseCompact gives of AttrUpdate, as
// NextState does.
func NextUpdate(creator uint32, b []byte, u *UpdC) (rest []byte, err error) {
	e, rest, err := nextEntry(AttrUpdate, b, updateHead)
	if err != nil {
		return nil, err
	}
	mask := e[0]
	*u = UpdC{ID: pfstate.ID{State: binary.BigEndian.Uint64(e[1:]), Creator: creator}, Timeout: pfstate.Timeout(e[10])}
	u.Src.State, u.Dst.State = pfstate.PeerState(e[9]>>4), pfstate.PeerState(e[9]&0x0f)
	x := &u.Linux
	x.Has = pfstate.HasMark
	f := fields{b: e[updateHead:]}
	if mask&updateWScale != 0 {
		f.wscale(&u.Src, &u.Dst)
	}
	if mask&updateTCP != 0 {
		f.tcp(x)
	}
	if mask&updateStatus != 0 {
		f.status(x)
	}
	if mask&updateMark != 0 {
		f.mark(x)
	}
	if mask&updateTags != 0 {
		f.tags(&u.Src, &u.Dst)
	}
	if mask&updateLabels != 0 {
		f.labels(x)
	}
	if mask&updateSeqAdj != 0 {
		f.seqAdj(x)
	}
	if f.short {
		return nil, fmt.Errorf("%v: %w: entry of %d bytes with fields %02x", AttrUpdate, ErrShort, len(e), mask)
	}
	if u.ID.State == 0 || creator == 0 {
		return rest, fmt.Errorf("%v: %w: id %v", AttrUpdate, ErrValue, u.ID)
	}
	return rest, checkProgress(pfstate.MaxSCTPTimeout, e[10], uint8(u.Src.State), uint8(u.Dst.State))
}
