package peer

import (
	"encoding/binary"
	"net/netip"
)

// System is one BSD: how its kernel lays out what it sends.
type System struct {
	Name    string // its word of ifconfig's version
	Version byte
	EOF     bool // its packets end with a section of that name
	Ins     byte // action numbers, which differ
	Upd     byte
	State   int  // bytes
	Rewrite bool // OpenBSD since 7.4: another bulk update, another rule for dst

	actions  byte // numbers from here on are unknown
	timeouts byte // likewise
	inet6    byte
	key      int  // bytes
	words    bool // a subheader says the size of its messages
	sctp     bool // states of SCTP are its own kind, and must have tags
	at       offsets
}

// offsets of a state's tail; 0: it does not have the field.
type offsets struct {
	af, stackAF, hopAF      int
	proto, stackProto       int
	direction, timeout, log int
	flags, flags8           int
	rtable, rtable2         int
	maxMSS, minTTL, tos     int
	prio, route, routeIf    int
	origIf, tag, queues     int
}

// The systems. OpenBSD's is that of 7.4 and later.
var (
	OpenBSD = &System{Name: "openbsd", Version: 6, Ins: 13, Upd: 14, State: 264, Rewrite: true,
		actions: 16, timeouts: 20, inet6: 24, key: 40, words: true,
		at: offsets{af: 250, proto: 251, direction: 252, timeout: 255, log: 253, flags: 260, rtable: 240, rtable2: 244,
			maxMSS: 248, minTTL: 258, tos: 259, prio: 262, route: 254}}
	FreeBSD13 = &System{Name: "1301", Version: 5, EOF: true, Ins: 1, Upd: 3, State: 242,
		actions: 13, timeouts: 20, inet6: 28, key: 36,
		at: offsets{af: 232, proto: 233, direction: 234, timeout: 239, log: 237, flags8: 238}}
	FreeBSD14 = &System{Name: "1400", Version: 5, EOF: true, Ins: 13, Upd: 14, State: 277,
		actions: 15, timeouts: 25, inet6: 28, key: 36, sctp: true,
		at: offsets{af: 232, proto: 233, direction: 234, timeout: 239, log: 237, flags: 235, rtable: 250,
			maxMSS: 256, minTTL: 254, tos: 255, prio: 258, route: 260, routeIf: 261, queues: 242}}
	FreeBSD15 = &System{Name: "1500", Version: 5, EOF: true, Ins: 15, Upd: 16, State: 360,
		actions: 17, timeouts: 25, inet6: 28, key: 36, sctp: true,
		at: offsets{af: 344, stackAF: 345, hopAF: 346, proto: 347, stackProto: 348, direction: 351, timeout: 350, log: 349,
			flags: 332, rtable: 328, maxMSS: 342, minTTL: 353, tos: 354, prio: 355, route: 352, routeIf: 296,
			origIf: 312, tag: 232, queues: 334}}
)

// Systems are all of them.
func Systems() []*System { return []*System{OpenBSD, FreeBSD13, FreeBSD14, FreeBSD15} }

// ID names a state.
type ID struct {
	State   uint64
	Creator uint32
}

// State is what a message with a whole state says.
type State struct {
	ID                      ID
	IfName                  string
	Wire, Stack             Key
	Src, Dst                End
	Proto, StackProto       byte // StackProto 0: it is Proto
	Direction, Timeout, Log byte
	Creation, Expire        uint32
	Rule, Anchor, NATRule   uint32
	Packets, Bytes          [2]uint64
	Flags                   uint16
	RTable                  [2]int32 // FreeBSD has the first alone
	MaxMSS                  uint16
	MinTTL, TOS             byte
	Prio                    [2]byte
	Route                   byte
	Hop                     netip.Addr
	RouteIf, OrigIf, Tag    string
	Queues                  [4]uint16
}

// Key is a connection as one side of the firewall sees it.
type Key struct {
	Addr   [2]netip.Addr
	Port   [2]uint16
	Domain uint16
}

// End is one end of a connection.
type End struct {
	SeqLo, SeqHi, SeqDiff uint32
	MaxWin, MSS           uint16
	State, WScale         byte
	Scrub                 Scrub
}

// Scrub is the normalisation of one end; Is: there is one.
type Scrub struct {
	Flags uint16
	TTL   byte
	Is    bool
	Mod   uint32
}

const none = 0xffffffff

