package link

import (
	"sync/atomic"

	"github.com/pfsync-linux/pfsync/pfstate"
)

type counters struct {
	received, receivedBytes atomic.Uint64
	sent, sentBytes         atomic.Uint64
	sendDown, sendFull      atomic.Uint64
	sendTooBig, sendRefused atomic.Uint64
	sendOther               atomic.Uint64
	closedDrops             atomic.Uint64 // of sockets that are closed
	closedClear             atomic.Uint64
	malformed, otherGroup   atomic.Uint64
	reopened                atomic.Uint64
	readErrors              atomic.Uint64
}

// Counters are the link's counters since New, in a fixed order. Packets whose Send
// was refused are counted each time.
func (l *Link) Counters() []pfstate.Counter {
	c := &l.counters
	drops, clear := l.receiveDrops()
	return []pfstate.Counter{
		{Name: "link_received", Help: "packets received on the sync link", Value: c.received.Load()},
		{Name: "link_received_bytes", Help: "bytes received on the sync link, IP headers included", Value: c.receivedBytes.Load()},
		{Name: "link_sent", Help: "packets sent on the sync link", Value: c.sent.Load()},
		{Name: "link_sent_bytes", Help: "bytes sent on the sync link, IP headers included", Value: c.sentBytes.Load()},
		{Name: "link_send_down", Help: "packets not sent because the sync link was down", Value: c.sendDown.Load()},
		{Name: "link_send_full", Help: "packets not sent because the send queue was full", Value: c.sendFull.Load()},
		{Name: "link_send_toobig", Help: "packets not sent because they exceeded the mtu", Value: c.sendTooBig.Load()},
		{Name: "link_send_refused", Help: "packets not sent because a local firewall rule refused them", Value: c.sendRefused.Load()},
		{Name: "link_send_errors", Help: "packets not sent for other errors", Value: c.sendOther.Load()},
		{Name: "link_receive_drops", Help: "packets lost because the receive queue was full", Value: drops},
		{Name: "link_clear", Help: "packets dropped because they came in clear (syncdev enc0), or the receive queue was full", Value: clear},
		{Name: "link_malformed", Help: "packets dropped because their IP header was wrong", Value: c.malformed.Load()},
		{Name: "link_other_group", Help: "packets dropped because they were for another multicast group (IPv6)", Value: c.otherGroup.Load()},
		{Name: "link_read_errors", Help: "errors while reading from the sync link", Value: c.readErrors.Load()},
		{Name: "link_reopened", Help: "times the socket was opened again because its interface was made anew or lost an IPv6 address, or it failed", Value: c.reopened.Load()},
	}
}

// receiveDrops includes those of the open socket, which the kernel counts. Where a policy drops
// packets it has one counter for both.
func (l *Link) receiveDrops() (full, clear uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full, clear = l.counters.closedDrops.Load(), l.counters.closedClear.Load()
	switch {
	case l.open == nil:
	case l.open.path != nil:
		clear += uint64(l.open.drops())
	default:
		full += uint64(l.open.drops())
	}
	return full, clear
}
