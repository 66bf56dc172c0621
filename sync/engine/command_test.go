package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
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

// noSyncMark keeps marked states private.
type noSyncMark struct{}

func (noSyncMark) NoSync(_ *pfstate.State, mark uint32) bool { return mark != 0 }

// Who waits for what he ordered is let go when the table has carried out that much, not before,
// and not for ever.
func TestSettledWaitsForTheTable(t *testing.T) {
	within(t, func(r *rig) {
		begin := func(bound time.Duration) chan error {
			ctx, cancel := context.WithTimeout(context.Background(), bound)
			ended := make(chan error, 1)
			go func() { defer cancel(); ended <- r.engine.Settled(ctx) }()
			synctest.Wait()
			return ended
		}
		waits := func(what string, c chan error) {
			t.Helper()
			select {
			case err := <-c:
				t.Errorf("%s: let go, %v", what, err)
			default:
			}
		}
		gone := func(what string, c chan error, want error) {
			t.Helper()
			select {
			case err := <-c:
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
			default:
				t.Errorf("%s: still waits", what)
			}
		}
		fence := pfstate.Change{Kind: pfstate.Applied, Op: pfstate.WriteFence}
		short, long, third := begin(time.Second), begin(time.Hour), begin(time.Hour)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		gone("impatient", short, context.DeadlineExceeded)
		waits("patient", long)
		r.table(fence) // the impatient one's
		waits("patient", long)
		r.table(fence)
		gone("patient", long, nil)
		waits("third", third)
		r.table(fence, fence) // one more than was ordered
		gone("third", third, nil)
	})
}

// The table's entries get the engine's names; how far they are, and what they carried, is the table's word.
func TestEntriesAreJoined(t *testing.T) {
	within(t, func(r *rig) {
		if err := r.engine.SetFilter(noSyncMark{}); err != nil {
			t.Fatal(err)
		}
		mine, gone := tcp(us, 1, estab, estab), tcp(us, 4, estab, estab)
		theirs := tcp(them, 2, estab, estab)
		theirs.Direction, theirs.Rule, theirs.IfName = pfstate.In, 7, pfstate.NewIfName("sis0")
		theirs.Src.SeqLo, theirs.Src.SeqHi = 1000, 2000
		table := tcp(us, 2, estab, estab) // as this table names what they made
		orig, reply := ptr(tcp(them, 2, estab, estab)).Tuples()
		table.SetTuples(orig, reply, 0)
		theirs.SetTuples(orig, reply, 0)
		theirs.Creation = time.Hour
		r.table(created(mine), created(gone))
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &theirs) })
		entry := func(s pfstate.State, mark uint32) pfstate.Entry {
			s.Src.State, s.Dst.State = pfstate.TCPClosing, pfstate.TCPEstablished
			s.Expire, s.Packets, s.Bytes, s.Creation = 77*time.Second, [2]uint64{1, 2}, [2]uint64{3, 4}, 0
			return pfstate.Entry{State: s, Mark: mark}
		}
		successor := tcp(us, 4, estab, estab)
		successor.ID.State = 99
		part := []pfstate.Entry{entry(mine, 0), entry(table, 0), entry(tcp(us, 3, estab, estab), 1), entry(tcp(us, 5, estab, estab), 0), entry(successor, 0)}
		if err := r.engine.Join(part); err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			name           string
			id             pfstate.ID
			known, private bool
		}{
			{"ours", mine.ID, true, false}, {"theirs", theirs.ID, true, false},
			{"marked", tcp(us, 3, estab, estab).ID, false, true}, {"not heard of yet", tcp(us, 5, estab, estab).ID, false, false},
			{"successor of one whose end is not heard of yet", successor.ID, false, false},
		} {
			got := &part[i]
			if got.State.ID != want.id || got.Known != want.known || (got.State.Flags&pfstate.FlagNoSync != 0) != want.private {
				t.Errorf("%s: %+v", want.name, got)
			}
			if got.State.Expire != 77*time.Second || got.State.Packets[1] != 2 || got.State.Bytes[0] != 3 || got.State.Src.State != pfstate.TCPClosing {
				t.Errorf("%s: not the table's word: %+v", want.name, got)
			}
		}
		s := &part[1].State
		gotOrig, gotReply := s.Tuples()
		if s.Direction != pfstate.In || s.IfName != theirs.IfName || s.Rule != 7 || s.Creation < time.Hour-time.Second || s.Src.SeqLo != 1000 || gotOrig != orig || gotReply != reply {
			t.Errorf("what the peer said of its state: %+v", s)
		}
	})
}
