package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const bulkRequest = "UPD_REQ 0000000000000000/00000000"

func (r *rig) bulkIs(want string, ok bool) {
	r.t.Helper()
	if s := r.status(); s.Bulk != want || s.SyncOK != ok {
		r.t.Errorf("after %v the bulk update is %s, syncok %v; want %s, %v", time.Since(r.start), s.Bulk, s.SyncOK, want, ok)
	}
}

// Twelve tries, two seconds each (OpenBSD if_pfsync.c), then again when a peer is heard.
func TestBulkRequestIsRepeatedAndGivenUp(t *testing.T) {
	asking(t, nil, func(r *rig) {
		for try := 2; try <= 12; try++ {
			r.bulkIs("sent", false)
			time.Sleep(2 * time.Second)
			r.expect(bulkRequest)
		}
		time.Sleep(2 * time.Second)
		r.expect()
		r.bulkIs("failed", false)
		r.counted("bulkrequests=1", "bulkfailed=1")

		time.Sleep(time.Minute)
		r.expect() // nobody there
		r.table(created(tcp(us, 1, synSent, closed)))
		r.forget()
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 2, estab, estab))) })
		time.Sleep(1100 * time.Millisecond)
		r.expect(bulkRequest)
		r.bus(wire.BusStart)
		r.bus(wire.BusEnd)
		r.bulkIs("done", true)
	})
}

func TestBulkUpdateIsReceived(t *testing.T) {
	asking(t, nil, func(r *rig) {
		r.bus(wire.BusStart)
		r.bulkIs("bulk", false)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, ptr(tcp(them, 1, estab, estab))) })
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
		r.bus(wire.BusEnd)
		r.bulkIs("done", true)
		time.Sleep(time.Minute)
		r.expect()
		r.counted("bulkdone=1", "bulkfailed=0")
	})
}

// OpenBSD answers with a bare end when it holds nothing.
func TestBareEndEndsTheRequest(t *testing.T) {
	asking(t, nil, func(r *rig) {
		r.bus(wire.BusEnd)
		r.bulkIs("done", true)
	})
}

// An answer that stops coming is asked for again; one that comes slowly is not.
func TestSilentBulkIsAskedForAgain(t *testing.T) {
	asking(t, nil, func(r *rig) {
		r.bus(wire.BusStart)
		for n := range 10 {
			time.Sleep(4 * time.Second)
			r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, ptr(tcp(them, n+1, estab, estab))) })
		}
		r.expect()
		time.Sleep(6 * time.Second)
		r.expect(bulkRequest)
		r.bulkIs("sent", false)
	})
}

func TestBulkWaitsForTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.dump()
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.bulkIs("start", false)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		r.bulkIs("failed", false)
		r.linkUp()
		r.expect(bulkRequest)
		r.linkDown()
		r.linkUp()
		r.expect(bulkRequest)
		r.counted("bulkrequests=2")
		r.end()
	})
}

// No configuration that changes nothing leads to a request (field complaint 12-1).
func TestSettingTheSameAgainAsksNothing(t *testing.T) {
	within(t, func(r *rig) {
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.configure(func(s *engine.Settings) { s.Up, s.MaxUpd, s.Defer = true, 64, true })
		r.linkUp()
		time.Sleep(time.Minute)
		r.expect()
	})
}

func TestBulkUpdateIsServed(t *testing.T) {
	within(t, func(r *rig) {
		var all []pfstate.Change
		for n := range 7 {
			all = append(all, created(tcp(us, n+1, estab, estab)))
		}
		r.table(all...)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 100, estab, estab))) })
		r.forget()
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		time.Sleep(time.Second)
		want := []string{"BUS aaaaaaaa 1"}
		for n := range 7 {
			want = append(want, fmt.Sprintf("UPD %016x/aaaaaaaa 4:4", n+1))
		}
		r.expect(append(want, "UPD 0000000000000064/bbbbbbbb 4:4", "BUS aaaaaaaa 2")...)
		r.counted("bulkserved=1")
	})
}

// OpenBSD overlooks an end without a start, and every mark of a section but the first.
func TestBulkUpdateOfAnEmptyTable(t *testing.T) {
	within(t, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		sent, sizes := r.told()
		if !slices.Equal(sent, []string{"BUS aaaaaaaa 1", "BUS aaaaaaaa 2"}) || len(sizes) != 2 {
			t.Errorf("sent %q in %d packets, want start and end in one each", sent, len(sizes))
		}
	})
}

