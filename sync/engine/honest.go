package engine

import "github.com/pfsync-linux/pfsync/pfstate"

// counts are packets and bytes of both directions, where the table counts them.
type counts struct{ packets, bytes [2]uint64 }

// account keeps what the table has counted of the state in i, if it does.
func (st *store) account(i slot, s *pfstate.State) {
	if s.Packets == [2]uint64{} {
		return
	}
	st.counts.set(i, counts{s.Packets, s.Bytes})
}

// honest adds what pf's form says of the state in i and a compact message leaves out.
func (st *store) honest(i slot, s *pfstate.State) {
	unseen(s.Proto, &s.Src)
	unseen(s.Proto, &s.Dst)
	if s.Proto == pfstate.ProtoSCTP { // FreeBSD refuses a state without tags, and learns those that are 0
		s.Src.Scrub.Valid, s.Dst.Scrub.Valid = true, true
	}
	if c := st.counts.at(i); c != (counts{}) {
		s.Packets, s.Bytes = c.packets, c.bytes
	}
}

// unseen is what pf has of a TCP peer that has sent nothing yet: no window is open
// and nothing may be outside of it.
func unseen(proto uint8, p *pfstate.Peer) {
	if proto == pfstate.ProtoTCP && p.State == pfstate.TCPClosed && p.SeqLo == 0 && p.SeqHi == 0 && p.MaxWin == 0 {
		p.SeqHi, p.MaxWin = 1, 1
	}
}

// forgetUnseen is its inverse: no record is kept of that.
func forgetUnseen(proto uint8, p *pfstate.Peer) {
	if proto == pfstate.ProtoTCP && p.State == pfstate.TCPClosed && p.SeqLo == 0 && p.SeqHi == 1 && p.MaxWin == 1 {
		p.SeqHi, p.MaxWin = 0, 0
	}
}
