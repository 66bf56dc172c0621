package rcconf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// pfsync0 is the interface of pfsync.
const pfsync0 = "pfsync0"

// Plan is what the variables ask for, in FreeBSD's order: interfaces that are to be created, the others
// with their aliases, forwarding, default routes, and pfsync last. notes are lines for the operator about
// what is left out. Variables that have nothing to do with it are ignored. Steps are returned beside
// an error, which joins those of all wrong variables and says where they stand, one on each of its lines.
func (vars Vars) Plan() (steps []plan.Step, notes []string, err error) {
	p := planner{vars: vars}
	for _, name := range strings.Fields(vars["cloned_interfaces"].Text) {
		p.add(vars["cloned_interfaces"], plan.Step{Interface: name, Words: []string{"create"}})
	}
	for _, name := range p.interfaces() {
		p.configure(name)
	}
	p.forwarding("gateway_enable", "net.inet.ip.forwarding")
	p.forwarding("ipv6_gateway_enable", "net.inet6.ip6.forwarding")
	p.route("defaultrouter", netip.Addr.Is4)
	p.route("ipv6_defaultrouter", netip.Addr.Is6)
	p.pfsync()
	if v := vars["pf_enable"]; p.yes("pf_enable") {
		p.note(v, "pf_enable: rules are not loaded by netstart; use pfctl -f %s", cmp.Or(vars["pf_rules"].Text, "/etc/pf.conf"))
	}
	return p.steps, p.notes, errors.Join(p.wrong...)
}

type planner struct {
	vars  Vars
	steps []plan.Step
	notes []string
	wrong []error
}

func (p *planner) add(v Value, s plan.Step) {
	s.Place = v.Place
	p.steps = append(p.steps, s)
}

func (p *planner) note(v Value, format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf("%v: %s", v.Place, fmt.Sprintf(format, args...)))
}

func (p *planner) fail(v Value, format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Errorf("%v: %s", v.Place, fmt.Sprintf(format, args...)))
}

// yes reads a variable that is YES or NO.
func (p *planner) yes(name string) bool {
	v, set := p.vars[name]
	switch strings.ToLower(v.Text) {
	case "yes", "true", "on", "1":
		return true
	case "no", "false", "off", "0", "":
		return false
	}
	if set {
		p.note(v, "%s: %s is neither YES nor NO; taken as NO", name, ifconfig.Shown(v.Text))
	}
	return false
}

// lo is what Linux calls lo0.
const lo = "lo"

const prefix = "ifconfig_"

// suffixes are what may stand behind the interface in the name of a variable.
var suffixes = []string{"aliases", "ipv6", "descr"}

// interfaces lists what is to be configured, in order. lo0 is Linux's lo.
func (p *planner) interfaces() []string {
	list := strings.Fields(p.vars["network_interfaces"].Text)
	if _, set := p.vars["network_interfaces"]; set && (len(list) != 1 || !strings.EqualFold(list[0], "auto")) {
		p.noteOthers(list)
		return list
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(p.vars)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		iface, suffix, _ := strings.Cut(rest, "_")
		if suffix != "" && !isSuffix(suffix) {
			p.fail(p.vars[name], "%s: not supported (an interface with '_' in its name belongs into network_interfaces)", name)
			continue
		}
		if iface != "" && !slices.Contains(found, iface) {
			found = append(found, iface)
		}
	}
	return found
}

func isSuffix(s string) bool {
	_, alias := aliasNumber(s)
	return alias || slices.Contains(suffixes, s)
}

// aliasNumber reads alias0, alias1, ...
func aliasNumber(s string) (int, bool) {
	digits, ok := strings.CutPrefix(s, "alias")
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), ok && err == nil && digits == strconv.FormatUint(n, 10)
}

// noteOthers tells of variables of interfaces that are not in the list.
func (p *planner) noteOthers(list []string) {
	for _, name := range slices.Sorted(maps.Keys(p.vars)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || slices.ContainsFunc(list, func(iface string) bool {
			suffix, ok := strings.CutPrefix(rest, variable(iface))
			return ok && (suffix == "" || suffix[0] == '_')
		}) {
			continue
		}
		p.note(p.vars[name], "%s: left alone, the interface is not in network_interfaces", name)
	}
}

// variable is an interface's name as part of the name of a variable.
func variable(iface string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".-/+", r) { // as FreeBSD's network.subr
			return '_'
		}
		return r
	}, iface)
}

// configure makes the steps of one interface.
func (p *planner) configure(name string) {
	v := prefix + variable(name)
	if name == "lo0" {
		name = lo
	}
	if base, set := p.vars[v]; set {
		p.base(name, base)
	}
	if v6, set := p.vars[v+"_ipv6"]; set {
		words := strings.Fields(v6.Text)
		if len(words) == 0 || words[0] != "inet6" {
			p.fail(v6, "%s_ipv6: does not begin with inet6", v)
		} else {
			for i, w := range words {
				if w == "accept_rtadv" {
					words[i] = "autoconf" // OpenBSD's word for it
				}
			}
			p.add(v6, plan.Step{Interface: name, Words: words})
		}
	}
	p.aliases(name, v)
	if descr, set := p.vars[v+"_descr"]; set {
		p.add(descr, plan.Step{Interface: name, Words: []string{"description", descr.Text}})
	}
}