// Connection is a state as pf has it of a packet that goes out untranslated.
func Connection(id ID, proto byte, from, to netip.AddrPort) State {
	k := Key{Addr: [2]netip.Addr{to.Addr(), from.Addr()}, Port: [2]uint16{to.Port(), from.Port()}}
	s := State{ID: id, IfName: "all", OrigIf: "em0", Wire: k, Stack: k, Proto: proto, Direction: 2, Expire: 3600,
		Rule: none, Anchor: none, NATRule: none, RTable: [2]int32{-1, -1}}
	switch proto {
	case 6:
		s.Src, s.Dst, s.Timeout = End{SeqLo: 1000, SeqHi: 66000, MaxWin: 65000, State: 4}, End{SeqLo: 9000, SeqHi: 75000, MaxWin: 65000, State: 4}, 2
	case 1, 58:
		s.Timeout = 10
	default:
		s.Src.State, s.Dst.State, s.Timeout = 2, 2, 13
		if proto == 17 {
			s.Timeout = 8
		}
	}
	return s
}

// Family is where a whole state has its address family.
func (y *System) Family() int { return y.at.af }

func (y *System) af(a netip.Addr) byte {
	switch {
	case a.Is4():
		return 2
	case a.Is6():
		return y.inet6
	}
	return 0
}

func putAddr(b []byte, a netip.Addr) {
	if a.IsValid() {
		copy(b, a.AsSlice())
	}
}

func (y *System) addr(b []byte, af byte) netip.Addr {
	switch af {
	case 2:
		return netip.AddrFrom4([4]byte(b))
	case y.inet6:
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.Addr{}
}

func (y *System) putKey(b []byte, k *Key) {
	putAddr(b, k.Addr[0])
	putAddr(b[16:], k.Addr[1])
	binary.BigEndian.PutUint16(b[32:], k.Port[0])
	binary.BigEndian.PutUint16(b[34:], k.Port[1])
	if y.key == 40 {
		binary.BigEndian.PutUint16(b[36:], k.Domain)
		b[38] = y.af(k.Addr[0])
	}
}

func (y *System) readKey(b []byte, af byte) (k Key) {
	if y.key == 40 {
		k.Domain = binary.BigEndian.Uint16(b[36:])
		if b[38] != 0 {
			af = b[38]
		}
	}
	k.Addr = [2]netip.Addr{y.addr(b, af), y.addr(b[16:], af)}
	k.Port = [2]uint16{binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])}
	return k
}

func putEnd(b []byte, e *End) {
	be := binary.BigEndian
	if e.Scrub.Is {
		be.PutUint16(b, e.Scrub.Flags)
		b[2], b[3] = e.Scrub.TTL, 1
		be.PutUint32(b[4:], e.Scrub.Mod)
	}
	be.PutUint32(b[8:], e.SeqLo)
	be.PutUint32(b[12:], e.SeqHi)
	be.PutUint32(b[16:], e.SeqDiff)
	be.PutUint16(b[20:], e.MaxWin)
	be.PutUint16(b[22:], e.MSS)
	b[24], b[25] = e.State, e.WScale
}

