package pfstate

// A pf that forwards a connection has two states of it: one of direction in, on the
// interface where it comes from, one of direction out where it goes to. Behind the
// first, and in front of the second, packets look alike: the stack sees them so.
// Destination NAT is in the first, source NAT in the second. Conntrack has one entry.

// partnerBit tells a state's id from that of the other state of its pair.
const partnerBit = 1 << 63

// Partner is the id of the other state of a pair that is made of one entry; the
// partner's partner is id. One id of all has none: then it is 0, which names no state.
func (id ID) Partner() ID { return ID{State: id.State ^ partnerBit, Creator: id.Creator} }

// Split gives the two states that a pf has where s is one entry. The one that keeps
// the id is out, or in if the destination alone is translated: it says all that s
// says, unless both ends are translated. TCP windows are unknown in both, for a
// Linux table does not tell them.
func (s *State) Split() (in, out State) {
	orig, reply := s.Tuples()
	zone := s.Stack.RDomain
	// Between the two translations: the initiator's own address, the responder that was chosen.
	middle := Tuple{Src: orig.Src, SrcPort: orig.SrcPort, Dst: reply.Src, DstPort: reply.SrcPort}
	in, out = *s, *s
	in.Direction, out.Direction = In, Out
	in.SetTuples(orig, middle.Reversed(), zone)
	out.SetTuples(middle, reply, zone)
	if in.Translated() && !out.Translated() {
		out.ID = s.ID.Partner()
	} else {
		in.ID = s.ID.Partner()
	}
	if s.Proto == ProtoTCP {
		in.Flags |= FlagSloppy
		out.Flags |= FlagSloppy
	}
	return in, out
}

// middle is what the stack sees of the initiator's packets.
func (s *State) middle() Tuple {
	i := s.initiator()
	k := &s.Stack
	return Tuple{Src: k.Addr[i], SrcPort: k.Port[i], Dst: k.Addr[1-i], DstPort: k.Port[1-i]}
}

// Halves reports whether in and out are the two states of one connection.
func Halves(in, out *State) bool {
	return in.Direction == In && out.Direction == Out && in.Proto == out.Proto &&
		in.Stack.RDomain == out.Stack.RDomain && in.middle() == out.middle()
}

// Join gives the tuples of the one entry that the two states of a connection are:
// what comes in before any translation, and the answers to what leaves after all.
func Join(in, out *State) (orig, reply Tuple) {
	orig, _ = in.Tuples()
	_, reply = out.Tuples()
	return orig, reply
}
