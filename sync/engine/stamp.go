package engine

import "time"

// stamp is a moment since the engine's start, to 17 ms, in four bytes: it comes round
// after 834 days. 0 is never. It is for what matters for seconds, or is shown.
type stamp uint32

const stampUnit = 1 << 24 // nanoseconds

func stampOf(now time.Duration) stamp { return max(1, stamp(uint64(now)/stampUnit)) }

// bornAt is the stamp of a moment that may be before the start, not earlier than it was.
func bornAt(at time.Duration) stamp {
	return stamp((at + stampUnit - 1) >> 24)
}

// age is how long ago s was.
func (s stamp) age(now time.Duration) time.Duration {
	age := stamp(uint64(now)/stampUnit) - s
	if age > ^stamp(0)-64 { // rounding
		age = 0
	}
	return time.Duration(age) * stampUnit
}