func readEnd(b []byte) (e End) {
	be := binary.BigEndian
	if b[3] == 1 {
		e.Scrub = Scrub{be.Uint16(b), b[2], true, be.Uint32(b[4:])}
	}
	e.SeqLo, e.SeqHi, e.SeqDiff = be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint32(b[16:])
	e.MaxWin, e.MSS, e.State, e.WScale = be.Uint16(b[20:]), be.Uint16(b[22:]), b[24], b[25]
	return e
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// Whole is the body of an insert or a full update.
func (y *System) Whole(s State) []byte {
	be := binary.BigEndian
	b := make([]byte, y.State)
	be.PutUint64(b, s.ID.State)
	copy(b[8:23], s.IfName)
	y.putKey(b[24:], &s.Wire)
	y.putKey(b[24+y.key:], &s.Stack)
	p := b[24+2*y.key:]
	putEnd(p, &s.Src)
	putEnd(p[32:], &s.Dst)
	putAddr(p[64:], s.Hop)
	for i, v := range []uint32{s.Rule, s.Anchor, s.NATRule, s.Creation, s.Expire} {
		be.PutUint32(p[80+4*i:], v)
	}
	for i := range 2 {
		be.PutUint64(p[100+8*i:], s.Packets[i])
		be.PutUint64(p[116+8*i:], s.Bytes[i])
	}
	be.PutUint32(p[132:], s.ID.Creator)
	y.putTail(b, &s)
	return b
}

func (y *System) putTail(b []byte, s *State) {
	be, at := binary.BigEndian, &y.at
	b[at.af], b[at.proto], b[at.direction], b[at.timeout], b[at.log] = y.af(s.Wire.Addr[0]), s.Proto, s.Direction, s.Timeout, s.Log
	if at.flags8 != 0 {
		b[at.flags8] = byte(s.Flags)
		return
	}
	be.PutUint16(b[at.flags:], s.Flags)
	be.PutUint32(b[at.rtable:], uint32(s.RTable[0]))
	be.PutUint16(b[at.maxMSS:], s.MaxMSS)
	b[at.minTTL], b[at.tos], b[at.route] = s.MinTTL, s.TOS, s.Route
	copy(b[at.prio:], s.Prio[:])
	if at.rtable2 != 0 {
		be.PutUint32(b[at.rtable2:], uint32(s.RTable[1]))
		return
	}
	copy(b[at.routeIf:at.routeIf+15], s.RouteIf)
	for i, q := range s.Queues {
		be.PutUint16(b[at.queues+2*i:], q)
	}
	if at.tag == 0 {
		return
	}
	copy(b[at.tag:at.tag+63], s.Tag)
	copy(b[at.origIf:at.origIf+15], s.OrigIf)
	b[at.stackAF], b[at.hopAF], b[at.stackProto] = y.af(s.Stack.Addr[0]), y.af(s.Hop), s.Proto
	if s.StackProto != 0 {
		b[at.stackProto] = s.StackProto
	}
}

// read is the inverse of Whole; bad names the first value that the kernel refuses.
func (y *System) read(b []byte) (s State, bad string) {
	be, at := binary.BigEndian, &y.at
	af := b[at.af]
	stackAF := af
	if at.stackAF != 0 {
		stackAF = b[at.stackAF]
	}
	p := b[24+2*y.key:]
	s = State{
		ID: ID{be.Uint64(b), be.Uint32(p[132:])}, IfName: text(b[8:24]), Wire: y.readKey(b[24:], af), Stack: y.readKey(b[24+y.key:], stackAF),
		Src: readEnd(p), Dst: readEnd(p[32:]), Rule: be.Uint32(p[80:]), Anchor: be.Uint32(p[84:]), NATRule: be.Uint32(p[88:]),
		Creation: be.Uint32(p[92:]), Expire: be.Uint32(p[96:]),
		Packets: [2]uint64{be.Uint64(p[100:]), be.Uint64(p[108:])}, Bytes: [2]uint64{be.Uint64(p[116:]), be.Uint64(p[124:])},
		Proto: b[at.proto], Direction: b[at.direction], Timeout: b[at.timeout], Log: b[at.log], RTable: [2]int32{-1, -1},
	}
	hopAF := af
	switch {
	case s.Timeout >= y.timeouts:
		bad = "timeout"
	case s.Src.State > 12 || s.Dst.State > 12:
		bad = "peer state"
	case s.Direction > 2:
		bad = "direction"
	case !s.Wire.Addr[0].IsValid() || !s.Stack.Addr[0].IsValid():
		bad = "family"
	}
	if at.flags8 != 0 {
		s.Flags = uint16(b[at.flags8])
	} else {
		s.Flags, s.Route = be.Uint16(b[at.flags:]), b[at.route]
		s.RTable[0] = int32(be.Uint32(b[at.rtable:]))
		s.MaxMSS, s.MinTTL, s.TOS, s.Prio = be.Uint16(b[at.maxMSS:]), b[at.minTTL], b[at.tos], [2]byte(b[at.prio:])
	}
	if at.rtable2 != 0 {
		s.RTable[1] = int32(be.Uint32(b[at.rtable2:]))
	}
	if at.routeIf != 0 {
		s.RouteIf = text(b[at.routeIf : at.routeIf+16])
		for i := range s.Queues {
			s.Queues[i] = be.Uint16(b[at.queues+2*i:])
		}
	}
	if at.tag != 0 {
		s.Tag, s.OrigIf, hopAF = text(b[at.tag:at.tag+64]), text(b[at.origIf:at.origIf+16]), b[at.hopAF]
		if b[at.stackProto] != s.Proto {
			s.StackProto = b[at.stackProto]
		}
	}
	if hop := y.addr(p[64:], hopAF); hop.IsValid() && !hop.IsUnspecified() {
		s.Hop = hop
	}
	return s, bad
}
