package engine_test

import (
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// took is the sum of a histogram, and how many are in it.
func took(t *testing.T, list []pfstate.Histogram, name string) (sum time.Duration, count uint64) {
	t.Helper()
	for _, h := range list {
		if h.Name != name {
			continue
		}
		if len(h.Counts) != len(h.Bounds)+1 {
			t.Fatalf("%s: %d counts, %d bounds", name, len(h.Counts), len(h.Bounds))
		}
		for _, n := range h.Counts {
			count += n
		}
		return h.Sum, count
	}
	t.Fatalf("no histogram %s", name)
	return 0, 0
}

// What waits for the link counts as long as it waits; what a peer sends, until the table has done it.
func TestDelaysAreMeasured(t *testing.T) {
	within(t, func(r *rig) {
		list := func() []pfstate.Histogram {
			t.Helper()
			list, err := r.engine.Histograms()
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		before, n := took(t, list(), "senddelay")
		r.linkDown()
		r.table(created(tcp(us, 1, estab, estab)))
		time.Sleep(3 * time.Second)
		r.linkUp()
		r.forget()
		if sum, count := took(t, list(), "senddelay"); count <= n || sum-before < 2900*time.Millisecond || sum-before > 4*time.Second {
			t.Errorf("after 3 s without a link: %v in %d measurements", sum-before, count-n)
		}

		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(tcp(them, 3, estab, estab))) })
		if _, count := took(t, list(), "applydelay"); count != 0 {
			t.Error("measured before the table was done")
		}
		time.Sleep(30 * time.Millisecond)
		r.table(pfstate.Change{Kind: pfstate.Applied, Op: pfstate.WriteFence})
		sum, count := took(t, list(), "applydelay")
		if count != 1 || sum < 30*time.Millisecond || sum > 40*time.Millisecond {
			t.Errorf("the table took 30 ms: %v in %d measurements", sum, count)
		}
	})
}

// A pair asks for, and tells, bulk updates.
func TestBulkUpdatesAreMeasured(t *testing.T) {
	bubble(t, func(p *pair) {
		create(p.a, 1, 10)
		time.Sleep(3 * time.Second)
		if err := p.b.eng.RequestBulk(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		for f, name := range map[*firewall]string{p.b: "bulkasked", p.a: "bulktold"} {
			list, err := f.eng.Histograms()
			if err != nil {
				t.Fatal(err)
			}
			if _, count := took(t, list, name); count == 0 {
				t.Errorf("no %s", name)
			}
		}
	})
}
