package pfstate

import "time"

// End is a state that has ended, for those who keep the books.
type End struct {
	State   *State // as it was last; whoever is given it keeps nothing of it
	Why     Ending
	Idle    time.Duration // since the last sign of its traffic that was told
	Carried bool          // the traffic ran through this host
}

// Ending is why a state has ended.
type Ending uint8

const (
	RanOut  Ending = iota + 1 // its time was over
	Closed                    // both ends of a TCP connection had closed it
	Removed                   // somebody took it out of the table
)
