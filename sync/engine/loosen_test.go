package engine_test

import (
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// renewed are the numbers of the states whose windows the table was told to check no
// longer; nothing else may have been ordered.
func (r *rig) renewed() (ids []uint64) {
	r.t.Helper()
	for _, w := range r.ordered() {
		if w.Kind != pfstate.WriteUpdate || !w.Renew {
			r.t.Errorf("ordered %v of %v, renew %v", w.Kind, w.State.ID, w.Renew)
		}
		ids = append(ids, w.State.ID.State)
	}
	return ids
}

// While the daemon was away a peer may have carried its connections.
func TestWindowsAreNotCheckedAfterARestart(t *testing.T) {
	states := []pfstate.State{tcp(us, 1, estab, estab), udp(us, 2, pfstate.Multiple, pfstate.Multiple)}
	askingAs(t, engine.Config{}, states, func(r *rig) {
		r.bus(wire.BusStart)
		r.bus(wire.BusEnd)
		if ids := r.renewed(); len(ids) != 1 || ids[0] != 1 {
			t.Errorf("loosened %d, want 1", ids)
		}
		r.counted("loosened=1")
	})
}

// Where nobody answers, nobody has carried them.
func TestWindowsOfALoneFirewallAreChecked(t *testing.T) {
	askingAs(t, engine.Config{}, []pfstate.State{tcp(us, 1, estab, estab)}, func(r *rig) {
		time.Sleep(time.Minute)
		r.counted("bulkfailed=1", "loosened=0")
	})
}

func TestWindowsAreNotCheckedOnceTheTrafficIsElsewhere(t *testing.T) {
	within(t, func(r *rig) {
		const n = 10000
		for i := range n {
			r.table(created(tcp(us, i+2, estab, estab)))
		}
		r.table(created(udp(us, 1, pfstate.Multiple, pfstate.Multiple)))
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, n+100, estab, estab))) })
		r.forget()
		for round, want := range []int{n, 0} {
			if err := r.engine.Yield(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if ids := r.renewed(); len(ids) != want {
				t.Errorf("round %d: loosened %d, want %d", round, len(ids), want)
			}
		}
	})
}
