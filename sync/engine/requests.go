package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
)

// requests is the update requests to send, and those of the last second: none
// is repeated within it.
type requests struct {
	pending []pfstate.ID
	recent  map[pfstate.ID]struct{}
	served  int // of the peers' in this second
}

const (
	requestsMax = 1 << 14
	servedMax   = 1 << 15 // answers to update requests, each second
)

func (q *requests) reset() {
	q.served = 0
	if len(q.recent) > 0 || q.recent == nil {
		q.recent = make(map[pfstate.ID]struct{})
	}
}

// request asks the peers for a state they spoke of and that is not known here.
func (e *Engine) request(id pfstate.ID) {
	switch _, asked := e.requests.recent[id]; {
	case e.mute(unasked):
		return
	case asked:
		e.counters.add(requestsLimited)
		return
	case len(e.requests.recent) >= requestsMax:
		e.counters.add(requestsLost)
		return
	}
	if !e.queued() {
		e.waiting = e.now
	}
	e.requests.recent[id] = struct{}{}
	e.requests.pending = append(e.requests.pending, id)
	e.push = true
}
