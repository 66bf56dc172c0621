package footprint_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/footprint"
)

// held is the heap's memory that the kernel has given and not got back.
func held() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys - m.HeapReleased
}

var sink []byte

// A burst's memory goes back, but not as long as it lasts.
func TestMemoryGoesBackAfterABurst(t *testing.T) {
	const size = 64 << 20
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go footprint.Run(ctx)
		time.Sleep(25 * time.Second) // what was allocated before this test
		before := held()
		var collections runtime.MemStats
		for range 3 {
			sink = make([]byte, size)
			for i := 0; i < size; i += 4096 {
				sink[i] = 1
			}
			sink = nil
			runtime.ReadMemStats(&collections)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			var m runtime.MemStats
			if runtime.ReadMemStats(&m); m.NumForcedGC != collections.NumForcedGC {
				t.Error("collected amid a burst")
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if now := held(); now > before+size/2 {
			t.Errorf("holds %d KiB, before the burst %d", now>>10, before>>10)
		}
	})
}
