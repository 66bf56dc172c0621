package ipsec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	tellEvery = time.Second // of an SA that is used all the time, as pf's own messages wait
	waiting   = 1 << 10     // peers' counters that wait for the kernel
)

// Config says where the SAs are.
type Config struct {
	NetNS int // file descriptor of a network namespace, 0: that of the calling thread
	Log   *slog.Logger
}

// Monitor follows the SAs that are used here and takes over peers' counters of theirs.
type Monitor struct {
	log    *slog.Logger
	events *netlink.Conn
	ask    *netlink.Conn
	used   chan []SA
	learn  chan SA
	counts counts
}

type counts struct {
	events, lost, bad, applied, unknown, stale, refused, dropped atomic.Uint64
}

// Open subscribes to the kernel's events; Run must follow. A kernel without IPsec is an error.
func Open(c Config) (*Monitor, error) {
	events, err := netlink.Dial(unix.NETLINK_XFRM, &netlink.Config{Groups: eventsGroupBit, NetNS: c.NetNS})
	if err != nil {
		return nil, fmt.Errorf("xfrm events: %w", err)
	}
	ask, err := netlink.Dial(unix.NETLINK_XFRM, &netlink.Config{NetNS: c.NetNS})
	if err != nil {
		events.Close()
		return nil, fmt.Errorf("xfrm: %w", err)
	}
	return &Monitor{log: c.Log, events: events, ask: ask, used: make(chan []SA), learn: make(chan SA, waiting)}, nil
}

// Used delivers the SAs that traffic has used here, each at most once a second.
func (m *Monitor) Used() <-chan []SA { return m.used }

// Learn gives an SA a peer's counters, if it is here and they are not behind its own. It
// never blocks: when the kernel is slow, what is too much is dropped, counted; the next
// message of the peer has it again.
func (m *Monitor) Learn(s SA) {
	select {
	case m.learn <- s:
	default:
		m.counts.dropped.Add(1)
	}
}

// Counters are those of pfsyncctl stats.
func (m *Monitor) Counters() []pfstate.Counter {
	c := &m.counts
	return []pfstate.Counter{
		{Name: "ipsec_events", Help: "times that the kernel told that an SA was used", Value: c.events.Load()},
		{Name: "ipsec_lost", Help: "times that the kernel lost such events", Value: c.lost.Load()},
		{Name: "ipsec_bad", Help: "such events that could not be read", Value: c.bad.Load()},
		{Name: "ipsec_applied", Help: "SAs given the counters of a peer", Value: c.applied.Load()},
		{Name: "ipsec_unknown", Help: "counters of SAs that are not here", Value: c.unknown.Load()},
		{Name: "ipsec_stale", Help: "counters of a peer that were behind ours", Value: c.stale.Load()},
		{Name: "ipsec_refused", Help: "counters of a peer that the kernel did not take", Value: c.refused.Load()},
		{Name: "ipsec_dropped", Help: "counters of a peer dropped because the kernel was slow", Value: c.dropped.Load()},
	}
}

// Run works until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	defer m.ask.Close()
	ctx, cancel := context.WithCancel(ctx)
	heard, ended := make(chan event, 64), make(chan error, 1)
	go func() { ended <- m.read(ctx, heard); cancel() }()
	m.work(ctx, heard)
	cancel()
	err := <-ended
	m.events.Close()
	return err
}

// work collects what is used and tells it each second, and carries out what is learnt.
func (m *Monitor) work(ctx context.Context, heard <-chan event) {
	collected := map[saKey]SA{}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	var due []SA
	for {
		var tell chan<- []SA
		if len(due) > 0 {
			tell = m.used
		}
		select {
		case <-ctx.Done():
			return
		case e := <-heard:
			s := e.sa
			if e.out {
				s.Replay += outMargin
			}
			collected[s.key()] = s
		case <-tick.C:
			if len(due) == 0 { // else nobody has taken them yet
				for _, s := range collected {
					due = append(due, s)
				}
				clear(collected)
			}
		case tell <- due:
			due = nil
		case s := <-m.learn:
			m.apply(s)
		}
	}
}

// apply asks the kernel for an SA and writes it if that is behind s.
func (m *Monitor) apply(s SA) {
	answer, err := m.ask.Execute(netlink.Message{
		Header: netlink.Header{Type: nl.XFRM_MSG_GETAE, Flags: netlink.Request},
		Data:   s.request(),
	})
	if errors.Is(err, unix.ESRCH) {
		m.counts.unknown.Add(1)
		return
	}
	var e event
	if err == nil && len(answer) != 1 {
		err = fmt.Errorf("%d answers", len(answer))
	}
	if err == nil {
		e, err = parseEvent(answer[0].Data)
	}
	if err == nil && (s.Replay < e.sa.Replay || s.Bytes < e.sa.Bytes) {
		m.counts.stale.Add(1)
		return
	}
	var body []byte
	if err == nil {
		body, err = e.with(s)
	}
	if err == nil {
		_, err = m.ask.Execute(netlink.Message{
			Header: netlink.Header{Type: nl.XFRM_MSG_NEWAE, Flags: netlink.Request | netlink.Acknowledge | netlink.Replace},
			Data:   body,
		})
	}
	if err != nil {
		m.counts.refused.Add(1)
		m.log.Debug("the kernel did not take the counters of an SA", "spi", fmt.Sprintf("%08x", s.SPI), "dst", s.Dst, "err", err)
		return
	}
	m.counts.applied.Add(1)
}

// read hands on the events that traffic has caused.
func (m *Monitor) read(ctx context.Context, heard chan<- event) error {
	defer context.AfterFunc(ctx, func() { m.events.SetReadDeadline(time.Unix(1, 0)) })()
	for ctx.Err() == nil {
		msgs, err := m.events.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, unix.ENOBUFS): // the next event of an SA has all again
			m.counts.lost.Add(1)
			continue
		case err != nil:
			return fmt.Errorf("xfrm events: %w", err)
		}
		for _, msg := range msgs {
			if msg.Header.Type != nl.XFRM_MSG_NEWAE {
				continue
			}
			e, err := parseEvent(msg.Data)
			if err != nil {
				m.counts.bad.Add(1)
				continue
			}
			if !e.used {
				continue // our own writing, or another's
			}
			m.counts.events.Add(1)
			select {
			case heard <- e:
			case <-ctx.Done():
			}
		}
	}
	return nil
}
