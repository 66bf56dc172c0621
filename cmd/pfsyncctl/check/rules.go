package check

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
)

// Rules are nftables' rules of a network namespace, those of iptables-nft among them.
type Rules struct {
	chains     map[chainKey]*chain
	base       []*chain // those with a hook, in the order in which packets meet them
	sets       map[setKey][]nftables.SetElement
	flowtables bool
}

type chainKey struct {
	family      nftables.TableFamily
	table, name string
}

type setKey chainKey

type chain struct {
	*nftables.Chain
	key   chainKey
	rules []*nftables.Rule
}

var families = map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}

// String is the chain as nft names it: inet filter input.
func (k chainKey) String() string { return families[k.family] + " " + k.table + " " + k.name }

// NAT tells whether there is a chain of type nat that has IPv4, without which the kernel translates nothing.
func (r *Rules) NAT() bool {
	return slices.ContainsFunc(r.base, func(c *chain) bool {
		return c.Type == nftables.ChainTypeNAT && c.key.family != nftables.TableFamilyIPv6
	})
}

// outcome is what becomes of a packet.
type outcome struct {
	dropped bool
	chain   string // that drops it
	policy  bool   // because no rule of it lets the packet in
	unsure  bool   // rules that are not understood may do otherwise
	tracked bool
}

// judge takes a packet through the rules, as the kernel would.
func (r *Rules) judge(p packet) outcome {
	hooks := []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}
	if p.out != "" {
		hooks = []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}
	}
	w := &walk{Rules: r, packet: p}
	for _, hook := range hooks {
		for _, c := range r.base {
			if *c.Hooknum != *hook || c.Type == nftables.ChainTypeNAT || c.key.family == p.otherFamily() {
				continue
			}
			w.maybe = false
			v := w.through(c, 0)
			policy := v == expr.VerdictContinue
			if policy && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				v = expr.VerdictDrop
			}
			if v == expr.VerdictDrop {
				return outcome{dropped: true, chain: c.key.String(), policy: policy, unsure: w.maybe, tracked: w.packet.tracked != untracked}
			}
		}
	}
	return outcome{tracked: w.packet.tracked != untracked}
}

// walk is a packet on its way.
type walk struct {
	*Rules
	packet packet
	regs   map[uint32]value
	maybe  bool // a rule that is not understood may have accepted it
}

// maxDepth is that of nftables' jumps (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

// through returns accept, drop, or continue if no rule of the chain decided.
func (w *walk) through(c *chain, depth int) expr.VerdictKind {
	if c == nil || depth > maxDepth {
		return expr.VerdictContinue
	}
	for _, rule := range c.rules {
		v, sure := w.rule(rule)
		switch v.Kind {
		case expr.VerdictAccept, expr.VerdictDrop:
			if sure {
				return v.Kind
			}
			w.maybe = w.maybe || v.Kind == expr.VerdictAccept
		case expr.VerdictReturn:
			if sure {
				return expr.VerdictContinue
			}
		case expr.VerdictJump, expr.VerdictGoto:
			key := c.key
			key.name = v.Chain
			inner := w.through(w.chains[key], depth+1)
			switch {
			case inner == expr.VerdictContinue && sure && v.Kind == expr.VerdictGoto:
				return inner
			case inner != expr.VerdictContinue && sure:
				return inner
			case inner == expr.VerdictAccept:
				w.maybe = true
			}
		}
	}
	return expr.VerdictContinue
}

// match is how far a rule, or an expression of it, applies.
type match uint8

const (
	no match = iota
	yes
	unknown
)

func matches(is bool) match {
	if is {
		return yes
	}
	return no
}

var proceed = expr.Verdict{Kind: expr.VerdictContinue}

