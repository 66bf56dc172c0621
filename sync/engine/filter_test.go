package engine_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
)

// marked lets no state out that bears the mark.
type marked uint32

func (m marked) NoSync(_ *pfstate.State, mark uint32) bool { return mark&uint32(m) != 0 }

var _ engine.Filter = marked(0)

func TestFilterKeepsStatesPrivate(t *testing.T) {
	within(t, func(r *rig) {
		if err := r.engine.SetFilter(marked(1)); err != nil {
			t.Fatal(err)
		}
		r.dump()
		private := created(tcp(us, 1, synSent, closed))
		private.Mark = 3
		r.table(private, created(tcp(us, 2, synSent, closed)))
		r.expect("INS 0000000000000002/aaaaaaaa 2:0")
		private.Kind = pfstate.Updated
		r.table(private)
		private.Kind = pfstate.Deleted
		r.table(private)
		r.expect()
		r.counted("nosync=2")

		// A rule marks it later: the peers are told that it is gone.
		late := updated(tcp(us, 2, estab, estab))
		late.Mark = 1
		r.table(late)
		r.expect("DEL_C 0000000000000002/aaaaaaaa")

		// Without the filter both are news.
		if err := r.engine.SetFilter(nil); err != nil {
			t.Fatal(err)
		}
		r.dump(tcp(us, 1, estab, estab), tcp(us, 2, estab, estab))
		r.expect("INS 0000000000000001/aaaaaaaa 4:4", "INS 0000000000000002/aaaaaaaa 4:4")
		if s := r.status(); s.Local != 2 {
			t.Errorf("%d states, want 2", s.Local)
		}
	})
}
