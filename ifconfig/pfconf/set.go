package pfconf

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

const settings = "what can be set: skip on IF, state-policy, limit states N, timeout, hostid N, state-defaults no-sync, no-sync mark VALUE/MASK"

func (p *parser) set() error {
	t := p.peek()
	if t.kind != word {
		return unexpected(t, settings)
	}
	p.i++
	var err error
	switch t.text {
	case "hostid":
		var n uint64
		n, err = p.number("hostid", 1, math.MaxUint32)
		p.rs.HostID = uint32(n)
	case "limit":
		err = p.list(p.limit)
	case "no-sync":
		err = p.mark()
	case "skip":
		err = p.skip()
	case "state-policy":
		err = p.policy()
	case "state-defaults":
		p.noSync = false
		err = p.defaults()
	case "timeout":
		err = p.list(p.timeout)
		p.noEffect(t, ": timeouts are conntrack's (sysctl net.netfilter)")
	case "linux-accept":
		if p.accept("yes") {
			return mistakef(t, "linux-accept yes: rules let nothing through on Linux; use nftables for filtering")
		}
		err = p.expect("no", "set linux-accept no")
	default:
		if hint, ok := foreignSettings[t.text]; ok {
			return unsupported(t, "set "+t.text, hint)
		}
		return unexpected(t, settings)
	}
	if err != nil {
		return err
	}
	return p.end("the setting ends here")
}

func (p *parser) limit() error {
	t, err := p.name("a limit is: set limit states N")
	if err != nil {
		return err
	}
	if t.text != "states" {
		if slices.Contains(foreignLimits, t.text) {
			return unsupported(t, "set limit "+t.text, "remove it")
		}
		return unexpected(t, "a limit is: set limit states N")
	}
	n, err := p.number("limit states", 1, math.MaxUint32)
	p.rs.MaxStates = uint32(n)
	return err
}

// mark reads the mark of connections that are not synchronised.
func (p *parser) mark() error {
	const want = "write: set no-sync mark 0x10000/0x10000"
	if err := p.expect("mark", want); err != nil {
		return err
	}
	t, err := p.name(want)
	if err != nil {
		return err
	}
	value, mask, both := strings.Cut(t.text, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	m := uint64(math.MaxUint32)
	if err == nil && both {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	switch {
	case err != nil:
		return mistakef(t, "mark %s: not a number of 32 bits, or two; %s", quote(t.text), want)
	case m == 0:
		return mistakef(t, "mark %s: a mask of 0 would exclude every connection; %s", quote(t.text), want)
	case v&^m != 0:
		return mistakef(t, "mark %s: no mark is equal to it, for it has bits that the mask has not", quote(t.text))
	}
	p.rs.Mark = Mark{uint32(v), uint32(m)}
	return nil
}

func (p *parser) skip() error {
	if err := p.expect("on", "write: set skip on IF"); err != nil {
		return err
	}
	return p.list(func() error {
		t, err := p.ifname()
		if err != nil {
			return err
		}
		if t.text != "lo" && t.text != "lo0" { // its connections are never synchronised
			p.noEffect(token{text: "skip on " + t.text, line: t.line, col: t.col}, ": conntrack does not know interfaces; exclude what nftables does not track with 'notrack'")
		}
		if !slices.Contains(p.rs.SkipOn, t.text) {
			p.rs.SkipOn = append(p.rs.SkipOn, t.text)
		}
		return nil
	})
}

func (p *parser) policy() error {
	t := p.peek()
	if p.accept("if-bound") {
		p.noEffect(t, ": all states are floating")
		return nil
	}
	return p.expect("floating", "the policy is floating")
}

func (p *parser) defaults() error {
	for {
		noSync, err := p.option()
		if err != nil {
			return err
		}
		p.noSync = p.noSync || noSync
		if !p.accept(",") {
			return nil
		}
	}
}

func (p *parser) timeout() error {
	t, err := p.name("a timeout is: NAME SECONDS")
	if err != nil {
		return err
	}
	if !slices.Contains(timeouts, t.text) {
		return unexpected(t, "the names are those of pfctl -st")
	}
	_, err = p.number(t.text, 0, math.MaxInt32)
	return err
}
