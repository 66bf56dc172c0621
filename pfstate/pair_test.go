package pfstate_test

import (
	"math/rand/v2"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/pftest"
)

// TestBothHalvesCarryAConnection sends the packets of random connections through a
// pf that has nothing but the two states: they pass, both ways, translated as by
// the one entry. With either state alone they do not (tried on OpenBSD, protocol
// description 8.2).
func TestBothHalvesCarryAConnection(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		s := pftest.Entry(r)
		orig, reply := s.Tuples()
		in, out := s.Split()
		there, back := pftest.PacketOf(orig, s.Proto), pftest.PacketOf(reply, s.Proto)
		firewall := &pftest.Firewall{States: []pfstate.State{in, out}}
		if got, ok := firewall.Forward(there); !ok || got != pftest.PacketOf(reply.Reversed(), s.Proto) {
			t.Fatalf("%v, %v: the packet leaves as %v, passed %v", orig, reply, got, ok)
		}
		if got, ok := firewall.Forward(back); !ok || got != pftest.PacketOf(orig.Reversed(), s.Proto) {
			t.Fatalf("%v, %v: the answer leaves as %v, passed %v", orig, reply, got, ok)
		}
		for _, alone := range []pfstate.State{in, out} {
			f := &pftest.Firewall{States: []pfstate.State{alone}}
			if _, ok := f.Forward(there); ok {
				t.Fatalf("%v, %v: passes with the state %v alone", orig, reply, alone.Direction)
			}
		}
	}
}

func TestSplitAndJoinAreInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		s := pftest.Entry(r)
		in, out := s.Split()
		if !pfstate.Halves(&in, &out) || pfstate.Halves(&out, &in) {
			t.Fatalf("%v and %v are not taken for one connection", &in, &out)
		}
		orig, reply := s.Tuples()
		if o, re := pfstate.Join(&in, &out); o != orig || re != reply {
			t.Fatalf("%v, %v became %v, %v", orig, reply, o, re)
		}
		keeper, other := out, in
		if in.ID == s.ID {
			keeper, other = in, out
		}
		if keeper.ID != s.ID || other.ID.Partner() != s.ID || other.ID == s.ID || other.ID.State == 0 {
			t.Fatalf("ids %v, %v of %v", in.ID, out.ID, s.ID)
		}
		if o, re := keeper.Tuples(); !(in.Translated() && out.Translated()) && (o != orig || re != reply) {
			t.Fatalf("%v, %v: the state with the id says %v, %v", orig, reply, o, re)
		}
		if in.Wire.RDomain != s.Wire.RDomain || out.Wire.RDomain != s.Wire.RDomain {
			t.Fatalf("routing domains %d, %d of %d", in.Wire.RDomain, out.Wire.RDomain, s.Wire.RDomain)
		}
		another := pftest.Entry(r)
		if o, _ := another.Split(); pfstate.Halves(&o, &out) {
			t.Fatalf("%v and %v are taken for one connection", &o, &out)
		}
	}
}
