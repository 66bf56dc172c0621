package traffic

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// flow is the record of one flow, kept by the goroutines that move its data.
type flow struct {
	kind  Kind
	id    uint32
	size  int           // of a message of TCP, in bytes
	every time.Duration // the pause behind each

	mu    sync.Mutex
	last  time.Time // of the last progress; zero before the first
	gaps  []Window  // the silences between progress and progress
	err   error     // why it ended too early
	reset bool
}

// progressed notes that data has arrived and was right.
func (f *flow) progressed() {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.last.IsZero() {
		f.gaps = append(f.gaps, Window{f.last, now})
	}
	f.last = now
}

// fail notes the first error of the flow.
func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.reset = errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
			errors.Is(err, syscall.ECONNREFUSED)
	}
}

// flowing tells whether the flow has made progress since t, or failed for good.
func (f *flow) flowing(t time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last.After(t), f.err
}

// stalls returns the longest silence until end, and the longest share of one that
// was not within move. A flow that never began was silent from began on.
func (f *flow) stalls(began, end time.Time, move Window) (longest Window, beyond time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last
	if last.IsZero() {
		last = began
	}
	for _, g := range append(f.gaps[:len(f.gaps):len(f.gaps)], Window{last, end}) {
		if g.Length() > longest.Length() {
			longest = g
		}
		beyond = max(beyond, g.Length()-g.overlap(move))
	}
	return longest, beyond
}

// Window is a span of time.
type Window struct{ From, To time.Time }

// Length is how long w lasted.
func (w Window) Length() time.Duration { return w.To.Sub(w.From) }

func (w Window) overlap(v Window) time.Duration {
	from, to := w.From, w.To
	if v.From.After(from) {
		from = v.From
	}
	if v.To.Before(to) {
		to = v.To
	}
	return max(0, to.Sub(from))
}

// longest is the longest silence that reaches beyond since, until now.
func (f *flow) longest(since, now time.Time) (w Window) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last
	if last.IsZero() {
		last = since
	}
	for _, g := range append(f.gaps[:len(f.gaps):len(f.gaps)], Window{last, now}) {
		if g.To.After(since) && g.Length() > w.Length() {
			w = g
		}
	}
	return w
}
