package metrics

import (
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// Source is what is shown: a control.Node, which may be asked by many goroutines.
type Source interface {
	Counters() ([]pfstate.Counter, error)
	Histograms() ([]pfstate.Histogram, error)
	Interfaces() ([]ifconfig.Interface, error)
	Status() (control.Status, error)
	Demotion() ([]ifconfig.Demotion, error)
}

// collector asks its source at each scrape, and keeps nothing.
type collector struct {
	source  Source
	version string

	build, config                 *prometheus.Desc
	up, linkUp, syncOK            *prometheus.Desc
	bulk, states, queue           *prometheus.Desc
	entries, limit, readBuffer    *prometheus.Desc
	peer                          peerDescs
	received, sent, events, holds *prometheus.Desc
	carp                          carpDescs
	counters                      map[string]counterDesc // by the counter's name
	histograms                    map[string]counterDesc // by the histogram's
}

type peerDescs struct {
	info, state, inSync, heard, states, problems *prometheus.Desc
}

type carpDescs struct {
	state, transitions, demotion, share *prometheus.Desc
}

type counterDesc struct {
	desc   *prometheus.Desc
	values []string
}

// bulkStates and peerStates are all that control.Status can hold.
var (
	bulkStates = []string{"none", "start", "sent", "bulk", "done", "failed", "listening"}
	peerStates = []string{"up", "stale", "dead"}
)

// NewCollector returns what a prometheus.Registry takes. If the source does not answer,
// nothing but the error is collected.
func NewCollector(source Source, version string) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	c := &collector{
		source: source, version: version,
		build:      desc("pfsync_build_info", "What this program is; always 1.", "version", "goversion"),
		config:     desc("pfsync_config_info", "The settings of pfsync0; always 1.", "syncdev", "syncpeer", "defer", "maxupd", "key"),
		up:         desc("pfsync_up", "Whether pfsync0 is up."),
		linkUp:     desc("pfsync_link_up", "Whether the sync link is usable."),
		syncOK:     desc("pfsync_sync_ok", "Whether the sync link is up and a bulk update has come in whole since."),
		bulk:       desc("pfsync_bulk_state", "How far the bulk update has come: 1 for the state it is in.", "state"),
		states:     desc("pfsync_states", "States that are shared, by who made them.", "origin"),
		queue:      desc("pfsync_queue_entries", "Messages that wait to be sent."),
		entries:    desc("pfsync_conntrack_entries", "Entries of the state table, those that are not shared included."),
		limit:      desc("pfsync_conntrack_entries_limit", "How many entries the state table may hold; not there without a limit."),
		readBuffer: desc("pfsync_conntrack_read_buffer_bytes", "Receive buffer of the event socket as the kernel accounts it."),
		peer: peerDescs{
			info:     desc("pfsync_peer_info", "A firewall that is or was heard; always 1.", "peer", "kind"),
			state:    desc("pfsync_peer_state", "How a peer is doing: 1 for the state it is in.", "peer", "state"),
			inSync:   desc("pfsync_peer_in_sync", "Whether a peer's states are the same there and here; not there as long as that is unknown.", "peer"),
			heard:    desc("pfsync_peer_last_packet_timestamp_seconds", "When a peer was last heard.", "peer"),
			states:   desc("pfsync_peer_states", "States that a peer answers for, as far as known here.", "peer"),
			problems: desc("pfsync_peer_problems", "How many things are wrong with a peer; pfsyncctl peers names them.", "peer"),
		},
		carp: carpDescs{
			state:       desc("pfsync_carp_state", "The state of a carp interface: 1 for the one it is in.", "interface", "vhid", "carpdev", "state"),
			transitions: desc("pfsync_carp_transitions_total", "Changes of state of a carp interface since it was made.", "interface", "vhid"),
			demotion:    desc("pfsync_carp_demotion", "By how much the carp interfaces of a group are less fit to be master.", "group"),
			share:       desc("pfsync_carp_demotion_share", "The part that one reason has in the demotion of a group.", "group", "reason"),
		},
		received: desc("pfsync_received_messages_total", "Messages received, by action.", "action"),
		sent:     desc("pfsync_sent_messages_total", "Messages sent, by action.", "action"),
		holds:    desc("pfsync_defer_hold_seconds", "How long first packets of connections were held (defer)."),
		events:   desc("pfsync_events_total", "Other things that are counted, by their names in pfsyncctl stats.", "event"),
		counters: map[string]counterDesc{}, histograms: map[string]counterDesc{},
	}
	for _, f := range durations {
		d := desc(f.name, f.help, f.labels...)
		for _, r := range f.rows {
			c.histograms[r.counter] = counterDesc{d, r.values}
		}
	}
	for _, f := range families {
		d := desc(f.name, f.help, f.labels...)
		for _, r := range f.rows {
			c.counters[r.counter] = counterDesc{d, r.values}
		}
	}
	return c
}

