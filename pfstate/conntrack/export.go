package conntrack

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// tcpExport has the peers for each TCP state of conntrack: the one who closed
// first (the initiator, where nobody did), and the other.
var tcpExport = [tcpStates][2]pfstate.PeerState{
	tcpNone:        {pfstate.TCPClosed, pfstate.TCPClosed},
	tcpSynSent:     {pfstate.TCPSynSent, pfstate.TCPClosed},
	tcpSynRecv:     {pfstate.TCPEstablished, pfstate.TCPSynSent},
	tcpEstablished: {pfstate.TCPEstablished, pfstate.TCPEstablished},
	tcpFinWait:     {pfstate.TCPClosing, pfstate.TCPEstablished},
	tcpCloseWait:   {pfstate.TCPFinWait2, pfstate.TCPEstablished},
	tcpLastAck:     {pfstate.TCPFinWait2, pfstate.TCPClosing},
	tcpTimeWait:    {pfstate.TCPFinWait2, pfstate.TCPFinWait2},
	tcpClose:       {pfstate.TCPTimeWait, pfstate.TCPTimeWait},
	tcpSynSent2:    {pfstate.TCPSynSent, pfstate.TCPSynSent},
}

// export turns an entry into a state. now is the wall clock in nanoseconds since 1970.
func (m *mapping) export(e *entry, s *pfstate.State, now int64) {
	*s = pfstate.Default()
	s.Proto = e.orig.proto
	s.SetTuples(e.orig.Tuple, e.reply.Tuple, e.orig.zone)
	s.Wire.RDomain = e.reply.zone
	s.ID = pfstate.ID{State: m.id(&e.orig, e.id), Creator: m.creator}
	s.Expire = time.Duration(e.timeout) * time.Second
	s.Packets, s.Bytes = e.packets, e.bytes
	if e.start != 0 {
		s.Creation = max(0, time.Duration(now-int64(e.start))).Truncate(time.Second)
	}
	exportLinux(e, &s.Linux)
	switch s.Proto {
	case pfstate.ProtoTCP:
		exportTCP(&e.tcp, s)
		exportBeyond(e, s)
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		s.Timeout = pfstate.ICMPFirstPacket
		if e.status&statusSeenReply != 0 {
			s.Timeout = pfstate.ICMPErrorReply
		}
		return
	default:
		s.Src.State, s.Dst.State = pfstate.Single, pfstate.NoTraffic
		switch {
		case e.status&statusAssured != 0:
			s.Src.State, s.Dst.State = pfstate.Multiple, pfstate.Multiple
		case e.status&statusSeenReply != 0:
			s.Src.State, s.Dst.State = pfstate.Multiple, pfstate.Single
		}
		if s.Proto == pfstate.ProtoSCTP {
			exportTag(&s.Src.Scrub, e.sctp.tag[0])
			exportTag(&s.Dst.Scrub, e.sctp.tag[1])
		}
	}
	s.Timeout = pfstate.TimeoutOf(s.Proto, s.Src.State, s.Dst.State)
}

func exportTCP(p *tcpInfo, s *pfstate.State) {
	s.Flags |= pfstate.FlagSloppy
	closer, other := &s.Src, &s.Dst
	if p.flags[0]&tcpFlagCloseInit == 0 && p.flags[1]&tcpFlagCloseInit != 0 {
		closer, other = other, closer
	}
	pair := &tcpExport[p.state]
	closer.State, other.State = pair[0], pair[1]
	s.Src.WScale = exportWScale(p, 0)
	if p.state != tcpSynSent { // a responder who has not spoken offers nothing; see importTCP
		s.Dst.WScale = exportWScale(p, 1)
	}
}

func exportWScale(p *tcpInfo, direction int) uint8 {
	if p.flags[direction]&tcpFlagWindowScale == 0 {
		return 0
	}
	return pfstate.WScaleFlag | p.wscale[direction]&0x0f
}

func exportTag(s *pfstate.Scrub, tag uint32) {
	if tag != 0 {
		s.Valid, s.TSMod = true, tag
	}
}

// mapping is what a state's identity and timeout depend on beside the entry.
type mapping struct {
	k0, k1   uint64
	creator  uint32
	timeouts timeouts
}

// id names the entry the same way for ever, over restarts of the daemon: SipHash
// of the original tuple, the zone and the kernel's id. Never 0.
func (m *mapping) id(orig *tuple, ref uint32) uint64 {
	var b [43]byte
	orig.appendKey(b[:0])
	binary.BigEndian.PutUint32(b[39:], ref)
	if id := siphash.Hash(m.k0, m.k1, b[:]); id != 0 {
		return id
	}
	return 1
}

// appendKey appends the 39 bytes that name a connection.
func (t *tuple) appendKey(b []byte) []byte {
	src, dst := t.Src.As16(), t.Dst.As16()
	b = append(append(b, src[:]...), dst[:]...)
	b = binary.BigEndian.AppendUint16(b, t.SrcPort)
	b = binary.BigEndian.AppendUint16(b, t.DstPort)
	b = append(b, t.proto)
	return binary.BigEndian.AppendUint16(b, t.zone)
}

// NewID gives the function by which a Table with this key and creatorid names
// its states; ref is the kernel's id of the entry (Change.Ref). For tables that
// shall name theirs alike.
func NewID(key [16]byte, creator uint32) func(s *pfstate.State, ref uint32) pfstate.ID {
	m := newMapping(key, creator)
	return func(s *pfstate.State, ref uint32) pfstate.ID {
		var im image
		_ = im.tuples(s) // a name does not ask whether the kernel could hold it
		return pfstate.ID{State: m.id(&im.orig, ref), Creator: creator}
	}
}

func newMapping(key [16]byte, creator uint32) mapping {
	return mapping{
		k0: binary.LittleEndian.Uint64(key[:]), k1: binary.LittleEndian.Uint64(key[8:]),
		creator: creator,
	}
}
