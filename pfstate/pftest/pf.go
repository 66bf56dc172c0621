// Package pftest plays the part of a pf that has states and no rules, and makes up
// connections with all kinds of translation.
package pftest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Firewall is a packet filter that blocks what has no state, on two interfaces; it is
// written from the protocol's description (2.5) and knows nothing of pfstate.Split.
type Firewall struct{ States []pfstate.State }

// Packet is what a packet looks like.
type Packet struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	proto            uint8
}

// key is the packet as pf looks it up: of direction in, index 0 is the source of an
// initiator's packet; of direction out, it is the destination.
func (p Packet) is(k *pfstate.Key, src, dst int) bool {
	return k.Addr[src] == p.src && k.Port[src] == p.srcPort && k.Addr[dst] == p.dst && k.Port[dst] == p.dstPort
}

func (p *Packet) set(k *pfstate.Key, src, dst int) {
	p.src, p.srcPort, p.dst, p.dstPort = k.Addr[src], k.Port[src], k.Addr[dst], k.Port[dst]
}

// test passes a packet through one interface. Coming in from the wire it is found by
// wire keys and leaves as the stack key says; going out the other way round. A state
// of direction in takes what comes in from its initiator, and what goes out to him.
func (f *Firewall) test(p Packet, in bool) (Packet, bool) {
	for i := range f.States {
		s := &f.States[i]
		if s.Proto != p.proto || p.proto == pfstate.ProtoTCP && s.Flags&pfstate.FlagSloppy == 0 {
			continue // its windows are wrong
		}
		from, to := &s.Wire, &s.Stack
		if !in {
			from, to = to, from
		}
		forward := (s.Direction == pfstate.In) == in // the initiator's packets
		// The initiator is index 0 of a state in, 1 of a state out.
		src, dst := 0, 1
		if forward != (s.Direction == pfstate.In) {
			src, dst = 1, 0
		}
		if !p.is(from, src, dst) {
			continue
		}
		p.set(to, src, dst)
		return p, true
	}
	return p, false
}

// Forward passes a packet in on one interface and out on the other.
func (f *Firewall) Forward(p Packet) (Packet, bool) {
	p, ok := f.test(p, true)
	if !ok {
		return p, false
	}
	return f.test(p, false)
}

// PacketOf is a packet of that direction of a connection.
func PacketOf(t pfstate.Tuple, proto uint8) Packet {
	return Packet{t.Src, t.Dst, t.SrcPort, t.DstPort, proto}
}

// Entry is a connection with no translation, either, or both, each of address, port or both.
func Entry(r *rand.Rand) pfstate.State {
	v6 := r.IntN(3) == 0
	addr := func() netip.Addr {
		if v6 {
			b := [16]byte{0x20, 1, 0xd, 0xb8}
			for i := 8; i < 16; i++ {
				b[i] = byte(r.Uint32())
			}
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(1 + r.IntN(254))})
	}
	port := func() uint16 { return uint16(1 + r.IntN(65535)) }
	s := pfstate.Default()
	s.ID = pfstate.ID{State: r.Uint64(), Creator: 1 + r.Uint32N(1000)}
	s.Proto = []uint8{pfstate.ProtoTCP, pfstate.ProtoUDP}[r.IntN(2)]
	orig := pfstate.Tuple{Src: addr(), Dst: addr(), SrcPort: port(), DstPort: port()}
	reply := orig.Reversed()
	if r.IntN(2) == 0 { // source
		if r.IntN(3) > 0 {
			reply.Dst = addr()
		}
		reply.DstPort = port()
	}
	if r.IntN(2) == 0 { // destination
		if r.IntN(3) > 0 {
			reply.Src = addr()
		}
		reply.SrcPort = port()
	}
	s.SetTuples(orig, reply, uint16(r.IntN(3)))
	return s
}
