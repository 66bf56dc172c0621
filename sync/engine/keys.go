package engine

import (
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// flow is the identity of a connection within one table: who began it with what.
type flow struct {
	src, dst         [16]byte
	srcPort, dstPort uint16
	zone             uint16
	proto, family    uint8
}

// keys are both keys of a state, without pointers. Addresses that are not of IPv4, all
// four, are beside the records, at the number that is in the first.
type keys struct {
	addr   [4][4]byte // of the wire key, then of the stack key
	port   [4]uint16
	zone   [2]uint16
	family [2]uint8 // 4 or 6, 0: no address
}

// wide is the addresses of keys that are not of IPv4.
type wide [4][16]byte

const (
	wireKey = iota
	stackKey
)

// pack gives the keys of s; all is what is to be beside them, if they are wide.
func pack(s *pfstate.State) (k keys, all wide, isWide bool) {
	for n, key := range [2]*pfstate.Key{wireKey: &s.Wire, stackKey: &s.Stack} {
		k.zone[n] = key.RDomain
		for i, a := range key.Addr {
			k.port[2*n+i] = key.Port[i]
			switch {
			case a.Is4():
				k.family[n] = 4
				k.addr[2*n+i] = a.As4()
				copy(all[2*n+i][:], k.addr[2*n+i][:])
			case a.IsValid():
				k.family[n] = 6
				all[2*n+i] = a.As16()
			}
		}
	}
	isWide = k.family != [2]uint8{4, 4}
	return k, all, isWide
}

func (k *keys) isWide() bool { return k.family != [2]uint8{4, 4} }

// wideAt is the number of what is beside wide keys.
func (k *keys) wideAt() uint32 {
	return uint32(k.addr[0][0]) | uint32(k.addr[0][1])<<8 | uint32(k.addr[0][2])<<16 | uint32(k.addr[0][3])<<24
}

func (k *keys) setWideAt(n uint32) {
	k.addr = [4][4]byte{{uint8(n), uint8(n >> 8), uint8(n >> 16), uint8(n >> 24)}}
}

// setKeys packs the keys of s into the record in i.
func (st *store) setKeys(i slot, s *pfstate.State) {
	r := st.at(i)
	k, all, isWide := pack(s)
	if r.keys = k; !isWide {
		return
	}
	n := uint32(len(st.wides))
	if free := len(st.freeWides); free > 0 {
		n, st.freeWides = st.freeWides[free-1], st.freeWides[:free-1]
		st.wides[n] = all
	} else {
		st.wides = append(st.wides, all)
	}
	r.keys.setWideAt(n)
}

// dropKeys forgets what is beside the record in i.
func (st *store) dropKeys(i slot) {
	if k := &st.at(i).keys; k.isWide() {
		st.freeWides = append(st.freeWides, k.wideAt())
	}
}

// unpack gives the keys of the record in i.
func (st *store) unpack(i slot, s *pfstate.State) {
	k := &st.at(i).keys
	for n, key := range [2]*pfstate.Key{wireKey: &s.Wire, stackKey: &s.Stack} {
		key.RDomain = k.zone[n]
		for j := range key.Addr {
			key.Port[j] = k.port[2*n+j]
			switch {
			case !k.isWide():
				key.Addr[j] = netip.AddrFrom4(k.addr[2*n+j])
			case k.family[n] == 4:
				key.Addr[j] = netip.AddrFrom4([4]byte(st.wides[k.wideAt()][2*n+j][:4]))
			case k.family[n] == 6:
				key.Addr[j] = netip.AddrFrom16(st.wides[k.wideAt()][2*n+j])
			}
		}
	}
}

// before is the key before translation, whom the initiator called, and which of its
// ends the initiator is.
func before(d pfstate.Direction) (key, initiator int) {
	if d == pfstate.Out {
		return stackKey, 1
	}
	return wireKey, 0
}

// flow is that of the record in i.
func (st *store) flow(i slot) flow {
	n, first := before(st.at(i).direction)
	return st.flowBy(i, n, first)
}

// flowBy is the flow that one of the keys says, whose end `first` is the initiator.
func (st *store) flowBy(i slot, n, first int) (f flow) {
	r := st.at(i)
	k := &r.keys
	src, dst := 2*n+first, 2*n+1-first
	if k.isWide() {
		all := &st.wides[k.wideAt()]
		f.src, f.dst = all[src], all[dst]
	} else {
		copy(f.src[:], k.addr[src][:])
		copy(f.dst[:], k.addr[dst][:])
	}
	f.srcPort, f.dstPort, f.zone, f.family, f.proto = k.port[src], k.port[dst], k.zone[n], k.family[n], r.proto
	return f
}

// isFlow tells that the record in i has that flow.
func (st *store) isFlow(i slot, f *flow) bool {
	r := st.at(i)
	n, first := before(r.direction)
	k := &r.keys
	src, dst := 2*n+first, 2*n+1-first
	if k.port[src] != f.srcPort || k.port[dst] != f.dstPort || r.proto != f.proto || k.family[n] != f.family || k.zone[n] != f.zone {
		return false
	}
	if k.isWide() {
		all := &st.wides[k.wideAt()]
		return all[src] == f.src && all[dst] == f.dst
	}
	return k.addr[src] == [4]byte(f.src[:4]) && k.addr[dst] == [4]byte(f.dst[:4])
}

// flowOf is the flow of a state that has no record yet.
func flowOf(s *pfstate.State) flow {
	n, first := before(s.Direction)
	return flowIn([...]*pfstate.Key{wireKey: &s.Wire, stackKey: &s.Stack}[n], first, s.Proto)
}

// flowIn is flowBy for a key.
func flowIn(key *pfstate.Key, first int, proto uint8) (f flow) {
	f.srcPort, f.dstPort, f.zone, f.proto = key.Port[first], key.Port[1-first], key.RDomain, proto
	f.family = flatten(&f.src, key.Addr[first])
	f.family = max(f.family, flatten(&f.dst, key.Addr[1-first]))
	return f
}

// flatten puts an address without its zone into b and tells its family, 0: there is none.
func flatten(b *[16]byte, a netip.Addr) uint8 {
	switch {
	case a.Is4():
		a4 := a.As4()
		copy(b[:], a4[:])
		return 4
	case a.IsValid():
		*b = a.As16()
		return 6
	}
	return 0
}

// translated tells that the keys of the record in i differ.
func (st *store) translated(i slot) bool {
	k := &st.at(i).keys
	if k.port[0] != k.port[2] || k.port[1] != k.port[3] || k.zone[0] != k.zone[1] || k.family[0] != k.family[1] {
		return true
	}
	if k.isWide() {
		all := &st.wides[k.wideAt()]
		return all[0] != all[2] || all[1] != all[3]
	}
	return k.addr[0] != k.addr[2] || k.addr[1] != k.addr[3]
}
