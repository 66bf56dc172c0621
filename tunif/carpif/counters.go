package carpif

import (
	"sync/atomic"

	"github.com/pfsync-linux/pfsync/pfstate"
)

type counters struct {
	received, malformed     atomic.Uint64
	eventDrops, closedDrops atomic.Uint64
	readErrors, sent        atomic.Uint64
	sendErrors, announced   atomic.Uint64
	announceErrors, renewed atomic.Uint64
	serveErrors, made       atomic.Uint64
}

// Counters are the counters since New, in a fixed order.
func (s *System) Counters() []pfstate.Counter {
	c := &s.counters
	return []pfstate.Counter{
		{Name: "carpif_received", Help: "packets of protocol 112 received on carpdevs", Value: c.received.Load()},
		{Name: "carpif_malformed", Help: "packets dropped because their IP header was wrong", Value: c.malformed.Load()},
		{Name: "carpif_event_drops", Help: "packets not told to a carp interface because its queue was full", Value: c.eventDrops.Load()},
		{Name: "carpif_receive_drops", Help: "packets lost because a socket's queue was full", Value: s.receiveDrops()},
		{Name: "carpif_read_errors", Help: "errors while reading from a carpdev", Value: c.readErrors.Load()},
		{Name: "carpif_sent", Help: "adverts sent", Value: c.sent.Load()},
		{Name: "carpif_send_errors", Help: "adverts not sent", Value: c.sendErrors.Load()},
		{Name: "carpif_announced", Help: "gratuitous ARPs and unsolicited neighbour advertisements sent", Value: c.announced.Load()},
		{Name: "carpif_announce_errors", Help: "gratuitous ARPs and unsolicited neighbour advertisements not sent", Value: c.announceErrors.Load()},
		{Name: "carpif_served", Help: "times the addresses of a carp interface were set or renewed", Value: c.renewed.Load()},
		{Name: "carpif_serve_errors", Help: "times that failed in part or as a whole", Value: c.serveErrors.Load()},
		{Name: "carpif_made", Help: "carp interfaces made, those made anew included", Value: c.made.Load()},
	}
}

// receiveDrops includes those of the open sockets, which the kernel counts.
func (s *System) receiveDrops() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	drops := s.counters.closedDrops.Load()
	for _, p := range s.parents {
		drops += p.receiveDrops()
	}
	return drops
}
