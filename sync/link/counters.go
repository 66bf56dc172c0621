package link

import "sync/atomic"

// Counter is one counter under its stable name.
type Counter struct {
	Name  string
	Help  string // netstat's wording, without the number
	Value uint64
}

type counters struct {
	received, receivedBytes atomic.Uint64
	sent, sentBytes         atomic.Uint64
	sendDown, sendFull      atomic.Uint64
	sendTooBig, sendRefused atomic.Uint64
	sendOther               atomic.Uint64
	closedDrops             atomic.Uint64 // of sockets that are closed
	malformed, reopened     atomic.Uint64
	readErrors              atomic.Uint64
}

// Counters are the link's counters since New, in a fixed order. Packets whose Send
// was refused are counted each time.
func (l *Link) Counters() []Counter {
	c := &l.counters
	return []Counter{
		{"link_received", "packets received on the sync link", c.received.Load()},
		{"link_received_bytes", "bytes received on the sync link, IP headers included", c.receivedBytes.Load()},
		{"link_sent", "packets sent on the sync link", c.sent.Load()},
		{"link_sent_bytes", "bytes sent on the sync link, IP headers included", c.sentBytes.Load()},
		{"link_send_down", "packets not sent because the sync link was down", c.sendDown.Load()},
		{"link_send_full", "packets not sent because the send queue was full", c.sendFull.Load()},
		{"link_send_toobig", "packets not sent because they exceeded the mtu", c.sendTooBig.Load()},
		{"link_send_refused", "packets not sent because a local firewall rule refused them", c.sendRefused.Load()},
		{"link_send_errors", "packets not sent for other errors", c.sendOther.Load()},
		{"link_receive_drops", "packets lost because the receive queue was full", l.receiveDrops()},
		{"link_malformed", "packets dropped because their IP header was wrong", c.malformed.Load()},
		{"link_read_errors", "errors while reading from the sync link", c.readErrors.Load()},
		{"link_reopened", "times the socket was opened again because its interface was made anew or it failed", c.reopened.Load()},
	}
}

// receiveDrops includes those of the open socket, which the kernel counts.
func (l *Link) receiveDrops() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	drops := l.counters.closedDrops.Load()
	if l.open != nil {
		drops += uint64(l.open.drops())
	}
	return drops
}
