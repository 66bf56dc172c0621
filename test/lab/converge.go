package lab

import (
	"context"
	"fmt"
	"time"
)

// Grace is how long a difference may last in a running pair. Traffic goes on while
// two tables are read, one after the other, so that a single comparison always shows
// some. They count by this rule, which knows no kinds of entries:
//
// Two tables are in sync at a comparison if none of the differences seen in it is seen
// in every later one until Grace has passed. A difference is that of one connection and
// of one entry of the active firewall (by its kernel's id); in what way it differs may change.
//
// So whatever differs for two seconds is drift, be it young, old or about to
// end, also if the copy is made and lost again and again in between. Hidden is only
// what mends itself, or ends, within two seconds.
const Grace = 2 * time.Second

// betweenLooks is the pause between two comparisons, or as long as they take if that
// is longer: what is looked at needs the processors too.
const betweenLooks = 100 * time.Millisecond

// Convergence is how two tables came to be the same.
type Convergence struct {
	Took   time.Duration // from the call to the first comparison that found them in sync
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
	w := watch{since: map[sighting]time.Time{}}
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
		if in, ok := w.add(comparison{now, n, wire.Sub(before)}, ds); ok {
			c.Took, c.Looks, c.Wire = in.at.Sub(start), in.number, in.wire
			return c, nil
		}
		pause := time.NewTimer(max(betweenLooks, time.Since(began)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			c.Left = w.lasting(ds, now.Add(-Grace))
			c.Took, c.Looks, c.Wire = now.Sub(start), n, wire.Sub(before)
			return c, fmt.Errorf("%s and %s are not in sync after %v: %v, like %v: %w",
				active.Name, backup.Name, c.Took.Round(time.Millisecond), CountDifferences(c.Left), c.Left[:min(3, len(c.Left))], context.Cause(ctx))
		}
	}
}

// look compares once. The active firewall is read first: what is made
// between the two readings is at most extra.
func look(active, backup *Firewall) (ds []Difference, states int, err error) {
	a, err := active.Dump()
	if err != nil {
		return nil, 0, err
	}
	b, err := backup.Dump()
	if err != nil {
		return nil, 0, err
	}
	return Compare(a, b), len(a), nil
}

// Wire returns what has been sent on the sync link so far.
func (l *Lab) Wire() (w Wire, err error) {
	for _, f := range []*Firewall{l.A, l.B} {
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

// watch finds out which of past comparisons found the tables in sync.
type watch struct {
	since map[sighting]time.Time // when each present difference was first seen, in every comparison since
	open  []comparison           // those of which it is not known yet, in their order
}

type comparison struct {
	at     time.Time
	number int
	wire   Wire
}

// add notes a comparison, made at c.at, and returns the earliest one known to be in sync.
func (w *watch) add(c comparison, ds []Difference) (comparison, bool) {
	next := make(map[sighting]time.Time, len(ds))
	oldest := c.at.Add(time.Nanosecond)
	for _, d := range ds {
		s := d.sighting()
		first, ok := w.since[s]
		if !ok {
			first = c.at
		}
		next[s] = first
		if first.Before(oldest) {
			oldest = first
		}
	}
	w.since = next
	w.open = append(w.open, c)
	for len(w.open) > 0 {
		first := w.open[0]
		if oldest.After(first.at) {
			return first, true // nothing that was seen then is left
		}
		if c.at.Sub(first.at) < Grace {
			break
		}
		w.open = w.open[1:] // something seen then has lasted
	}
	return comparison{}, false
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
