package lab

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Bits of Entry.Status, of linux/netfilter/nf_conntrack_common.h. The numbers of
// attributes are nfnetlink_conntrack.h's.
const (
	statusSeenReply = 0x2
	statusAssured   = 0x4
	statusNAT       = 0x30 // source and destination
)

// tcpStates are the kernel's, in its order, as the tool conntrack writes them.
var tcpStates = [...]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// Dump is Entries straight from the kernel, for large tables and frequent looks. It
// has Status, and no State of other protocols than TCP. Reading the table has a side
// effect: the kernel removes what has expired, and says so to who listens.
func (f *Firewall) Dump() ([]Entry, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: f.Fd()})
	if err != nil {
		return nil, fmt.Errorf("%s: ctnetlink: %w", f.Name, err)
	}
	defer c.Close()
	const get = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	messages, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: get, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, nfgenLen), // of every family
	})
	if err != nil {
		return nil, fmt.Errorf("%s: ctnetlink dump: %w", f.Name, err)
	}
	entries := make([]Entry, 0, len(messages))
	for _, m := range messages {
		e, err := decodeEntry(m.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: ctnetlink dump: %w", f.Name, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// nfgenLen is the length of what precedes the attributes: family, version, resource.
const nfgenLen = 4

func decodeEntry(b []byte) (e Entry, err error) {
	if len(b) < nfgenLen {
		return e, fmt.Errorf("an entry of %d bytes", len(b))
	}
	for t, v := range attributes(b[nfgenLen:]) {
		switch t {
		case 1: // CTA_TUPLE_ORIG
			e.Orig.decode(v, &e.Proto)
		case 2: // CTA_TUPLE_REPLY
			e.Reply.decode(v, &e.Proto)
		case 3: // CTA_STATUS
			e.Status = uint32(number(v))
			e.SeenReply, e.Assured = e.Status&statusSeenReply != 0, e.Status&statusAssured != 0
		case 4: // CTA_PROTOINFO
			if state := number(attribute(attribute(v, 1), 1)); state < uint64(len(tcpStates)) && e.Proto == unix.IPPROTO_TCP {
				e.State = tcpStates[state]
			}
		case 7: // CTA_TIMEOUT
			e.Timeout = time.Duration(number(v)) * time.Second
		case 8: // CTA_MARK
			e.Mark = uint32(number(v))
		case 12: // CTA_ID
			e.ID = uint32(number(v))
		case 18: // CTA_ZONE
			e.Zone = uint16(number(v))
		}
	}
	if !e.Orig.Src.IsValid() || !e.Reply.Src.IsValid() {
		return e, fmt.Errorf("an entry without two tuples: %x", b)
	}
	return e, nil
}

func (t *Tuple) decode(b []byte, proto *uint8) {
	for kind, v := range attributes(attribute(b, 1)) { // CTA_TUPLE_IP
		addr, _ := netip.AddrFromSlice(v)
		switch kind {
		case 1, 3: // CTA_IP_V4_SRC, CTA_IP_V6_SRC
			t.Src = addr
		case 2, 4:
			t.Dst = addr
		}
	}
	for kind, v := range attributes(attribute(b, 2)) { // CTA_TUPLE_PROTO
		switch kind {
		case 1: // CTA_PROTO_NUM
			*proto = uint8(number(v))
		case 2: // CTA_PROTO_SRC_PORT
			t.SPort = uint16(number(v))
		case 3: // CTA_PROTO_DST_PORT
			t.DPort = uint16(number(v))
		case 4, 7: // CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID
			t.ID = uint16(number(v))
		case 5, 8: // ..._TYPE
			t.Type = uint8(number(v))
		case 6, 9: // ..._CODE
			t.Code = uint8(number(v))
		}
	}
}

// attributes are the netlink attributes in b, up to the first that does not fit.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	const header, flags = 4, 0xc000 // nested, network byte order
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= header {
			n := int(binary.NativeEndian.Uint16(b))
			if n < header || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:])&^flags, b[header:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// attribute is the first attribute of a type in b, or nil.
func attribute(b []byte, kind uint16) []byte {
	for t, v := range attributes(b) {
		if t == kind {
			return v
		}
	}
	return nil
}

// number is b as a number in network order.
func number(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
