package traffic

import (
	"fmt"
	"slices"
	"time"
)

// Dead is the longest silence, beyond the move itself, that a surviving flow may have.
const Dead = 2 * time.Second

// Row is the outcome of all flows of one kind.
type Row struct {
	Kind     Kind
	Flows    int
	Survived int // without an error, a wrong byte, or a silence over Dead beyond the move
	Resets   int
	Stall    Window        // the longest silence of any flow, before the move or after
	Beyond   time.Duration // the longest share of a silence that lies beyond the move
	Errors   []error       // one for each flow that ended early, by the flow's number
}

// Stop ends all flows and reports them, one row for each kind that was started, in
// the order of the kinds. move is the time in which nobody could have carried them:
// from the death of one firewall to the announcement of the other.
func (t *Traffic) Stop(move Window) []Row {
	end := time.Now()
	t.close()
	var rows []Row
	for _, kind := range Kinds() {
		row := Row{Kind: kind}
		for _, f := range t.flows {
			if f.kind == kind {
				row.add(f, t.began, end, move)
			}
		}
		if row.Flows > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

func (r *Row) add(f *flow, began, end time.Time, move Window) {
	r.Flows++
	stall, beyond := f.stalls(began, end, move)
	if stall.Length() > r.Stall.Length() {
		r.Stall = stall
	}
	r.Beyond = max(r.Beyond, beyond)
	if f.reset {
		r.Resets++
	}
	if f.err != nil {
		r.Errors = append(r.Errors, fmt.Errorf("%v %d: %w", f.kind, f.id, f.err))
	} else if beyond <= Dead {
		r.Survived++
	}
}

// All tells whether every flow of every row survived.
func All(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return r.Survived != r.Flows })
}
