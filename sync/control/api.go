package control

import (
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
)

// Node is what the control socket controls: the daemon's side of ifconfig.
// Its methods are called from many goroutines.
type Node interface {
	// Change applies c as a whole or not at all. Its error is what ifconfig prints behind
	// "ifconfig: ".
	Change(c ifconfig.Change) error
	// Interfaces returns the interfaces that the daemon owns: pfsync0, when it exists.
	Interfaces() ([]ifconfig.Interface, error)
	// Counters returns every counter, in the order of netstat -s.
	Counters() ([]pfstate.Counter, error)
	// Status returns the daemon's state beyond interfaces.
	Status() (Status, error)
}

// Status is the daemon's state beyond what ifconfig shows.
type Status struct {
	Table   string `json:"table"` // conntrack or memory
	Creator uint32 `json:"creatorid"`
	States  States `json:"states"`
	Bulk    string `json:"bulk"` // none, start, sent, bulk, done, failed
}

// States counts the states by origin.
type States struct {
	Local    int `json:"local"`
	Imported int `json:"imported"`
}
