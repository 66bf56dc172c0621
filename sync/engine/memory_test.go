package engine_test

import (
	"runtime"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// live is the memory in use, garbage not counted.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What 200,000 states take in the engine that has them, and in that of a peer. The bound
// is for two daemons with 500,000 states beside a pair of conntrackd (274 MB).
func TestStatesTakeLittleMemory(t *testing.T) {
	const n, most = 200000, 110
	number := func(i int) pfstate.State {
		s := tcp(us, i, estab, estab)
		s.Wire.Port[1], s.Stack.Port[1] = uint16(i>>16), uint16(i>>16)
		return s
	}
	measure := func(name string, fill func(f *feed)) {
		f := newFeed(t)
		before := live()
		fill(f)
		per := float64(live()-before) / n
		t.Logf("%s: %.0f bytes a state", name, per)
		if per > most {
			t.Errorf("%s: %.0f bytes a state, want at most %d", name, per, most)
		}
		runtime.KeepAlive(f)
	}
	measure("own", func(f *feed) {
		for at := 0; at < n; at += inBatch {
			var all []pfstate.Change
			for i := range inBatch {
				all = append(all, created(number(at+i)))
			}
			f.report(all)
		}
	})
	measure("a peer's", func(f *feed) {
		for at := 0; at < n; at += inBatch {
			b := f.packets.Take()
			for i := range inBatch {
				s := number(at + i)
				s.ID.Creator = them
				b.Items = append(b.Items, packet(func(w *wire.Writer) { w.State(wire.ActIns, &s) }))
			}
			f.received <- b
			for got := 0; got < inBatch; {
				got += <-f.orders
			}
		}
	})
}
