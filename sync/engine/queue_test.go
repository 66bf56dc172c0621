package engine_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	synSent = pfstate.TCPSynSent
	closed  = pfstate.TCPClosed
	estab   = pfstate.TCPEstablished
	closing = pfstate.TCPClosing
	finWait = pfstate.TCPFinWait2
)

func TestLocalChangesAreSentAtOnceWhenIdle(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, synSent, closed)))
		r.expect("INS 0000000000000001/aaaaaaaa 2:0")
		r.table(updated(tcp(us, 1, estab, estab)))
		r.expect("UPD_C 0000000000000001/aaaaaaaa 4:4")
		r.table(deleted(tcp(us, 1, estab, estab)))
		r.expect("DEL_C 0000000000000001/aaaaaaaa")
		if took := time.Since(r.start); took != 0 {
			t.Errorf("took %v on an idle engine, want no delay", took)
		}
		r.counted("oacts.INS ST=1", "oacts.UPD ST COMP=1", "oacts.DEL ST COMP=1", "opackets=3")
	})
}

// What comes in one go becomes one message, by pf's rules for each queue.
func TestChangesCollapseByQueue(t *testing.T) {
	one, moved := tcp(us, 1, synSent, closed), tcp(us, 1, estab, estab)
	for _, c := range []struct {
		name    string
		known   bool // the state has been inserted before
		changes []pfstate.Change
		want    []string
	}{
		{"insert and updates: an insert of the last", false, []pfstate.Change{created(one), updated(moved), updated(moved)},
			[]string{"INS 0000000000000001/aaaaaaaa 4:4"}},
		{"updates: one", true, []pfstate.Change{updated(one), updated(moved)}, []string{"UPD_C 0000000000000001/aaaaaaaa 4:4"}},
		{"insert and delete: nothing", false, []pfstate.Change{created(one), deleted(one)}, nil},
		{"update and delete: a delete", true, []pfstate.Change{updated(moved), deleted(moved)}, []string{"DEL_C 0000000000000001/aaaaaaaa"}},
		{"delete and its successor, in this order", true, []pfstate.Change{deleted(one), created(tcpSuccessor(one))},
			[]string{"DEL_C 0000000000000001/aaaaaaaa", "INS 0000000000000063/aaaaaaaa 2:0"}},
		{"a successor whose predecessor's end was lost", true, []pfstate.Change{created(tcpSuccessor(one))},
			[]string{"DEL_C 0000000000000001/aaaaaaaa", "INS 0000000000000063/aaaaaaaa 2:0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				if c.known {
					r.table(created(one))
					r.expect("INS 0000000000000001/aaaaaaaa 2:0")
				}
				r.table(c.changes...)
				r.expect(c.want...)
			})
		})
	}
}

// tcpSuccessor is a new connection between the same ports.
func tcpSuccessor(s pfstate.State) pfstate.State {
	s.ID.State = 99
	return s
}

func TestSectionsComeInPfsOrder(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)), created(tcp(us, 2, estab, estab)), created(tcp(us, 3, estab, estab)))
		r.expect("INS 0000000000000001/aaaaaaaa 4:4", "INS 0000000000000002/aaaaaaaa 4:4", "INS 0000000000000003/aaaaaaaa 4:4")
		r.table(created(tcp(us, 4, synSent, closed)), deleted(tcp(us, 1, estab, estab)), updated(tcp(us, 2, closing, estab)))
		r.expect("UPD_C 0000000000000002/aaaaaaaa 7:4", "DEL_C 0000000000000001/aaaaaaaa", "INS 0000000000000004/aaaaaaaa 2:0")
	})
}

func TestPacketsKeepToTheMTU(t *testing.T) {
	within(t, func(r *rig) {
		var all []pfstate.Change
		for n := range 12 {
			all = append(all, created(tcp(us, n+1, synSent, closed)))
		}
		r.table(all...)
		// Five states a packet at MTU 1500 (pfsync-protocol.md 1.5).
		_, sizes := r.told()
		full := wire.HeaderLen + wire.SubheaderLen + 5*wire.StateLen
		if want := []int{full, full, wire.HeaderLen + wire.SubheaderLen + 2*wire.StateLen}; !slices.Equal(sizes, want) {
			t.Errorf("packets of %v bytes, want %v", sizes, want)
		}

		r.configure(func(s *engine.Settings) { s.Up, s.MTU = true, 600 })
		r.table(created(tcp(us, 20, synSent, closed)), created(tcp(us, 21, synSent, closed)), created(tcp(us, 22, synSent, closed)))
		if _, sizes := r.told(); len(sizes) != 3 || slices.Max(sizes) > 580 {
			t.Errorf("packets of %v bytes at mtu 600", sizes)
		}
	})
}

// Input that never pauses does not hold messages back for more than a second.
func TestNothingWaitsLongerThanASecond(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, synSent, closed)))
		r.forget()
		var taken, sent time.Time
		var wait sync.WaitGroup
		// Slow requests, each followed by the next: one is always waiting.
		for range 5 {
			wait.Go(func() {
				for done := false; !done; {
					r.engine.States(func(*pfstate.State) bool {
						time.Sleep(100 * time.Millisecond)
						if taken.IsZero() && len(r.changes) == 0 {
							taken = time.Now()
						}
						r.mu.Lock()
						if sent.IsZero() && len(r.sent) > 0 {
							sent = time.Now()
						}
						r.mu.Unlock()
						done = !sent.IsZero()
						return false
					})
				}
			})
		}
		synctest.Wait()
		b := r.batches.Take()
		b.Items = append(b.Items, updated(tcp(us, 1, estab, estab)))
		r.changes <- b
		wait.Wait()
		if waited := sent.Sub(taken); waited < 800*time.Millisecond || waited > 1200*time.Millisecond {
			t.Errorf("sent after %v of unbroken input, want about a second", waited)
		}
	})
}