// rule returns the rule's verdict on the packet, and whether all its matches were understood.
func (w *walk) rule(rule *nftables.Rule) (v expr.Verdict, sure bool) {
	w.regs = map[uint32]value{}
	sure = true
	for _, e := range rule.Exprs {
		m := yes
		switch e := e.(type) {
		case *expr.Verdict:
			return *e, sure
		case *expr.Reject:
			return expr.Verdict{Kind: expr.VerdictDrop}, sure
		case *expr.Target: // of iptables
			switch e.Name {
			case "REJECT":
				return expr.Verdict{Kind: expr.VerdictDrop}, sure
			case "CT", "NOTRACK":
				w.notrack()
			}
		case *expr.Notrack:
			w.notrack()
		case *expr.Queue:
			return expr.Verdict{Kind: expr.VerdictAccept}, false // a program decides
		case *expr.Lookup:
			if verdict, ok := w.verdictOf(rule, e); ok {
				return verdict, sure
			}
			m = w.lookup(rule, e)
			w.maybe = w.maybe || m == unknown && e.DestRegister == verdictRegister && e.IsDestRegSet
		default:
			m = w.step(e)
		}
		switch m {
		case no:
			return proceed, true
		case unknown:
			sure = false
		}
	}
	return proceed, sure
}

func (w *walk) notrack() { w.packet.tracked = untracked }

// step is an expression that loads, changes or compares.
func (w *walk) step(e expr.Any) match {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister {
			w.regs[e.Register] = w.packet.meta(e.Key)
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			w.regs[e.DestRegister] = w.packet.payload(e)
		}
	case *expr.Ct:
		w.regs[e.Register] = nil
		if e.Key == expr.CtKeySTATE && !e.SourceRegister {
			w.regs[e.Register] = binary.NativeEndian.AppendUint32(nil, w.packet.tracked)
		}
	case *expr.Immediate:
		w.regs[e.Register] = e.Data
	case *expr.Bitwise:
		w.regs[e.DestRegister] = bitwise(w.regs[e.SourceRegister], e)
	case *expr.Cmp:
		return compare(e.Op, w.regs[e.Register], e.Data)
	case *expr.Range:
		v := w.regs[e.Register]
		if v == nil || len(v) != len(e.FromData) || len(v) != len(e.ToData) {
			return unknown
		}
		in := bytes.Compare(e.FromData, v) <= 0 && bytes.Compare(v, e.ToData) <= 0
		return matches(in == (e.Op == expr.CmpOpEq))
	case *expr.Match: // of iptables
		if e.Name != "comment" {
			return unknown
		}
	case *expr.Counter, *expr.Log, *expr.Objref, *expr.Dynset:
	default:
		return unknown
	}
	return yes
}

