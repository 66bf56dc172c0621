package conntrack_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// attrs encodes the inside of a nested attribute.
func attrs(t *testing.T, add func(*netlink.AttributeEncoder)) string {
	t.Helper()
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	add(e)
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const labelRule = `
table inet labels {
	chain forward {
		type filter hook forward priority 0
		ct label 127 counter
	}
}`

// TestWhatPFHasNoWordsForReachesTheOtherKernel: what conntrack knows of an entry beyond
// pf's words goes from one kernel to another, as an event told it and as a dump did.
func TestWhatPFHasNoWordsForReachesTheOtherKernel(t *testing.T) {
	nsA, nsB := labtest.NewNS(t), labtest.NewNS(t)
	nft(t, nsA, labelRule)
	nft(t, nsB, labelRule)
	a, b := openKernel(t, nsA), openKernel(t, nsB)
	from := tabletest.Start(t, open(t, nsA, conntrack.Config{}))
	to := tabletest.Start(t, open(t, nsB, conntrack.Config{}))

	tuple := func(src, dst string, sport, dport uint16) rawTuple {
		return rawTuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Sport: sport, Dport: dport}
	}
	control := raw{
		Orig: tuple("10.1.0.9", "10.2.0.9", 3333, 21), Proto: 6, Status: confirmed | seenReply | assured, Timeout: 500,
		TCP:    &rawTCP{State: 3},
		Beyond: map[uint16]string{5: attrs(t, func(e *netlink.AttributeEncoder) { e.Bytes(1, []byte("ftp\x00")) })},
	}
	control.Reply = control.Orig.plain(6)
	tcp := func(state uint8, flags [2]uint8, status uint32) raw {
		r := raw{Orig: tuple("10.1.0.2", "10.2.0.2", 40000, 443), Proto: 6, Status: confirmed | status, Timeout: 500,
			TCP: &rawTCP{State: state, Flags: flags}}
		r.Reply = r.Orig.plain(6)
		return r
	}
	with := func(r raw, typ uint16, body string) raw {
		r.Beyond = map[uint16]string{typ: body}
		return r
	}
	const both = seenReply | assured
	seqAdj := func(pos uint32, before, after int32) string {
		return attrs(t, func(e *netlink.AttributeEncoder) {
			e.Uint32(1, pos)
			e.Uint32(2, uint32(before))
			e.Uint32(3, uint32(after))
		})
	}
	labels := string([]byte{1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80})
	master := attrs(t, func(e *netlink.AttributeEncoder) {
		if err := control.Orig.encode(6, e); err != nil {
			t.Fatal(err)
		}
	})
	for name, r := range map[string]raw{
		"mark":                       with(tcp(3, [2]uint8{}, both), 8, "\xde\xad\xbe\xef"),
		"labels":                     with(tcp(3, [2]uint8{}, both), 22, labels),
		"SACK permitted":             tcp(3, [2]uint8{3, 3}, both),
		"SACK, closed by initiator":  tcp(4, [2]uint8{7, 3}, both),
		"TIME_WAIT, responder first": tcp(7, [2]uint8{1, 5}, both),
		"answered, not assured":      tcp(3, [2]uint8{1, 1}, seenReply),
		"closed, never answered":     tcp(8, [2]uint8{1, 0}, 0),
		"sequence adjustment":        with(tcp(3, [2]uint8{}, both), 15, seqAdj(1000, -3, 7)),
		"of the reply":               with(tcp(3, [2]uint8{}, both), 16, seqAdj(0xfffffff0, 0, -20)),
		"master":                     with(tcp(3, [2]uint8{}, both), 14, master),
	} {
		t.Run(name, func(t *testing.T) {
			a.t, b.t, from.T, to.T = t, t, t, t
			if err := a.make(control); err != nil {
				t.Fatal(err)
			}
			helped := from.Want(pfstate.Created)
			to.Apply(pfstate.WriteInsert, helped.State, 0)
			if err := a.make(r); err != nil {
				t.Fatalf("hand-made entry: %v", err)
			}
			c := from.Want(pfstate.Created)
			to.Apply(pfstate.WriteInsert, c.State, 0)
			compare := func(when string) {
				t.Helper()
				want, got := map[rawTuple]raw{}, map[rawTuple]raw{}
				for _, e := range a.dump() {
					want[e.Orig] = kept(alike(e))
				}
				for _, e := range b.dump() {
					got[e.Orig] = kept(alike(e))
				}
				if diff := cmp.Diff(want, got, sameAddr); diff != "" || len(want) != 2 {
					t.Errorf("%s: second kernel (-want +got):\n%s", when, diff)
				}
			}
			compare("of an event")
			seen := from.Probe(c.State)
			if seen == nil {
				t.Fatal("not found")
			}
			to.Apply(pfstate.WriteUpdate, seen.State, 0)
			compare("updated")
			to.Apply(pfstate.WriteDelete, c.State, 0)
			to.Apply(pfstate.WriteInsert, seen.State, 0)
			compare("of a dump")
			for _, s := range []pfstate.State{c.State, helped.State} {
				from.Apply(pfstate.WriteDelete, s, 0)
				to.Apply(pfstate.WriteDelete, s, 0)
			}
		})
	}
}

// kept is r without the flags that every copy has or the kernel keeps to itself.
func kept(r raw) raw {
	if r.TCP != nil {
		p := *r.TCP
		for i := range p.Flags {
			p.Flags[i] &= pfstate.TCPFlagsKept
		}
		r.TCP = &p
	}
	return r
}

// TestWhatTheKernelRefusesIsLeftOut: an entry comes without its labels, helper or master
// rather than not at all.
func TestWhatTheKernelRefusesIsLeftOut(t *testing.T) {
	ns := labtest.NewNS(t) // without a rule for labels
	k := openKernel(t, ns)
	h := tabletest.Start(t, open(t, ns, conntrack.Config{}))
	for name, x := range map[string]pfstate.Linux{
		"labels": {Has: pfstate.HasLabels, Rare: pfstate.Rare{Labels: [16]byte{1}}},
		"helper": {Has: pfstate.HasHelper, Rare: pfstate.Rare{Helper: [16]byte{'n', 'o', 'n', 'e'}}},
		"master": {Has: pfstate.HasMaster, Rare: pfstate.Rare{Master: pfstate.Master{Src: [16]byte{10, 9}, Dst: [16]byte{10, 8}, SrcPort: 1, DstPort: 2, Proto: 6}}},
		"all": {
			Has: pfstate.HasMark | pfstate.HasLabels | pfstate.HasHelper | pfstate.HasMaster, Mark: 5,
			Rare: pfstate.Rare{Labels: [16]byte{1}, Helper: [16]byte{'n', 'o', 'n', 'e'}, Master: pfstate.Master{Src: [16]byte{10, 9}, Dst: [16]byte{10, 8}, Proto: 6}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.T, k.t = t, t
			s := tabletest.TCP(1)
			s.Linux = x
			h.Apply(pfstate.WriteInsert, s, 0)
			if got := k.only(); (got.Beyond[8] == "\x00\x00\x00\x05") != (x.Mark == 5) || got.Beyond[22] != "" {
				t.Errorf("%+v", got)
			}
			h.Apply(pfstate.WriteUpdate, s, 0)
			h.Apply(pfstate.WriteDelete, s, 0)
		})
	}
}
