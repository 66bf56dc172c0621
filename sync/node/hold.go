package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/hold"
)

// Holder holds first packets for defer: hold.Holder.
type Holder interface {
	engine.Holder
	Run(ctx context.Context) error
	Prepare() error // tells whether packets can be held
	Exclude(hold.Mark)
	Where() (hold.Where, error)
	Counters() []pfstate.Counter
}

// excludeMarked has no packets held of the connections that the rules mark as none of the peers'
// business; those that they tell by other things are let go when their state is seen.
func (n *Node) excludeMarked(r *rules) {
	if n.cfg.Holder == nil {
		return
	}
	var mark hold.Mark
	if r.Enabled {
		mark = hold.Mark{Value: r.Ruleset.Mark.Value, Mask: r.Ruleset.Mark.Mask}
	}
	n.cfg.Holder.Exclude(mark)
}

// deferState says in a few words what defer does, "" if it is off or has no packets to hold.
func (n *Node) deferState(s engine.Status) ifconfig.DeferState {
	if n.cfg.Holder == nil || !n.settings.engine.Defer {
		return ""
	}
	where, err := n.cfg.Holder.Where()
	switch {
	case err != nil:
		return ifconfig.DeferFailed
	case !s.Deferring:
		return ifconfig.DeferNoPeer
	case where == hold.Wrong:
		return ifconfig.DeferWrongOrder
	case where == hold.Late:
		return ifconfig.DeferHolding
	case where == hold.Early:
		return ifconfig.DeferEarly
	}
	return ifconfig.DeferReady
}

// checkDefer refuses a defer that could not work.
func (n *Node) checkDefer() error {
	if n.cfg.Holder == nil {
		return nil // a table in memory has no packets
	}
	if err := n.cfg.Holder.Prepare(); err != nil {
		return fmt.Errorf("defer: %w", err)
	}
	return nil
}

// deferDelay is the sysctl that says how long a packet waits at most.
const deferDelay = "net.pfsync.defer_delay"

// useSysctl carries out what a variable that was set changes at once. n.mu is held.
func (n *Node) useSysctl(name string, value int64) error {
	if name != deferDelay {
		return nil
	}
	n.settings.engine.DeferDelay = time.Duration(value) * time.Millisecond
	return n.engine.Configure(n.settings.engine)
}
