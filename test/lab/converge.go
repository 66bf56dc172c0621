package lab

import (
	"context"
	"fmt"
	"time"
)

// Grace is how long a difference may last in a running pair. Traffic goes on while
// two tables are read, so that a single comparison always shows
// some. They count by this rule, which knows no kinds of entries:
//
// Two tables are in sync as soon as nothing is left of the differences that some
// comparison showed not longer than Grace ago, or that the last one showed if that is
// longer ago. A difference is that of one connection and of one entry of the active
// firewall (by its kernel's id); in what way it differs may change.
//
// So whatever differs for two seconds is drift, be it young, old or about to end, also if
// the copy is made and lost again and again in between. Hidden is only what mends itself,
// or ends, within two seconds.
const Grace = 2 * time.Second

// The pause between two comparisons is as long as one takes, within these bounds: what
// is looked at needs the processors too.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// Convergence is how two tables came to be the same.
type Convergence struct {
	Took   time.Duration // from the call to the comparison that found them in sync: some tenths of a second at least under traffic
	Looks  int           // comparisons until then
	First  Count         // the differences of the first comparison, those of running traffic included
	Left   []Difference  // those that lasted, if they never were in sync
	States int           // of the active firewall in the last comparison
	Wire   Wire          // what went over the sync link in Took
}

// Wire counts what both firewalls have sent on the sync link, headers of Ethernet included.
type Wire struct{ Frames, Bytes uint64 }

// Sub is what was sent between two counts.
func (w Wire) Sub(before Wire) Wire { return Wire{w.Frames - before.Frames, w.Bytes - before.Bytes} }

// Converged waits until the tables of the active firewall and its backup are in sync,
// as Grace defines it. When ctx ends before,
// the error shows some of what is left, which the Convergence holds.
func Converged(ctx context.Context, active, backup *Firewall) (Convergence, error) {
	var c Convergence
	start := time.Now()
	before, err := active.lab.Wire()
	if err != nil {
		return c, err
	}
	var w watch
	for n := 1; ; n++ {
		began := time.Now()
		ds, states, err := look(active, backup)
		if err != nil {
			return c, err
		}
		wire, err := active.lab.Wire()
		if err != nil {
			return c, err
		}
		c.States = states
		if n == 1 {
			c.First = CountDifferences(ds)
		}
		now := time.Now()
		c.Took, c.Looks, c.Wire = now.Sub(start), n, wire.Sub(before)
		if w.add(now, ds) {
			return c, nil
		}
		pause := time.NewTimer(min(max(leastPause, time.Since(began)), mostPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			c.Left = w.lasting(ds, now.Add(-Grace))
			return c, fmt.Errorf("%s and %s are not in sync after %v: %v, like %v: %w",
				active.Name, backup.Name, c.Took.Round(time.Millisecond), CountDifferences(c.Left), c.Left[:min(3, len(c.Left))], context.Cause(ctx))
		}
	}
}

// look compares once. Both are read at the same time.
func look(active, backup *Firewall) (ds []Difference, states int, err error) {
	var a, b []Entry
	err = inParallel(
		func() (err error) { a, err = active.Dump(); return err },
		func() (err error) { b, err = backup.Dump(); return err },
	)
	return Compare(a, b), len(a), err
}

// Wire returns what has been sent on the sync link so far.
func (l *Lab) Wire() (w Wire, err error) {
	for _, f := range l.Firewalls() {
		sent, err := f.sent(Sync)
		if err != nil {
			return w, err
		}
		w.Frames += sent.Frames
		w.Bytes += sent.Bytes
	}
	return w, nil
}

// sighting is what makes two differences of two comparisons the same.
type sighting struct {
	key key
	id  uint32 // of the active firewall's entry; 0 if it has none
}

// watch applies the rule of Grace to comparisons.
type watch struct {
	since map[sighting]time.Time // when each present difference was first seen, in every comparison since
	looks []time.Time            // those comparisons whose differences may yet go in time
}

// add notes a comparison and tells whether the tables are in sync.
func (w *watch) add(now time.Time, ds []Difference) bool {
	oldest := now.Add(1) // if there is none at all
	next := make(map[sighting]time.Time, len(ds))
	for _, d := range ds {
		s := d.sighting()
		first, ok := w.since[s]
		if !ok {
			first = now
		}
		next[s] = first
		if first.Before(oldest) {
			oldest = first
		}
	}
	w.since = next
	w.looks = append(w.looks, now)
	for len(w.looks) > 2 && now.Sub(w.looks[0]) > Grace {
		w.looks = w.looks[1:]
	}
	return oldest.After(w.looks[0]) // nothing of what was seen then is left
}

// lasting are those of ds that were seen at t and ever since.
func (w *watch) lasting(ds []Difference, t time.Time) (left []Difference) {
	for _, d := range ds {
		if first, ok := w.since[d.sighting()]; ok && !first.After(t) {
			left = append(left, d)
		}
	}
	return left
}

func (d Difference) sighting() sighting {
	if d.Verdict == CopyExtra {
		return sighting{key: d.Backup.key()}
	}
	return sighting{key: d.Active.key(), id: d.Active.ID}
}
