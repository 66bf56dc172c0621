package pfsyncfilter

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// actions are the words for what a message is, by action.
var actions = [wire.ActMax]string{
	"clr", "ins_old", "ins_ack", "upd_old", "upd_c", "upd_req", "del", "del_c",
	"ins_f", "del_f", "bus", "tdb_old", "eof", "ins", "upd", "tdb",
}

// ActionName is the word for an action, its number if it has none.
func ActionName(a wire.Action) string {
	if a < wire.ActMax {
		return actions[a]
	}
	return strconv.Itoa(int(a))
}

// protocols may stand alone, as in tcpdump.
var protocols = map[string]uint8{
	"tcp": pfstate.ProtoTCP, "udp": pfstate.ProtoUDP, "icmp": pfstate.ProtoICMP, "icmp6": pfstate.ProtoICMPv6,
	"sctp": pfstate.ProtoSCTP, "gre": pfstate.ProtoGRE, "esp": 50, "ah": 51,
}

const conditions = "host, net, port, src, dst, proto, tcp, udp, icmp, id, creatorid, act or peer"

// Parse reads an expression, which may be spread over several words. Errors name the
// word and what would be right.
func Parse(words ...string) (*Filter, error) {
	p := parser{words: split(strings.Join(words, " ")), filter: &Filter{}}
	if len(p.words) == 0 {
		return nil, errors.New("filter: it is empty")
	}
	m, err := p.joined()
	if err == nil && len(p.words) > 0 {
		err = p.wrong("and, or, or the end expected")
	}
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	p.filter.match = m
	return p.filter, nil
}

// split makes words of s; brackets and ! are words of their own.
func split(s string) []string {
	for _, sign := range []string{"(", ")", "!"} {
		s = strings.ReplaceAll(s, sign, " "+sign+" ")
	}
	return strings.Fields(s)
}

type parser struct {
	words  []string // to come
	filter *Filter
	last   []string // the words in front of the latest value
	depth  int      // of brackets and nots
}

// maxDepth bounds the recursion.
const maxDepth = 100

func (p *parser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

// take takes the next word if it is one of these.
func (p *parser) take(words ...string) bool {
	for _, w := range words {
		if p.peek() == w {
			p.words = p.words[1:]
			return true
		}
	}
	return false
}

// wrong is about the next word.
func (p *parser) wrong(want string) error {
	if len(p.words) == 0 {
		return errors.New("it ends too early: " + want)
	}
	return fmt.Errorf("%s: %s", shown(p.words[0]), want)
}

// shown is what somebody typed, for an error message.
func shown(word string) string {
	const most = 60
	q := strconv.QuoteToASCII(word)
	q = q[1 : len(q)-1]
	if len(q) > most {
		q = q[:most] + "..."
	}
	return q
}

// joined reads conditions that are joined. As in tcpdump, and binds no closer than or.
func (p *parser) joined() (match, error) {
	m, err := p.single()
	for err == nil {
		and := p.take("and", "&&")
		if !and && !p.take("or", "||") {
			break
		}
		left := m
		var right match
		right, err = p.single()
		if and {
			m = func(v *view) bool { return left(v) && right(v) }
		} else {
			m = func(v *view) bool { return left(v) || right(v) }
		}
	}
	return m, err
}

func (p *parser) single() (match, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.wrong("nested too deep")
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("not", "!"):
		m, err := p.single()
		return func(v *view) bool { return !m(v) }, err
	case p.take("("):
		m, err := p.joined()
		if err == nil && !p.take(")") {
			err = p.wrong(") expected")
		}
		return m, err
	}
	return p.condition()
}

// condition reads what asks for one thing.
func (p *parser) condition() (match, error) {
	word := p.peek()
	if proto, ok := protocols[word]; ok {
		p.words = p.words[1:]
		p.last = nil
		m := p.proto(proto)
		switch p.peek() {
		case "src", "dst", "host", "net", "port":
			of, err := p.condition()
			return func(v *view) bool { return m(v) && of(v) }, err
		}
		return m, nil
	}
	switch word {
	case "src", "dst":
		p.words = p.words[1:]
		switch p.peek() {
		case "host", "net", "port":
			p.last = []string{word, p.peek()}
			p.words = p.words[1:]
		default: // as in tcpdump
			p.last = []string{word, "host"}
		}
	case "host", "net", "port", "proto", "id", "creatorid", "act", "peer":
		p.words = p.words[1:]
		p.last = []string{"", word}
	default: // a value alone
		if p.last == nil || word == "" || word == ")" || word == "and" || word == "or" {
			return nil, p.wrong(conditions + " expected")
		}
	}
	return p.value(p.last[0], p.last[1])
}