// A bulk update is paced, and goes on while states come and go. Who asks
// meanwhile gets a whole one after it.
func TestLargeBulkUpdate(t *testing.T) {
	const n = 5000
	within(t, func(r *rig) {
		var all []pfstate.Change
		for i := range n {
			all = append(all, created(tcp(us, i+1, estab, estab)))
		}
		r.table(all...)
		time.Sleep(time.Second)
		synctest.Wait()
		r.forget()
		ask := func() { r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) }) }
		begin := time.Now()
		ask()
		ask()
		told := map[string]int{}
		var ends []time.Duration
		for len(ends) < 2 && time.Since(begin) < 10*time.Second {
			time.Sleep(time.Millisecond)
			sent, _ := r.told()
			for _, m := range sent {
				told[m]++
				if m == "BUS aaaaaaaa 2" {
					ends = append(ends, time.Since(begin))
				}
			}
		}
		if len(told) != n+2 || told["UPD 0000000000000001/aaaaaaaa 4:4"] != 2 || told["BUS aaaaaaaa 1"] != 2 {
			t.Errorf("%d different messages, want %d states and two marks, each twice", len(told), n)
		}
		if len(ends) != 2 || ends[0] < 50*time.Millisecond || ends[1] < 2*ends[0]-5*time.Millisecond {
			t.Errorf("ended after %v, want two paced updates one after the other", ends)
		}
		r.counted("bulkserved=2", "bulkrepeated=1")
	})
}

// Two firewalls with one creatorid destroy each other's states: it is said.
func TestOwnCreatoridFromAnotherFirewall(t *testing.T) {
	within(t, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.Bus(wire.Bus{Creator: us, Status: wire.BusStart}) })
		r.counted("owncreator=1")
	})
}

// A peer that comes up while we ask did not hear the request.
func TestNewPeerIsAskedAtOnce(t *testing.T) {
	asking(t, nil, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		r.expect(bulkRequest, "BUS aaaaaaaa 1", "BUS aaaaaaaa 2")
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 1, estab, estab))) })
		r.expect()
	})
}

// The end of an answer to another firewall is not the end of ours.
func TestForeignEndIsOverlooked(t *testing.T) {
	asking(t, nil, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, ptr(tcp(them, 1, estab, estab))) })
		r.bus(wire.BusEnd)
		r.bulkIs("sent", false)
	})
}

// SIGTERM: what is pending goes out, also when it is more than one turn's packets.
func TestPendingMessagesLeaveAtTheEnd(t *testing.T) {
	const n = 20000
	within(t, func(r *rig) {
		var born, gone []pfstate.Change
		for i := range n {
			born = append(born, created(tcp(us, i+1, estab, estab)))
			gone = append(gone, deleted(tcp(us, i+1, estab, estab)))
		}
		r.table(born...)
		time.Sleep(2 * time.Second)
		r.forget()
		r.table(gone...)
		r.end()
		if sent, _ := r.told(); len(sent) != n {
			t.Errorf("%d of %d deletes sent", len(sent), n)
		}
	})
}

// A peer that ended its bulk update, a part of it still missing, and restarts has not
// ended the one that comes after.
func TestRestartBeforeABulkUpdateIsWhole(t *testing.T) {
	asking(t, nil, func(r *rig) {
		time.Sleep(100 * time.Millisecond) // the engine's own clock is never 0
		p := r.linux(theirAddr, them, theirEpoch)
		bus := func(status wire.BusStatus) messagesOf {
			return func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: status}) }
		}
		p.send(0, bus(wire.BusStart), nil)
		p.next(0, nil, nil) // lost
		p.send(0, bus(wire.BusEnd), nil)
		if got := r.status().Bulk; got != "bulk" {
			t.Fatalf("bulk update is %q, want it to wait for what is missing", got)
		}
		again := r.linux(theirAddr, them, theirEpoch+1)
		again.beacon()
		if got := r.status().Bulk; got == "done" {
			t.Error("bulk update is done by the end of one that was never whole")
		}
	})
}
