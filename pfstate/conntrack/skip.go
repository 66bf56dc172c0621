package conntrack

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// skip has the kernel drop the events of own writes, and of protocols that are ignored
// whatever else is known of the entry: they fill no receive buffer and wake nobody.
//
// Events of marked entries are not dropped here. That an entry is marked now does
// not tell whether it was when it was first seen: its Updated is what a state is
// withdrawn by, its Deleted is the last word of one whose mark made no event
// (nft's `ct event set`), and its Created tells of a predecessor whose end was
// lost.
//
// Nor do dumps skip them, not even the first one. The kernel can filter a dump by
// one value of the mark under one mask (CTA_MARK, CTA_MARK_MASK), and has no "is
// not": those without the mark can be asked for when the mask is a single bit, not
// otherwise. That would not be safe either. An entry missing in a dump is one that is
// gone; one that is marked without an event is withdrawn by a dump that shows it; and
// a dump begun under one ruleset may end under another. To parse the rest costs half
// a microsecond an entry.
func (t *Table) skip() error {
	program, err := bpf.Assemble(append(skipWriter(t.writer.port),
		skipProtocols(pfstate.ProtoPFSync, pfstate.ProtoCARP, pfstate.ProtoIGMP)...))
	if err != nil {
		return fmt.Errorf("event filter: %w", err)
	}
	if err := t.events.conn.SetBPF(program); err != nil {
		return fmt.Errorf("event filter: %w", err)
	}
	return nil
}

// skipWriter drops the events of what the socket with that port id wrote.
func skipWriter(port uint32) []bpf.Instruction {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], port) // as in the header; filters load big-endian
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 4}, // nlmsg_pid
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// skipProtocols is a socket filter that drops events of entries of the protocols.
// What it does not understand it lets through.
func skipProtocols(protos ...uint32) []bpf.Instruction {
	const (
		attributes = 16 + nfattr.FamilyLen // behind the headers of netlink and of netfilter
		value      = 4                     // behind an attribute's header
	)
	n := uint8(len(protos))
	program := []bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegA, Val: attributes},
		bpf.LoadConstant{Dst: bpf.RegX, Val: ctaTupleOrig},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr}, // A: its offset, 0: there is none
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 8 + n},
		bpf.LoadConstant{Dst: bpf.RegX, Val: tupleProto},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 5 + n},
		bpf.LoadConstant{Dst: bpf.RegX, Val: protoNum},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttrNested},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2 + n},
		bpf.TAX{},
		bpf.LoadIndirect{Off: value, Size: 1},
	}
	for i, p := range protos {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: p, SkipTrue: n - uint8(i)})
	}
	return append(program, bpf.RetConstant{Val: 1 << 30}, bpf.RetConstant{Val: 0})
}
