package conntrack

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Queued makes a Created of the connection that the kernel gives with a packet in a queue
// (NFQA_CT, of NETFILTER_NETLINK_GLUE_CT): attrs are ctnetlink's. confirmed tells that the
// table has it already, so that its event comes by itself. It may be called by any goroutine.
func (t *Table) Queued(attrs []byte, c *pfstate.Change) (confirmed, ok bool) {
	var e entry
	if err := e.parse(attrs); err != nil {
		t.counts.add(malformed, 1)
		return false, false
	}
	confirmed = e.status&statusConfirmed != 0
	e.status |= statusConfirmed // it will be
	if !confirmed {
		// Before that the timeout runs not yet, and kernels before 6.4 tell nonsense of it.
		e.timeout = t.timeouts.of(&image{orig: e.orig, status: e.status, tcp: e.tcp})
	}
	if _, ignored := e.ignored(); ignored {
		return confirmed, false
	}
	*c = pfstate.Change{Kind: pfstate.Created, Mark: e.mark, Ref: e.id}
	t.export(&e, &c.State, time.Now().UnixNano())
	return confirmed, true
}
