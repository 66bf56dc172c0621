package flowexport

import (
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// reasons are those of IANA's registry for flowEndReason: idle timeout, end of flow
// detected, forced end.
var reasons = [...]uint8{pfstate.RanOut: 1, pfstate.Closed: 3, pfstate.Removed: 4}

// flowsOf makes the records of a connection, by its initiator's addresses: what that
// sent, and what it was answered. answered is false when it was not.
func flowsOf(end *pfstate.End, now time.Time) (sent, answer flow, answered bool) {
	s := end.State
	orig, _ := s.Tuples()
	sent = flow{
		src: netip.AddrPortFrom(orig.Src, orig.SrcPort), dst: netip.AddrPortFrom(orig.Dst, orig.DstPort),
		proto: s.Proto, reason: reasons[end.Why], packets: s.Packets[0], bytes: s.Bytes[0],
		start: now.Add(-s.Creation), end: now.Add(-min(end.Idle, s.Creation)),
	}
	answer = sent
	answer.src, answer.dst = sent.dst, sent.src
	answer.packets, answer.bytes = s.Packets[1], s.Bytes[1]
	icmp := s.Proto == pfstate.ProtoICMP || s.Proto == pfstate.ProtoICMPv6
	if icmp { // collectors want type and code in the destination's port
		sent.src, sent.dst = netip.AddrPortFrom(orig.Src, 0), netip.AddrPortFrom(orig.Dst, orig.DstPort<<8)
		answer.src, answer.dst = netip.AddrPortFrom(orig.Dst, 0), netip.AddrPortFrom(orig.Src, replyTo(orig.DstPort)<<8)
	}
	// Of ICMP no state tells whether there was an answer, nor do all tables count.
	return sent, answer, icmp || s.Dst.State > 0 || s.Packets[1] > 0
}

// replyTo is the type of the answers to a query of ICMP.
func replyTo(query uint16) uint16 {
	if query == 8 { // echo of IPv4
		return 0
	}
	return query + 1
}
