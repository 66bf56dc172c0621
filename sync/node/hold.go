package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/hold"
)

// Holder holds first packets for defer: hold.Holder.
type Holder interface {
	engine.Holder
	Run(ctx context.Context) error
	Prepare() error // tells whether packets can be held
	Where() (hold.Where, error)
	Counters() []pfstate.Counter
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
