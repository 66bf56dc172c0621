package wire

import "strconv"

// Action tells what the messages of a section are (OpenBSD if_pfsync.h, PFSYNC_ACT_*).
// The numbers are those of version 6; Dialect.Number has the others'.
type Action uint8

const (
	ActClr    Action = 0  // clear states of a creator
	ActInsAck Action = 2  // the state is here
	ActUpdC   Action = 4  // update, compressed: only what changes
	ActUpdReq Action = 5  // send me this state; of the zero ID: send me all
	ActDel    Action = 6  // delete, with the whole state; nobody sends it
	ActDelC   Action = 7  // delete, compressed: only the ID
	ActBus    Action = 10 // bulk update begins or ends
	ActOldTDB Action = 11 // IPsec replay counters of OpenBSD before 7.1, and of FreeBSD
	ActEOF    Action = 12 // ends a packet of version 5; version 6 never sends it
	ActIns    Action = 13 // insert
	ActUpd    Action = 14 // update, with the whole state
	ActTDB    Action = 15 // IPsec replay counters
	ActMax    Action = 16 // actions from here on are unknown
)

// Sizes in bytes.
const (
	HeaderLen    = 20
	SubheaderLen = 4
	IDLen        = 12  // INS_ACK, UPD_REQ, DEL_C
	StateLen     = 264 // OpenBSD's; Dialect.StateLen has the others'
	UpdCLen      = 84
	ClrLen       = 20
	BusLen       = 12
	TDBLen       = 52
	OldTDBLen    = 48

	// MaxLen is the largest packet: the header's length has 16 bits.
	MaxLen = 65535
)

// actions is all that is known of an action. Rows without a parser are names only.
var actions = [ActMax]struct {
	name   string // as OpenBSD's tcpdump prints it
	parse  func(Dialect, []byte, *Message) error
	append func(Dialect, []byte, *Message) []byte
}{
	ActClr:    {"CLR ST", parseClr, appendClr},
	1:         {name: "INS ST OLD"},
	ActInsAck: {"INS ST ACK", parseID, appendID},
	3:         {name: "UPD ST OLD"},
	ActUpdC:   {"UPD ST COMP", parseUpdC, appendUpdC},
	ActUpdReq: {"UPD ST REQ", parseID, appendID},
	ActDel:    {"DEL ST", parseState, appendState},
	ActDelC:   {"DEL ST COMP", parseID, appendID},
	8:         {name: "INS FR"},
	9:         {name: "DEL FR"},
	ActBus:    {"BULK UPD STAT", parseBus, appendBus},
	ActOldTDB: {"UPD TDB OLD", parseOldTDB, appendOldTDB},
	ActEOF:    {name: "EOF"},
	ActIns:    {"INS ST", parseState, appendState},
	ActUpd:    {"UPD ST", parseState, appendState},
	ActTDB:    {"UPD TDB", parseTDB, appendTDB},
}

// String is the name that OpenBSD's tcpdump prints.
func (a Action) String() string {
	if a < ActMax {
		return actions[a].name
	}
	return "UNKNOWN id " + strconv.Itoa(int(a))
}

// Known reports whether messages of this action can be parsed.
func (a Action) Known() bool { return a < ActMax && actions[a].parse != nil }

// HasState reports whether the messages carry a whole state.
func (a Action) HasState() bool { return a == ActIns || a == ActUpd || a == ActDel }

// HasID reports whether the messages are an ID and nothing else.
func (a Action) HasID() bool { return a == ActInsAck || a == ActUpdReq || a == ActDelC }
