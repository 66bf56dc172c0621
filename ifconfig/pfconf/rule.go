package pfconf

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	ruleOrder = "the order is: pass|match [in|out] [log] [quick] [on IF] [inet|inet6] [proto P] [all | from HOST [port P] to HOST [port P]] [keep state (no-sync)]"
	maxLabel  = 63 // bytes, as in pf
)

// draft is a rule before its lists are expanded.
type draft struct {
	Rule
	on       []Interface
	protos   []uint8
	from, to side
	types    []icmpType
	portsAt  token // where ports are asked for
	typesAt  token
	first    token
}

// side is one end of a draft.
type side struct {
	hosts []Host
	ports []Ports
}

type icmpType struct {
	proto uint8
	typ   uint8
}

// rule reads a rule behind its action, and adds one for each combination of its lists.
func (p *parser) rule(action Action, first token) error {
	d := &draft{first: first}
	d.Action = action
	switch {
	case p.accept("in"):
		d.Direction = In
	case p.accept("out"):
		d.Direction = Out
	}
	for {
		t := p.peek()
		if p.accept("quick") {
			d.Quick = true
			continue
		}
		if !p.accept("log") {
			break
		}
		p.noEffect(t, "")
		if err := p.skipParens(); err != nil {
			return err
		}
	}
	if p.accept("on") {
		if err := p.list(func() error { return p.on(d) }); err != nil {
			return err
		}
	}
	switch {
	case p.accept("inet"):
		d.Family = Inet
	case p.accept("inet6"):
		d.Family = Inet6
	}
	if p.accept("proto") {
		if err := p.list(func() error { return p.proto(d) }); err != nil {
			return err
		}
	}
	if err := p.hosts(d); err != nil {
		return err
	}
	if err := p.options(d); err != nil {
		return err
	}
	return p.expand(d)
}

// skipParens skips what stands in parentheses, if anything.
func (p *parser) skipParens() error {
	if !p.accept("(") {
		return nil
	}
	for !p.accept(")") {
		if p.peek().kind == end {
			return unexpected(p.peek(), "add ')'")
		}
		p.i++
	}
	return nil
}

// ifname reads the name of an interface or a group.
func (p *parser) ifname() (token, error) {
	t, err := p.name("the name of an interface stands here")
	if err == nil && !isIfName(t.text) {
		return t, mistakef(t, "%s: not the name of an interface (1 to 15 letters, digits and . _ - @ +)", quote(t.text))
	}
	return t, err
}

func isIfName(s string) bool {
	return s != "" && len(s) <= 15 && !strings.ContainsFunc(s, func(r rune) bool {
		return r > 0x7e || !isName(byte(r)) && !strings.ContainsRune("._-@+", r)
	})
}

func (p *parser) on(d *draft) error {
	not := p.accept("!")
	t, err := p.ifname()
	switch {
	case err != nil:
		return err
	case t.text == "any" && not:
		return mistakef(t, "'! any' matches no interface")
	case t.text == "any":
		d.on = append(d.on, Interface{})
	default:
		d.on = append(d.on, Interface{t.text, not})
	}
	return nil
}

func (p *parser) proto(d *draft) error {
	t, err := p.name("a protocol stands here")
	if err != nil {
		return err
	}
	n, ok := p.protocol(t.text)
	if !ok {
		return mistakef(t, "unknown protocol %s; write one of /etc/protocols, or its number from 1 to 255", quote(t.text))
	}
	d.protos = append(d.protos, n)
	return nil
}

func (p *parser) hosts(d *draft) error {
	if p.accept("all") {
		return nil
	}
	if p.accept("from") {
		if err := p.side(d, &d.from); err != nil {
			return err
		}
	}
	if p.accept("to") {
		return p.side(d, &d.to)
	}
	return nil
}

// side reads the addresses and the ports of one end, either of which may be left out.
func (p *parser) side(d *draft, e *side) error {
	if !p.peek().is("port") {
		at := p.peek()
		if err := p.list(func() error { return p.hostItem(e) }); err != nil {
			return err
		}
		if len(e.hosts) > 1 && slices.ContainsFunc(e.hosts, func(h Host) bool { return h.Not }) {
			p.note(at.line, at.col, "a list with '!' makes one rule per entry, and they may match everything together; use a table")
		}
	}
	if t := p.peek(); p.accept("port") {
		d.portsAt = t
		return p.list(func() error { return p.port(e) })
	}
	return nil
}

