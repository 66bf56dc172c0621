package pfstate

// Peer is what is known of one end of a state (OpenBSD pfvar.h, pfsync_state_peer).
type Peer struct {
	SeqLo   uint32 // highest end of data sent; 0: unknown
	SeqHi   uint32 // highest sequence it may send
	SeqDiff uint32 // sequence modulator; 0: none
	MaxWin  uint16 // largest window advertised, unscaled
	MSS     uint16
	State   PeerState
	WScale  uint8 // low 4 bits shift, WScaleFlag: the option was sent
	Scrub   Scrub
}

// WScaleFlag in Peer.WScale tells that the peer sent a window scale option.
const WScaleFlag = 0x80

// Scrub is the normalisation state of a peer, valid when Valid is set.
// For SCTP the verification tag of packets from this peer travels in TSMod, as FreeBSD has it.
type Scrub struct {
	Flags uint16
	TTL   uint8
	Valid bool
	TSMod uint32
}

// PeerState is the progress of one end. TCP has its own numbers, all other
// protocols but ICMP use NoTraffic, Single and Multiple.
type PeerState uint8

// TCP peer states (OpenBSD tcp_fsm.h and pfvar.h).
const (
	TCPClosed PeerState = iota
	TCPListen
	TCPSynSent
	TCPSynReceived
	TCPEstablished
	TCPCloseWait
	TCPFinWait1
	TCPClosing
	TCPLastAck
	TCPFinWait2
	TCPTimeWait
	TCPProxySrc
	TCPProxyDst

	MaxPeerState = TCPProxyDst // larger numbers are refused for every protocol
)

// Peer states of protocols without states of their own.
const (
	NoTraffic PeerState = iota
	Single
	Multiple
)

var tcpStateNames = [...]string{
	"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
	"CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT", "PROXY:SRC", "PROXY:DST",
}

var pseudoStateNames = [...]string{"NO_TRAFFIC", "SINGLE", "MULTIPLE"}
