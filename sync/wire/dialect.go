package wire

import (
	"fmt"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Dialect is one operating system's way to write a packet and the states in it.
type Dialect uint8

const (
	OpenBSD6    Dialect = iota // version 6
	FreeBSD1301                // version 5, as FreeBSD 13 writes states
	FreeBSD1400                // FreeBSD 14
	FreeBSD1500                // FreeBSD 15

	numDialects
)

// The versions of the protocol.
const (
	Version        = 6 // OpenBSD's
	VersionFreeBSD = 5
)

// freebsd is read into packets of version 5 where the format of states does not matter:
// what the newest allows, all allow.
const freebsd = FreeBSD1500

// timeouts of FreeBSD since 14: those of SCTP are behind OpenBSD's. The format says
// nothing of the sender's release, so that even 1301 may have them.
const maxTimeoutFreeBSD = pfstate.MaxSCTPTimeout

// dialects is where they differ.
var dialects = [numDialects]struct {
	name       string
	version    uint8
	inet6      uint8           // the number of IPv6's address family; IPv4's is 2 everywhere
	maxTimeout pfstate.Timeout // numbers from here on are refused
	sctp       bool            // the timeouts of SCTP may be sent
	layout     layout
}{
	OpenBSD6:    {"openbsd", Version, 24, pfstate.MaxTimeout, false, openbsdLayout},
	FreeBSD1301: {"1301", VersionFreeBSD, 28, maxTimeoutFreeBSD, false, layout1301},
	FreeBSD1400: {"1400", VersionFreeBSD, 28, maxTimeoutFreeBSD, true, layout1400},
	FreeBSD1500: {"1500", VersionFreeBSD, 28, maxTimeoutFreeBSD, true, layout1500},
}

// String is the word by which ifconfig names it.
func (d Dialect) String() string {
	if d < numDialects {
		return dialects[d].name
	}
	return fmt.Sprintf("dialect %d", uint8(d))
}

// ParseDialect is the inverse of String.
func ParseDialect(s string) (Dialect, error) {
	var names []string
	for d := range dialects {
		if dialects[d].name == s {
			return Dialect(d), nil
		}
		names = append(names, dialects[d].name)
	}
	return 0, fmt.Errorf("%s: not one of %s", s, strings.Join(names, ", "))
}

// Version is the version that packets of this dialect have.
func (d Dialect) Version() uint8 { return dialects[d].version }

// StateLen is the length of a whole state in bytes.
func (d Dialect) StateLen() int { return dialects[d].layout.size }

// Size is the length of one message in bytes, 0 if the dialect has no such message.
func (d Dialect) Size(a Action) int {
	if a < ActMax {
		return int(messages[d][a].size)
	}
	return 0
}

// Number is the action's number in packets of this dialect.
func (d Dialect) Number(a Action) uint8 {
	if a < ActMax && messages[d][a].size > 0 {
		return messages[d][a].number
	}
	return uint8(a)
}

// messages is what messages a dialect has.
var messages = [numDialects][ActMax]message{
	OpenBSD6:    openbsdMessages(),
	FreeBSD1301: freebsdMessages(1, 3, layout1301),
	FreeBSD1400: freebsdMessages(13, 14, layout1400),
	FreeBSD1500: freebsdMessages(15, 16, layout1500),
}

// message is how a dialect announces messages of an action.
type message struct {
	size   uint16 // 0: it has none
	number uint8
	words  uint8 // of the size, in the subheader
}

// sizes are those of messages that are the same everywhere, or in version 6.
var sizes = [ActMax]uint16{
	ActClr: ClrLen, ActInsAck: IDLen, ActUpdC: UpdCLen, ActUpdReq: IDLen, ActDel: StateLen, ActDelC: IDLen,
	ActBus: BusLen, ActOldTDB: OldTDBLen, ActIns: StateLen, ActUpd: StateLen, ActTDB: TDBLen,
}

func openbsdMessages() (all [ActMax]message) {
	for a, size := range sizes {
		all[a] = message{size: size, number: uint8(a), words: uint8(size / 4)}
	}
	return all
}

// freebsdMessages are OpenBSD's but for the states and the size, of which the
// subheader says nothing.
func freebsdMessages(ins, upd uint8, l layout) (all [ActMax]message) {
	all = openbsdMessages()
	for a := range all {
		all[a].words = 0
	}
	all[ActIns] = message{size: uint16(l.size), number: ins}
	all[ActUpd] = message{size: uint16(l.size), number: upd}
	all[ActTDB], all[ActDel] = message{}, message{}
	if l.size == layout1301.size { // FreeBSD 14 refuses it
		all[ActDel] = message{size: uint16(l.size), number: uint8(ActDel)}
	}
	return all
}

// numbers5 says what an action number of version 5 means.
var numbers5 = [...]struct {
	action  Action
	dialect Dialect
	known   bool
}{
	0:  {ActClr, freebsd, true},
	1:  {ActIns, FreeBSD1301, true},
	2:  {ActInsAck, freebsd, true},
	3:  {ActUpd, FreeBSD1301, true},
	4:  {ActUpdC, freebsd, true},
	5:  {ActUpdReq, freebsd, true},
	6:  {ActDel, FreeBSD1301, true}, // of FreeBSD 13; nobody sends it
	7:  {ActDelC, freebsd, true},
	10: {ActBus, freebsd, true},
	11: {ActOldTDB, freebsd, true},
	12: {ActEOF, freebsd, true},
	13: {ActIns, FreeBSD1400, true},
	14: {ActUpd, FreeBSD1400, true},
	15: {ActIns, FreeBSD1500, true},
	16: {ActUpd, FreeBSD1500, true},
}
