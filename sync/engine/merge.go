package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// merge takes what a peer says of the state in i, side by side: a side that is
// behind ours is stale and left out, and our better one goes back at once
// (OpenBSD if_pfsync.c, pfsync_upd_tcp and pfsync_in_upd_c, rev 1.332). The state
// lives on for expire; 0 begins a full period, however long the table has it.
func (e *Engine) merge(i slot, u *wire.UpdC, expire time.Duration) {
	r := e.states.at(i)
	r.heard = momentOf(e.now)
	// Traffic may have moved the table's entry on, the event of it on its way to us:
	// what is no news must not set it back.
	news := r.behind(u)
	isStale := staleOther
	if r.proto == pfstate.ProtoTCP {
		isStale = staleTCP
	}
	staleSides := 0
	src, dst := &e.merged[0], &e.merged[1] // not variables here: those would be on the heap
	e.states.ends(i, src, dst)
	beyond := e.states.differs(i, &u.Linux) // what pf's words do not tell is news
	for _, side := range []struct{ ours, theirs *pfstate.Peer }{{src, &u.Src}, {dst, &u.Dst}} {
		if isStale(side.ours, side.theirs) {
			staleSides++
		} else {
			*side.ours = *side.theirs
		}
	}
	if staleSides < 2 {
		e.states.setEnds(i, src, dst)
	}
	if expire == 0 && (r.is(shadow) || r.is(absent)) {
		expire = u.Timeout.Default() // no table to ask
	}
	if r.is(absent) && r.is(retried) { // not in the table, but it may be soon
		if staleSides < 2 {
			r.timeout = u.Timeout
			e.states.tell(i, &u.Linux)
		}
		return
	}
	if staleSides < 2 {
		r.timeout = u.Timeout
		if staleSides == 1 { // neither's class fits the sum; pf takes the peer's and is corrected later
			r.timeout, expire = pfstate.TimeoutOf(r.proto, r.src.State, r.dst.State), 0
		}
		if r.is(carrier) && !news && e.speaking.linux {
			return // what traffic does with the entry is better known here
		}
		if beyond {
			e.states.tell(i, &u.Linux)
		}
		if r.is(carrier) {
			expire = 0
		}
		r.learn(expire, e.now)
		r.put(untimed, expire == 0)
		e.order(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: !news}, i, beyond)
	}
	if staleSides > 0 {
		e.counters.add(stale)
		e.updateEvent(i)
	}
}

// staleTCP: behind in state, or in sequence within the same state. A local
// synproxy state gives way to the connection proper.
func staleTCP(ours, theirs *pfstate.Peer) bool {
	proxy := ours.State >= pfstate.TCPProxySrc && theirs.State < pfstate.TCPProxySrc
	return ours.State > theirs.State && !proxy ||
		ours.State == theirs.State && int32(ours.SeqLo-theirs.SeqLo) > 0
}

func staleOther(ours, theirs *pfstate.Peer) bool { return ours.State > theirs.State }
