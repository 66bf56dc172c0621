package rush

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// The attributes of ctnetlink, linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaOrig      = 1
	ctaReply     = 2
	ctaStatus    = 3
	ctaProto     = 4
	ctaSource    = 6
	ctaTimeout   = 7
	ctaMark      = 8
	ctaDest      = 13
	ctaZone      = 18
	ctaTimestamp = 20
)

// Bits of an entry's status, linux/netfilter/nf_conntrack_common.h.
const (
	seenReply = 0x2
	assured   = 0x4
	confirmed = 0x8
	nat       = 0x30 // source and destination
)

// States of TCP, the kernel's.
const (
	synSent     = 1
	synRecv     = 2
	established = 3
	finWait     = 4
	timeWait    = 7
)

// Entry is what the kernel is told of a connection.
type Entry struct {
	Flow
	status        uint32
	tcp           uint8 // its state
	scale         uint8 // of both windows; 0: none was agreed on
	timeout, mark uint32
	source, dest  netip.AddrPort // to translate to
}

// Established is a TCP connection in mid-life.
func Established(n int) Entry { return TCP(n).established() }

func (f Flow) established() Entry {
	return Entry{Flow: f, status: seenReply | assured, tcp: established, timeout: 3600}
}

// Create puts the making of an entry.
func (t *Table) Create(e Entry) error { return t.put(e, unix.NLM_F_CREATE|unix.NLM_F_EXCL) }

// Update puts a change of an entry.
func (t *Table) Update(e Entry) error { return t.put(e, 0) }

// Delete puts the removal of an entry.
func (t *Table) Delete(f Flow) error {
	b, mark := nfattr.BeginMessage(t.out, nfattr.Header{Type: ctdelete, Flags: unix.NLM_F_REQUEST}, f.family())
	t.out = nfattr.EndMessage(appendTuple(b, ctaOrig, f), mark)
	return t.full()
}

func (t *Table) put(e Entry, flags uint16) error {
	b, mark := nfattr.BeginMessage(t.out, nfattr.Header{Type: ctnew, Flags: unix.NLM_F_REQUEST | flags}, e.family())
	b = appendTuple(b, ctaOrig, e.Flow)
	if flags != 0 {
		b = appendTuple(b, ctaReply, e.reply())
	}
	if e.zone != 0 {
		b = nfattr.AppendUint16(b, ctaZone, e.zone)
	}
	if e.status != 0 {
		b = nfattr.AppendUint32(b, ctaStatus, e.status|confirmed) // which cannot be taken away
	}
	if e.timeout != 0 {
		b = nfattr.AppendUint32(b, ctaTimeout, e.timeout)
	}
	if e.mark != 0 {
		b = nfattr.AppendUint32(b, ctaMark, e.mark)
	}
	if e.proto == unix.IPPROTO_TCP {
		b = appendTCP(b, e, flags != 0)
	}
	if e.source.IsValid() {
		b = appendNAT(b, ctaSource, e.source)
	}
	if e.dest.IsValid() {
		b = appendNAT(b, ctaDest, e.dest)
	}
	t.out = nfattr.EndMessage(b, mark)
	return t.full()
}

func appendTCP(b []byte, e Entry, create bool) []byte {
	b, proto := nfattr.Begin(b, ctaProto)
	b, tcp := nfattr.Begin(b, 1)
	b = nfattr.AppendUint8(b, 1, e.tcp)
	if create {
		b = nfattr.AppendUint8(b, 2, e.scale)
		b = nfattr.AppendUint8(b, 3, e.scale)
		if e.scale != 0 {
			scaled := []byte{3, 3} // window scale and selective acknowledgement: these flags, of these
			b = nfattr.Append(b, 4, scaled)
			b = nfattr.Append(b, 5, scaled)
		}
	}
	return nfattr.End(nfattr.End(b, tcp), proto)
}

func appendNAT(b []byte, kind uint16, to netip.AddrPort) []byte {
	addr := to.Addr().As4()
	b, outer := nfattr.Begin(b, kind)
	b = nfattr.Append(b, 1, addr[:])
	b = nfattr.Append(b, 2, addr[:])
	b, ports := nfattr.Begin(b, 3)
	b = nfattr.AppendUint16(b, 1, to.Port())
	b = nfattr.AppendUint16(b, 2, to.Port())
	return nfattr.End(nfattr.End(b, ports), outer)
}

func appendTuple(b []byte, kind uint16, f Flow) []byte {
	b, tuple := nfattr.Begin(b, kind)
	b, addrs := nfattr.Begin(b, 1)
	if f.six {
		b = nfattr.Append(b, 3, f.src[:])
		b = nfattr.Append(b, 4, f.dst[:])
	} else {
		b = nfattr.Append(b, 1, f.src[:4])
		b = nfattr.Append(b, 2, f.dst[:4])
	}
	b, proto := nfattr.Begin(nfattr.End(b, addrs), 2)
	b = nfattr.AppendUint8(b, 1, f.proto)
	switch f.proto {
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		id := uint16(4)
		if f.six {
			id = 7
		}
		b = nfattr.AppendUint16(b, id, f.sport)
		b = nfattr.AppendUint8(b, id+1, uint8(f.dport>>8))
		b = nfattr.AppendUint8(b, id+2, uint8(f.dport))
	default:
		b = nfattr.AppendUint16(b, 2, f.sport)
		b = nfattr.AppendUint16(b, 3, f.dport)
	}
	return nfattr.End(nfattr.End(b, proto), tuple)
}

// Aged is the entry with so many seconds left to live.
func (e Entry) Aged(seconds uint32) Entry {
	e.timeout = seconds
	return e
}
