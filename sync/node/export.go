package node

import (
	"context"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Exporter keeps the books of states that have ended: flowexport.Exporter.
type Exporter interface {
	Ended(pfstate.End) // must not block
	Run(ctx context.Context) error
	Counters() []pfstate.Counter
}

// ended hands on the end of a state. Traffic that does nothing but renew a timeout is not
// told: of a state that ran out here, the last packet came as long ago as its time was.
func (n *Node) ended(end pfstate.End) {
	if timeout := n.timeout(end.State.Timeout); end.Carried && end.Why == pfstate.RanOut && timeout > 0 {
		end.Idle = timeout
	}
	n.cfg.Exporter.Ended(end)
}
