package flowexport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	queueMax       = 1 << 13          // flows: a second of a busy firewall's
	linger         = time.Second      // that a record waits for others
	templatesEvery = 30 * time.Second // as pflow does: who missed them cannot read the rest
	sendPatience   = time.Second      // a datagram that the kernel does not take is lost
)

// Config says where to send what.
type Config struct {
	Target string // ipfix://ADDR:PORT or netflow9://ADDR:PORT
	Domain uint32 // the observation domain, or source id: whose flows these are
	Log    *slog.Logger
}

// Exporter sends the flows of states that have ended. Ended may be called while Run works,
// by one goroutine; Counters by any.
type Exporter struct {
	conn    net.Conn
	log     *slog.Logger
	flows   chan flow
	message message
	err     error // of sending last; nil: none

	records, packets, dropped, lost, refused atomic.Uint64
}

// Open makes an exporter. An error names the target.
func Open(c Config) (*Exporter, error) {
	p, to, err := parseTarget(c.Target)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", c.Target, err)
	}
	booted, err := bootTime()
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", c.Target, err)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", c.Target, err)
	}
	return newExporter(conn, c, message{protocol: p, booted: booted, domain: c.Domain}), nil
}

func newExporter(conn net.Conn, c Config, m message) *Exporter {
	return &Exporter{conn: conn, log: c.Log, flows: make(chan flow, queueMax), message: m}
}

func parseTarget(target string) (p protocol, to netip.AddrPort, err error) {
	scheme, rest, _ := strings.Cut(target, "://")
	switch scheme {
	case "ipfix":
		p = ipfix()
	case "netflow9":
		p = netflow9()
	default:
		return p, to, errors.New("not ipfix://ADDR:PORT or netflow9://ADDR:PORT")
	}
	if to, err = netip.ParseAddrPort(rest); err != nil || to.Port() == 0 {
		return p, to, errors.New("not a numeric address and port, as ipfix://192.0.2.1:4739 or ipfix://[2001:db8::1]:4739")
	}
	return p, to, nil
}

// bootTime is when the host began, to a hundredth of a second.
func bootTime() (time.Time, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	seconds, _, _ := strings.Cut(string(text), " ")
	up, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return time.Time{}, fmt.Errorf("/proc/uptime: %w", err)
	}
	return time.Now().Add(-up), nil
}

// Ended queues the flows of a state that has ended. It never blocks: what finds no room
// is dropped, and counted.
func (x *Exporter) Ended(end pfstate.End) {
	sent, answer, answered := flowsOf(&end, time.Now())
	x.queue(&sent)
	if answered {
		x.queue(&answer)
	}
}

func (x *Exporter) queue(f *flow) {
	select {
	case x.flows <- *f:
	default:
		x.dropped.Add(1)
	}
}

// Run sends what is queued until ctx ends, then what is left, and returns nil.
func (x *Exporter) Run(ctx context.Context) error {
	templates := time.NewTicker(templatesEvery)
	defer templates.Stop()
	waiting := time.NewTimer(linger)
	defer waiting.Stop()
	x.sendTemplates()
	for {
		select {
		case f := <-x.flows:
			if x.message.flows == 0 {
				waiting.Reset(linger)
			}
			x.add(&f)
		case <-waiting.C:
			x.send()
		case <-templates.C:
			x.sendTemplates()
		case <-ctx.Done():
			for len(x.flows) > 0 {
				f := <-x.flows
				x.add(&f)
			}
			x.send()
			return nil
		}
	}
}

// Close gives the socket back; Run must have returned.
func (x *Exporter) Close() error { return x.conn.Close() }

func (x *Exporter) add(f *flow) {
	if x.message.add(f) {
		return
	}
	x.send()
	x.message.add(f)
}

func (x *Exporter) sendTemplates() {
	x.send()
	x.message.addTemplates()
	x.send()
}

// send sends the message, if there is anything in it.
func (x *Exporter) send() {
	flows := x.message.flows
	if x.message.records == 0 || len(x.message.b) == 0 {
		return
	}
	b := x.message.finish(time.Now())
	err := x.write(b)
	sent := err
	if errors.Is(err, syscall.ECONNREFUSED) { // that was what became of the one before
		x.refused.Add(1)
		sent = x.write(b)
	}
	if sent != nil {
		x.lost.Add(uint64(flows))
	} else {
		x.packets.Add(1)
		x.records.Add(uint64(flows))
	}
	switch {
	case err != nil && x.err == nil:
		x.log.Warn("flow records do not reach the collector", "collector", x.conn.RemoteAddr(), "err", err)
	case err == nil && x.err != nil:
		x.log.Info("flow records are sent again", "collector", x.conn.RemoteAddr())
	}
	x.err = err
}

func (x *Exporter) write(b []byte) error {
	if err := x.conn.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return err
	}
	_, err := x.conn.Write(b)
	return err
}

// Counters are the exporter's.
func (x *Exporter) Counters() []pfstate.Counter {
	return []pfstate.Counter{
		{Name: "flow_records", Help: "flow records sent", Value: x.records.Load()},
		{Name: "flow_packets", Help: "packets with flow records, or their templates, sent", Value: x.packets.Load()},
		{Name: "flow_dropped", Help: "flow records dropped because they are sent too slowly", Value: x.dropped.Load()},
		{Name: "flow_lost", Help: "flow records lost because they could not be sent", Value: x.lost.Load()},
		{Name: "flow_refused", Help: "times that the collector's host refused a packet with flow records: nobody takes them there", Value: x.refused.Load()},
	}
}
