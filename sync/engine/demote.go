package engine

import "time"

// Demotion is why this firewall should not be preferred as master just now. It
// yields to a peer that is better off; it never keeps an address from being served.
type Demotion struct {
	Bulk bool // the states of the peers are not here yet: since pfsync0 went up, or got its syncdev
	Link bool // the sync link carries nothing
}

// unfit follows what of that holds.
type unfit struct {
	told  Demotion
	bulk  bool          // the first bulk update has not ended yet
	since time.Duration // that it has been awaited
}

// awaitStates begins the wait for the first bulk update.
func (e *Engine) awaitStates() { e.unfit.bulk, e.unfit.since = true, e.now }

// haveStates ends it; by failure is told, for somebody may count on the states.
func (e *Engine) haveStates(ok bool) {
	if !e.unfit.bulk {
		return
	}
	e.unfit.bulk = false
	if !ok && e.linkState.Config.Syncdev != "" {
		e.counters.add(demotionsFailed)
		e.log.Warn("no longer demoted, though the states of the peers are not here", "waited", e.now-e.unfit.since)
	}
}

// demote tells the demotion when it has changed.
func (e *Engine) demote() {
	if e.unfit.bulk && e.now-e.unfit.since > e.statesBound() {
		e.haveStates(false)
	}
	wanted := e.settings.talks() && e.linkState.Config.Syncdev != ""
	now := Demotion{Bulk: wanted && (e.unfit.bulk || e.unfit.told.Bulk && e.loose.next != 0), Link: wanted && !e.linkState.Up}
	if now == e.unfit.told {
		return
	}
	e.unfit.told = now
	if e.cfg.Demote != nil {
		e.cfg.Demote(now)
	}
}

// statesBound is how long the first bulk update can take with all its tries: a
// peer that goes on answering without an end must not keep us demoted.
func (e *Engine) statesBound() time.Duration {
	return bulkLinkWait + bulkDumpWait + bulkTriesMax*bulkAnswerWait + e.bulkBound()
}
