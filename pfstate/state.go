package pfstate

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"
)

// ID names a state on every peer, whoever sends the message.
type ID struct {
	State   uint64 // made by the creator; 0 is reserved (bulk update request)
	Creator uint32 // host id of the creator; 0 is invalid
}

// String prints id and creatorid as pfctl -vv does: hexadecimal, joined by a slash.
func (id ID) String() string { return fmt.Sprintf("%016x/%08x", id.State, id.Creator) }

// IsZero reports whether id is the reserved pair that asks for a bulk update.
func (id ID) IsZero() bool { return id == ID{} }

// Key is one side of a state: an address pair as seen on the wire or by the
// stack. Which index is the initiator depends on the state's Direction: index 0
// for In, index 1 for Out (OpenBSD pf.c).
type Key struct {
	Addr    [2]netip.Addr
	Port    [2]uint16 // ICMP: the initiator's is the id, the responder's the query type
	RDomain uint16    // routing domain; on Linux the conntrack zone
}

// Direction of a state relative to the firewall (PF_IN, PF_OUT).
type Direction uint8

const (
	InOut Direction = iota
	In
	Out
)

func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return "inout"
}

// Flags are pf's state_flags (OpenBSD pfvar.h, PFSTATE_*).
type Flags uint16

const (
	FlagAllowOpts Flags = 0x0001
	FlagSloppy    Flags = 0x0002 // no TCP sequence tracking
	FlagPFlow     Flags = 0x0004
	FlagNoSync    Flags = 0x0008
	FlagAck       Flags = 0x0010 // the sender waits for INS_ACK (defer)
	FlagNoDF      Flags = 0x0020
	FlagSetTOS    Flags = 0x0040
	FlagRandomID  Flags = 0x0080
	FlagScrubTCP  Flags = 0x0100
	FlagSetPrio   Flags = 0x0200
)

// None is the number of "no rule": all bits set.
const None = ^uint32(0)

// IfName is an interface name as pf carries it, NUL-padded.
type IfName [16]byte

// AnyInterface is the name of floating states, the default policy.
var AnyInterface = IfName{'a', 'l', 'l'}

// NewIfName cuts s to the 15 bytes that fit.
func NewIfName(s string) (n IfName) {
	copy(n[:len(n)-1], s)
	return n
}

// Trimmed is the name with nothing behind its end, where OpenBSD leaves what was there before.
func (n IfName) Trimmed() IfName {
	if end := bytes.IndexByte(n[:], 0); end >= 0 {
		clear(n[end:])
	}
	return n
}

// String is the name up to the first NUL. It may hold any bytes: it came from the network.
func (n IfName) String() string {
	b, _, _ := bytes.Cut(n[:], []byte{0})
	return string(b)
}

// Route is the next hop of pf's route-to and its kin.
type Route struct {
	Kind uint8 // 0 none, 1 route-to, 2 dup-to, 3 reply-to (OpenBSD numbers)
	Addr netip.Addr
}

// State is one connection in pf's terms. Both keys are equal without translation.
// Durations are whole seconds on the wire.
type State struct {
	ID        ID
	Wire      Key
	Stack     Key
	Src       Peer // the initiator, whatever the direction
	Dst       Peer // the responder
	Creation  time.Duration
	Expire    time.Duration // left until expiry
	Packets   [2]uint64     // original direction, reply
	Bytes     [2]uint64
	Route     Route
	RTable    [2]int32 // -1 unchanged
	Rule      uint32   // None without a pf rule
	Anchor    uint32
	NATRule   uint32
	IfName    IfName
	Flags     Flags
	MaxMSS    uint16
	Proto     uint8 // IP protocol number
	Direction Direction
	Timeout   Timeout
	Log       uint8
	SyncFlags uint8
	Updates   uint8
	MinTTL    uint8
	SetTOS    uint8
	SetPrio   [2]uint8
	Linux     Linux // what only conntrack knows; between Linux peers
}

// Default returns a state whose fields say what a firewall without pf can
// honestly say of them: no rule, any interface, routing unchanged, direction out.
func Default() State {
	return State{
		RTable: [2]int32{-1, -1}, Rule: None, Anchor: None, NATRule: None,
		IfName: AnyInterface, Direction: Out,
	}
}
