package engine

import (
	"errors"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Waits before the table is asked again to take what it has refused.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
)

// retry is when the states that the table has refused are offered again.
type retry struct {
	wait    time.Duration
	at      time.Duration
	full    bool // and this was said
	refused int  // in this round
}

// retryLater puts off what the table has refused for now.
func (e *Engine) retryLater(err error) {
	t := &e.retry
	if errors.Is(err, pfstate.ErrTableFull) && !t.full {
		t.full = true
		e.log.Error("the state table is full: states of peers are missing here; raise net.netfilter.nf_conntrack_max", "err", err)
	}
	if t.refused++; t.at == 0 {
		t.wait = retryFirst
		t.at = e.now + t.wait
	}
}

// retryTurn offers the table what it has refused.
func (e *Engine) retryTurn() {
	t := &e.retry
	if t.at == 0 || e.now < t.at {
		return
	}
	if t.refused == 0 { // the last round went well
		if t.full {
			e.log.Info("the state table has room again")
		}
		*t = retry{}
		return
	}
	t.wait = min(2*t.wait, retryMost)
	t.refused, t.at = 0, e.now+t.wait
	e.states.all(func(i slot, r *record) {
		if r.is(absent) && r.is(retried) && e.orders.n < probesBound {
			r.clear(absent)
			e.counters.add(insertsRetried)
			e.writeState(pfstate.Write{Kind: pfstate.WriteInsert}, i)
		}
	})
}
