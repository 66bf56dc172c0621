package engine_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// twins is pf's two states of one forwarded connection: in on one interface, out
// on the other, which may translate the source.
func twins(natted bool) (in, out pfstate.State, reply pfstate.Tuple) {
	out = tcp(them, 1, estab, estab)
	orig, reply := out.Tuples()
	in = out
	in.ID.State, in.Direction = 2, pfstate.In
	in.SetTuples(orig, reply, 0)
	if natted {
		reply.Dst, reply.DstPort = netip.MustParseAddr("203.0.113.1"), 50001
		out.SetTuples(orig, reply, 0)
	}
	return in, out, reply
}

// pf has two states for a forwarded connection, in and out. The table has one entry.
func TestBothStatesOfAPfConnection(t *testing.T) {
	within(t, func(r *rig) {
		in, out, _ := twins(false)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(in)) }) // known: no request
		r.expect()
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, in.ID) })
		r.wrote()
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, out.ID) })
		r.wrote("delete 0000000000000001/bbbbbbbb 4:4")
		if s := r.status(); s.Imported != 0 {
			t.Errorf("%d states left", s.Imported)
		}
	})
}

// The connection lives as long as one of its states does, in whatever order they go.
func TestTableKeepsAConnectionUntilItsLastStateEnds(t *testing.T) {
	within(t, func(r *rig) {
		in, out, _ := twins(false)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		r.forget()
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, out.ID) })
		r.wrote()
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(in)) })
		r.wrote("update 0000000000000002/bbbbbbbb 4:4")
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, in.ID) })
		r.wrote("delete 0000000000000002/bbbbbbbb 4:4")
	})
}

// The state that translates is the table's, whichever comes first.
func TestTranslationOfAPfConnectionIsKept(t *testing.T) {
	for _, inFirst := range []bool{true, false} {
		within(t, func(r *rig) {
			in, out, reply := twins(true)
			first, second := &out, &in
			if inFirst {
				first, second = &in, &out
			}
			r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, first); w.State(wire.ActIns, second) })
			writes := r.ordered()
			if _, got := writes[len(writes)-1].State.Tuples(); got != reply {
				t.Errorf("in first %v: the table is told of %v, want %v", inFirst, got, reply)
			}
		})
	}
}

// When the connection ends here, both of its states have ended.
func TestEndOfAPfConnectionIsToldForBothStates(t *testing.T) {
	within(t, func(r *rig) {
		in, out, _ := twins(false)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		here := tcp(us, 1, closing, estab)
		r.table(updated(here))
		r.forget()
		r.table(deleted(here))
		sent, _ := r.told()
		slices.Sort(sent)
		if want := []string{"DEL_C 0000000000000001/bbbbbbbb", "DEL_C 0000000000000002/bbbbbbbb"}; !slices.Equal(sent, want) {
			t.Errorf("told %q, want %q", sent, want)
		}
	})
}

// States that are in no table are kept as long as their peer speaks of them.
func TestStatesWithoutATableAreNotAskedForAgain(t *testing.T) {
	in, out, _ := twins(false)
	modulated := tcp(them, 9, estab, estab)
	within(t, func(r *rig) {
		r.deliver(func(w *wire.Writer) {
			w.State(wire.ActIns, &out)
			w.State(wire.ActIns, &in)
			w.State(wire.ActIns, &modulated)
		})
		r.table(pfstate.Change{Kind: pfstate.Refused, Op: pfstate.WriteInsert, State: modulated, Err: pfstate.ErrUnsupported})
		r.forget()
		for range 60 {
			time.Sleep(time.Second)
			r.deliver(func(w *wire.Writer) { w.UpdC(upd(out)); w.UpdC(upd(in)); w.UpdC(upd(modulated)) })
			r.ordered()
		}
		r.expect()
	})
}

// A peer that holds back a packet until its state is known must not wait for one
// that the table needs no entry for.
func TestSecondStateOfAConnectionIsAcknowledged(t *testing.T) {
	within(t, func(r *rig) {
		in, out, _ := twins(false)
		in.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		r.expect("INS_ACK 0000000000000002/bbbbbbbb")
	})
}

// A peer that makes a connection anew makes both of its states anew.
func TestBothStatesAreReplaced(t *testing.T) {
	within(t, func(r *rig) {
		in, out, _ := twins(false)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		out.ID.State, in.ID.State = 11, 12
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &out); w.State(wire.ActIns, &in) })
		r.forget()
		var ids []uint64
		r.engine.States(func(s *pfstate.State) bool { ids = append(ids, s.ID.State); return true })
		if slices.Sort(ids); !slices.Equal(ids, []uint64{11, 12}) {
			t.Errorf("states %v are left, want 11 and 12", ids)
		}
		r.table(updated(tcp(us, 1, closing, estab)))
		r.expect("UPD_C 000000000000000b/bbbbbbbb 7:4")
	})
}
