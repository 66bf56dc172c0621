package conntrack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// appendCreate asks for a new entry; the kernel refuses with EEXIST when either
// tuple is taken.
func appendCreate(b []byte, seq uint32, im *image) ([]byte, error) {
	if err := im.check(); err != nil {
		return b, err
	}
	b, mark := begin(b, msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, seq, &im.orig)
	b = appendNamed(b, ctaTupleOrig, &im.orig, &im.reply)
	if im.translated() {
		// The kernel translates only what it was told to translate: the reply
		// given is the plain one, and both ends are nailed down, for it is free
		// to pick another port for an end that is not.
		plain := im.orig
		plain.Tuple, plain.reply, plain.zone = im.orig.Reversed(), true, im.reply.zone
		b = appendTuple(b, ctaTupleReply, &plain, &im.orig)
		b = appendNAT(b, ctaNATSrc, im.reply.Dst, im.reply.DstPort, im)
		dstPort := im.reply.SrcPort
		if isICMP(im.orig.proto) {
			dstPort = im.orig.SrcPort // the kernel compares the id here
		}
		b = appendNAT(b, ctaNATDst, im.reply.Src, dstPort, im)
	} else {
		b = appendTuple(b, ctaTupleReply, &im.reply, &im.orig)
	}
	b = nfattr.AppendUint32(b, ctaStatus, im.status)
	b = im.appendOnce(im.appendProgress(b))
	return nfattr.EndMessage(im.appendLinux(b, true), mark), nil
}

// appendUpdate brings the entry with this original tuple to the image. Without
// status it also fits an entry that has got further than the image.
func appendUpdate(b []byte, seq uint32, im *image, status uint32) ([]byte, error) {
	if err := im.check(); err != nil {
		return b, err
	}
	b, mark := begin(b, msgNew, 0, seq, &im.orig)
	b = appendNamed(b, ctaTupleOrig, &im.orig, &im.reply)
	if status != 0 && !im.renew {
		b = nfattr.AppendUint32(b, ctaStatus, status)
	}
	return nfattr.EndMessage(im.appendLinux(im.appendProgress(b), false), mark), nil
}

// appendDelete removes the entry that t names, if its id is still ref (0: any).
// There is no delete without a tuple: the kernel would take it for a flush.
func appendDelete(b []byte, seq uint32, t, other *tuple, ref uint32) ([]byte, error) {
	if err := t.check(); err != nil {
		return b, err
	}
	b, mark := begin(b, msgDelete, 0, seq, t)
	b = appendNamed(b, ctaTupleOrig, t, other)
	if ref != 0 {
		b = nfattr.AppendUint32(b, ctaID, ref)
	}
	return nfattr.EndMessage(b, mark), nil
}

// appendGet asks for the entry one of whose tuples is t. The kernel looks for t
// in both directions of every entry.
func appendGet(b []byte, seq uint32, t, other *tuple) ([]byte, error) {
	if err := t.check(); err != nil {
		return b, err
	}
	b, mark := begin(b, msgGet, 0, seq, t)
	typ := uint16(ctaTupleOrig)
	if t.reply {
		typ = ctaTupleReply
	}
	b = appendNamed(b, typ, t, other)
	return nfattr.EndMessage(b, mark), nil
}

// appendDump asks for all entries of both families.
func appendDump(b []byte, seq uint32) []byte {
	b, mark := nfattr.BeginMessage(b, nfattr.Header{
		Type: msgGet, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, Seq: seq,
	}, unix.AF_UNSPEC)
	return nfattr.EndMessage(b, mark)
}

func begin(b []byte, typ, flags uint16, seq uint32, t *tuple) ([]byte, int) {
	return nfattr.BeginMessage(b, nfattr.Header{Type: typ, Flags: unix.NLM_F_REQUEST | flags, Seq: seq}, t.family())
}

func (im *image) check() error {
	if err := im.orig.check(); err != nil {
		return err
	}
	return im.reply.check()
}

