package controltest

import (
	"errors"
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// Hold makes these the states of the node.
func (n *Node) Hold(states ...pfstate.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.states = states
}

// States implements control.Node.
func (n *Node) States(next, most int, yield func(*pfstate.State)) (after int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Fail != nil {
		if err := n.Fail(next); err != nil {
			return 0, err
		}
	}
	end := min(next+most, len(n.states))
	for i := next; i < end; i++ {
		s := n.states[i]
		yield(&s)
	}
	if end == len(n.states) {
		return 0, nil
	}
	return end, nil
}

// Kill implements control.Node.
func (n *Node) Kill(k control.Kill) (control.Killed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.states)
	n.states = slices.DeleteFunc(slices.Clone(n.states), func(s pfstate.State) bool { return k.Matches(&s) })
	return control.Killed{States: before - len(n.states)}, nil
}

// Flush implements control.Node.
func (n *Node) Flush() (control.Killed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	flushed := len(n.states)
	n.states = nil
	return control.Killed{States: flushed}, nil
}

// Rules implements control.Node.
func (n *Node) Rules() (control.Rules, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return control.Rules{Enabled: !n.disabled, Ruleset: n.ruleset}, nil
}

// SetRuleset implements control.Node.
func (n *Node) SetRuleset(rs *pfconf.Ruleset) error {
	if _, err := pfconf.Compile(rs); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ruleset = *rs
	return nil
}

// Enable implements control.Node.
func (n *Node) Enable(on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case on && !n.disabled:
		return errors.New("pf already enabled")
	case !on && n.disabled:
		return errors.New("pf not enabled")
	}
	n.disabled = !on
	return nil
}

// Info implements control.Node. It has been enabled for 761 seconds.
func (n *Node) Info() (control.Info, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := control.Info{
		Enabled: !n.disabled, Since: ifconfig.Seconds(761 * time.Second), Creator: 0x1a2b3c4d,
		Checksum: "d41d8cd98f00b204e9800998ecf8427e", States: len(n.states), HalfOpen: 3, Limit: 262144,
	}
	for c := range pfstate.MaxTimeout {
		info.Timeouts = append(info.Timeouts, control.Timeout{Name: c.String(), Value: ifconfig.Seconds(c.Default())})
	}
	return info, nil
}