func (p *parser) hostItem(e *side) error {
	not := p.accept("!")
	t := p.peek()
	switch {
	case p.accept("any"):
		if not {
			return mistakef(t, "'! any' matches no address")
		}
		e.hosts = append(e.hosts, Host{})
		return nil
	case p.accept("<"):
		name, err := p.tableName()
		if err != nil {
			return err
		}
		p.uses = append(p.uses, use{place{p.file, name.line, name.col}, name.text})
		e.hosts = append(e.hosts, Host{Not: not, Table: name.text})
		return nil
	}
	prefixes, err := p.address()
	if err != nil {
		return err
	}
	if not && several(prefixes) {
		return mistakef(t, "'!' before a name with several addresses would match every one of them; put them into a table")
	}
	for _, prefix := range prefixes {
		e.hosts = append(e.hosts, Host{Not: not, Addr: prefix})
	}
	return nil
}

func (p *parser) port(e *side) error {
	const want = "ports are: N, N:M, = N, != N, < N, <= N, > N, >= N, N >< M, N <> M, or a list of those"
	t := p.peek()
	if t.kind == punct {
		p.i++
		n, err := p.portNumber(want)
		if err != nil {
			return err
		}
		first, last, not := n, n, false
		switch t.text {
		case "=":
		case "!=":
			not = true
		case "<":
			first, last = 1, n-1
		case "<=":
			first = 1
		case ">":
			first, last = n+1, 65535
		case ">=":
			last = 65535
		default:
			return unexpected(t, want)
		}
		return e.add(t, first, last, not)
	}
	if from, to, ok := strings.Cut(t.text, ":"); ok && t.kind != end {
		p.i++
		first, err := p.portOf(t, from)
		if err != nil {
			return err
		}
		last, err := p.portOf(t, to)
		if err != nil {
			return err
		}
		return e.add(t, first, last, false)
	}
	first, err := p.portNumber(want)
	if err != nil {
		return err
	}
	last := first
	op := p.peek()
	between, outside := p.accept("><"), false
	if !between {
		outside = p.accept("<>")
	}
	if between || outside {
		if last, err = p.portNumber(want); err != nil {
			return err
		}
	}
	if between {
		return e.add(op, first+1, last-1, false)
	}
	return e.add(t, first, last, outside)
}

// add adds the ports from first to last, which are in order.
func (e *side) add(at token, first, last int, not bool) error {
	if first > last || last > 65535 {
		return mistakef(at, "no port is in this range")
	}
	e.ports = append(e.ports, Ports{uint16(first), uint16(last), not})
	return nil
}

func (p *parser) portNumber(want string) (int, error) {
	t, err := p.name(want)
	if err != nil {
		return 0, err
	}
	return p.portOf(t, t.text)
}

func (p *parser) portOf(t token, text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n > 0 {
		return int(n), nil
	}
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		return 0, mistakef(t, "port %s: out of range (1 to 65535)", quote(text))
	}
	if port, ok := p.service(text); ok {
		return int(port), nil
	}
	return 0, mistakef(t, "unknown port %s; write one of /etc/services, or its number", quote(text))
}

// options reads what stands behind the hosts, in any order.
func (p *parser) options(d *draft) error {
	seen := map[string]bool{}
	for p.peek().kind != end {
		t := p.next()
		what := t.text
		switch {
		case t.kind == quoted:
			return unexpected(t, ruleOrder)
		case what == "modulate" || what == "synproxy" || what == "no":
			what = "keep"
		}
		if seen[what] {
			return mistakef(t, "'%s' is the second of its kind in this rule", t.text)
		}
		seen[what] = true
		if err := p.ruleOption(d, t); err != nil {
			return err
		}
	}
	if !seen["keep"] && d.Action == Pass {
		d.NoSync = p.noSync
	}
	return nil
}

func (p *parser) ruleOption(d *draft, t token) error {
	switch t.text {
	case "keep":
		return p.state(d)
	case "modulate", "synproxy":
		p.noEffect(t, "")
		return p.state(d)
	case "no":
		if d.Action == Match {
			return mistakef(t, "'no state' is for pass rules; write: match ... keep state (no-sync)")
		}
		d.NoState = true
		return p.expect("state", "write: no state")
	case "label":
		label, err := p.name("a label is a string")
		if err != nil {
			return err
		}
		if !isLabel(label.text) {
			return mistakef(label, "label %s: at most %d bytes of printable text without quotes and backslashes", quote(label.text), maxLabel)
		}
		d.Label = label.text
		return nil
	case "flags":
		p.noEffect(t, "")
		_, err := p.name("flags are: S/SA or any")
		return err
	case "tag":
		p.noEffect(t, "; mark connections in nftables")
		_, err := p.name("a tag is a word")
		return err
	case "icmp-type":
		d.typesAt = t
		return p.list(func() error { return p.icmpType(d, pfstate.ProtoICMP) })
	case "icmp6-type":
		d.typesAt = t
		return p.list(func() error { return p.icmpType(d, pfstate.ProtoICMPv6) })
	}
	if hint, ok := foreignWords[t.text]; ok {
		return unsupported(t, t.text, hint)
	}
	return unexpected(t, ruleOrder)
}

