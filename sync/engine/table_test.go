package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// States found at the start are not news: a peer may have them, under their id
// or another. What no peer claimed in its bulk update is offered after it.
func TestStatesFoundAtTheStart(t *testing.T) {
	mine, copied, unheard := tcp(us, 1, estab, estab), tcp(us, 2, estab, estab), tcp(us, 3, estab, estab)
	asking(t, []pfstate.State{mine, copied, unheard}, func(r *rig) {
		theirs := copied
		theirs.ID = pfstate.ID{State: 22, Creator: them}
		r.deliver(func(w *wire.Writer) {
			w.Bus(wire.Bus{Creator: them, Status: wire.BusStart})
			w.State(wire.ActUpd, &mine)
			w.State(wire.ActUpd, &theirs)
		})
		r.expect()
		r.deliver(func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd}) })
		r.expect("INS 0000000000000003/aaaaaaaa 4:4")
		r.table(updated(copied))
		r.expect("UPD_C 0000000000000016/bbbbbbbb 4:4")
	})
}

// What is born while the first dump runs may be seen in it before the event comes.
func TestStatesBornDuringTheFirstDump(t *testing.T) {
	born := tcp(us, 1, synSent, closed)
	asking(t, []pfstate.State{born}, func(r *rig) {
		r.table(created(born))
		r.expect("INS 0000000000000001/aaaaaaaa 2:0")
	})
}

// Lost changes: a dump finds what was born, moved and ended meanwhile.
func TestOverrunIsMendedByADump(t *testing.T) {
	within(t, func(r *rig) {
		stays, moves, ends := tcp(us, 1, estab, estab), tcp(us, 2, synSent, closed), tcp(us, 3, estab, estab)
		r.table(created(stays), created(moves), created(ends))
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.Overrun, Err: errors.New("no buffer space available")})
		moved := tcp(us, 2, estab, estab)
		r.dump(stays, moved, tcp(us, 4, synSent, closed))
		r.expect("UPD_C 0000000000000002/aaaaaaaa 4:4", "DEL_C 0000000000000003/aaaaaaaa", "INS 0000000000000004/aaaaaaaa 2:0")
		r.counted("overruns=1", "resyncmended=3")
	})
}

// The dump runs beside the events: what they said since it began is newer.
func TestDumpDoesNotReviveOrEndWhatEventsSaid(t *testing.T) {
	within(t, func(r *rig) {
		ends, born := tcp(us, 1, estab, estab), tcp(us, 2, estab, estab)
		r.table(created(ends))
		r.table(pfstate.Change{Kind: pfstate.Overrun})
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.DumpBegin})
		r.table(deleted(ends), created(born))
		r.expect("DEL_C 0000000000000001/aaaaaaaa", "INS 0000000000000002/aaaaaaaa 4:4")
		r.table(pfstate.Change{Kind: pfstate.Seen, State: ends}, pfstate.Change{Kind: pfstate.DumpEnd})
		r.expect()
		r.counted("resyncmended=0")
	})
}

func TestOverrunWhileADumpRunsLeadsToAnother(t *testing.T) {
	within(t, func(r *rig) {
		r.table(pfstate.Change{Kind: pfstate.Overrun})
		r.wrote("dump 0000000000000000/00000000 0:0")
		r.table(pfstate.Change{Kind: pfstate.DumpBegin}, pfstate.Change{Kind: pfstate.Overrun})
		r.wrote()
		r.table(pfstate.Change{Kind: pfstate.DumpEnd})
		time.Sleep(300 * time.Millisecond)
		r.wrote("dump 0000000000000000/00000000 0:0")
	})
}

// An incomplete dump ends nothing; it is repeated.
func TestIncompleteDumpIsRepeated(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)))
		r.table(pfstate.Change{Kind: pfstate.Overrun})
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.DumpBegin}, pfstate.Change{Kind: pfstate.DumpEnd, Err: errors.New("interrupted")})
		r.expect()
		time.Sleep(300 * time.Millisecond)
		r.wrote("dump 0000000000000000/00000000 0:0")
	})
}

// The kernel does not say when traffic renews a timeout: the engine asks after a
// third of it, and tells the peers of a renewal.
func TestRenewedTimeoutsAreTold(t *testing.T) {
	within(t, func(r *rig) {
		s := udp(us, 1, pfstate.Single, pfstate.Single)
		s.Expire = 30 * time.Second
		r.table(created(s))
		r.forget()
		time.Sleep(9 * time.Second)
		r.wrote()
		time.Sleep(7 * time.Second)
		r.wrote("probe 0000000000000001/aaaaaaaa 1:1")

		s.Expire = 14 * time.Second // nothing passed
		r.table(pfstate.Change{Kind: pfstate.Seen, State: s})
		r.expect()
		s.Expire = 30 * time.Second
		r.table(pfstate.Change{Kind: pfstate.Seen, State: s})
		r.expect("UPD_C 0000000000000001/aaaaaaaa 1:1")
		r.counted("refreshed=1")

		r.table(pfstate.Change{Kind: pfstate.Absent, State: s})
		r.expect("DEL_C 0000000000000001/aaaaaaaa")
	})
}

// A copy that was just brought to a full period by its owner's word is no sign of traffic here.
func TestUpdatesOfThePeerAreNoRenewal(t *testing.T) {
	within(t, func(r *rig) {
		s := udp(them, 1, pfstate.Single, pfstate.Single)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.forget()
		time.Sleep(6 * time.Second)
		r.wrote("probe 0000000000000001/bbbbbbbb 1:1")
		s.Expire = 120 * time.Second // the table's own idea of a full period
		r.table(pfstate.Change{Kind: pfstate.Seen, State: s})
		r.expect()
	})
}

func TestRefusedOrders(t *testing.T) {
	s := tcp(them, 1, estab, estab)
	for _, c := range []struct {
		name   string
		op     pfstate.WriteKind
		err    error
		wrote  []string
		left   int
		counts []string
	}{
		{"insert, table full", pfstate.WriteInsert, pfstate.ErrTableFull, nil, 0, []string{"tablefull=1", "tablerefused=1", "badstate=1"}},
		{"insert, keys taken", pfstate.WriteInsert, pfstate.ErrClash, nil, 0, []string{"clash=1", "badstate=1"}},
		{"insert, not expressible: kept to answer peers", pfstate.WriteInsert, pfstate.ErrUnsupported, nil, 1, []string{"unsupported=1", "badstate=0"}},
		{"update of an entry that is gone: made anew", pfstate.WriteUpdate, pfstate.ErrNoState, []string{"insert 0000000000000001/bbbbbbbb 4:4"}, 1, []string{"resyncmended=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
				r.forget()
				r.table(pfstate.Change{Kind: pfstate.Refused, Op: c.op, State: s, Err: c.err})
				r.wrote(c.wrote...)
				r.counted(c.counts...)
				if got := r.status().Imported; got != c.left {
					t.Errorf("%d states left, want %d", got, c.left)
				}
			})
		})
	}
}
