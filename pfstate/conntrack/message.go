package conntrack

// Numbers of include/uapi/linux/netfilter/nfnetlink_conntrack.h,
// nf_conntrack_common.h, nf_conntrack_tcp.h and nfnetlink.h.

const (
	subsystem = 1 << 8 // NFNL_SUBSYS_CTNETLINK

	msgNew    = subsystem // | 0: an entry, or: make one
	msgGet    = subsystem | 1
	msgDelete = subsystem | 2

	groupNew     = 1 // NFNLGRP_CONNTRACK_NEW
	groupUpdate  = 2
	groupDestroy = 3
)

// Attributes of an entry (enum ctattr_type).
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoInfo     = 4
	ctaHelp          = 5
	ctaNATSrc        = 6
	ctaTimeout       = 7
	ctaMark          = 8 // absent: 0
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaNATDst        = 13
	ctaTupleMaster   = 14
	ctaSeqAdjOrig    = 15
	ctaSeqAdjReply   = 16
	ctaZone          = 18
	ctaTimestamp     = 20
	ctaLabels        = 22
	ctaSynProxy      = 24
)

// Attributes nested in those above.
const (
	tupleIP    = 1
	tupleProto = 2
	tupleZone  = 3

	ipV4Src = 1
	ipV4Dst = 2
	ipV6Src = 3
	ipV6Dst = 4

	protoNum        = 1
	protoSrcPort    = 2
	protoDstPort    = 3
	protoICMPID     = 4
	protoICMPType   = 5
	protoICMPCode   = 6
	protoICMPv6ID   = 7
	protoICMPv6Type = 8
	protoICMPv6Code = 9

	protoInfoTCP  = 1
	protoInfoSCTP = 3

	tcpInfoState       = 1
	tcpInfoWScaleOrig  = 2
	tcpInfoWScaleReply = 3
	tcpInfoFlagsOrig   = 4
	tcpInfoFlagsReply  = 5

	sctpInfoState    = 1
	sctpInfoTagOrig  = 2
	sctpInfoTagReply = 3

	countersPackets = 1
	countersBytes   = 2

	timestampStart = 1

	helpName = 1

	seqAdjPos    = 1
	seqAdjBefore = 2
	seqAdjAfter  = 3

	natV4Min = 1
	natV4Max = 2
	natProto = 3
	natV6Min = 4
	natV6Max = 5

	natPortMin = 1
	natPortMax = 2
)

// Bits of CTA_STATUS (enum ip_conntrack_status).
const (
	statusExpected  = 0x01 // by a helper: it has a master
	statusSeenReply = 0x02
	statusAssured   = 0x04
	statusConfirmed = 0x08
)

// Bits of the TCP flags of one direction.
const (
	tcpFlagWindowScale = 0x01
	tcpFlagCloseInit   = 0x04 // this side closed first
	tcpFlagLiberal     = 0x08 // no window checks
)

// States of TCP (enum tcp_conntrack).
const (
	tcpNone = iota
	tcpSynSent
	tcpSynRecv
	tcpEstablished
	tcpFinWait
	tcpCloseWait
	tcpLastAck
	tcpTimeWait
	tcpClose
	tcpSynSent2
	tcpStates // count
)

// States of SCTP that an import uses (enum sctp_conntrack).
const (
	sctpCookieWait   = 2
	sctpCookieEchoed = 3
	sctpEstablished  = 4
)

// Protocols that only this package treats by name.
const (
	protoDCCP    = 33
	protoUDPLite = 136
)
