package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// heldFor begins the names of the counters that make a histogram: behind it is the upper bound
// of hold times in microseconds, "more" or "sum".
const heldFor = "deferhold."

// histogram is put together from them. A daemon that cannot hold packets has none.
type histogram struct {
	below map[float64]uint64 // by bound, in the order of rising bounds, all below it included
	count uint64
	sum   float64
}

func (h *histogram) add(name string, n uint64) {
	switch us, err := strconv.Atoi(name); {
	case err == nil:
		if h.below == nil {
			h.below = map[float64]uint64{}
		}
		h.count += n
		h.below[float64(us)/1e6] = h.count
	case name == "more":
		h.count += n
	case name == "sum":
		h.sum = float64(n) / 1e6
	}
}

func (h *histogram) collect(ch chan<- prometheus.Metric, d *prometheus.Desc) {
	if h.below != nil {
		ch <- prometheus.MustNewConstHistogram(d, h.count, h.sum, h.below)
	}
}
