package pfstate

import "time"

// Timeout is pf's class of a state's lifetime (OpenBSD pfvar.h, PFTM_*).
type Timeout uint8

const (
	TCPFirstPacket Timeout = iota
	TCPOpening
	TCPEstablishedTimeout
	TCPClosingTimeout
	TCPFinWaitTimeout
	TCPClosedTimeout
	UDPFirstPacket
	UDPSingle
	UDPMultiple
	ICMPFirstPacket
	ICMPErrorReply
	OtherFirstPacket
	OtherSingle
	OtherMultiple

	MaxTimeout Timeout = 20 // OpenBSD's PFTM_MAX; larger numbers are refused
)

// What FreeBSD since 14 has beyond OpenBSD's.
const (
	SCTPFirstPacket Timeout = iota + MaxTimeout
	SCTPOpening
	SCTPEstablished
	SCTPClosing
	SCTPClosed

	MaxSCTPTimeout // FreeBSD's PFTM_MAX
)

var timeoutTable = [...]struct {
	name     string
	duration time.Duration
}{
	TCPFirstPacket:        {"tcp.first", 120 * time.Second},
	TCPOpening:            {"tcp.opening", 30 * time.Second},
	TCPEstablishedTimeout: {"tcp.established", 24 * time.Hour},
	TCPClosingTimeout:     {"tcp.closing", 900 * time.Second},
	TCPFinWaitTimeout:     {"tcp.finwait", 45 * time.Second},
	TCPClosedTimeout:      {"tcp.closed", 90 * time.Second},
	UDPFirstPacket:        {"udp.first", 60 * time.Second},
	UDPSingle:             {"udp.single", 30 * time.Second},
	UDPMultiple:           {"udp.multiple", 60 * time.Second},
	ICMPFirstPacket:       {"icmp.first", 20 * time.Second},
	ICMPErrorReply:        {"icmp.error", 10 * time.Second},
	OtherFirstPacket:      {"other.first", 60 * time.Second},
	OtherSingle:           {"other.single", 30 * time.Second},
	OtherMultiple:         {"other.multiple", 60 * time.Second},
	14:                    {"frag", 60 * time.Second},
	15:                    {"interval", 10 * time.Second},
	16:                    {"adaptive.start", 0},
	17:                    {"adaptive.end", 0},
	18:                    {"src.track", 0},
	19:                    {"tcp.tsdiff", 30 * time.Second},
	SCTPFirstPacket:       {"sctp.first", 120 * time.Second},
	SCTPOpening:           {"sctp.opening", 30 * time.Second},
	SCTPEstablished:       {"sctp.established", 24 * time.Hour},
	SCTPClosing:           {"sctp.closing", 900 * time.Second},
	SCTPClosed:            {"sctp.closed", 90 * time.Second},
}

// WithoutSCTP is the class of a pf that knows SCTP as just another protocol.
func (t Timeout) WithoutSCTP() Timeout {
	switch t {
	case SCTPFirstPacket:
		return OtherFirstPacket
	case SCTPOpening, SCTPClosing, SCTPClosed:
		return OtherSingle
	case SCTPEstablished:
		return OtherMultiple
	}
	return t
}

func (t Timeout) String() string {
	if int(t) < len(timeoutTable) {
		return timeoutTable[t].name
	}
	return "unknown"
}

// Default is pf's default duration of the class, 0 for classes that are no duration.
func (t Timeout) Default() time.Duration {
	if int(t) < len(timeoutTable) {
		return timeoutTable[t].duration
	}
	return 0
}

// TimeoutOf derives the class from the protocol and the progress of the peers,
// as pf does after each packet (OpenBSD pf.c).
func TimeoutOf(proto uint8, src, dst PeerState) Timeout {
	switch proto {
	case ProtoTCP:
		return tcpTimeout(src, dst)
	case ProtoUDP:
		return pseudoTimeout(UDPFirstPacket, src, dst)
	case ProtoICMP, ProtoICMPv6:
		return ICMPFirstPacket
	}
	return pseudoTimeout(OtherFirstPacket, src, dst)
}

func tcpTimeout(src, dst PeerState) Timeout {
	low, high := min(src, dst), max(src, dst)
	switch {
	case low >= TCPFinWait2:
		return TCPClosedTimeout
	case low >= TCPClosing:
		return TCPFinWaitTimeout
	case dst == TCPClosed:
		return TCPFirstPacket
	case low < TCPEstablished:
		return TCPOpening
	case high >= TCPClosing:
		return TCPClosingTimeout
	}
	return TCPEstablishedTimeout
}

// pseudoTimeout relies on the order first, single, multiple in the table.
func pseudoTimeout(first Timeout, src, dst PeerState) Timeout {
	switch {
	case src >= Multiple && dst >= Multiple:
		return first + 2
	case dst == NoTraffic:
		return first
	}
	return first + 1
}