func isLabel(s string) bool {
	return s != "" && len(s) <= maxLabel && utf8.ValidString(s) && !strings.ContainsAny(s, `"\`) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (p *parser) icmpType(d *draft, proto uint8) error {
	t, err := p.name("a type of ICMP stands here")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(t.text, 10, 8)
	if typ, ok := queries[proto][t.text]; ok {
		n, err = uint64(typ), nil
	}
	if err != nil {
		return mistakef(t, "unknown type %s; a connection begins with echoreq or another query, or write its number (0 to 255)", quote(t.text))
	}
	if p.peek().is("code") {
		return unsupported(p.peek(), "code", unknowable)
	}
	d.types = append(d.types, icmpType{proto, uint8(n)})
	return nil
}

// state reads what follows keep, modulate or synproxy.
func (p *parser) state(d *draft) error {
	if err := p.expect("state", "write: keep state (no-sync)"); err != nil {
		return err
	}
	if !p.accept("(") {
		return nil
	}
	for {
		noSync, err := p.option()
		if err != nil {
			return err
		}
		d.NoSync = d.NoSync || noSync
		if p.accept(")") {
			return nil
		}
		if p.peek().kind == punct && !p.peek().is(",") || p.peek().kind == end {
			return unexpected(p.peek(), "add ')'")
		}
		p.accept(",")
	}
}

// option reads one of a state's options.
func (p *parser) option() (noSync bool, err error) {
	const want = "the options of a state are: no-sync, sloppy, pflow, if-bound, floating, max N, and timeouts"
	t := p.peek()
	if t.kind != word {
		return false, unexpected(t, want)
	}
	p.i++
	switch {
	case t.text == "no-sync":
		return true, nil
	case t.text == "sloppy" || t.text == "pflow" || t.text == "if-bound":
		p.noEffect(t, "")
	case t.text == "floating": // as all states are
	case t.text == "max" || slices.Contains(timeouts, t.text):
		p.noEffect(t, "")
		_, err = p.number(t.text, 0, 1<<31-1)
	default:
		err = unexpected(t, want)
	}
	return false, err
}

// one is the list of one zero value that stands for no list.
func one[T any](list []T) []T {
	if len(list) > 0 {
		return list
	}
	return make([]T, 1)
}

// expand adds a rule for each combination of the lists that makes sense, in pf's order.
func (p *parser) expand(d *draft) error {
	on, protos, types := one(d.on), one(d.protos), one(d.types)
	from, to := d.from.combine(), d.to.combine()
	if n := float64(len(on)) * float64(len(protos)) * float64(len(types)) * float64(len(from)) * float64(len(to)); n > float64(maxRules-len(p.rs.Rules)) {
		return mistakef(d.first, "more than %d rules; use tables for lists of addresses", maxRules)
	}
	for _, proto := range protos {
		if (len(d.from.ports) > 0 || len(d.to.ports) > 0) && !hasPorts(proto) {
			return mistakef(d.portsAt, "port only applies to tcp, udp and sctp; add 'proto { tcp udp }'")
		}
		for _, t := range d.types {
			if t.proto != proto {
				name := map[uint8]string{pfstate.ProtoICMP: "icmp", pfstate.ProtoICMPv6: "icmp6"}[t.proto]
				return mistakef(d.typesAt, "'%s' only applies to %s; add 'proto %s'", d.typesAt.text, name, name)
			}
		}
	}
	before := len(p.rs.Rules)
	for _, on := range on {
		for _, proto := range protos {
			for _, from := range from {
				for _, to := range to {
					for _, t := range types {
						r := d.Rule
						r.On, r.Proto, r.From, r.To = on, proto, from, to
						if len(d.types) > 0 {
							r.ICMPType = uint16(t.typ) + 1
						}
						if r.settleFamily() {
							p.rs.Rules = append(p.rs.Rules, r)
							p.places = append(p.places, place{p.file, d.first.line, d.first.col})
						}
					}
				}
			}
		}
	}
	if len(p.rs.Rules) == before {
		return mistakef(d.first, "the rule matches nothing: its addresses and its protocols are not of one family")
	}
	return nil
}

// combine gives each address with each port.
func (e *side) combine() []Host {
	var all []Host
	for _, h := range one(e.hosts) {
		for _, ports := range one(e.ports) {
			h.Ports = ports
			all = append(all, h)
		}
	}
	return all
}

// settleFamily makes the family of the addresses that of the rule, and reports whether they agree.
func (r *Rule) settleFamily() bool {
	for _, h := range []Host{r.From, r.To} {
		if !h.Addr.IsValid() {
			continue
		}
		family := Inet6
		if h.Addr.Addr().Is4() {
			family = Inet
		}
		if r.Family != "" && r.Family != family {
			return false
		}
		r.Family = family
	}
	return !(r.Proto == pfstate.ProtoICMP && r.Family == Inet6 || r.Proto == pfstate.ProtoICMPv6 && r.Family == Inet)
}
