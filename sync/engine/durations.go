package engine

import (
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// duration numbers what is measured. Each is a name in metrics.
type duration uint8

const (
	sendDelay duration = iota
	applyDelay
	bulkAsked
	bulkTold
	numDurations
)

var (
	moments = []time.Duration{
		100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	}
	whiles = []time.Duration{
		10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	}
)

var durationTable = [numDurations]struct {
	name   string
	bounds []time.Duration
}{
	sendDelay:  {"senddelay", moments},
	applyDelay: {"applydelay", moments},
	bulkAsked:  {"bulkasked", whiles},
	bulkTold:   {"bulktold", whiles},
}

// spreadMax is how many bounds there may be, and one.
const spreadMax = 14

// durations counts each by how long it was.
type durations [numDurations]struct {
	counts [spreadMax]uint64
	sum    time.Duration
}

func (d *durations) add(k duration, took time.Duration) {
	i, _ := slices.BinarySearch(durationTable[k].bounds, took)
	d[k].counts[i]++
	d[k].sum += took
}

// list copies them.
func (d *durations) list() []pfstate.Histogram {
	all := make([]pfstate.Histogram, numDurations)
	for k, t := range durationTable {
		all[k] = pfstate.Histogram{
			Name: t.name, Bounds: t.bounds, Counts: slices.Clone(d[k].counts[:len(t.bounds)+1]), Sum: d[k].sum,
		}
	}
	return all
}

// Histograms returns how long things took: senddelay, from a change of the table to the packet that
// tells of it; applydelay, from a packet to the table that has carried out what it says (a sample);
// bulkasked and bulktold, bulk updates that came and that were told.
func (e *Engine) Histograms() (all []pfstate.Histogram, err error) {
	err = e.do(func() { all = e.durations.list() })
	return all, err
}

// fence waits for the table to have carried out the orders before it.
type fence struct {
	passed chan struct{} // nil: it is a sample
	since  time.Duration // of a sample: when the packet came
}

// sampleEvery is how often it is measured how long the table takes.
const sampleEvery = 100 * time.Millisecond

// sample has it measured how long the table takes with what the packets of this turn have
// ordered, now and then: the orders' acknowledgements would cost, one fence does not.
func (e *Engine) sample() {
	if e.orders.n == 0 || e.sampling || e.sampled != 0 && e.now-e.sampled < sampleEvery {
		return
	}
	e.sampling, e.sampled = true, e.now
	e.fence(fence{since: e.now})
}

func (e *Engine) fence(f fence) {
	e.fences = append(e.fences, f)
	e.write(pfstate.Write{Kind: pfstate.WriteFence, Notify: true})
}

// passed is the table's word that it has come to the first fence.
func (e *Engine) passed() {
	if len(e.fences) == 0 {
		return
	}
	f := e.fences[0]
	e.fences = slices.Delete(e.fences, 0, 1)
	if f.passed != nil {
		close(f.passed)
		return
	}
	e.sampling = false
	e.durations.add(applyDelay, e.now-f.since)
}