func bitwise(v value, e *expr.Bitwise) value {
	if v == nil || len(v) < int(e.Len) || len(e.Mask) != int(e.Len) || len(e.Xor) != int(e.Len) {
		return nil
	}
	out := make(value, e.Len)
	for i := range out {
		out[i] = v[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

func compare(op expr.CmpOp, v value, with []byte) match {
	if v == nil || len(v) < len(with) {
		return unknown
	}
	c := bytes.Compare(v[:len(with)], with) // of a name's beginning: eth*
	switch op {
	case expr.CmpOpEq:
		return matches(c == 0)
	case expr.CmpOpNeq:
		return matches(c != 0)
	case expr.CmpOpLt:
		return matches(c < 0)
	case expr.CmpOpLte:
		return matches(c <= 0)
	case expr.CmpOpGt:
		return matches(c > 0)
	case expr.CmpOpGte:
		return matches(c >= 0)
	}
	return unknown
}

// find looks for what is in a register; m is unknown when that cannot be told.
func (w *walk) find(rule *nftables.Rule, e *expr.Lookup) (element nftables.SetElement, m match) {
	set, known := w.sets[setKey{rule.Table.Family, rule.Table.Name, e.SetName}]
	v := w.regs[e.SourceRegister]
	if !known || v == nil {
		return element, unknown
	}
	var below *nftables.SetElement // the largest that is not larger than v
	intervals := false
	for i, s := range set {
		if len(s.Key) != len(v) {
			return element, unknown // more than one register
		}
		intervals = intervals || s.IntervalEnd
		c := bytes.Compare(s.Key, v)
		if c == 0 && !s.IntervalEnd {
			return s, yes
		}
		if c <= 0 && (below == nil || bytes.Compare(s.Key, below.Key) >= 0) {
			below = &set[i]
		}
	}
	if intervals && below != nil && !below.IntervalEnd {
		return *below, yes
	}
	return element, no
}

func (w *walk) lookup(rule *nftables.Rule, e *expr.Lookup) match {
	_, m := w.find(rule, e)
	if e.IsDestRegSet {
		w.regs[e.DestRegister] = nil
	}
	if e.Invert && m != unknown {
		m = matches(m == no)
	}
	return m
}

// verdictOf is the verdict that a map has for the packet.
func (w *walk) verdictOf(rule *nftables.Rule, e *expr.Lookup) (v expr.Verdict, ok bool) {
	if !e.IsDestRegSet || e.DestRegister != verdictRegister {
		return v, false
	}
	element, m := w.find(rule, e)
	if m != yes {
		return v, false
	}
	return parseVerdict(element.Val)
}

// These number registers and attributes in linux/netfilter/nf_tables.h.
const (
	verdictRegister = 0 // NFT_REG_VERDICT
	verdictCode     = 1 // NFTA_VERDICT_CODE
	verdictChain    = 2 // NFTA_VERDICT_CHAIN
)

// parseVerdict reads a verdict as package nftables leaves it in a map's element: as attributes.
func parseVerdict(b []byte) (v expr.Verdict, ok bool) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return v, false
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case verdictCode:
			v.Kind, ok = expr.VerdictKind(int32(d.Uint32())), true
		case verdictChain:
			v.Chain = d.String()
		}
	}
	return v, ok && d.Err() == nil
}

// dormant is the flag of a table that does nothing (NFT_TABLE_F_DORMANT), in either byte order:
// package nftables reads the kernel's big-endian number as the machine's own.
const dormant = 1 | 1<<24

// ReadRules reads the rules through conn. It needs CAP_NET_ADMIN.
func ReadRules(conn *nftables.Conn) (*Rules, error) {
	r := &Rules{chains: map[chainKey]*chain{}, sets: map[setKey][]nftables.SetElement{}}
	asleep := map[chainKey]bool{}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if families[t.Family] == "" { // of no IP, or in front of it all: netdev
			continue
		}
		asleep[chainKey{t.Family, t.Name, ""}] = t.Flags&dormant != 0
		if err := r.readSets(conn, t); err != nil {
			return nil, fmt.Errorf("table %s %s: %w", families[t.Family], t.Name, err)
		}
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		if families[c.Table.Family] == "" || asleep[chainKey{c.Table.Family, c.Table.Name, ""}] {
			continue
		}
		one := &chain{Chain: c, key: chainKey{c.Table.Family, c.Table.Name, c.Name}}
		if one.rules, err = conn.GetRules(c.Table, c); err != nil {
			return nil, fmt.Errorf("chain %v: %w", one.key, err)
		}
		r.chains[one.key] = one
		if c.Hooknum != nil && c.Priority != nil {
			r.base = append(r.base, one)
		}
	}
	slices.SortStableFunc(r.base, func(a, b *chain) int { return int(*a.Priority) - int(*b.Priority) })
	return r, nil
}

func (r *Rules) readSets(conn *nftables.Conn, t *nftables.Table) error {
	sets, err := conn.GetSets(t)
	if err != nil {
		return err
	}
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return err
		}
		r.sets[setKey{t.Family, t.Name, s.Name}] = elements
	}
	flowtables, err := conn.ListFlowtables(t)
	if err != nil {
		return err
	}
	r.flowtables = r.flowtables || len(flowtables) > 0
	return nil
}
