package conntrack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// sysctls of the namespace, below /proc/sys.
const (
	sysctlDir    = "/proc/sys/net/netfilter/"
	sysctlEvents = sysctlDir + "nf_conntrack_events"
	sysctlLoose  = sysctlDir + "nf_conntrack_tcp_loose"
	sysctlCount  = sysctlDir + "nf_conntrack_count"
	sysctlMax    = sysctlDir + "nf_conntrack_max" // of each namespace, though set in the first one
)

// class is a conntrack timeout with a sysctl of its own.
type class uint8

const (
	classSynSent class = iota
	classSynRecv
	classEstablished
	classFinWait
	classCloseWait
	classLastAck
	classTimeWait
	classClose
	classUDP
	classUDPStream
	classICMP
	classICMPv6
	classGRE
	classGREStream
	classSCTPCookieWait
	classSCTPCookieEchoed
	classSCTPEstablished
	classGeneric
	classes // count
)

// classTable: sysctl (nf_conntrack_...) and the kernel's own default, for kernels
// that lack the sysctl.
var classTable = [classes]struct {
	sysctl  string
	seconds uint32
}{
	classSynSent:          {"tcp_timeout_syn_sent", 120},
	classSynRecv:          {"tcp_timeout_syn_recv", 60},
	classEstablished:      {"tcp_timeout_established", 432000},
	classFinWait:          {"tcp_timeout_fin_wait", 120},
	classCloseWait:        {"tcp_timeout_close_wait", 60},
	classLastAck:          {"tcp_timeout_last_ack", 30},
	classTimeWait:         {"tcp_timeout_time_wait", 120},
	classClose:            {"tcp_timeout_close", 10},
	classUDP:              {"udp_timeout", 30},
	classUDPStream:        {"udp_timeout_stream", 120},
	classICMP:             {"icmp_timeout", 30},
	classICMPv6:           {"icmpv6_timeout", 30},
	classGRE:              {"gre_timeout", 30},
	classGREStream:        {"gre_timeout_stream", 180},
	classSCTPCookieWait:   {"sctp_timeout_cookie_wait", 3},
	classSCTPCookieEchoed: {"sctp_timeout_cookie_echoed", 3},
	classSCTPEstablished:  {"sctp_timeout_established", 210},
	classGeneric:          {"generic_timeout", 600},
}

// tcpClasses by TCP state.
var tcpClasses = [tcpStates]class{
	tcpNone: classSynSent, tcpSynSent: classSynSent, tcpSynSent2: classSynSent,
	tcpSynRecv: classSynRecv, tcpEstablished: classEstablished, tcpFinWait: classFinWait,
	tcpCloseWait: classCloseWait, tcpLastAck: classLastAck, tcpTimeWait: classTimeWait, tcpClose: classClose,
}

// timeouts are the namespace's timeouts in seconds.
type timeouts [classes]uint32

// readTimeouts must run on a thread that is in the namespace.
func readTimeouts() (t timeouts, err error) {
	for c, row := range classTable {
		t[c] = row.seconds
		v, readErr := readSysctl(sysctlDir + "nf_conntrack_" + row.sysctl)
		if os.IsNotExist(readErr) {
			continue // protocol not built in
		}
		if readErr != nil {
			return t, readErr
		}
		t[c] = v
	}
	return t, nil
}

func readSysctl(path string) (uint32, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(v), nil
}

// of is the local lifetime of an entry in the image's condition.
func (t *timeouts) of(im *image) uint32 {
	assured := im.status&statusAssured != 0
	pick := func(first, stream class) uint32 {
		if assured {
			return t[stream]
		}
		return t[first]
	}
	switch im.orig.proto {
	case pfstate.ProtoTCP:
		return t[tcpClasses[im.tcp.state]]
	case pfstate.ProtoUDP, protoUDPLite:
		return pick(classUDP, classUDPStream)
	case pfstate.ProtoGRE:
		return pick(classGRE, classGREStream)
	case pfstate.ProtoICMP:
		return t[classICMP]
	case pfstate.ProtoICMPv6:
		return t[classICMPv6]
	case pfstate.ProtoSCTP:
		switch {
		case assured:
			return t[classSCTPEstablished]
		case im.status&statusSeenReply != 0:
			return t[classSCTPCookieEchoed]
		}
		return t[classSCTPCookieWait]
	}
	return t[classGeneric]
}

// pfClasses: the kernel's timeout that stands for pf's. pf's other timeouts have none.
var pfClasses = map[pfstate.Timeout]class{
	pfstate.TCPFirstPacket:        classSynSent,
	pfstate.TCPOpening:            classSynRecv,
	pfstate.TCPEstablishedTimeout: classEstablished,
	pfstate.TCPClosingTimeout:     classFinWait,
	pfstate.TCPFinWaitTimeout:     classTimeWait,
	pfstate.TCPClosedTimeout:      classClose,
	pfstate.UDPFirstPacket:        classUDP,
	pfstate.UDPSingle:             classUDP,
	pfstate.UDPMultiple:           classUDPStream,
	pfstate.ICMPFirstPacket:       classICMP,
	pfstate.ICMPErrorReply:        classICMP,
	pfstate.OtherFirstPacket:      classGeneric,
	pfstate.OtherSingle:           classGeneric,
	pfstate.OtherMultiple:         classGeneric,
}

// Timeout is how long the namespace's table keeps a state of pf's class, as it was set
// when the table was opened; 0 where the kernel has no such timeout.
func (t *Table) Timeout(class pfstate.Timeout) time.Duration {
	if c, ok := pfClasses[class]; ok {
		return time.Duration(t.timeouts[c]) * time.Second
	}
	return 0
}
