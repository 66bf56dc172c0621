package engine

import "github.com/pfsync-linux/pfsync/pfstate"

// end is what Linux knows of a peer of a state. What a pf knows besides is beside the
// records.
type end struct {
	State  pfstate.PeerState
	WScale uint8
}

// ends are both peers in full.
type ends [2]pfstate.Peer

// setEnds makes src and dst the peers of the state in i.
func (st *store) setEnds(i slot, src, dst *pfstate.Peer) {
	r := st.at(i)
	r.src, r.dst = end{src.State, src.WScale}, end{dst.State, dst.WScale}
	a, b := *src, *dst
	forgetUnseen(r.proto, &a)
	forgetUnseen(r.proto, &b)
	more := a != pfstate.Peer{State: src.State, WScale: src.WScale} || b != pfstate.Peer{State: dst.State, WScale: dst.WScale}
	switch {
	case more:
		st.deep[i] = ends{a, b}
	case r.is(deep):
		delete(st.deep, i)
	}
	r.put(deep, more)
}

// ends gives the peers of the state in i.
func (st *store) ends(i slot, src, dst *pfstate.Peer) {
	r := st.at(i)
	if r.is(deep) {
		both := st.deep[i]
		*src, *dst = both[0], both[1]
	} else {
		*src, *dst = pfstate.Peer{}, pfstate.Peer{}
	}
	src.State, src.WScale, dst.State, dst.WScale = r.src.State, r.src.WScale, r.dst.State, r.dst.WScale
}