// A TCP state that changed maxupd times leaves although input is waiting;
// others collapse with what is still to come, here their end.
func TestMaxupdPushes(t *testing.T) {
	tcpState, udpState := tcp(us, 1, estab, estab), udp(us, 1, pfstate.Single, pfstate.Single)
	for _, c := range []struct {
		name   string
		maxupd int
		state  pfstate.State
		want   []string
	}{
		{"TCP at the limit", 3, tcpState, []string{"UPD_C 0000000000000001/aaaaaaaa 4:4", "DEL_C 0000000000000001/aaaaaaaa"}},
		{"TCP below it", 4, tcpState, []string{"DEL_C 0000000000000001/aaaaaaaa"}},
		{"UDP never", 3, udpState, []string{"DEL_C 0000000000000001/aaaaaaaa"}},
		{"0 is taken as 1", 0, tcpState, []string{"UPD_C 0000000000000001/aaaaaaaa 4:4", "DEL_C 0000000000000001/aaaaaaaa"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.table(created(c.state))
				r.forget()
				r.configure(func(s *engine.Settings) { s.Up, s.MaxUpd = true, c.maxupd })
				// The first queues it, three more are counted.
				r.backlog([]pfstate.Change{updated(c.state), updated(c.state), updated(c.state), updated(c.state)},
					[]pfstate.Change{deleted(c.state)})
				r.expect(c.want...)
			})
		})
	}
}

// An update of a state that a peer spoke of within two seconds does not wait:
// both firewalls see its packets.
func TestUpdatesOfSharedStatesArePushed(t *testing.T) {
	s := udp(them, 1, pfstate.Single, pfstate.Single)
	for _, c := range []struct {
		name  string
		after time.Duration
		want  []string
	}{
		{"heard of just now", 1900 * time.Millisecond, []string{"UPD_C 0000000000000001/bbbbbbbb 1:1", "DEL_C 0000000000000001/bbbbbbbb"}},
		{"heard of long ago", 2100 * time.Millisecond, []string{"DEL_C 0000000000000001/bbbbbbbb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
				time.Sleep(c.after)
				r.expect()
				r.backlog([]pfstate.Change{updated(s)}, []pfstate.Change{deleted(s)})
				r.expect(c.want...)
			})
		})
	}
}

func TestNothingIsSentWhileDown(t *testing.T) {
	within(t, func(r *rig) {
		r.configure(func(s *engine.Settings) { s.Up = false })
		r.table(created(tcp(us, 1, synSent, closed)))
		r.expect()
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 1, estab, estab))) })
		r.wrote()
		r.counted("notrunning=1")
		if r.status().Bulk != "none" {
			t.Errorf("bulk %s while down", r.status().Bulk)
		}
		// Up again: what the peers have not heard of is offered once the request has ended.
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.expect("UPD_REQ 0000000000000000/00000000")
		r.deliver(func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd}) })
		r.expect("INS 0000000000000001/aaaaaaaa 2:0")
	})
}

// A link that is down holds messages back, collapsed, and sends them when it returns.
func TestChangesWaitForTheLink(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, synSent, closed)), created(tcp(us, 2, estab, estab)))
		r.forget()
		r.linkDown()
		r.table(updated(tcp(us, 1, estab, estab)), deleted(tcp(us, 2, estab, estab)))
		r.table(updated(tcp(us, 1, closing, estab)), created(tcp(us, 3, synSent, closed)))
		time.Sleep(time.Minute)
		r.expect()
		r.linkUp()
		r.expect("UPD_REQ 0000000000000000/00000000",
			"UPD_C 0000000000000001/aaaaaaaa 7:4", "DEL_C 0000000000000002/aaaaaaaa", "INS 0000000000000003/aaaaaaaa 2:0")
	})
}

func TestWithoutSyncdevChangesAppearOnPfsync0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.dump()
		r.configure(func(s *engine.Settings) { s.Up = true })
		r.table(created(tcp(us, 1, synSent, closed)))
		r.expect()
		if r.shown != 1 {
			t.Errorf("%d packets on pfsync0, want 1", r.shown)
		}
		r.end()
	})
}

func TestPacketsNotSentAreCounted(t *testing.T) {
	within(t, func(r *rig) {
		r.breaks.Store(true)
		r.table(created(tcp(us, 1, synSent, closed)))
		r.counted("oerrors=1", "opackets=0")
		if r.shown != 2 {
			t.Errorf("%d packets on pfsync0, want the request and the insert", r.shown)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// What was lost while packets could not leave is told once they do, and both is logged once.
func TestLostPacketsAreMended(t *testing.T) {
	within(t, func(r *rig) {
		r.breaks.Store(true)
		r.table(created(tcp(us, 1, synSent, closed)))
		time.Sleep(time.Second)
		r.table(created(tcp(us, 2, synSent, closed)))
		if s := r.status(); s.SendErr == nil {
			t.Error("nothing is shown of the failure")
		}
		r.breaks.Store(false)
		r.forget()
		time.Sleep(7 * time.Second)
		r.expect("BUS aaaaaaaa 1", "UPD 0000000000000001/aaaaaaaa 2:0", "UPD 0000000000000002/aaaaaaaa 2:0", "BUS aaaaaaaa 2")
		if s := r.status(); s.SendErr != nil {
			t.Errorf("still shown: %v", s.SendErr)
		}
	})
}

func TestSyncIsNotOKWithoutALink(t *testing.T) {
	within(t, func(r *rig) {
		if !r.status().SyncOK {
			t.Error("syncok 0 after a bulk update")
		}
		r.linkDown()
		if r.status().SyncOK {
			t.Error("syncok 1 on a dead link")
		}
	})
}
