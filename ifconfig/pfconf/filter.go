package pfconf

import (
	"fmt"
	"net/netip"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Flow is a connection as a Filter judges it.
type Flow struct {
	Before pfstate.Tuple // the initiator's packets as they come in
	After  pfstate.Tuple // as they go out: equal to Before without translation
	Mark   uint32        // the connection's mark, 0 if unknown
	Proto  uint8
}

// FlowOf gives the flow of a state.
func FlowOf(s *pfstate.State, mark uint32) Flow {
	before, reply := s.Tuples()
	return Flow{before, reply.Reversed(), mark, s.Proto}
}

// Filter tells which connections are not synchronised. It does not change: any number of
// goroutines may use it. The zero Filter has no rules.
type Filter struct {
	mark  Mark
	steps [classes][]test // those that a protocol of the class can match
	sets  []*set

	labels []labelled
}

// Connections are mostly TCP and UDP, and so are rules: each has its own steps.
const (
	classOther = iota
	classTCP
	classUDP
	classes
)

func class(proto uint8) int {
	switch proto {
	case pfstate.ProtoTCP:
		return classTCP
	case pfstate.ProtoUDP:
		return classUDP
	}
	return classOther
}

// verdict is what follows when a step matches.
type verdict uint8

const (
	synced   verdict = iota
	unsynced         // at once
	jump             // go on at another step
	fork             // it is not known whether the step matches: unsynced only if both ways say so
)

// step is a rule in the order of judgement: the first one that matches decides.
type step struct {
	rule int
	then verdict
	to   int // of a jump
}

// order turns pf's order, where the last match decides, into one where the first does: quick rules, and
// match rules with no-sync (no later rule takes that back), in file order; then the other pass rules in
// reverse. A match rule with quick keeps the pass rules below it from being reached: it jumps to
// those above. Other match rules do nothing.
func order(rules []Rule) []step {
	var steps []step
	after := make([]int, 0, 8) // steps that jump
	for i := range rules {
		r := &rules[i]
		switch {
		case !r.keeps() && (r.Quick || r.Action == Match):
			steps = append(steps, step{i, unsynced, 0})
		case r.Quick && r.Action == Match:
			after = append(after, len(steps))
			steps = append(steps, step{i, jump, 0})
		case r.Quick:
			steps = append(steps, step{i, synced, 0})
		}
	}
	head := len(steps)
	var plain []int // pass rules without quick
	for i := range rules {
		if r := &rules[i]; r.Action == Pass && !r.Quick {
			plain = append(plain, i)
		}
	}
	for n := len(plain) - 1; n >= 0; n-- {
		then := synced
		if !rules[plain[n]].keeps() {
			then = unsynced
		}
		steps = append(steps, step{plain[n], then, 0})
	}
	for _, i := range after {
		above := 0
		for above < len(plain) && plain[above] < steps[i].rule {
			above++
		}
		steps[i].to = head + len(plain) - above
	}
	return steps
}

// Compile makes a Filter of a ruleset. It fails if the ruleset is none that Parse gives.
func Compile(rs *Ruleset) (*Filter, error) {
	f := &Filter{mark: rs.Mark}
	index := map[string]int{}
	for _, t := range rs.Tables {
		if _, ok := index[t.Name]; ok || !isTableName(t.Name) {
			return nil, fmt.Errorf("table %q: bad name, or the second of this name", t.Name)
		}
		for _, e := range t.Entries {
			if !plain(e.Prefix) {
				return nil, fmt.Errorf("table <%s>: bad address %v", t.Name, e.Prefix)
			}
		}
		index[t.Name] = len(f.sets)
		f.sets = append(f.sets, newSet(t.Entries))
	}
	tests := make([]test, len(rs.Rules))
	for i := range rs.Rules {
		var err error
		if tests[i], err = newTest(&rs.Rules[i], index); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
	}
	f.labels = labels(rs.Rules, tests)
	steps := order(rs.Rules)
	for c := range f.steps {
		f.steps[c] = arrange(c, steps, rs.Rules, tests)
	}
	return f, nil
}

// arrange gives the tests of the steps that connections of a class can match.
func arrange(c int, steps []step, rules []Rule, tests []test) []test {
	var out []test
	places := make([]int, len(steps)+1) // of the steps among those that are kept
	for i, s := range steps {
		places[i] = len(out)
		r := &rules[s.rule]
		t := tests[s.rule]
		t.then, t.to = s.then, s.to
		switch {
		case r.Proto != 0 && class(r.Proto) != c:
			continue
		case excluded(r.Proto):
			continue // decided before
		case !r.Judged() && s.then == unsynced:
			continue // it may not match
		case !r.Judged() && s.then == jump:
			t.then = fork
		}
		out = append(out, t)
	}
	places[len(steps)] = len(out)
	for i := range out {
		if out[i].then == jump || out[i].then == fork {
			out[i].to = places[out[i].to] - i
		}
	}
	// What is behind the last no-sync says what the end says.
	n := len(out)
	for n > 0 && out[n-1].then != unsynced {
		n--
	}
	return out[:n:n]
}

// plain tells whether a prefix is one that Parse makes.
func plain(p netip.Prefix) bool { return p.IsValid() && !p.Addr().Is4In6() && p.Masked() == p }

// NoSync tells whether the connection is one that is not advertised: its protocol is pfsync,
// carp or igmp, it is neighbour discovery or on the loopback interface, its mark says so, or the rules do.
// It allocates nothing.
func (f *Filter) NoSync(w *Flow) bool {
	if excluded(w.Proto) || w.Before.Src.IsLoopback() || w.Before.Dst.IsLoopback() {
		return true
	}
	// Router solicitation to redirect, RFC 4861.
	if w.Proto == pfstate.ProtoICMPv6 && w.Before.DstPort >= 133 && w.Before.DstPort <= 137 {
		return true
	}
	if f.mark.Mask != 0 && w.Mark&f.mark.Mask == f.mark.Value {
		return true
	}
	steps := f.steps[class(w.Proto)]
	if len(steps) == 0 {
		return false
	}
	v := viewOf(w)
	return f.judge(&v, steps)
}

// judge runs the steps.
func (f *Filter) judge(v *view, steps []test) bool {
	for i := 0; i < len(steps); i++ {
		t := &steps[i]
		if !f.matches(t, v) {
			continue
		}
		switch t.then {
		case synced:
			return false
		case unsynced:
			return true
		case fork:
			if !f.judge(v, steps[min(i+t.to, len(steps)):]) {
				return false
			}
		case jump:
			i += t.to - 1
		}
	}
	return false
}

// view is a flow with its addresses as numbers.
type view struct {
	ends  [2]endpoint // of the initiator and of the responder
	proto uint8
	v4    bool
}

func viewOf(w *Flow) view {
	v := view{proto: w.Proto, v4: w.Before.Src.Unmap().Is4()}
	v.ends[0].set(w.Before.Src, w.Before.SrcPort, w.After.Src, w.After.SrcPort)
	v.ends[1].set(w.Before.Dst, w.Before.DstPort, w.After.Dst, w.After.DstPort)
	return v
}

// endpoint is one end before and after translation.
type endpoint struct {
	addr [2]number
	port [2]uint16
	n    int // 1 if it is not translated
}

func (e *endpoint) set(addr netip.Addr, port uint16, after netip.Addr, afterPort uint16) {
	e.addr[0], e.port[0], e.n = numberOf(addr.Unmap()), port, 1
	if after != addr || afterPort != port {
		e.addr[1], e.port[1], e.n = numberOf(after.Unmap()), afterPort, 2
	}
}

// test is a rule made ready.
type test struct {
	src, dst pattern
	to       int // of a jump: how many steps on
	icmp     uint16
	then     verdict
	proto    uint8
	family   uint8 // 4, 6 or 0
}

// pattern is one end of a rule.
type pattern struct {
	span     span
	set      int32 // of the filter's sets, or one of the following
	ports    Ports
	not      bool
	restrict bool // there is anything to test
}

const (
	anyAddr int32 = -1
	oneSpan int32 = -2
)

func newTest(r *Rule, tables map[string]int) (test, error) {
	t := test{proto: r.Proto, icmp: r.ICMPType}
	switch r.Family {
	case Inet:
		t.family = 4
	case Inet6:
		t.family = 6
	case "":
	default:
		return t, fmt.Errorf("bad family %q", r.Family)
	}
	if r.Action != Pass && r.Action != Match {
		return t, fmt.Errorf("bad action %q", r.Action)
	}
	if r.Direction != "" && r.Direction != In && r.Direction != Out {
		return t, fmt.Errorf("bad direction %q", r.Direction)
	}
	if r.On.Name != "" && !isIfName(r.On.Name) || r.Label != "" && !isLabel(r.Label) {
		return t, fmt.Errorf("bad interface %q or label %q", r.On.Name, r.Label)
	}
	if r.ICMPType > 256 || r.ICMPType != 0 && r.Proto != pfstate.ProtoICMP && r.Proto != pfstate.ProtoICMPv6 {
		return t, fmt.Errorf("bad type %d of ICMP", r.ICMPType-1)
	}
	var err error
	if t.src, err = newPattern(&r.From, t.family, tables); err != nil {
		return t, fmt.Errorf("from: %w", err)
	}
	if t.dst, err = newPattern(&r.To, t.family, tables); err != nil {
		return t, fmt.Errorf("to: %w", err)
	}
	return t, nil
}

func newPattern(h *Host, family uint8, tables map[string]int) (pattern, error) {
	p := pattern{set: anyAddr, ports: h.Ports, not: h.Not}
	switch {
	case h.Table != "":
		i, ok := tables[h.Table]
		if !ok {
			return p, fmt.Errorf("no table <%s>", h.Table)
		}
		p.set = int32(i)
	case h.Addr != netip.Prefix{}:
		if !plain(h.Addr) || h.Addr.Addr().Is4() != (family == 4) || family == 0 {
			return p, fmt.Errorf("bad address %v", h.Addr)
		}
		p.set, p.span = oneSpan, spanOf(h.Addr)
	case h.Not:
		return p, fmt.Errorf("all addresses excluded")
	}
	if h.Ports.First > h.Ports.Last || h.Ports.First == 0 && h.Ports != (Ports{}) {
		return p, fmt.Errorf("bad ports %d to %d", h.Ports.First, h.Ports.Last)
	}
	p.restrict = p.set != anyAddr || p.ports != Ports{}
	return p, nil
}

func (f *Filter) matches(t *test, v *view) bool {
	switch {
	case t.proto != 0 && t.proto != v.proto,
		t.family != 0 && (t.family == 4) != v.v4,
		t.icmp != 0 && t.icmp != v.ends[1].port[0]+1, // the query's type is in the responder's place
		t.dst.restrict && !f.meets(&t.dst, &v.ends[1], v.v4),
		t.src.restrict && !f.meets(&t.src, &v.ends[0], v.v4):
		return false
	}
	return true
}

// meets tells whether an end is within a pattern. A translated end is if it was before or is
// after; what is excluded must be neither.
func (f *Filter) meets(p *pattern, e *endpoint, v4 bool) bool {
	met := false
	for i := range e.n {
		here := true
		if p.ports.Last != 0 {
			in := e.port[i] >= p.ports.First && e.port[i] <= p.ports.Last
			if in && p.ports.Not {
				return false
			}
			here = in != p.ports.Not
		}
		if p.set != anyAddr && (here || p.not) {
			in := false
			if p.set == oneSpan {
				in = p.span.holds(e.addr[i])
			} else {
				in = f.sets[p.set].holds(e.addr[i], v4)
			}
			if in && p.not {
				return false
			}
			here = here && in != p.not
		}
		met = met || here
	}
	return met
}
