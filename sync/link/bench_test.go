package link_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/sync/link"
)

// newLinks is two links, both up, at the ends of a wire.
func newLinks(tb testing.TB) (a, b *link.Link) {
	tb.Helper()
	w := newWire(tb)
	a, b = start(tb, w.a, sis2), start(tb, w.b, sis2)
	awaitUp(tb, a)
	awaitUp(tb, b)
	return a, b
}

// drain takes all of b's packets until stop is called.
func drain(b *link.Link) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case batch := <-b.Received():
				batch.Free()
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-ended }
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) {
		a, b := newLinks(t)
		allocatesNothing(t, a, b)
	})
	t.Run("IPv6", func(t *testing.T) {
		w := newWire6(t)
		a, b := start(t, w.a, ff12), start(t, w.b, ff12)
		awaitUp(t, a)
		awaitUp(t, b)
		allocatesNothing(t, a, b)
	})
}

func allocatesNothing(t *testing.T, a, b *link.Link) {
	t.Helper()
	payloads := make([][]byte, 100)
	for i := range payloads {
		payloads[i] = make([]byte, 1400)
	}
	turn := func() {
		for sent := 0; sent < len(payloads); {
			n, _ := a.Send(payloads[sent:])
			sent += n
		}
		for got := 0; got < len(payloads); {
			batch := <-b.Received()
			got += len(batch.Items)
			batch.Free()
		}
	}
	for range 10 { // until there are enough batches
		turn()
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations for %d packets sent and received", n, len(payloads))
	}
}

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{200, 1400} {
		b.Run(map[int]string{200: "200B", 1400: "1400B"}[size], func(b *testing.B) {
			l, other := newLinks(b)
			defer drain(other)()
			payloads := make([][]byte, 32)
			for i := range payloads {
				payloads[i] = make([]byte, size)
			}
			b.ReportAllocs()
			packets := 0
			for b.Loop() {
				n, err := l.Send(payloads)
				if n != len(payloads) {
					b.Fatal(n, err)
				}
				packets += n
			}
			b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(float64(counter(other, "link_receive_drops")), "drops")
		})
	}
}

// BenchmarkReceive measures sending and receiving together, nothing lost.
func BenchmarkReceive(b *testing.B) {
	l, other := newLinks(b)
	payloads := make([][]byte, 320)
	for i := range payloads {
		payloads[i] = make([]byte, 1400)
	}
	b.ReportAllocs()
	packets := 0
	for b.Loop() {
		if n, err := l.Send(payloads); n != len(payloads) {
			b.Fatal(n, err)
		}
		for got := 0; got < len(payloads); {
			batch := <-other.Received()
			got += len(batch.Items)
			batch.Free()
		}
		packets += len(payloads)
	}
	b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
}
