package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// TableName is our nftables table, of family inet.
const TableName = "pfsyncd_hold"

const (
	chainName = "hold"
	setName   = "seen"

	// seenFor is how long a connection without an answer may pause before its next packet
	// passes for a first one again: that of a SYN repeated for the third time.
	seenFor = 10 * time.Second
	seenMax = 1 << 17 // above it first packets pass
)

// Numbers of linux/netfilter/nf_tables.h and nf_conntrack_common.h that the libraries lack.
const (
	tableOwner      = 2  // NFT_TABLE_F_OWNER
	ctKeyID         = 23 // NFT_CT_ID
	stateNew        = 8  // NF_CT_STATE_BIT(IP_CT_NEW)
	statusConfirmed = 8  // IPS_CONFIRMED
	routeUnicast    = 1  // RTN_UNICAST
	xtBypass        = 1  // NFQ_FLAG_BYPASS
)

// Mark says which connections are never held: those whose mark has Value under Mask. Mask 0: no mark does.
type Mark struct{ Value, Mask uint32 }

// rules is our table. Its methods are for one goroutine.
type rules struct {
	conn   *nftables.Conn
	raw    *netlink.Conn // of conn: the table belongs to the socket
	owned  bool
	common bool // it belongs to nobody, as on a kernel without owners
	target bool // NFT_QUEUE is missing: xt_NFQUEUE by nft_compat
	glue   bool // packets that are not confirmed are diverted too

	before uint64 // packets that rules diverted which are removed,
	total  uint64 // and in all, as far as counted
}

// openRules takes our place in postrouting, with an empty chain.
func openRules(ns int, common bool) (*rules, error) {
	r := &rules{common: common}
	keep := func(c *netlink.Conn) error { r.raw = c; return nil }
	var err error
	if r.conn, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(ns), nftables.WithSockOptions(keep)); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	if err := r.place(); err != nil {
		r.conn.CloseLasting()
		return nil, err
	}
	return r, nil
}

// place makes table and chain anew: what an earlier daemon has left goes.
func (r *rules) place() error {
	r.before = r.total
	if _, err := r.conn.ListTableOfFamily(TableName, nftables.TableFamilyINet); err == nil {
		r.conn.DelTable(table())
		if err := r.conn.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("nftables: table inet %s of another process: %w", TableName, err)
		}
	}
	if r.owned = !r.common && r.createOwned() == nil; !r.owned {
		r.conn.AddTable(table())
	}
	accept := nftables.ChainPolicyAccept
	r.conn.AddChain(&nftables.Chain{
		Name: chainName, Table: table(), Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityRef(math.MaxInt32), Policy: &accept,
	})
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: table inet %s: %w", TableName, err)
	}
	return nil
}

func table() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
}

func chain() *nftables.Chain { return &nftables.Chain{Name: chainName, Table: table()} }

// createOwned makes the table as one that is its socket's, which package nftables cannot say.
func (r *rules) createOwned() error {
	body := []byte{unix.NFPROTO_INET, 0, 0, 0}
	body = nfattr.Append(body, unix.NFTA_TABLE_NAME, []byte(TableName+"\x00"))
	body = nfattr.AppendUint32(body, unix.NFTA_TABLE_FLAGS, tableOwner)
	batch := []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}
	msgs, err := r.raw.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: batch},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create,
			},
			Data: body,
		},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: batch},
	})
	if err != nil || len(msgs) == 0 {
		return fmt.Errorf("nftables: %w", err)
	}
	_, err = r.raw.Receive()
	return err
}

// install diverts first packets to the queue from now on. glue: the queue's reader
// is given the connection, so a packet that is not confirmed yet is of use.
func (r *rules) install(queue uint16, mark Mark, glue bool) error {
	r.glue = glue
	err := r.add(queue, mark, glue)
	if err != nil && !r.target {
		r.target = true
		if again := r.add(queue, mark, glue); again != nil {
			return fmt.Errorf("nftables: neither queue (%w) nor xt_NFQUEUE: %w", err, again)
		}
		return nil
	}
	return err
}

