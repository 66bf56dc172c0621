package engine

// A pfsync0 that listens takes all that is told and says nothing: no state, no
// request, no answer, no sign of life. It knows what was told since it began, and what
// others had told them again. What it misses it cannot ask for:
//
//   - updates of states that it does not know are counted, unasked;
//
//   - a Linux peer's digest shows whether something is missing, and nothing mends it;
//
//   - once packets of a Linux peer are lost, what was told before may have ended in
//     them: those copies run out by the times that were announced for them.

// talks tells whether anything may be sent.
func (s *Settings) talks() bool { return s.Up && !s.Listen }

// mute tells whether pfsync0 only listens, and counts what is not said for that reason.
func (e *Engine) mute(what counter) bool {
	if e.settings.Listen {
		e.counters.add(what)
	}
	return e.settings.Listen
}

// overhearBulk takes a request for a bulk update by p, nil: by nobody, which others answer.
func (e *Engine) overhearBulk(p *peer) {
	if p == nil {
		return
	}
	e.counters.add(unanswered)
	if p.linux { // what they know is not told again
		e.compareHave(p)
	}
}

// differs notes that something of what p answers for is missing here, or has ended.
func (e *Engine) differs(p *peer) {
	if p.compared && !p.insync {
		return
	}
	p.insync, p.compared = false, true
	e.counters.add(drifts)
	e.log.Info("a peer's table differs from what is known of it, and it cannot be asked: pfsync0 only listens",
		"peer", p.addr, "states", p.digest.states)
}

// mayHaveEnded tells that r's end may have been among the packets of its owner p that
// were missed.
func (p *peer) mayHaveEnded(r *record) bool {
	return p.missed != 0 && int32(uint32(p.missed)-r.saidIn) >= 0
}