// value reads the value of a condition.
func (p *parser) value(side, kind string) (m match, err error) {
	value, want := p.peek(), ""
	switch kind {
	case "host", "net", "peer":
		m, want = p.prefix(side, kind, value)
	case "port":
		m, want = p.port(side, value)
	case "proto":
		m, want = p.protocol(value)
	case "id", "creatorid":
		m, want = id(kind, value)
	case "act":
		m, want = act(value)
	}
	if want != "" {
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(side+" "+kind), p.wrong(want))
	}
	p.words = p.words[1:]
	return m, nil
}

func (p *parser) prefix(side, kind, value string) (m match, want string) {
	prefix, err := netip.ParsePrefix(value)
	if err != nil && kind != "net" {
		var a netip.Addr
		a, err = netip.ParseAddr(value)
		a = a.Unmap()
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case err != nil && kind == "net":
		return nil, "an address and a length expected, as in 10.1.0.0/16"
	case err != nil:
		return nil, "an address expected; names are not looked up"
	case kind == "peer":
		return func(v *view) bool { return prefix.Contains(v.peer) }, ""
	}
	return p.ends(side, func(a netip.AddrPort) bool { return prefix.Contains(a.Addr()) }), ""
}

func (p *parser) port(side, value string) (m match, want string) {
	low, high, ranged := strings.Cut(value, "-")
	if !ranged {
		high = low
	}
	from, err := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err != nil || err2 != nil || from > to {
		return nil, "a port from 0 to 65535, or two as in 80-90, expected; names are not looked up"
	}
	return p.ends(side, func(a netip.AddrPort) bool { return uint64(a.Port()) >= from && uint64(a.Port()) <= to }), ""
}

// ends asks for an end of the state: side is src, dst, or empty for both.
func (p *parser) ends(side string, is func(netip.AddrPort) bool) match {
	p.filter.flows = true
	any := func(e end) bool { return is(e[0]) || is(e[1]) }
	return func(v *view) bool {
		return v.flow != nil && (side != "dst" && any(v.flow.src) || side != "src" && any(v.flow.dst))
	}
}

func (p *parser) proto(proto uint8) match {
	p.filter.flows = true
	return func(v *view) bool { return v.flow != nil && v.flow.proto == proto }
}

func (p *parser) protocol(value string) (m match, want string) {
	proto, ok := protocols[value]
	if !ok {
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return nil, "tcp, udp, icmp, icmp6, sctp, gre, esp, ah or a number expected"
		}
		proto = uint8(n)
	}
	return p.proto(proto), ""
}

// id reads hexadecimal numbers as they are printed.
func id(kind, value string) (m match, want string) {
	state, creator, both := strings.Cut(value, "/")
	if kind == "creatorid" {
		c, err := hex(value, 32)
		if err != nil {
			return nil, "a hexadecimal number of 32 bits expected"
		}
		return func(v *view) bool { return v.message != nil && v.id.Creator == uint32(c) && v.hasCreator() }, ""
	}
	s, err := hex(state, 64)
	var c uint64
	if err == nil && both {
		c, err = hex(creator, 32)
	}
	if err != nil {
		return nil, "a hexadecimal number of 64 bits expected, or id/creatorid"
	}
	return func(v *view) bool {
		return v.hasID() && v.id.State == s && (!both || v.id.Creator == uint32(c))
	}, ""
}

func hex(s string, bits int) (uint64, error) {
	return strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, bits)
}

func (v *view) hasID() bool {
	return v.message != nil && (v.message.Action.HasState() || v.message.Action.HasID() || v.message.Action == wire.ActUpdC)
}

func (v *view) hasCreator() bool {
	return v.hasID() || v.message != nil && (v.message.Action == wire.ActClr || v.message.Action == wire.ActBus)
}

func act(value string) (m match, want string) {
	for a, name := range actions {
		if name == value {
			return func(v *view) bool { return v.message != nil && v.message.Action == wire.Action(a) }, ""
		}
	}
	n, err := strconv.ParseUint(value, 10, 8)
	if err != nil {
		return nil, strings.Join(actions[:], ", ") + " or a number expected"
	}
	return func(v *view) bool { return v.message != nil && v.message.Action == wire.Action(n) }, ""
}
