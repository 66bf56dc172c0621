package engine

import "time"

// What a Linux peer has not heard yet is bounded: it must fit into its socket's
// buffer, and into our ring, whatever else its processors are doing. So it says
// more often than each second how far it has come.
const (
	aheadMost   = 1024 // packets that a peer may not have heard
	ackEvery    = 128  // packets of a peer, after which it is told that they came
	aheadMoment = time.Second
)

// tooFast tells that a peer who is hearing us must come nearer before we go on. One
// that makes no progress for so long holds up nobody.
func (e *Engine) tooFast(patience time.Duration) (yes bool) {
	e.peers.each(func(p *peer) {
		if p.linux && !p.dead && p.provedUs && e.seq > p.heardUs+aheadMost && e.now-p.heardUsAt < patience {
			yes = true
		}
	})
	return yes
}

// patience is how long a peer without progress may hold up news. If there is no other, who
// would be kept waiting, that is longer: what would find its buffer full costs more later.
func (e *Engine) patience() time.Duration {
	living := 0
	e.peers.each(func(p *peer) {
		if !p.linux || !p.dead {
			living++
		}
	})
	if living == 1 {
		return peerStale
	}
	return aheadMoment
}

// acknowledge tells peers how far we hear them, if no packet has done so for a while.
func (e *Engine) acknowledge() {
	if e.ackDue {
		e.ackDue = false
		e.bare(nil)
	}
}