// Describe is the prometheus.Collector's.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build, c.config, c.up, c.linkUp, c.syncOK, c.bulk, c.states, c.queue, c.entries, c.limit, c.readBuffer,
		c.peer.info, c.peer.state, c.peer.inSync, c.peer.heard, c.peer.states, c.peer.problems,
		c.received, c.sent, c.events, c.holds,
		c.carp.state, c.carp.transitions, c.carp.demotion, c.carp.share,
	} {
		ch <- d
	}
	for _, f := range families {
		ch <- c.counters[f.rows[0].counter].desc
	}
	for _, f := range durations {
		ch <- c.histograms[f.rows[0].counter].desc
	}
}

// Collect is the prometheus.Collector's.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	status, err := c.source.Status()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.up, err)
		return
	}
	interfaces, err := c.source.Interfaces()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.up, err)
		return
	}
	counters, err := c.source.Counters()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.up, err)
		return
	}
	demotion, err := c.source.Demotion()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.up, err)
		return
	}
	histograms, err := c.source.Histograms()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.up, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(c.build, 1, c.version, runtime.Version())
	c.collectInterface(gauge, interfaces)
	c.collectStatus(gauge, status)
	c.collectCarp(ch, gauge, interfaces, demotion)
	c.collectCounters(ch, gauge, counters)
	c.collectHistograms(ch, histograms)
}

type setGauge func(d *prometheus.Desc, value float64, labels ...string)

// collectInterface shows pfsync0, or that it is not there.
func (c *collector) collectInterface(gauge setGauge, interfaces []ifconfig.Interface) {
	var flags ifconfig.Flags
	syncOK := false
	for _, i := range interfaces {
		p := i.PFSync
		if p == nil {
			continue
		}
		flags, syncOK = i.Flags, p.SyncOK
		syncpeer := "" // the multicast group
		if p.Syncpeer.IsValid() {
			syncpeer = p.Syncpeer.String()
		}
		gauge(c.config, 1, p.Syncdev, syncpeer, strconv.FormatBool(p.Defer), strconv.Itoa(p.MaxUpd), string(p.Key))
	}
	gauge(c.up, one(flags&ifconfig.FlagUp != 0))
	gauge(c.linkUp, one(flags&ifconfig.FlagRunning != 0))
	gauge(c.syncOK, one(syncOK))
}

func (c *collector) collectStatus(gauge setGauge, s control.Status) {
	now := time.Now()
	for _, state := range bulkStates {
		gauge(c.bulk, one(s.Bulk == state), state)
	}
	gauge(c.states, float64(s.States.Local), "local")
	gauge(c.states, float64(s.States.Imported), "peer")
	gauge(c.queue, float64(s.Queued))
	gauge(c.entries, float64(s.Entries))
	if s.Limit > 0 {
		gauge(c.limit, float64(s.Limit))
	}
	for _, p := range s.Peers {
		peer := p.Addr.String()
		gauge(c.peer.info, 1, peer, p.Kind)
		for _, state := range peerStates {
			gauge(c.peer.state, one(p.State == state), peer, state)
		}
		if p.Sync != "unknown" {
			gauge(c.peer.inSync, one(p.Sync == "yes"), peer)
		}
		gauge(c.peer.heard, float64(now.Add(-time.Duration(p.Age)).UnixMilli())/1000, peer)
		gauge(c.peer.states, float64(p.States), peer)
		gauge(c.peer.problems, float64(len(p.Problems)), peer)
	}
}

func (c *collector) collectCounters(ch chan<- prometheus.Metric, gauge setGauge, counters []pfstate.Counter) {
	var holds histogram
	defer holds.collect(ch, c.holds)
	for _, k := range counters {
		if name, ok := strings.CutPrefix(k.Name, heldFor); ok {
			holds.add(name, k.Value)
			continue
		}
		d, values := c.events, []string{k.Name}
		if known, ok := c.counters[k.Name]; ok {
			d, values = known.desc, known.values
		} else if name, ok := strings.CutPrefix(k.Name, receivedAction); ok {
			d, values = c.received, []string{action(name)}
		} else if name, ok := strings.CutPrefix(k.Name, sentAction); ok {
			d, values = c.sent, []string{action(name)}
		} else if k.Name == readBuffer {
			gauge(c.readBuffer, float64(k.Value))
			continue
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(k.Value), values...)
	}
}

func (c *collector) collectHistograms(ch chan<- prometheus.Metric, list []pfstate.Histogram) {
	for _, h := range list {
		d, known := c.histograms[h.Name]
		if !known {
			continue // TestEveryHistogramHasAMetric
		}
		buckets, count := map[float64]uint64{}, uint64(0)
		for i, n := range h.Counts {
			if count += n; i < len(h.Bounds) {
				buckets[h.Bounds[i].Seconds()] = count
			}
		}
		ch <- prometheus.MustNewConstHistogram(d.desc, count, h.Sum.Seconds(), buckets, d.values...)
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
