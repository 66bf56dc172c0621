// Package footprint keeps the daemon's memory near what is in use. Nearly all of that is
// records of states, which hold no pointer: to collect garbage among them costs a
// millisecond or two, so it need not grow to as much again.
package footprint

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	headroom = 20       // garbage that may be, in percent of what is in use
	ballast  = 20 << 20 // bytes that count as in use, never written to and so no memory: few states are no reason to collect more often

	lookEvery = 10 * time.Second
	burst     = 4 << 20   // bytes allocated since memory was last given back: worth a collection
	calm      = 256 << 10 // allocated since the last look at most: the burst is over
)

// Run has garbage collected early, unless GOGC in the environment says when. Until ctx ends
// it gives the kernel back what a join, a dump or a list of all states has left, once that
// is over. Without it memory that was in use once is kept.
func Run(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		weight := make([]byte, ballast)
		defer runtime.KeepAlive(weight)
		debug.SetGCPercent(headroom)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last, given uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := allocated()
		if now-given >= burst && now-last < calm {
			debug.FreeOSMemory()
			now = allocated()
			given = now
		}
		last = now
	}
}

// allocated is how many bytes were, since the start.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
