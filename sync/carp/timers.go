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
			late := h.now.Sub(v.down[i])
			if v.down[i].IsZero() || late < 0 {
				continue
			}
			if late > tooLate && !v.graced {
				// This host has not run for a while: adverts may wait in a socket.
				v.graced = true
				v.down[i] = h.now.Add(min(late, h.interval(v)))
				h.counts[graces]++
				continue
			}
			h.become(v, Master, "master is silent")
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
		earlier(v.down[0])
		earlier(v.down[1])
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
