package pfstate

import (
	"fmt"
	"net/netip"
)

// Tuple is one direction of a connection as its packets look: what conntrack
// calls a tuple. For ICMP the ports follow pf: the id at the initiator's end,
// the query type at the responder's.
type Tuple struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
}

// Reversed is the tuple of an untranslated answer.
func (t Tuple) Reversed() Tuple {
	return Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort}
}

// String prints src:port > dst:port.
func (t Tuple) String() string {
	return fmt.Sprintf("%v > %v", netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.DstPort))
}

// initiator is the index of the initiator in both keys.
func (s *State) initiator() int {
	if s.Direction == Out {
		return 1
	}
	return 0
}

// Tuples gives the connection as conntrack sees it: the packets of the
// initiator before translation, and the answers to what left after it.
func (s *State) Tuples() (orig, reply Tuple) {
	before, after := &s.Wire, &s.Stack
	if s.Direction == Out {
		before, after = after, before
	}
	i := s.initiator()
	orig = Tuple{before.Addr[i], before.Addr[1-i], before.Port[i], before.Port[1-i]}
	reply = Tuple{after.Addr[1-i], after.Addr[i], after.Port[1-i], after.Port[i]}
	return orig, reply
}

// SetTuples is the inverse of Tuples for the state's Direction; zone goes to the
// routing domain of both keys.
func (s *State) SetTuples(orig, reply Tuple, zone uint16) {
	i := s.initiator()
	var before, after Key
	before.Addr[i], before.Addr[1-i], before.Port[i], before.Port[1-i] = orig.Src, orig.Dst, orig.SrcPort, orig.DstPort
	after.Addr[1-i], after.Addr[i], after.Port[1-i], after.Port[i] = reply.Src, reply.Dst, reply.SrcPort, reply.DstPort
	before.RDomain, after.RDomain = zone, zone
	if s.Direction == Out {
		s.Stack, s.Wire = before, after
	} else {
		s.Wire, s.Stack = before, after
	}
}

// Translated reports whether the keys differ: source or destination NAT, or both.
func (s *State) Translated() bool { return s.Wire != s.Stack }
