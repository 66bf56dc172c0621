package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// carpStates are all that a carp interface can be in.
var carpStates = []string{"init", "backup", "master"}

func (c *collector) collectCarp(ch chan<- prometheus.Metric, gauge setGauge, interfaces []ifconfig.Interface, demotion []ifconfig.Demotion) {
	for _, i := range interfaces {
		if i.Carp == nil {
			continue
		}
		vhid := strconv.Itoa(i.Carp.VHID)
		for _, state := range carpStates {
			gauge(c.carp.state, one(strings.ToLower(i.Carp.State) == state), i.Name, vhid, i.Carp.CarpDev, state)
		}
		ch <- prometheus.MustNewConstMetric(c.carp.transitions, prometheus.CounterValue, float64(i.Carp.Changes), i.Name, vhid)
	}
	for _, d := range demotion {
		gauge(c.carp.demotion, float64(d.Count), d.Group)
		for _, s := range d.Shares {
			gauge(c.carp.share, float64(s.Count), d.Group, s.Reason)
		}
	}
}
