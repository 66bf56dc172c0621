package engine_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
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
		sent   []string
		left   int
		counts []string
	}{
		{"insert, table full: kept, and tried again", pfstate.WriteInsert, pfstate.ErrTableFull, nil, 1, []string{"tablefull=1", "tablerefused=1", "badstate=1"}},
		{"insert, keys taken: kept, or it would be asked for again and again", pfstate.WriteInsert, pfstate.ErrClash, nil, 1, []string{"clash=1", "badstate=1"}},
		{"insert, not expressible: kept to answer peers", pfstate.WriteInsert, pfstate.ErrUnsupported, nil, 1, []string{"unsupported=1", "badstate=1"}},
		{"update of an entry that is gone: asked for anew", pfstate.WriteUpdate, pfstate.ErrNoState, []string{"UPD_REQ 0000000000000001/bbbbbbbb"}, 0, []string{"resyncmended=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
				r.forget()
				r.table(pfstate.Change{Kind: pfstate.Refused, Op: c.op, State: s, Err: c.err})
				r.expect(c.sent...)
				r.counted(c.counts...)
				if got := r.status().Imported; got != c.left {
					t.Errorf("%d states left, want %d", got, c.left)
				}
			})
		})
	}
}

// What a peer ended while a dump runs, or between its order and its beginning,
// does not come back by a line of it, though the table calls it by another id.
func TestDumpDoesNotReviveWhatAPeerEnded(t *testing.T) {
	for _, early := range []bool{false, true} {
		within(t, func(r *rig) {
			s := tcp(them, 1, estab, estab)
			r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
			r.table(pfstate.Change{Kind: pfstate.Overrun})
			begin := pfstate.Change{Kind: pfstate.DumpBegin}
			if !early {
				r.table(begin)
			}
			r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, s.ID) })
			if early {
				r.table(begin)
			}
			r.forget()
			line := s
			line.ID = pfstate.ID{State: 77, Creator: us}
			r.table(pfstate.Change{Kind: pfstate.Seen, State: line, Ref: 5}, pfstate.Change{Kind: pfstate.DumpEnd})
			r.expect()
		})
	}
}

// The kernel may have walked on before an import that was ordered after the dump.
func TestDumpDoesNotEndWhatCameAfterItsOrder(t *testing.T) {
	within(t, func(r *rig) {
		r.table(pfstate.Change{Kind: pfstate.Overrun})
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 1, estab, estab))) })
		r.table(pfstate.Change{Kind: pfstate.DumpBegin}, pfstate.Change{Kind: pfstate.DumpEnd})
		if got := r.status().Imported; got != 1 {
			t.Errorf("%d imported states, want 1", got)
		}
	})
}

// A bulk update that ends before a large table has been read offers and serves it none the less.
func TestFirstDumpOutlastsTheBulkUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.linkUp()
		r.expect() // what the table holds is told with the request, if it is read soon
		time.Sleep(5 * time.Second)
		r.expect(bulkRequest)
		r.bus(wire.BusStart)
		r.bus(wire.BusEnd)
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		r.expect()
		r.dump(tcp(us, 1, estab, estab))
		time.Sleep(time.Second)
		r.expect("INS 0000000000000001/aaaaaaaa 4:4", "BUS aaaaaaaa 1", "UPD 0000000000000001/aaaaaaaa 4:4", "BUS aaaaaaaa 2")
		r.end()
	})
}

// What was shown on pfsync0 alone has been told to nobody.
func TestStatesOfATimeWithoutSyncdevAreOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.dump(tcp(us, 2, estab, estab))
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.table(created(tcp(us, 1, estab, estab)))
		time.Sleep(time.Minute)
		r.linkUp()
		r.expect(bulkRequest)
		r.bus(wire.BusStart)
		r.bus(wire.BusEnd)
		r.expect("INS 0000000000000002/aaaaaaaa 4:4", "INS 0000000000000001/aaaaaaaa 4:4")
		r.end()
	})
}

