package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// outcome is what followed one fault.
type outcome struct {
	Fault  string
	InSync bool
	Took   time.Duration // from the fault's end
	States int           // of fwA
	First  lab.Count     // differences at the fault's end
	Left   lab.Count     // differences that lasted, if it was never in sync
	// Frames and bytes on the sync link in Took, both ways, beyond what is normal.
	Frames, Bytes float64
	Counters      map[string]uint64 // of the daemons, by how much they have grown since before the fault
	Error         string            `json:",omitempty"`
}

// ok tells whether the pair did what it must.
func (o outcome) ok() bool { return o.InSync && o.Took <= within }

func (o outcome) String() string {
	s := fmt.Sprintf("%-30s in sync after %5.2f s, %5.0f frames, %7.0f bytes; at the fault's end: %v of %d states",
		o.Fault, o.Took.Seconds(), o.Frames, o.Bytes, o.First, o.States)
	if !o.InSync {
		s += "\n  NEVER: " + o.Error
	}
	return s
}

// result is all that happened.
type result struct {
	Peer                      string
	Seed                      uint64
	Rate, States              int
	NormalFrames, NormalBytes float64 // on the sync link in a second
	Outcomes                  []outcome
	Churn                     traffic.ChurnReport
}

func (r *result) add(o outcome) { r.Outcomes = append(r.Outcomes, o) }

// byFault returns the outcomes of each fault, the faults in order of their names.
func (r *result) byFault() (groups [][]outcome) {
	sorted := slices.Clone(r.Outcomes)
	slices.SortStableFunc(sorted, func(a, b outcome) int {
		if a.Fault < b.Fault {
			return -1
		}
		return map[bool]int{true: 1}[a.Fault > b.Fault]
	})
	for len(sorted) > 0 {
		n := slices.IndexFunc(sorted, func(o outcome) bool { return o.Fault != sorted[0].Fault })
		if n < 0 {
			n = len(sorted)
		}
		groups = append(groups, sorted[:n])
		sorted = sorted[n:]
	}
	return groups
}

// print writes one line for each fault.
func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%-31s %5s %6s  %9s %9s  %8s %10s  %s\n", r.Peer, "times", "failed", "median", "worst", "frames", "bytes", "worst differences at the fault's end")
	for _, group := range r.byFault() {
		var took []time.Duration
		failed := 0
		var frames, bytes []float64
		var first lab.Count
		for _, o := range group {
			took = append(took, o.Took)
			frames, bytes = append(frames, o.Frames), append(bytes, o.Bytes)
			if !o.ok() {
				failed++
			}
			for v := range first {
				first[v] = max(first[v], o.First[v])
			}
		}
		slices.Sort(took)
		slices.Sort(frames)
		slices.Sort(bytes)
		middle := len(group) / 2
		fmt.Fprintf(w, "%-31s %5d %6d  %7.2f s %7.2f s  %8.0f %10.0f  %v\n", group[0].Fault, len(group), failed,
			took[middle].Seconds(), took[len(took)-1].Seconds(), frames[middle], bytes[middle], first)
	}
	fmt.Fprintf(w, "Frames and bytes: on the sync link until in sync, both ways, beyond the normal %.0f and %.0f a second; medians.\n", r.NormalFrames, r.NormalBytes)
	fmt.Fprintf(w, "%d flows made, %d failed.\n", r.Churn.Begun, r.Churn.Failed)
}

// verdict returns what did not hold.
func (r *result) verdict() error {
	var errs []error
	for _, o := range r.Outcomes {
		if !o.ok() {
			errs = append(errs, fmt.Errorf("%s: not in sync within %v: %v left after %.2f s", o.Fault, within, o.Left, o.Took.Seconds()))
		}
	}
	if len(r.Outcomes) == 0 {
		errs = append(errs, errors.New("no fault happened"))
	}
	if r.Churn.Failed > 0 {
		errs = append(errs, fmt.Errorf("%d flows failed, one of them: %w", r.Churn.Failed, r.Churn.Example))
	}
	return errors.Join(errs...)
}

func (r *result) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
