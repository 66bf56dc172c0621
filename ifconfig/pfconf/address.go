package pfconf

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// address reads an address, a network, an interface or the name of a host.
func (p *parser) address() ([]netip.Prefix, error) {
	const want = "an address stands here: any, ADDRESS, ADDRESS/LENGTH, <TABLE>, IF, (IF), IF:network"
	if p.accept("(") {
		t, err := p.name(want)
		if err != nil {
			return nil, err
		}
		if err := p.expect(")", "add ')'"); err != nil {
			return nil, err
		}
		prefixes, ok, err := p.iface(t, t.text)
		if err == nil && !ok {
			err = mistakef(t, "unknown interface %s, or it has no address; write its address", quote(t.text))
		}
		if err != nil {
			return nil, err
		}
		p.noteOnce(t, "("+t.text+")", "the addresses that the interface has now; load the rules again when they change")
		return prefixes, nil
	}
	t, err := p.name(want)
	if err != nil {
		return nil, err
	}
	return p.resolve(t, t.text)
}

// noteOnce notes something once per file set.
func (p *parser) noteOnce(t token, what, text string) {
	if !p.told[what] {
		p.told[what] = true
		p.note(t.line, t.col, "'"+what+"': "+text)
	}
}

// resolve gives the addresses that a word stands for.
func (p *parser) resolve(t token, text string) ([]netip.Prefix, error) {
	if prefix, ok, err := parsePrefix(t, text); ok || err != nil {
		return []netip.Prefix{prefix}, err
	}
	if hint, ok := foreignHosts[text]; ok {
		return nil, unsupported(t, text, hint)
	}
	if prefixes, ok, err := p.iface(t, text); ok || err != nil {
		return prefixes, err
	}
	if !strings.ContainsAny(text, "/:") {
		if found := p.host(text); len(found) > 0 {
			return found, nil
		}
	}
	return nil, mistakef(t, "no IP address found for %s; it is no interface here and not in /etc/hosts: write its address", quote(text))
}

// several tells whether two of the prefixes are of one family.
func several(prefixes []netip.Prefix) bool {
	v4 := 0
	for _, p := range prefixes {
		if p.Addr().Is4() {
			v4++
		}
	}
	return v4 > 1 || len(prefixes)-v4 > 1
}

// parsePrefix reads an address or a network, whose host bits are cleared. What does not look like one is not ok.
func parsePrefix(t token, text string) (_ netip.Prefix, ok bool, err error) {
	addr, length, network := strings.Cut(text, "/")
	if network && strings.Count(addr, ".") < 3 && !strings.Contains(addr, ":") { // 10/8, as in pf
		for strings.Count(addr, ".") < 3 {
			addr += ".0"
		}
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		// Letters begin names; digits and colons do not.
		if text != "" && text[0] >= '0' && text[0] <= '9' && !strings.ContainsAny(addr, "ghijklmnopqrstuvwxyz-_") && strings.ContainsAny(text, ".:/") {
			return netip.Prefix{}, false, mistakef(t, "address %s: write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32", quote(text))
		}
		return netip.Prefix{}, false, nil
	}
	if a.Zone() != "" {
		return netip.Prefix{}, false, mistakef(t, "address %s: write it without its interface: %v", quote(text), a.WithZone(""))
	}
	if a.Is4In6() {
		return netip.Prefix{}, false, mistakef(t, "address %s: write it as the IPv4 address it stands for", quote(text))
	}
	bits := a.BitLen()
	if network {
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || int(n) > bits {
			return netip.Prefix{}, false, mistakef(t, "address %s: the length is from 0 to %d", quote(text), bits)
		}
		bits = int(n)
	}
	prefix, err := a.Prefix(bits)
	return prefix, err == nil, err
}

// iface gives the addresses of IF, the networks of IF:network, or the first address of each family of
// IF:0. It is not ok if there is no such interface.
func (p *parser) iface(t token, text string) (_ []netip.Prefix, ok bool, err error) {
	name, modifier, modified := strings.Cut(text, ":")
	if p.Addresses == nil || !isIfName(name) {
		return nil, false, nil
	}
	found := p.Addresses(name)
	if len(found) == 0 {
		return nil, false, nil
	}
	if modified && modifier != "network" && modifier != "0" {
		return nil, false, mistakef(t, "%s: behind the interface stands :network, :0 or nothing", quote(text))
	}
	var prefixes []netip.Prefix
	var first [2]bool
	for _, f := range found {
		a := f.Addr().WithZone("").Unmap()
		bits, family := a.BitLen(), 0
		if a.Is6() {
			family = 1
		}
		switch {
		case modifier == "network" && f.Bits() >= 0 && f.Bits() <= bits:
			bits = f.Bits()
		case modifier == "0" && first[family]:
			continue
		}
		first[family] = true
		if prefix, err := a.Prefix(bits); err == nil && !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, len(prefixes) > 0, nil
}