// The answer to a probe may be about a predecessor.
func TestAbsentPredecessor(t *testing.T) {
	within(t, func(r *rig) {
		before, after := created(udp(us, 1, 2, 2)), created(udp(us, 1, 1, 0))
		before.Ref, after.Ref, after.State.ID.State = 5, 6, 2
		r.table(before)
		r.table(after)
		r.forget()
		r.table(pfstate.Change{Kind: pfstate.Absent, Ref: 5, State: before.State})
		r.expect()
	})
}

// An answer that was given before the owner's last update was written says nothing of it.
func TestProbeOvertakenByAnUpdate(t *testing.T) {
	within(t, func(r *rig) {
		s := udp(them, 1, pfstate.Multiple, pfstate.Multiple)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		time.Sleep(26 * time.Second)
		r.forget()
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		s.Expire = 34 * time.Second
		r.table(pfstate.Change{Kind: pfstate.Seen, State: s})
		time.Sleep(20 * time.Second)
		s.Expire = 100 * time.Second // of the 120 that the update began
		r.table(pfstate.Change{Kind: pfstate.Seen, State: s})
		r.expect()
	})
}

// A peer that is a BSD gives its copies pf's lifetimes, which may be shorter than the
// kernel's: they must hear of renewals in time.
func TestRenewalsAreToldWithinPfsLifetimes(t *testing.T) {
	gre := udp(us, 1, pfstate.Multiple, pfstate.Multiple)
	gre.Proto, gre.Timeout = pfstate.ProtoGRE, pfstate.OtherMultiple
	for _, c := range []struct {
		name       string
		s          pfstate.State
		kernel, pf time.Duration
	}{
		{"tcp", tcp(us, 1, estab, estab), 432000 * time.Second, 24 * time.Hour},
		{"gre", gre, 180 * time.Second, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				c.s.Expire = c.kernel
				r.table(created(c.s))
				r.forget()
				for passed := time.Duration(0); passed < c.pf; passed += 5 * time.Second {
					time.Sleep(5 * time.Second)
					for range r.ordered() { // a probe: the flow is alive
						r.table(pfstate.Change{Kind: pfstate.Seen, State: c.s})
					}
				}
				if sent, _ := r.told(); len(sent) == 0 {
					t.Errorf("no update within the %v that a copy lives there", c.pf)
				}
			})
		})
	}
}

// Also with very many short-lived states each is asked after in time.
func TestProbesReachEveryState(t *testing.T) {
	const n = 100000
	within(t, func(r *rig) {
		for first := 0; first < n; first += 1000 {
			var all []pfstate.Change
			for i := first; i < first+1000; i++ {
				s := udp(us, i+1, pfstate.Multiple, pfstate.Single)
				orig := pfstate.Tuple{Src: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Dst: netip.AddrFrom4([4]byte{192, 0, 2, 1}), SrcPort: 9, DstPort: 53}
				s.SetTuples(orig, orig.Reversed(), 0)
				s.Expire = 30 * time.Second
				all = append(all, created(s))
			}
			r.table(all...)
		}
		time.Sleep(2 * time.Second)
		r.forget()
		probed := make(map[pfstate.ID]bool)
		for range 100 {
			time.Sleep(250 * time.Millisecond)
			var answers []pfstate.Change
			for _, w := range r.ordered() {
				probed[w.State.ID] = true
				w.State.Expire = 30 * time.Second
				answers = append(answers, pfstate.Change{Kind: pfstate.Seen, State: w.State})
			}
			r.table(answers...)
		}
		if len(probed) < n {
			t.Errorf("%d of %d asked after within 27 of their 30 s", len(probed), n)
		}
	})
}

// A table that cannot be read to its end is said once, and once that it was read after all.
func TestDumpThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		time.Sleep(time.Minute)
		r.dump()
		time.Sleep(time.Minute)
		for text, want := range map[string]int{"reading the state table does not end": 1, "state table has been read": 1} {
			if n := len(r.logged(text)); n != want {
				t.Errorf("%q was said %d times, want %d", text, n, want)
			}
		}
		r.end()
	})
}
