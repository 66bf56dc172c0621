package tabletest

import (
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Flow is the original tuple of the n-th sample connection, from 10.1.0.0/16 or
// fd01::/16 to one server.
func Flow(n int, v6 bool) pfstate.Tuple {
	src, dst := netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), netip.MustParseAddr("10.2.0.2")
	if v6 {
		src, dst = netip.AddrFrom16([16]byte{0: 0xfd, 1: 1, 14: byte(n >> 8), 15: byte(n)}), netip.MustParseAddr("fd02::2")
	}
	return pfstate.Tuple{Src: src, Dst: dst, SrcPort: uint16(40000 + n%20000), DstPort: 80}
}

// TCP is the n-th sample connection, established.
func TCP(n int) pfstate.State {
	s := pfstate.Default()
	s.Proto = pfstate.ProtoTCP
	orig := Flow(n, false)
	s.SetTuples(orig, orig.Reversed(), 0)
	s.Src = pfstate.Peer{State: pfstate.TCPEstablished, WScale: pfstate.WScaleFlag | 7}
	s.Dst = pfstate.Peer{State: pfstate.TCPEstablished, WScale: pfstate.WScaleFlag | 9}
	s.Flags = pfstate.FlagSloppy
	s.Timeout = pfstate.TCPEstablishedTimeout
	s.Expire = time.Hour
	return s
}

// UDP is the n-th sample flow, answered once.
func UDP(n int) pfstate.State {
	s := pfstate.Default()
	s.Proto = pfstate.ProtoUDP
	orig := Flow(n, true)
	s.SetTuples(orig, orig.Reversed(), 0)
	s.Src.State, s.Dst.State = pfstate.Multiple, pfstate.Single
	s.Timeout = pfstate.UDPSingle
	s.Expire = time.Minute
	return s
}

// Translated is s with its source translated to port of 192.0.2.1.
func Translated(s pfstate.State, port uint16) pfstate.State {
	orig, reply := s.Tuples()
	reply.Dst, reply.DstPort = netip.MustParseAddr("192.0.2.1"), port
	s.SetTuples(orig, reply, s.Stack.RDomain)
	return s
}

// Reversed is the same connection as a firewall picks it up when the responder
// speaks first.
func Reversed(s pfstate.State) pfstate.State {
	orig, reply := s.Tuples()
	s.SetTuples(reply, orig, s.Stack.RDomain)
	s.Src, s.Dst = s.Dst, s.Src
	return s
}

// kept is what every table keeps of a state.
type kept struct {
	Orig, Reply   pfstate.Tuple
	Domains       [2]uint16
	Proto         uint8
	Peers         [2]pfstate.PeerState
	WScale        [2]uint8
	Tags          [2]pfstate.Scrub
	Timeout       pfstate.Timeout
	ExpireSeconds float64
}

func keep(s *pfstate.State) kept {
	orig, reply := s.Tuples()
	return kept{
		Orig: orig, Reply: reply, Proto: s.Proto,
		Domains:       [2]uint16{s.Stack.RDomain, s.Wire.RDomain},
		Peers:         [2]pfstate.PeerState{s.Src.State, s.Dst.State},
		WScale:        [2]uint8{s.Src.WScale, s.Dst.WScale},
		Tags:          [2]pfstate.Scrub{s.Src.Scrub, s.Dst.Scrub},
		Timeout:       s.Timeout,
		ExpireSeconds: s.Expire.Seconds(),
	}
}

// Diff compares what every table must keep of a state; remaining times may
// differ by two seconds. Empty: equal.
func Diff(want, got pfstate.State) string {
	return cmp.Diff(keep(&want), keep(&got), cmpopts.EquateApprox(0, 2), cmpopts.EquateComparable(netip.Addr{}))
}
