package carp

import (
	"slices"
	"time"
)

// interval is the time between two adverts of v.
func (h *Host) interval(v *vhid) time.Duration {
	return interval(v.cfg.AdvBase, h.advskew(v)).duration()
}

// advertise sends the adverts that are due. It comes before all else: peers count on it.
func (h *Host) advertise() {
	for _, v := range h.vhids {
		if v.adv.IsZero() || v.adv.After(h.now) {
			continue
		}
		if h.now.After(v.served) {
			v.adv = time.Time{} // who has no addresses is no master in the peers' eyes
			continue
		}
		h.sendAdvert(v, false)
		every := h.interval(v)
		// In step, even if this one is late, but for one that was sent early.
		if v.adv = v.adv.Add(every); !v.adv.After(h.now) {
			v.adv = h.now.Add(every)
		}
		v.insisted = false
	}
}

// silence is that of pfsync's peers.
type silence struct {
	lasts bool
	since time.Time
}

func (s *silence) hear(lasts bool, now time.Time) {
	if lasts && !s.lasts {
		s.since = now
	}
	s.lasts = lasts
}

// masterDown is when the master of v counts as silent in the family with that index: after
// two adverts, not three, if pfsync's peers are silent as well. Zero: it is not waited for.
func (h *Host) masterDown(v *vhid, family int) (at time.Time, hastened bool) {
	at = v.down[family]
	if at.IsZero() || !h.silence.lasts || v.graced {
		return at, false
	}
	sooner := at.Add(-units(v.cfg.AdvBase * 256).duration())
	if sooner.Before(h.silence.since) {
		sooner = h.silence.since
	}
	if !sooner.Before(at) {
		return at, false
	}
	return sooner, true
}

// expire does what else is due.
func (h *Host) expire() {
	due := func(t *time.Time) bool {
		if t.IsZero() || t.After(h.now) {
			return false
		}
		*t = time.Time{}
		return true
	}
	for _, v := range slices.Clone(h.vhids) {
		acted := false
		for i := range v.down {
			at, hastened := h.masterDown(v, i)
			late := h.now.Sub(at)
			if at.IsZero() || late < 0 {
				continue
			}
			if late > tooLate && !v.graced {
				// This host has not run for a while: adverts may wait in a socket.
				v.graced = true
				v.down[i] = h.now.Add(min(late, h.interval(v)))
				h.counts[graces]++
				continue
			}
			why := "master is silent"
			if hastened {
				why = "master is silent, and so are the peers of pfsync"
				h.counts[hastenings]++
			}
			h.become(v, Master, why)
			acted = true
			break
		}
		if due(&v.again) {
			v.announce, acted = true, true
		}
		if due(&v.reopen) || due(&v.retry) {
			acted = true
		}
		if due(&v.forgive) {
			v.sendTrouble, v.serveTrouble = trouble{}, trouble{}
			acted, h.dirty = true, true
		}
		if acted || !v.serve.IsZero() && !v.serve.After(h.now) {
			h.settle(v)
		}
	}
}

// rest is how long nothing is due.
func (h *Host) rest() time.Duration {
	const long = time.Hour
	next := h.now.Add(long)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	for _, v := range h.vhids {
		earlier(v.adv)
		for i := range v.down {
			at, _ := h.masterDown(v, i)
			earlier(at)
		}
		earlier(v.again)
		earlier(v.reopen)
		earlier(v.retry)
		earlier(v.forgive)
		if v.dev != nil && !v.dev.busy {
			earlier(v.serve)
		}
	}
	return max(0, next.Sub(h.now))
}