// base makes the steps of ifconfig_IF: the words, and up as FreeBSD does behind them.
func (p *planner) base(name string, v Value) {
	dhcp := false
	var words []string
	for _, w := range strings.Fields(v.Text) {
		switch w {
		case "DHCP", "SYNCDHCP", "NOSYNCDHCP":
			dhcp = true
		case "NOAUTO":
			p.note(v, "%s: left alone, as NOAUTO says", name)
			return
		case "AUTO":
		case "WPA", "HOSTAP":
			p.fail(v, "%s: not supported (use wpa_supplicant or hostapd)", w)
			return
		default:
			words = append(words, w)
		}
	}
	if name == lo && len(words) > 0 && (isFamily(words[0]) || isAddress(words[0])) {
		p.alias(name, v, words) // the system's own addresses stay
		return
	}
	if !slices.Contains(words, "up") && !slices.Contains(words, "down") {
		words = append(words, "up")
	}
	p.add(v, plan.Step{Interface: name, Words: words})
	if dhcp {
		p.add(v, plan.Step{Do: plan.DHCP, Interface: name})
	}
}

// aliases makes the steps of the interface's aliases, from alias0 up to the first one that is not set.
func (p *planner) aliases(name, v string) {
	n := 0
	for ; ; n++ {
		alias, set := p.vars[v+"_alias"+strconv.Itoa(n)]
		if !set {
			break
		}
		p.alias(name, alias, strings.Fields(alias.Text))
	}
	for _, other := range slices.Sorted(maps.Keys(p.vars)) {
		suffix, ok := strings.CutPrefix(other, v+"_")
		if number, isAlias := aliasNumber(suffix); ok && isAlias && number > n {
			p.note(p.vars[other], "%s: left alone, there is no %s_alias%d before it", other, v, n)
		}
	}
	many := p.vars[v+"_aliases"]
	words := strings.Fields(many.Text)
	for len(words) > 0 {
		end := 1
		for end < len(words) && !isFamily(words[end]) {
			end++
		}
		p.alias(name, many, words[:end])
		words = words[end:]
	}
}

func isFamily(word string) bool { return word == "inet" || word == "inet6" }

// alias makes the step of one alias. The word alias goes with an address only: without one the
// words are about a vhid.
func (p *planner) alias(name string, v Value, words []string) {
	if len(words) == 0 {
		p.fail(v, "the alias is empty")
		return
	}
	family := words[0]
	switch {
	case isFamily(family):
		words = words[1:]
	case isAddress(family) && strings.Contains(family, ":"):
		family = "inet6"
	case isAddress(family):
		family = "inet"
	default:
		p.fail(v, "%s: an alias begins with inet or inet6 and an address", ifconfig.Shown(family))
		return
	}
	out := []string{family}
	if len(words) > 0 && isAddress(words[0]) && !slices.Contains(words, "alias") {
		out = append(out, "alias")
	}
	p.add(v, plan.Step{Interface: name, Words: append(out, words...)})
}

func isAddress(word string) bool {
	addr, _, _ := strings.Cut(word, "/")
	_, err := netip.ParseAddr(addr)
	return err == nil
}

func (p *planner) forwarding(name, variable string) {
	if p.yes(name) {
		p.add(p.vars[name], plan.Step{Do: plan.Sysctl, Setting: sysctl.Setting{Name: variable, Value: 1}})
	}
}

func (p *planner) route(name string, family func(netip.Addr) bool) {
	v := p.vars[name]
	if v.Text == "" || strings.EqualFold(v.Text, "NO") {
		return
	}
	addr, err := netip.ParseAddr(v.Text)
	if err != nil || !family(addr) || addr.IsUnspecified() || addr.IsMulticast() {
		p.fail(v, "%s: %s is no address of a router", name, ifconfig.Shown(v.Text))
		return
	}
	p.add(v, plan.Step{Do: plan.Route, Gateway: addr})
}

// pfsync makes the one command that FreeBSD's rc.d/pfsync runs.
func (p *planner) pfsync() {
	enable := p.vars["pfsync_enable"]
	if !p.yes("pfsync_enable") {
		for _, name := range []string{"pfsync_syncdev", "pfsync_syncpeer", "pfsync_ifconfig"} {
			if v, set := p.vars[name]; set && v.Text != "" {
				p.note(v, "%s: left alone, pfsync_enable is not YES", name)
			}
		}
		return
	}
	s := plan.Step{Interface: pfsync0}
	words := func(v Value, words ...string) {
		for _, w := range words {
			s.Words, s.Places = append(s.Words, w), append(s.Places, v.Place)
		}
	}
	dev := p.vars["pfsync_syncdev"]
	if dev.Text == "" {
		if dev.File == "" {
			dev = enable
		}
		p.fail(dev, "pfsync_syncdev is not set.") // FreeBSD's words
		return
	}
	if peer := p.vars["pfsync_syncpeer"]; peer.Text != "" {
		words(peer, "syncpeer", peer.Text)
	}
	words(dev, "syncdev", dev.Text)
	more := p.vars["pfsync_ifconfig"]
	words(more, strings.Fields(more.Text)...)
	words(enable, "up")
	p.add(dev, s)
}
