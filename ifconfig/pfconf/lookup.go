package pfconf

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// number is an address as a number; IPv4's are those below 1<<32, so that the family is known beside it.
type number struct{ hi, lo uint64 }

func numberOf(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return number{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) less(o number) bool { return n.hi < o.hi || n.hi == o.hi && n.lo < o.lo }

func (n number) compare(o number) int {
	return cmp.Or(cmp.Compare(n.hi, o.hi), cmp.Compare(n.lo, o.lo))
}

func (n number) next() number {
	if n.lo++; n.lo == 0 {
		n.hi++
	}
	return n
}

// span is the addresses from lo to hi.
type span struct {
	lo, hi number
	not    bool
}

// spanOf gives the addresses of a prefix.
func spanOf(p netip.Prefix) span {
	lo := numberOf(p.Masked().Addr())
	hi := lo
	host := p.Addr().BitLen() - p.Bits()
	if host > 64 {
		hi.hi |= 1<<(host-64) - 1
	}
	if host >= 64 {
		hi.lo = ^uint64(0)
	} else {
		hi.lo |= 1<<host - 1
	}
	return span{lo: lo, hi: hi}
}

func (s span) holds(n number) bool { return !n.less(s.lo) && !s.hi.less(n) }

// set is a table for lookups: the addresses where membership begins and ends by turns. An address is a
// member if an odd number of them is not above it.
type set struct {
	v4 []uint32
	v6 []number
}

func newSet(entries []Entry) *set {
	var v4, v6 []span
	for _, e := range entries {
		s := spanOf(e.Prefix)
		s.not = e.Not
		if e.Prefix.Addr().Is4() {
			v4 = append(v4, s)
		} else {
			v6 = append(v6, s)
		}
	}
	s := &set{v6: turns(v6, number{^uint64(0), ^uint64(0)})}
	for _, n := range turns(v4, number{lo: 1<<32 - 1}) {
		s.v4 = append(s.v4, uint32(n.lo))
	}
	return s
}

// turns flattens prefixes, of which the longer decide within the shorter. last is the family's last address.
func turns(spans []span, last number) []number {
	slices.SortStableFunc(spans, func(a, b span) int { // the shorter prefix of two that begin together first
		return cmp.Or(a.lo.compare(b.lo), b.hi.compare(a.hi))
	})
	var out []number
	member := false
	turn := func(at number, to bool) {
		if to == member {
			return
		}
		member = to
		if n := len(out); n > 0 && out[n-1] == at {
			out = out[:n-1]
			return
		}
		out = append(out, at)
	}
	var within []span // the prefixes around the place reached, longest last
	leave := func() {
		s := within[len(within)-1]
		within = within[:len(within)-1]
		if s.hi != last {
			turn(s.hi.next(), len(within) > 0 && !within[len(within)-1].not)
		}
	}
	for _, s := range spans {
		for len(within) > 0 && within[len(within)-1].hi.less(s.lo) {
			leave()
		}
		within = append(within, s)
		turn(s.lo, !s.not)
	}
	for len(within) > 0 {
		leave()
	}
	return out
}

func (s *set) holds(n number, v4 bool) bool {
	lo := 0
	if v4 {
		a := uint32(n.lo)
		hi := len(s.v4)
		for lo < hi {
			if mid := int(uint(lo+hi) >> 1); s.v4[mid] <= a {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo&1 == 1
	}
	hi := len(s.v6)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); n.less(s.v6[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo&1 == 1
}