func (r *rules) add(queue uint16, mark Mark, glue bool) error {
	seen := &nftables.Set{
		Table: table(), Name: setName, KeyType: nftables.TypeInteger, Dynamic: true, HasTimeout: true, Timeout: seenFor, Size: seenMax,
	}
	if err := r.conn.AddSet(seen, nil); err != nil {
		return fmt.Errorf("nftables: set %s: %w", setName, err)
	}
	pass := &expr.Verdict{Kind: expr.VerdictReturn}
	divert := r.divert(queue)
	id := &expr.Ct{Key: ctKeyID, Register: 1}
	remember := func(op uint32) *expr.Dynset {
		return &expr.Dynset{SrcRegKey: 1, SetName: setName, SetID: seen.ID, Operation: op}
	}
	add := func(exprs ...expr.Any) { r.conn.AddRule(&nftables.Rule{Table: table(), Chain: chain(), Exprs: exprs}) }

	add(append(ct(expr.CtKeySTATE, stateNew, expr.CmpOpEq, 0), pass)...) // all but a few packets end here
	add(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(routeUnicast)}, pass)
	protocols := &nftables.Set{Table: table(), Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto}
	var members []nftables.SetElement
	for _, p := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE} {
		members = append(members, nftables.SetElement{Key: []byte{p}})
	}
	if err := r.conn.AddSet(protocols, members); err != nil {
		return fmt.Errorf("nftables: set of protocols: %w", err)
	}
	add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: protocols.Name, SetID: protocols.ID, Invert: true}, pass)
	if mark.Mask != 0 {
		add(append(ct(expr.CtKeyMARK, mark.Mask, expr.CmpOpEq, mark.Value&mark.Mask), pass)...)
	}
	add(id, &expr.Lookup{SourceRegister: 1, SetName: setName, SetID: seen.ID}, remember(unix.NFT_DYNSET_OP_UPDATE), pass)

	held := append(ct(expr.CtKeySTATUS, statusConfirmed, expr.CmpOpNeq, 0), &expr.Counter{}, id, remember(unix.NFT_DYNSET_OP_ADD), divert)
	early := append(ct(expr.CtKeySTATUS, statusConfirmed, expr.CmpOpEq, 0), &expr.Counter{})
	if glue {
		early = append(early, id, remember(unix.NFT_DYNSET_OP_ADD), divert)
	}
	add(held...)
	add(early...)
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: rules of table inet %s: %w", TableName, err)
	}
	return nil
}

// divert passes a packet to the queue, or on if nobody reads it.
func (r *rules) divert(queue uint16) expr.Any {
	if !r.target {
		return &expr.Queue{Num: queue, Total: 1, Flag: expr.QueueFlagBypass}
	}
	info := make(xt.Unknown, 8) // struct xt_NFQ_info_v3
	binary.NativeEndian.PutUint16(info, queue)
	binary.NativeEndian.PutUint16(info[2:], 1)
	binary.NativeEndian.PutUint16(info[4:], xtBypass)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

// ct compares what a mask leaves of a connection's property.
func ct(key expr.CtKey, mask uint32, op expr.CmpOp, with uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(mask), Xor: native(0)},
		&expr.Cmp{Op: op, Register: 1, Data: native(with)},
	}
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }

// remove leaves the chain empty.
func (r *rules) remove() error {
	r.before = r.total
	r.conn.FlushChain(chain())
	r.conn.DelSet(&nftables.Set{Table: table(), Name: setName})
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: table inet %s: %w", TableName, err)
	}
	return nil
}

// errChanged: an nft flush ruleset, on a kernel without owners.
var errChanged = fmt.Errorf("nftables: table inet %s: somebody has removed it, or its rules", TableName)

// there tells whether our chain is.
func (r *rules) there() bool {
	_, err := r.conn.ListChain(table(), chainName)
	return err == nil
}

// counts is how many first packets came by since install, confirmed and not. Its error may be errChanged.
func (r *rules) counts() (late, early uint64, err error) {
	list, err := r.conn.GetRules(table(), chain())
	if err != nil {
		return 0, 0, fmt.Errorf("nftables: rules of table inet %s: %w", TableName, err)
	}
	var n []uint64
	for _, rule := range list {
		for _, e := range rule.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				n = append(n, c.Packets)
			}
		}
	}
	if len(n) != 2 {
		return 0, 0, errChanged
	}
	return n[0], n[1], nil
}

// diverted is how many packets were diverted since the start.
func (r *rules) diverted(late, early uint64) uint64 {
	if r.glue {
		late += early
	}
	r.total = r.before + late
	return r.total
}

// close removes the table, if the end of its socket does not.
func (r *rules) close() error {
	var err error
	if !r.owned {
		r.conn.DelTable(table())
		err = r.conn.Flush()
	}
	return errors.Join(err, r.conn.CloseLasting())
}
