package control

import (
	"encoding/json"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
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
	// Peers returns the other firewalls that are or were heard, in the order of their addresses.
	Peers() ([]ifconfig.Peer, error)
	// Status returns the daemon's state beyond interfaces.
	Status() (Status, error)
	// Sysctls returns the variables that the daemon keeps, in the order of sysctl.Variables: all
	// but those that are Linux's own, and the opaque ones.
	Sysctls() ([]sysctl.Setting, error)
	// SetSysctl sets one of them and returns what it was.
	SetSysctl(s sysctl.Setting) (old int64, err error)
}

// Old is the answer to a setting: what the value was before.
type Old struct {
	Value int64 `json:"old"`
}

// WordError is a refusal of a Change for the sake of one word: a setting with more than one line
// can be told which.
type WordError struct {
	Word string // ifconfig's: syncdev, mtu
	Err  error
}

func (e *WordError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *WordError) Unwrap() error { return e.Err }

// Status is the daemon's state beyond what ifconfig shows.
type Status struct {
	Table   string          `json:"table"`   // conntrack or memory
	Entries int             `json:"entries"` // in the table, whether they are shared or not
	Limit   int             `json:"limit"`   // of Entries, 0: none
	Creator uint32          `json:"creatorid"`
	States  States          `json:"states"`
	Bulk    string          `json:"bulk"`   // none, start, sent, bulk, done, failed
	Queued  int             `json:"queued"` // messages that wait to be sent
	Peers   []ifconfig.Peer `json:"peers"`
}

// MarshalJSON writes the creatorid as everything that is printed has it: 8 hexadecimal digits.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	return json.Marshal(struct {
		plain
		Creator ifconfig.CreatorID `json:"creatorid"`
	}{plain(s), ifconfig.CreatorID(s.Creator)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Status) UnmarshalJSON(b []byte) error {
	type plain Status
	var in struct {
		plain
		Creator ifconfig.CreatorID `json:"creatorid"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*s = Status(in.plain)
	s.Creator = uint32(in.Creator)
	return nil
}

// States counts the states by origin.
type States struct {
	Local    int `json:"local"`
	Imported int `json:"imported"`
}
