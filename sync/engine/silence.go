package engine

import "time"

const (
	silentAfter = beaconEvery + 3*sweepEvery // a Linux peer says something each second
	silenceAges = 10 * time.Second           // afterwards it says nothing of who has died just now
)

// watchSilence tells when all Linux peers have just fallen silent, or the link to them
// is lost: as when they are dead. A BSD's silence says nothing.
func (e *Engine) watchSilence() {
	var heard time.Duration
	e.peers.each(func(p *peer) {
		if p.linux {
			heard = max(heard, p.heard)
		}
	})
	age := e.now - heard
	silent := e.settings.Up && heard > 0 && age < silenceAges && (age >= silentAfter || !e.linkState.Up) && !e.bsdHere()
	if silent == e.silence {
		return
	}
	e.silence = silent
	if e.cfg.Silence != nil {
		e.cfg.Silence(silent)
	}
}
