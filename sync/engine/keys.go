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

// key is the key of a state over IPv4 whose two keys are one: nothing is translated, and
// the zone is 0. The keys of others are beside the records, at the number that is in addr.
type key struct {
	addr [2][4]byte
	port [2]uint16
}

// keyForm tells where the keys of a record are.
type keyForm uint8

const (
	keyInside keyForm = iota // in the record
	keysIPv4                 // beside it
	keyIPv6                  // two in one, zone 0
	keysAny
)

// Keys beside the records: of addresses first those of the wire key, then those of the
// stack key.
type (
	pairIPv4 struct {
		addr [4][4]byte
		port [4]uint16
		zone [2]uint16
	}
	oneIPv6 struct {
		addr [2][16]byte
		port [2]uint16
	}
	pairAny struct {
		addr   [4][16]byte
		port   [4]uint16
		zone   [2]uint16
		family [2]uint8 // 4 or 6, 0: no address
	}
)

const (
	wireKey = iota
	stackKey
)

// pack gives the keys of s, and the form that holds them.
func pack(s *pfstate.State) (all pairAny, f keyForm) {
	for n, k := range [2]*pfstate.Key{wireKey: &s.Wire, stackKey: &s.Stack} {
		all.zone[n] = k.RDomain
		for j, a := range k.Addr {
			all.port[2*n+j] = k.Port[j]
			all.family[n] = max(all.family[n], flatten(&all.addr[2*n+j], a))
		}
	}
	one := all.addr[0] == all.addr[2] && all.addr[1] == all.addr[3] && all.port[0] == all.port[2] && all.port[1] == all.port[3] &&
		all.zone == [2]uint16{}
	switch four := s.Wire.Addr[0].Is4() && s.Wire.Addr[1].Is4() && s.Stack.Addr[0].Is4() && s.Stack.Addr[1].Is4(); {
	case four && one:
		return all, keyInside
	case four:
		return all, keysIPv4
	case one && s.Wire.Addr[0].Is6() && s.Wire.Addr[1].Is6() && s.Stack.Addr[0].Is6():
		return all, keyIPv6
	}
	return all, keysAny
}

// number is that of what is beside the record.
func (k *key) number() uint32 {
	a := &k.addr[0]
	return uint32(a[0]) | uint32(a[1])<<8 | uint32(a[2])<<16 | uint32(a[3])<<24
}

func (k *key) setNumber(n uint32) {
	*k = key{addr: [2][4]byte{{uint8(n), uint8(n >> 8), uint8(n >> 16), uint8(n >> 24)}}}
}

// setKeys packs the keys of s into the record in i, which has none.
func (st *store) setKeys(i slot, s *pfstate.State) {
	r := st.at(i)
	all, f := pack(s)
	r.traits.number(keyAt, 3, uint8(f))
	switch f {
	case keyInside:
		r.key = key{
			addr: [2][4]byte{[4]byte(all.addr[0][:4]), [4]byte(all.addr[1][:4])},
			port: [2]uint16{all.port[0], all.port[1]},
		}
	case keysIPv4:
		p := pairIPv4{port: all.port, zone: all.zone}
		for j := range p.addr {
			p.addr[j] = [4]byte(all.addr[j][:4])
		}
		r.key.setNumber(st.pairsIPv4.add(&p))
	case keyIPv6:
		r.key.setNumber(st.onesIPv6.add(&oneIPv6{
			addr: [2][16]byte{all.addr[0], all.addr[1]}, port: [2]uint16{all.port[0], all.port[1]},
		}))
	case keysAny:
		r.key.setNumber(st.pairsAny.add(&all))
	}
}

// dropKeys forgets what is beside the record in i.
func (st *store) dropKeys(i slot) {
	r := st.at(i)
	switch r.form() {
	case keysIPv4:
		st.pairsIPv4.drop(r.key.number())
	case keyIPv6:
		st.onesIPv6.drop(r.key.number())
	case keysAny:
		st.pairsAny.drop(r.key.number())
	}
}

// part gives one address and port of one of the keys of r.
func (st *store) part(r *record, n, j int, addr *[16]byte) (port uint16) {
	switch r.form() {
	case keyInside:
		copy(addr[:], r.key.addr[j][:])
		return r.key.port[j]
	case keysIPv4:
		p := st.pairsIPv4.at(r.key.number())
		copy(addr[:], p.addr[2*n+j][:])
		return p.port[2*n+j]
	case keyIPv6:
		p := st.onesIPv6.at(r.key.number())
		*addr = p.addr[j]
		return p.port[j]
	}
	p := st.pairsAny.at(r.key.number())
	*addr = p.addr[2*n+j]
	return p.port[2*n+j]
}

// realm gives what else one of the keys of r says.
func (st *store) realm(r *record, n int) (zone uint16, family uint8) {
	switch r.form() {
	case keyInside:
		return 0, 4
	case keysIPv4:
		return st.pairsIPv4.at(r.key.number()).zone[n], 4
	case keyIPv6:
		return 0, 6
	}
	p := st.pairsAny.at(r.key.number())
	return p.zone[n], p.family[n]
}

// unpack gives the keys of the record in i.
func (st *store) unpack(i slot, s *pfstate.State) {
	r := st.at(i)
	for n, k := range [2]*pfstate.Key{wireKey: &s.Wire, stackKey: &s.Stack} {
		var family uint8
		k.RDomain, family = st.realm(r, n)
		for j := range k.Addr {
			var a [16]byte
			k.Port[j] = st.part(r, n, j, &a)
			switch family {
			case 4:
				k.Addr[j] = netip.AddrFrom4([4]byte(a[:4]))
			case 6:
				k.Addr[j] = netip.AddrFrom16(a)
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
	n, first := before(st.at(i).direction())
	return st.flowBy(i, n, first)
}

// flowBy is the flow that one of the keys says, whose end `first` is the initiator.
func (st *store) flowBy(i slot, n, first int) (f flow) {
	r := st.at(i)
	f.srcPort, f.dstPort = st.part(r, n, first, &f.src), st.part(r, n, 1-first, &f.dst)
	f.zone, f.family = st.realm(r, n)
	f.proto = r.proto
	return f
}

// isFlow tells that the record in i has that flow.
func (st *store) isFlow(i slot, f *flow) bool {
	r := st.at(i)
	n, first := before(r.direction())
	if r.form() != keyInside {
		return st.flowBy(i, n, first) == *f
	}
	k := &r.key
	return k.port[first] == f.srcPort && k.port[1-first] == f.dstPort && r.proto == f.proto && f.family == 4 && f.zone == 0 &&
		k.addr[first] == [4]byte(f.src[:4]) && k.addr[1-first] == [4]byte(f.dst[:4])
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
	r := st.at(i)
	if f := r.form(); f == keyInside || f == keyIPv6 {
		return false
	}
	for j := range 2 {
		var a, b [16]byte
		if st.part(r, wireKey, j, &a) != st.part(r, stackKey, j, &b) || a != b {
			return true
		}
	}
	zone, family := st.realm(r, wireKey)
	z, f := st.realm(r, stackKey)
	return zone != z || family != f
}
