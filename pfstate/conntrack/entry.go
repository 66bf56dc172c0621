package conntrack

import (
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// entry is a conntrack entry as ctnetlink tells it.
type entry struct {
	orig, reply tuple
	status      uint32
	id          uint32
	mark        uint32
	timeout     uint32 // seconds
	hasStatus   bool
	hasTimeout  bool
	injected    bool // made through ctnetlink
	tcp         tcpInfo
	sctp        sctpInfo
	packets     [2]uint64
	bytes       [2]uint64
	start       uint64              // nanoseconds since 1970, 0: unknown
	has         pfstate.LinuxFields // of rare
	rare        pfstate.Rare
}

// tcpInfo and sctpInfo: index 0 is the original direction, 1 the reply.
type tcpInfo struct {
	state  uint8
	wscale [2]uint8
	flags  [2]uint8
}

type sctpInfo struct {
	state uint8
	tag   [2]uint32
}

// parseEntry reads the payload of a message (nfgenmsg and attributes) into e.
func parseEntry(payload []byte, e *entry) error {
	if len(payload) < nfattr.FamilyLen {
		return fmt.Errorf("entry: %w: %d bytes", nfattr.ErrMalformed, len(payload))
	}
	return e.parse(payload[nfattr.FamilyLen:])
}

// parse reads an entry's attributes.
func (e *entry) parse(attrs []byte) error {
	*e = entry{}
	e.reply.reply = true
	var zone uint16
	var err error
	w := nfattr.NewWalk(attrs)
	for w.Next() && err == nil {
		switch w.Type {
		case ctaTupleOrig:
			err = e.orig.parse(w.Data)
		case ctaTupleReply:
			err = e.reply.parse(w.Data)
		case ctaStatus:
			e.status, e.hasStatus = w.Uint32(), true
		case ctaTimeout:
			e.timeout, e.hasTimeout = w.Uint32(), true
		case ctaMark:
			e.mark = w.Uint32()
		case ctaProtoInfo:
			err = e.parseProtoInfo(w.Data)
		case ctaCountersOrig:
			err = e.parseCounters(w.Data, 0)
		case ctaCountersReply:
			err = e.parseCounters(w.Data, 1)
		case ctaID:
			e.id = w.Uint32()
		case ctaZone:
			zone = w.Uint16()
		case ctaTimestamp:
			in := nfattr.NewWalk(w.Data)
			for in.Next() {
				if in.Type == timestampStart {
					e.start = in.Uint64()
				}
			}
			err = in.Err()
		case ctaSynProxy:
			e.injected, err = blank(w.Data)
		case ctaLabels, ctaHelp, ctaTupleMaster, ctaSeqAdjOrig, ctaSeqAdjReply:
			err = e.parseRare(w.Type, w.Data)
		}
	}
	if err == nil {
		err = w.Err()
	}
	switch {
	case err != nil:
		return fmt.Errorf("entry: %w", err)
	case !e.orig.Src.IsValid() || !e.orig.Dst.IsValid() || !e.reply.Src.IsValid() || !e.reply.Dst.IsValid():
		return fmt.Errorf("entry: %w: address missing", nfattr.ErrMalformed)
	case e.orig.proto != e.reply.proto:
		return fmt.Errorf("entry: %w: protocols %d and %d", nfattr.ErrMalformed, e.orig.proto, e.reply.proto)
	}
	if zone != 0 {
		e.orig.zone, e.reply.zone = zone, zone
	}
	return nil
}

// blank reports whether all attributes in b are zero. The kernel gives each entry
// made through ctnetlink room for synproxy's numbers, and an entry of traffic only
// if a rule proxies it: then some of them are set.
func blank(b []byte) (bool, error) {
	w := nfattr.NewWalk(b)
	zero := true
	for w.Next() {
		for _, c := range w.Data {
			zero = zero && c == 0
		}
	}
	return zero, w.Err()
}

// parse reads a tuple; unknown attributes are those of a newer kernel.
func (t *tuple) parse(b []byte) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		var err error
		switch w.Type {
		case tupleIP:
			err = t.parseIP(w.Data)
		case tupleProto:
			err = t.parseProto(w.Data)
		case tupleZone:
			t.zone = w.Uint16()
		}
		if err != nil {
			return err
		}
	}
	return w.Err()
}

