package engine

import "time"

// stamp is a moment since the engine's start, to 16 ms, in four bytes: it comes round
// after 776 days. 0 is never. It is for what matters for seconds, or is shown.
type stamp uint32

const stampUnit = time.Second / 64 // whole seconds are exact

func stampOf(now time.Duration) stamp { return max(1, stamp(now/stampUnit)) }

// bornAt is the stamp of a moment that may be before the start, not earlier than it was.
func bornAt(at time.Duration) stamp {
	if at > 0 {
		at += stampUnit - 1
	}
	return stamp(at / stampUnit)
}

// age is how long ago s was.
func (s stamp) age(now time.Duration) time.Duration {
	age := stamp(now/stampUnit) - s
	if age > ^stamp(0)-64 { // rounding
		age = 0
	}
	return time.Duration(age) * stampUnit
}

// left is how long it is until s, negative: it is over.
func (s stamp) left(now time.Duration) time.Duration {
	return time.Duration(int32(s-stamp(now/stampUnit))) * stampUnit
}

// after tells that s was after t. Of one moment, to 16 ms, it was not.
func (s stamp) after(t stamp) bool { return int32(s-t) > 0 }

// stampIn is the stamp of a moment to come, or of a late one before that.
func stampIn(d, now time.Duration) stamp { return stampOf(now) + stamp(periodOf(d)) }

// period is a time in the units of stamp, rounded up.
type period uint32

const periodMost = 388 * 24 * time.Hour // half of what stamps can tell

func periodOf(d time.Duration) period {
	return period((min(d, periodMost) + stampUnit - 1) / stampUnit)
}

func (s period) duration() time.Duration { return time.Duration(s) * stampUnit }

// moment is the stamp of what matters for seconds only, in two bytes: it comes round
// after 17 minutes, long before which the sweep has forgotten it. 0 is never.
type moment uint16

const longAgo = periodMost

func momentOf(now time.Duration) moment { return max(1, moment(now/stampUnit)) }

// since is how long ago m was, for all that matters.
func (m moment) since(now time.Duration) time.Duration {
	if m == 0 {
		return longAgo
	}
	age := moment(now/stampUnit) - m
	if age > ^moment(0)-64 { // rounding
		age = 0
	}
	return time.Duration(age) * stampUnit
}

// fade forgets what was some seconds ago.
func (m *moment) fade(now time.Duration) {
	if m.since(now) > 2*fastBound {
		*m = 0
	}
}
