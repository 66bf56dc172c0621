package pfstate

import "errors"

var (
	// ErrNoState: the table has no entry with these keys.
	ErrNoState = errors.New("no such state")
	// ErrTableFull: the table takes no more (conntrack: nf_conntrack_max).
	ErrTableFull = errors.New("state table is full")
	// ErrUnsupported: the table cannot express this state (synproxy, modulated sequence numbers, af-to).
	ErrUnsupported = errors.New("state cannot be expressed in this table")
	// ErrClash: another connection holds the keys this one needs.
	ErrClash = errors.New("keys are taken by another connection")
)
