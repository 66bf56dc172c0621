package pfstate

import "time"

// ChangeKind tells what a table has to say of a state.
type ChangeKind uint8

const (
	Created    ChangeKind = iota + 1 // a new state, by traffic or by another program
	Updated                          // traffic moved it on
	Deleted                          // gone; Expired tells why
	Seen                             // answer to WriteDump or WriteProbe: as it stands now
	Absent                           // answer to WriteProbe: there is no such state
	DumpBegin                        // all Seen until DumpEnd belong to one dump
	DumpEnd                          // Err is set when the dump is incomplete
	Overrun                          // changes were lost, nobody knows which: dump
	Applied                          // a Write with Notify was carried out
	Refused                          // a Write was not carried out; Err tells why
	Forwarding                       // a hint: this host carries traffic; at most every ForwardingEvery, and only while it does
)

// ForwardingEvery is the least time between two hints of Forwarding. Traffic of
// that long shares one.
const ForwardingEvery = 100 * time.Millisecond

// Change is one thing that happened in a table. Changes that are the echo of a
// Write are not reported (own writes are silent); Applied and Refused are.
type Change struct {
	Kind    ChangeKind
	Op      WriteKind // of Applied and Refused; WriteProbe of a Seen or Absent that answers one
	Expired bool      // Deleted: its time ran out, nobody removed it

	// Injected, of Created and Seen: a program wrote the entry, a sync daemon or a
	// tool. No packet made it here, though packets may have used it since.
	Injected bool
	// Mute, of DumpBegin: the table may hold entries whose changes are never
	// reported, for they were made while nobody listened. Only dumps tell of them.
	Mute bool

	// Mark, of Created, Updated and Seen: what rules have marked the entry with
	// (conntrack's mark), 0 if it has none.
	Mark uint32

	// Ref is the table's own name of the entry (conntrack: CTA_ID), 0 if it has
	// none. It guards a delete against hitting a successor with equal keys.
	Ref   uint32
	Probe uint32 // of the WriteProbe that this answers
	State State  // ID is the one this table would give it; an importer may know a better one
	Err   error  // of Refused, DumpEnd and Overrun
}

// WriteKind tells what a table shall do with a state.
type WriteKind uint8

const (
	WriteInsert WriteKind = iota + 1 // create, or bring an entry with these keys to this state
	WriteUpdate                      // bring it to this state; absent: Refused with ErrNoState
	WriteDelete                      // remove; absent: not an error
	WriteProbe                       // report Seen or Absent
	WriteDump                        // report all states: DumpBegin, Seen..., DumpEnd
	WriteFence                       // nothing; with Notify, Applied tells that all orders before it have been carried out or refused
)

func (k WriteKind) String() string {
	switch k {
	case WriteInsert:
		return "insert"
	case WriteUpdate:
		return "update"
	case WriteDelete:
		return "delete"
	case WriteProbe:
		return "probe"
	case WriteDump:
		return "dump"
	case WriteFence:
		return "fence"
	}
	return "unknown"
}

// Entry is a connection of a table, shared or not, for those who look at all of it.
type Entry struct {
	State State // FlagNoSync: it is not shared
	Ref   uint32
	Mark  uint32
	Known bool // the engine keeps a record of it, and State has the record's identity
}

// Write is one order to a table. Keys, Proto and RDomain of State find the entry.
type Write struct {
	Kind   WriteKind
	Notify bool   // report Applied
	Renew  bool   // WriteUpdate: the progress is no news and may be old; set the time to live alone
	Loosen bool   // WriteUpdate with Renew: nor that; only have windows not checked any more
	Ref    uint32 // as in Change; 0: unknown
	Probe  uint32 // WriteProbe: its number, for the answer
	State  State
}
