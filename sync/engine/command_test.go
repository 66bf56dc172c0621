package engine_test

import (
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// A large table is shown in parts, each state once.
func TestStatesInParts(t *testing.T) {
	within(t, func(r *rig) {
		var all []pfstate.Change
		for n := range 10 {
			all = append(all, created(tcp(us, n+1, estab, estab)))
		}
		r.table(all...)
		seen := make(map[pfstate.ID]int)
		parts := 0
		for next, more := 0, true; more; more = next != 0 {
			var err error
			if next, err = r.engine.StatesFrom(next, 3, func(s *pfstate.State) { seen[s.ID]++ }); err != nil {
				t.Fatal(err)
			}
			parts++
		}
		if len(seen) != 10 || parts < 4 {
			t.Errorf("%d states in %d parts", len(seen), parts)
		}
	})
}

// What an operator kills goes from the table, and the peers hear of it, whoever made it.
func TestKillByTheOperator(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)), created(tcp(us, 2, estab, estab)))
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 3, estab, estab))) })
		r.forget()
		n, err := r.engine.Kill(func(s *pfstate.State) bool { return s.ID.State != 2 })
		if n != 2 || err != nil {
			t.Errorf("killed %d, %v", n, err)
		}
		r.expect("DEL_C 0000000000000001/aaaaaaaa", "DEL_C 0000000000000003/bbbbbbbb")
		r.wrote("delete 0000000000000001/aaaaaaaa 4:4", "delete 0000000000000003/bbbbbbbb 4:4")
	})
}

// A flush is one message: the peers clear what was made here.
func TestFlushByTheOperator(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)), created(tcp(us, 2, estab, estab)))
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 3, estab, estab))) })
		r.forget()
		if n, err := r.engine.Clear(); n != 3 || err != nil {
			t.Errorf("cleared %d, %v", n, err)
		}
		if got := len(r.ordered()); got != 3 {
			t.Errorf("%d orders, want 3 deletes", got)
		}
		r.counted("oacts.CLR ST=1", "oacts.DEL ST COMP=0")
		if s := r.status(); s.Local+s.Imported != 0 {
			t.Errorf("%d states left", s.Local+s.Imported)
		}
	})
}

// A pair: killed here, gone there, for good.
func TestKillOnAPair(t *testing.T) {
	bubble(t, func(p *pair) {
		create(p.a, 1, 10)
		time.Sleep(3 * time.Second)
		p.b.eng.Kill(func(s *pfstate.State) bool { return s.Proto == pfstate.ProtoTCP })
		time.Sleep(5 * time.Second)
		if a, b := p.a.table.Len(), p.b.table.Len(); a != 5 || b != 5 {
			t.Errorf("%d states on A, %d on B, want 5", a, b)
		}
		p.insync(5 * time.Second)
		p.a.eng.Clear()
		time.Sleep(5 * time.Second)
		if a, b := p.a.table.Len(), p.b.table.Len(); a != 0 || b != 0 {
			t.Errorf("%d states on A, %d on B after a flush", a, b)
		}
		p.insync(5 * time.Second)
	})
}

// All is told without being asked for.
func TestBulkIsPushed(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)))
		r.forget()
		if err := r.engine.PushBulk(); err != nil {
			t.Fatal(err)
		}
		r.expect("BUS aaaaaaaa 1", "UPD 0000000000000001/aaaaaaaa 4:4", "BUS aaaaaaaa 2")
	})
}
