package pfstate

import "time"

// Counter is one counter of any part of the daemon, as operators see it.
type Counter struct {
	Name  string `json:"name"` // stable, lower case
	Help  string `json:"help"` // in netstat's way: what stands behind the number
	Value uint64 `json:"value"`
}

// Histogram is how often something took how long.
type Histogram struct {
	Name   string          // stable, lower case
	Bounds []time.Duration // ascending, each inclusive; for reading
	Counts []uint64        // by bound: above the one before and up to it; the last is of all that is longer
	Sum    time.Duration
}
