package pfstate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ProtoName is the name of an IP protocol as pfctl prints it, or its number.
func ProtoName(proto uint8) string {
	switch proto {
	case ProtoICMP:
		return "icmp"
	case ProtoIGMP:
		return "igmp"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoGRE:
		return "gre"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case ProtoICMPv6:
		return "ipv6-icmp"
	case ProtoCARP:
		return "carp"
	case ProtoSCTP:
		return "sctp"
	case 136:
		return "udplite"
	case ProtoPFSync:
		return "pfsync"
	}
	return strconv.Itoa(int(proto))
}

// Name prints a peer state under the name it has for proto: a number for ICMP.
func (p PeerState) Name(proto uint8) string {
	switch {
	case proto == ProtoTCP && int(p) < len(tcpStateNames):
		return tcpStateNames[p]
	case proto == ProtoICMP || proto == ProtoICMPv6 || proto == ProtoTCP:
	case int(p) < len(pseudoStateNames):
		return pseudoStateNames[p]
	}
	return strconv.Itoa(int(p))
}

// String prints the line of pfctl -s states (OpenBSD pf_print_state.c).
func (s *State) String() string { return s.Format(0) }

// Format prints the state as pfctl -s states does with that many -v, without a
// final newline.
func (s *State) Format(verbose int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s ", s.printableIfName(), ProtoName(s.Proto))
	i := s.initiator()
	icmp := s.Proto == ProtoICMP || s.Proto == ProtoICMPv6
	end := func(key, other *Key, n int) {
		port, otherPort := key.Port[n], other.Port[n]
		if icmp { // the id stands at both ends
			port, otherPort = key.Port[i], other.Port[i]
		}
		b.WriteString(endpoint(key.Addr[n], port))
		if key.Addr[n] != other.Addr[n] || port != otherPort {
			fmt.Fprintf(&b, " (%s)", endpoint(other.Addr[n], otherPort))
		}
	}
	left, right := s.Src.State, s.Dst.State
	if s.Direction == Out {
		end(&s.Wire, &s.Stack, 1)
		b.WriteString(" -> ")
		end(&s.Wire, &s.Stack, 0)
	} else {
		left, right = right, left
		end(&s.Stack, &s.Wire, 1)
		b.WriteString(" <- ")
		end(&s.Stack, &s.Wire, 0)
	}
	b.WriteString("       ")
	if s.Proto == ProtoTCP && (left >= TCPProxySrc || right >= TCPProxySrc) {
		b.WriteString(proxyLevels(left, right))
	} else {
		fmt.Fprintf(&b, "%s:%s", left.Name(s.Proto), right.Name(s.Proto))
	}
	if verbose > 0 {
		s.formatDetails(&b, verbose)
	}
	return b.String()
}

func (s *State) formatDetails(b *strings.Builder, verbose int) {
	if s.Proto == ProtoTCP {
		first, second := &s.Src, &s.Dst
		if s.Direction != Out {
			first, second = second, first
		}
		scaled := first.WScale != 0 && second.WScale != 0
		b.WriteString("\n   ")
		first.window(b, scaled)
		b.WriteString("  ")
		second.window(b, scaled)
	}
	fmt.Fprintf(b, "\n   age %s, expires in %s, %d:%d pkts, %d:%d bytes", clock(s.Creation), clock(s.Expire),
		s.Packets[0], s.Packets[1], s.Bytes[0], s.Bytes[1])
	if s.Anchor != None {
		fmt.Fprintf(b, ", anchor %d", s.Anchor)
	}
	if s.Rule != None {
		fmt.Fprintf(b, ", rule %d", s.Rule)
	}
	if s.Flags&FlagSloppy != 0 {
		b.WriteString(", sloppy")
	}
	if s.Flags&FlagPFlow != 0 {
		b.WriteString(", pflow")
	}
	if verbose > 1 {
		fmt.Fprintf(b, "\n   id: %016x creatorid: %08x", s.ID.State, s.ID.Creator)
	}
}

func (p *Peer) window(b *strings.Builder, scaled bool) {
	fmt.Fprintf(b, "[%d + %d]", p.SeqLo, p.SeqHi-p.SeqLo)
	if p.SeqDiff != 0 {
		fmt.Fprintf(b, "(+%d)", p.SeqDiff)
	}
	if scaled {
		fmt.Fprintf(b, " wscale %d", p.WScale&0x0f)
	}
}

// printableIfName replaces what could disturb a terminal: the name came from the network.
func (s *State) printableIfName() string {
	q := strconv.QuoteToASCII(s.IfName.String())
	return q[1 : len(q)-1]
}

func proxyLevels(left, right PeerState) string {
	for _, p := range []PeerState{left, right} {
		switch p {
		case TCPProxySrc:
			return "PROXY:SRC"
		case TCPProxyDst:
			return "PROXY:DST"
		}
	}
	return fmt.Sprintf("<BAD STATE LEVELS %d:%d>", left, right)
}

func endpoint(a netip.Addr, port uint16) string {
	switch {
	case port == 0:
		return a.String()
	case a.Is4():
		return fmt.Sprintf("%v:%d", a, port)
	}
	return fmt.Sprintf("%v[%d]", a, port)
}

func clock(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
