// Package profile lets root look at the running daemon: Go's profiles, and what the
// garbage collector did.
package profile

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/metrics"
	"time"
)

// Runtime is what GET /debug/runtime answers.
type Runtime struct {
	Collections uint64        `json:"collections"` // of garbage, since the start
	PauseP50    time.Duration `json:"pause_p50_ns"`
	PauseP99    time.Duration `json:"pause_p99_ns"`
	PauseMax    time.Duration `json:"pause_max_ns"`
	HeapLive    uint64        `json:"heap_live_bytes"`  // that the last collection left
	HeapGoal    uint64        `json:"heap_goal_bytes"`  // at which the next one begins
	Memory      uint64        `json:"memory_bytes"`     // all that the runtime has of the kernel
	Goroutines  uint64        `json:"goroutines"`       // now
	CollectorS  float64       `json:"gc_cpu_seconds"`   // of the processors, since the start
	UserS       float64       `json:"user_cpu_seconds"` // estimated as the collector's are
}

// Off ends the sampling of allocations, which costs memory. It is for a process that
// will not be looked at.
func Off() { runtime.MemProfileRate = 0 }

// NewHandler answers below /debug/: pprof's names, and runtime. A profile over time may
// last as long as the server takes to write an answer.
func NewHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/runtime", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(read()) // to one who has gone, there is nothing to say
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server's patience with a request that comes slowly would end the profile.
		http.NewResponseController(w).SetReadDeadline(time.Time{})
		mux.ServeHTTP(w, r)
	})
}

func read() Runtime {
	s := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/sched/pauses/total/gc:seconds"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/gc/heap/goal:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/sched/goroutines:goroutines"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/user:cpu-seconds"},
	}
	metrics.Read(s)
	pauses := s[1].Value.Float64Histogram()
	return Runtime{
		Collections: s[0].Value.Uint64(),
		PauseP50:    quantile(pauses, 0.5), PauseP99: quantile(pauses, 0.99), PauseMax: quantile(pauses, 1),
		HeapLive: s[2].Value.Uint64(), HeapGoal: s[3].Value.Uint64(), Memory: s[4].Value.Uint64(),
		Goroutines: s[5].Value.Uint64(), CollectorS: s[6].Value.Float64(), UserS: s[7].Value.Float64(),
	}
}

// quantile is the upper end of the bucket that q of all falls into: never too good.
func quantile(h *metrics.Float64Histogram, q float64) time.Duration {
	var all uint64
	for _, n := range h.Counts {
		all += n
	}
	rank := uint64(math.Ceil(q * float64(all)))
	if rank == 0 {
		return 0
	}
	var below uint64
	for i, n := range h.Counts {
		if below += n; below < rank {
			continue
		}
		end := h.Buckets[i+1]
		if math.IsInf(end, 1) {
			end = h.Buckets[i]
		}
		return time.Duration(end * float64(time.Second))
	}
	return 0
}
