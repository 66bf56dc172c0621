package wire

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Message is any message, to be reused from one to the next. Action tells which
// field is the one; the others are left as they were.
type Message struct {
	Action  Action
	Dialect Dialect       // in which it was read
	State   pfstate.State // ActIns, ActUpd, ActDel
	FreeBSD FreeBSD       // of State, if it is one of FreeBSD's
	UpdC    UpdC
	ID      pfstate.ID // ActInsAck, ActUpdReq, ActDelC
	Clr     Clr
	Bus     Bus
	TDB     TDB // ActTDB, ActOldTDB
}

// StateID is the id of the state that the message is about, or its creator alone
// where it is about all of a creator's.
func (x *Message) StateID() pfstate.ID {
	switch {
	case x.Action.HasState():
		return x.State.ID
	case x.Action == ActUpdC:
		return x.UpdC.ID
	case x.Action.HasID():
		return x.ID
	case x.Action == ActClr:
		return pfstate.ID{Creator: x.Clr.Creator}
	case x.Action == ActBus:
		return pfstate.ID{Creator: x.Bus.Creator}
	}
	return pfstate.ID{}
}

// Parse reads one message of any known action into x. Errors: ErrAction,
// ErrShort, ErrValue. With ErrValue the rest of the message has been read all the same.
func (d Dialect) Parse(a Action, m []byte, x *Message) error {
	size := d.Size(a)
	if size == 0 {
		return fmt.Errorf("action %d: %w", uint8(a), ErrAction)
	}
	if err := long(m, a, size); err != nil {
		return err
	}
	x.Action, x.Dialect = a, d
	return actions[a].parse(d, m, x)
}

// Append appends the message that x.Action names; nothing if that is not Known or
// the dialect has no such message.
func (d Dialect) Append(b []byte, x *Message) []byte {
	if d.Size(x.Action) == 0 {
		return b
	}
	return actions[x.Action].append(d, b, x)
}

// long checks that m holds a message of a, of that size.
func long(m []byte, a Action, size int) error {
	if len(m) < size {
		return fmt.Errorf("%v: %w: %d of %d bytes", a, ErrShort, len(m), size)
	}
	return nil
}

// The rows of the table of actions.

func parseState(d Dialect, m []byte, x *Message) error {
	if d == OpenBSD6 {
		return ParseState(d, m, &x.State)
	}
	return ParseStateWith(d, m, &x.State, &x.FreeBSD)
}

func appendState(d Dialect, b []byte, x *Message) []byte {
	if x.Dialect == OpenBSD6 {
		return AppendState(d, b, &x.State)
	}
	return appendStateMore(d, b, &x.State, &x.FreeBSD)
}

func parseUpdC(d Dialect, m []byte, x *Message) (err error) {
	x.UpdC, err = ParseUpdC(d, m)
	return err
}

func appendUpdC(d Dialect, b []byte, x *Message) []byte { return x.UpdC.Append(d, b) }

func parseID(_ Dialect, m []byte, x *Message) (err error) {
	x.ID, err = ParseID(m)
	return err
}

func appendID(_ Dialect, b []byte, x *Message) []byte { return AppendID(b, x.ID) }

func parseClr(_ Dialect, m []byte, x *Message) (err error) {
	x.Clr, err = ParseClr(m)
	return err
}

func appendClr(_ Dialect, b []byte, x *Message) []byte { return x.Clr.Append(b) }

func parseBus(_ Dialect, m []byte, x *Message) (err error) {
	x.Bus, err = ParseBus(m)
	return err
}

func appendBus(_ Dialect, b []byte, x *Message) []byte { return x.Bus.Append(b) }

func parseTDB(_ Dialect, m []byte, x *Message) (err error) {
	x.TDB, err = ParseTDB(m)
	return err
}

func appendTDB(_ Dialect, b []byte, x *Message) []byte { return x.TDB.Append(b) }

func parseOldTDB(_ Dialect, m []byte, x *Message) (err error) {
	x.TDB, err = ParseOldTDB(m)
	return err
}

func appendOldTDB(_ Dialect, b []byte, x *Message) []byte { return x.TDB.AppendOld(b) }
