package pfsyncfilter

import (
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Filter is an expression, and what it has learned of states. It is not safe for
// concurrent use.
type Filter struct {
	match match
	flows bool // it asks for more than a message with an id has
	known flows
}

// view is a message as conditions see it.
type view struct {
	peer    netip.Addr
	message *wire.Message // nil: there is none
	id      pfstate.ID
	flow    *flow // nil: not known
}

type match func(v *view) bool

// Match tells whether the filter selects a message, or, with nil, a packet without
// messages. peer is the packet's source, the zero Addr if that is not known. Of a
// message that could not be read its Action and ID should be set, and nothing else.
func (f *Filter) Match(peer netip.Addr, m *wire.Message) bool {
	v := view{peer: peer.Unmap(), message: m}
	if m != nil {
		v.id = m.StateID()
		if f.flows {
			v.flow = f.known.of(v.id, m)
		}
	}
	return f.match(&v)
}

// end is one end of a state, before and after translation.
type end [2]netip.AddrPort

type flow struct {
	src, dst end
	proto    uint8
}

// generation is how many states are learned before older ones are forgotten: with
// two generations of them 64 MB at most.
const generation = 1 << 17

// flows are the states that were told in full.
type flows struct{ young, old map[pfstate.ID]*flow }

// of is the flow of a message's state.
func (k *flows) of(id pfstate.ID, m *wire.Message) *flow {
	if !m.Action.HasState() {
		if f := k.young[id]; f != nil {
			return f
		}
		return k.old[id]
	}
	orig, reply := m.State.Tuples()
	if !orig.Src.IsValid() { // could not be read
		return nil
	}
	f := &flow{
		src: end{netip.AddrPortFrom(orig.Src, orig.SrcPort), netip.AddrPortFrom(reply.Dst, reply.DstPort)},
		dst: end{netip.AddrPortFrom(orig.Dst, orig.DstPort), netip.AddrPortFrom(reply.Src, reply.SrcPort)}, proto: m.State.Proto,
	}
	if len(k.young) >= generation {
		k.old, k.young = k.young, nil
	}
	if k.young == nil {
		k.young = make(map[pfstate.ID]*flow)
	}
	k.young[id] = f
	return f
}