func (t *tuple) parseIP(b []byte) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case ipV4Src, ipV6Src, ipV4Dst, ipV6Dst:
		default:
			continue
		}
		a, ok := netip.AddrFromSlice(w.Data)
		if !ok {
			return fmt.Errorf("address: %w: %d bytes", nfattr.ErrMalformed, len(w.Data))
		}
		if w.Type == ipV4Src || w.Type == ipV6Src {
			t.Src = a
		} else {
			t.Dst = a
		}
	}
	return w.Err()
}

func (t *tuple) parseProto(b []byte) error {
	var id uint16
	var typ uint8
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case protoNum:
			t.proto = w.Uint8()
		case protoSrcPort:
			t.SrcPort = w.Uint16()
		case protoDstPort:
			t.DstPort = w.Uint16()
		case protoICMPID, protoICMPv6ID:
			id = w.Uint16()
		case protoICMPType, protoICMPv6Type:
			typ = w.Uint8()
		}
	}
	if isICMP(t.proto) {
		t.SrcPort, t.DstPort = id, uint16(typ)
		if t.reply {
			query, _ := inverseType(t.proto, uint16(typ))
			t.SrcPort, t.DstPort = uint16(query), id
		}
	}
	return w.Err()
}

func (e *entry) parseProtoInfo(b []byte) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		var err error
		switch w.Type {
		case protoInfoTCP:
			err = e.tcp.parse(w.Data)
		case protoInfoSCTP:
			err = e.sctp.parse(w.Data)
		}
		if err != nil {
			return err
		}
	}
	return w.Err()
}

func (p *tcpInfo) parse(b []byte) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case tcpInfoState:
			p.state = w.Uint8()
		case tcpInfoWScaleOrig, tcpInfoWScaleReply:
			p.wscale[w.Type-tcpInfoWScaleOrig] = w.Uint8()
		case tcpInfoFlagsOrig, tcpInfoFlagsReply:
			p.flags[w.Type-tcpInfoFlagsOrig] = uint8(w.Uint16() >> 8) // flags, then mask
		}
	}
	return w.Err()
}

func (p *sctpInfo) parse(b []byte) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case sctpInfoState:
			p.state = w.Uint8()
		case sctpInfoTagOrig, sctpInfoTagReply:
			p.tag[w.Type-sctpInfoTagOrig] = w.Uint32()
		}
	}
	return w.Err()
}

func (e *entry) parseCounters(b []byte, direction int) error {
	w := nfattr.NewWalk(b)
	for w.Next() {
		switch w.Type {
		case countersPackets:
			e.packets[direction] = w.Uint64()
		case countersBytes:
			e.bytes[direction] = w.Uint64()
		}
	}
	return w.Err()
}

// ignored names the reason why an entry is none of our business, or says ok.
func (e *entry) ignored() (counter, bool) {
	o := &e.orig
	switch {
	case o.proto == pfstate.ProtoPFSync || o.proto == pfstate.ProtoIGMP || o.proto == pfstate.ProtoCARP:
		return ignoredProtocol, true // the firewall's own conversation
	case o.proto == pfstate.ProtoICMPv6 && o.DstPort >= 133 && o.DstPort <= 137:
		return ignoredNeighbour, true
	case o.Src.IsLoopback() || o.Dst.IsLoopback() || e.reply.Src.IsLoopback() || e.reply.Dst.IsLoopback():
		return ignoredLoopback, true
	case e.hasStatus && e.status&statusConfirmed == 0:
		return ignoredUnconfirmed, true
	case o.proto == pfstate.ProtoTCP && e.tcp.state >= tcpStates:
		return ignoredUnknown, true
	}
	return 0, false
}
