package pfstate

import "net/netip"

// Linux is what conntrack says of a state beyond pf's words. It holds no pointer.
// Of its fields only those count that Has names; for the others that holds what pf's
// words imply (an entry whose sides are both ESTABLISHED has seen a reply and is
// assured), or what the table has already.
type Linux struct {
	Has    LinuxFields
	Status uint8    // conntrack's status: StatusSeenReply, StatusAssured
	TCP    [2]uint8 // conntrack's TCP flags of initiator and responder, of TCPFlagsKept
	Mark   uint32
	Rare   Rare
}

// LinuxFields tell which fields are known.
type LinuxFields uint8

const (
	HasMark   LinuxFields = 1 << iota // also known to be 0
	HasStatus                         // it is not what pf's words imply
	HasTCP                            // they are not what pf's words imply
	HasLabels                         // not all are 0
	HasHelper
	HasMaster
	HasSeqAdj
)

// HasRare are the fields of Rare.
const HasRare = HasLabels | HasHelper | HasMaster | HasSeqAdj

// Bits of Linux.Status (enum ip_conntrack_status).
const (
	StatusSeenReply = 0x02
	StatusAssured   = 0x04
)

// TCPFlagsKept are the TCP flags that events tell of: window scale, SACK permitted,
// closed first, simultaneous open. The kernel changes the others without a word, or they
// are this program's doing (be liberal).
const TCPFlagsKept = 0x87

// Rare is what few states have.
type Rare struct {
	Labels [16]byte // conntrack's labels, a bit each
	Helper [16]byte // name, NUL-padded
	Master Master
	SeqAdj [2]SeqAdj // of what initiator and responder send
}

// Master is the original tuple of the connection that announced this one (FTP's control
// connection), in the same zone and family.
type Master struct {
	Src, Dst         [16]byte // IPv4: the first four bytes
	SrcPort, DstPort uint16
	Proto            uint8
}

// SeqAdj is how a helper shifts sequence numbers: from Pos on by After, before it by Before.
type SeqAdj struct {
	Pos           uint32
	Before, After int32
}

// HelperName is the helper's name up to the first NUL.
func (r *Rare) HelperName() string { return IfName(r.Helper).String() }

// MasterTuple is the master's tuple for a connection over IPv4 or IPv6.
func (r *Rare) MasterTuple(is4 bool) Tuple {
	m := &r.Master
	t := Tuple{SrcPort: m.SrcPort, DstPort: m.DstPort}
	if is4 {
		t.Src, t.Dst = netip.AddrFrom4([4]byte(m.Src[:4])), netip.AddrFrom4([4]byte(m.Dst[:4]))
	} else {
		t.Src, t.Dst = netip.AddrFrom16(m.Src), netip.AddrFrom16(m.Dst)
	}
	return t
}

// SetMaster is the inverse of MasterTuple.
func (r *Rare) SetMaster(t Tuple, proto uint8) {
	r.Master = Master{SrcPort: t.SrcPort, DstPort: t.DstPort, Proto: proto}
	for _, a := range []struct {
		to   *[16]byte
		from netip.Addr
	}{{&r.Master.Src, t.Src}, {&r.Master.Dst, t.Dst}} {
		if a.from.Is4() {
			a4 := a.from.As4()
			copy(a.to[:], a4[:])
		} else {
			*a.to = a.from.As16()
		}
	}
}

// Take makes x what y says. What y has nothing of that seldom changes stays.
func (x *Linux) Take(y *Linux) {
	if y.Has == 0 {
		return
	}
	old := *x
	*x = *y
	keep := old.Has & HasRare &^ y.Has
	if keep == 0 {
		return
	}
	x.Has |= keep
	if keep&HasLabels != 0 {
		x.Rare.Labels = old.Rare.Labels
	}
	if keep&HasHelper != 0 {
		x.Rare.Helper = old.Rare.Helper
	}
	if keep&HasMaster != 0 {
		x.Rare.Master = old.Rare.Master
	}
	if keep&HasSeqAdj != 0 {
		x.Rare.SeqAdj = old.Rare.SeqAdj
	}
}
