package control

import (
	"context"
	"encoding/json"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
)

// Node is what the control socket controls: the daemon's side of ifconfig.
// Its methods are called from many goroutines.
type Node interface {
	// Change applies c as a whole or not at all. Its error is what ifconfig prints behind
	// "ifconfig: ".
	Change(c ifconfig.Change) error
	// Interfaces returns the interfaces that the daemon owns: pfsync0, when it exists, and those of carp.
	Interfaces() ([]ifconfig.Interface, error)
	// Counters returns every counter, in the order of netstat -s.
	Counters() ([]pfstate.Counter, error)
	// Histograms returns how long things took.
	Histograms() ([]pfstate.Histogram, error)
	// Peers returns the other firewalls that are or were heard, in the order of their addresses.
	Peers() ([]ifconfig.Peer, error)
	// Status returns the daemon's state beyond interfaces.
	Status() (Status, error)
	// Sysctls returns the variables that the daemon keeps, in the order of sysctl.Variables: all
	// but those that are Linux's own, and the opaque ones.
	Sysctls() ([]sysctl.Setting, error)
	// SetSysctl sets one of them and returns what it was.
	SetSysctl(s sysctl.Setting) (old int64, err error)

	// Demotion returns the groups of carp interfaces with what demotes them.
	Demotion() ([]ifconfig.Demotion, error)
	// Demote adds to what the operator has set for a group.
	Demote(d ifconfig.Demote) error
	// HoldDemotion demotes the group carp until d is over or it is called with 0. A firewall that is
	// master already is left alone.
	HoldDemotion(d time.Duration) error
	// Transitions returns the changes of state behind the one of that number, when there are some or
	// ctx ends; that is no error.
	Transitions(ctx context.Context, after uint64) (Transitions, error)
	// Yield tells that another firewall carries the traffic from now on, where it is not carp that knows.
	Yield() error

	// States yields all states of the table, those that are not shared included (FlagNoSync), in
	// parts of any size. It holds little more than one of them, and does nothing while yield takes
	// its time; yield keeps nothing of it. An error of yield ends it and is returned.
	States(ctx context.Context, yield func(part []pfstate.State) error) error
	// Kill removes the states that match, here and, if they are shared, at the peers. They are gone
	// from the table here when it returns. With an error, Killed tells of those that are.
	Kill(k Kill) (Killed, error)
	// Flush removes all states like that, at the peers those made here.
	Flush() (Killed, error)

	// Rules returns which states are not advertised.
	Rules() (Rules, error)
	// SetRuleset replaces the ruleset, enabled or not.
	SetRuleset(rs *pfconf.Ruleset) error
	// Enable lets the ruleset count, or not.
	Enable(on bool) error
	// Info returns what pfctl -s info, memory and timeouts print.
	Info() (Info, error)
}

// Rules say which states are not advertised.
type Rules struct {
	Enabled bool           `json:"enabled"` // false: all are advertised
	Ruleset pfconf.Ruleset `json:"ruleset"`
}

// Info is what pfctl has to show beside states and rules.
type Info struct {
	Enabled  bool               `json:"enabled"`
	Since    ifconfig.Seconds   `json:"since"` // it has been enabled, or not, that long
	Creator  ifconfig.CreatorID `json:"creatorid"`
	Checksum string             `json:"checksum"` // of the rules: MD5, as in pf
	States   int                `json:"states"`   // of the table, those that are not shared included
	HalfOpen int                `json:"halfopen"` // shared TCP states before they are established
	Limit    int                `json:"limit"`    // states that the table may hold, 0: no limit
	Timeouts []Timeout          `json:"timeouts"` // in pf's order
}

// Timeout is how long the table keeps states of one of pf's classes.
type Timeout struct {
	Name  string           `json:"name"`
	Value ifconfig.Seconds `json:"value"` // 0: the table has no such timeout
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