// appendNamed appends a tuple and the zone it is to be looked up in; other is the
// tuple of the other direction.
func appendNamed(b []byte, typ uint16, t, other *tuple) []byte {
	b = appendTuple(b, typ, t, other)
	if t.zone != 0 && t.zone == other.zone {
		b = nfattr.AppendUint16(b, ctaZone, t.zone)
	}
	return b
}

// appendTuple appends a tuple with its zone if that holds in its direction only.
func appendTuple(b []byte, typ uint16, t, other *tuple) []byte {
	return t.append(b, typ, t.zone != 0 && t.zone != other.zone)
}

// appendProgress appends what an update may change.
func (im *image) appendProgress(b []byte) []byte {
	if !im.timeless {
		b = nfattr.AppendUint32(b, ctaTimeout, im.timeout)
	}
	switch {
	case im.orig.proto == unix.IPPROTO_TCP && im.renew:
		b = appendLiberal(b)
	case im.orig.proto == unix.IPPROTO_TCP:
		b = im.tcp.append(b)
	case im.orig.proto == unix.IPPROTO_SCTP && !im.renew:
		b = im.sctp.append(b)
	}
	return b
}

// appendLiberal changes nothing of a TCP entry but that its windows are not checked.
func appendLiberal(b []byte) []byte {
	b, outer := nfattr.Begin(b, ctaProtoInfo)
	b, inner := nfattr.Begin(b, protoInfoTCP)
	b = nfattr.AppendUint16(b, tcpInfoFlagsOrig, uint16(tcpFlagLiberal)<<8|tcpFlagLiberal) // flags, then mask
	b = nfattr.AppendUint16(b, tcpInfoFlagsReply, uint16(tcpFlagLiberal)<<8|tcpFlagLiberal)
	return nfattr.End(nfattr.End(b, inner), outer)
}

func (p *tcpInfo) append(b []byte) []byte {
	b, outer := nfattr.Begin(b, ctaProtoInfo)
	b, inner := nfattr.Begin(b, protoInfoTCP)
	b = nfattr.AppendUint8(b, tcpInfoState, p.state)
	b = nfattr.AppendUint8(b, tcpInfoWScaleOrig, p.wscale[0])
	b = nfattr.AppendUint8(b, tcpInfoWScaleReply, p.wscale[1])
	b = nfattr.AppendUint16(b, tcpInfoFlagsOrig, uint16(p.flags[0])<<8|0xff) // flags, then mask
	b = nfattr.AppendUint16(b, tcpInfoFlagsReply, uint16(p.flags[1])<<8|0xff)
	return nfattr.End(nfattr.End(b, inner), outer)
}

// append gives all three, for the kernel takes them together or not at all.
func (p *sctpInfo) append(b []byte) []byte {
	b, outer := nfattr.Begin(b, ctaProtoInfo)
	b, inner := nfattr.Begin(b, protoInfoSCTP)
	b = nfattr.AppendUint8(b, sctpInfoState, p.state)
	b = nfattr.AppendUint32(b, sctpInfoTagOrig, p.tag[0])
	b = nfattr.AppendUint32(b, sctpInfoTagReply, p.tag[1])
	return nfattr.End(nfattr.End(b, inner), outer)
}

// appendNAT nails one end to one address and, where there are any, one port.
func appendNAT(b []byte, typ uint16, addr netip.Addr, port uint16, im *image) []byte {
	b, outer := nfattr.Begin(b, typ)
	if addr.Is4() {
		a := addr.As4()
		b = nfattr.Append(b, natV4Min, a[:])
		b = nfattr.Append(b, natV4Max, a[:])
	} else {
		a := addr.As16()
		b = nfattr.Append(b, natV6Min, a[:])
		b = nfattr.Append(b, natV6Max, a[:])
	}
	if hasPorts(im.orig.proto) || isICMP(im.orig.proto) {
		var inner int
		b, inner = nfattr.Begin(b, natProto)
		b = nfattr.AppendUint16(b, natPortMin, port)
		b = nfattr.AppendUint16(b, natPortMax, port)
		b = nfattr.End(b, inner)
	}
	return nfattr.End(b, outer)
}
