package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// setup is what rules are made of.
type setup struct {
	syncdev  string
	ipv6     bool
	syncpeer netip.Addr // of one firewall, without a zone; else zero
	carpdevs []string
	mark     pfconf.Mark // of what is not shared
}

// ruleKinds are the programs for which rules are printed; the first is the default.
var ruleKinds = []struct {
	name  string
	print func(*setup) string
}{
	{"nft", (*setup).nft},
	{"iptables", (*setup).iptables},
	{"firewalld", (*setup).firewalld},
}

// printRules prints what the set-up as it is now needs, and applies nothing.
func printRules(c *cli.Context, d daemon, w io.Writer) error {
	kind := ruleKinds[0].name
	if c.NArg() > 0 {
		kind = c.Args().First()
	}
	if c.NArg() > 1 {
		return fmt.Errorf("%s: unexpected behind print-rules %s (%s)", ifconfig.Shown(c.Args().Get(1)), ifconfig.Shown(kind), usage)
	}
	for _, k := range ruleKinds {
		if k.name != kind {
			continue
		}
		s, err := gatherSetup(c, d)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, k.print(s))
		return err
	}
	return fmt.Errorf("print-rules: %s: unknown, choose nft, iptables or firewalld", ifconfig.Shown(kind))
}

func gatherSetup(c *cli.Context, d daemon) (*setup, error) {
	list, err := d.Interfaces(c.Context)
	if err != nil {
		return nil, err
	}
	s := &setup{carpdevs: c.StringSlice("carpdev")}
	named := len(s.carpdevs) > 0
	for _, i := range list {
		if v := i.Carp; v != nil && v.CarpDev != "" && !named && !slices.Contains(s.carpdevs, v.CarpDev) {
			s.carpdevs = append(s.carpdevs, v.CarpDev)
		}
		if p := i.PFSync; p != nil {
			s.syncdev = p.Syncdev
			peer := link.Config{Syncpeer: p.Syncpeer}.Peer()
			s.ipv6 = peer.Is6()
			if !peer.IsMulticast() {
				s.syncpeer = peer
			}
		}
	}
	if s.syncdev == "" {
		return nil, errors.New("print-rules: pfsync0 has no syncdev; name the interface to the other firewall first: ifconfig pfsync0 syncdev IF up")
	}
	rules, err := d.Rules(c.Context)
	if err != nil {
		return nil, err
	}
	s.mark = rules.Ruleset.Mark
	return s, nil
}

// protocols are those of the two, as a set of nft.
func (s *setup) protocols() string {
	if len(s.carpdevs) == 0 {
		return "240"
	}
	return "{ 112, 240 }"
}

// neighbours tells whether the other firewall must be found by IPv6's neighbour discovery, which
// rules can drop: ARP is none of theirs, and a group needs none.
func (s *setup) neighbours() bool { return s.syncpeer.Is6() }

// nft is a file for nft -f, of a table of its own: run again, it replaces itself.
func (s *setup) nft() string {
	var b strings.Builder
	from, ip, ttl := "", "ip", "ttl"
	if s.ipv6 {
		ip, ttl = "ip6", "hoplimit"
	}
	if s.syncpeer.IsValid() {
		from = fmt.Sprintf(" %s saddr %v", ip, s.syncpeer)
	}
	b.WriteString(`# For nft -f. An accept here does not overrule a drop elsewhere: where there is a chain that drops
# what it does not know (inet filter input), its lines "accept" belong in there, at the beginning.
table inet pfsync_allow
delete table inet pfsync_allow
table inet pfsync_allow {
	chain input {
		type filter hook input priority filter; policy accept;
`)
	fmt.Fprintf(&b, "\t\tiifname %q meta l4proto 240 %s %s 255%s accept\n", s.syncdev, ip, ttl, from)
	if s.neighbours() {
		fmt.Fprintf(&b, "\t\tiifname %q icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept\n", s.syncdev)
	}
	if len(s.carpdevs) > 0 {
		quoted := make([]string, len(s.carpdevs))
		for i, dev := range s.carpdevs {
			quoted[i] = fmt.Sprintf("%q", dev)
		}
		fmt.Fprintf(&b, "\t\tiifname { %s } meta l4proto 112 ip ttl 255 accept\n", strings.Join(quoted, ", "))
	}
	b.WriteString("\t\tmeta l4proto 240 drop\n\t}\n")
	for _, hook := range []struct{ chain, hook string }{{"raw_in", "prerouting"}, {"raw_out", "output"}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority raw; policy accept;\n\t\tmeta l4proto %s notrack\n\t}\n",
			hook.chain, hook.hook, s.protocols())
	}
	b.WriteString("}\n")
	if s.mark.Mask != 0 {
		fmt.Fprintf(&b, `
# What has the mark %#[1]x under the mask %#[2]x is not shared (set no-sync mark in pf.conf). To mark, for
# example, new connections to port 53, in a chain that sees them before they are let in:
#	ct state new udp dport 53 ct mark set ct mark and %#[3]x or %#[1]x
`, s.mark.Value, s.mark.Mask, ^s.mark.Mask)
	}
	return b.String()
}

// iptables is a script of commands; -C spares what is there, so it can be run again.
func (s *setup) iptables() string {
	var b strings.Builder
	b.WriteString("# For sh. Each rule is put in front of the others, if it is not there.\n")
	by := func(program string) func(spec string) {
		return func(spec string) {
			table, spec, _ := strings.Cut(spec, " ")
			chain, rest, _ := strings.Cut(spec, " ")
			fmt.Fprintf(&b, "%s -t %s -C %s %s 2>/dev/null || %[1]s -t %[2]s -I %[3]s %[4]s\n", program, table, chain, rest)
		}
	}
	carp := by("iptables")
	rule, ttl := carp, "ttl --ttl-eq"
	if s.ipv6 {
		rule, ttl = by("ip6tables"), "hl --hl-eq"
	}
	from := ""
	if s.syncpeer.IsValid() {
		from = fmt.Sprintf(" -s %v", s.syncpeer)
	}
	rule("filter INPUT -p 240 -j DROP") // the next ones go in front of it
	rule("filter INPUT -i " + quote(s.syncdev) + from + " -p 240 -m " + ttl + " 255 -j ACCEPT")
	if s.neighbours() {
		for _, kind := range []string{"solicitation", "advertisement"} {
			rule("filter INPUT -i " + quote(s.syncdev) + " -p icmpv6 --icmpv6-type neighbour-" + kind + " -m hl --hl-eq 255 -j ACCEPT")
		}
	}
	rule("filter OUTPUT -o " + quote(s.syncdev) + " -p 240 -j ACCEPT")
	for _, dev := range s.carpdevs {
		carp("filter INPUT -i " + quote(dev) + " -p 112 -m ttl --ttl-eq 255 -j ACCEPT")
		carp("filter OUTPUT -o " + quote(dev) + " -p 112 -j ACCEPT")
	}
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		rule("raw " + chain + " -p 240 -j CT --notrack")
		if len(s.carpdevs) > 0 {
			carp("raw " + chain + " -p 112 -j CT --notrack")
		}
	}
	if s.mark.Mask != 0 {
		fmt.Fprintf(&b, `
# What has the mark %#[1]x under the mask %#[2]x is not shared (set no-sync mark in pf.conf). To mark, for
# example, connections to port 53:
#	iptables -t mangle -A PREROUTING -p udp --dport 53 -j CONNMARK --set-xmark %#[1]x/%#[2]x
`, s.mark.Value, s.mark.Mask)
	}
	return b.String()
}

// firewalld has zones: that of the syncdev must be one of its own.
func (s *setup) firewalld() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# For sh. The zone pfsync is for the syncdev alone.
firewall-cmd --permanent --get-zones | grep -qw pfsync || firewall-cmd --permanent --new-zone=pfsync
firewall-cmd --permanent --zone=pfsync --change-interface=%s
firewall-cmd --permanent --zone=pfsync --add-rich-rule='rule family="%s"%s protocol value="240" accept'
`, quote(s.syncdev), map[bool]string{false: "ipv4", true: "ipv6"}[s.ipv6], s.source())
	for _, dev := range s.carpdevs {
		fmt.Fprintf(&b, "firewall-cmd --permanent --zone=\"$(firewall-cmd --get-zone-of-interface=%s)\" --add-protocol=vrrp\n", quote(dev))
	}
	b.WriteString("firewall-cmd --reload\n")
	if s.mark.Mask != 0 {
		fmt.Fprintf(&b, "\n# What has the mark %#x under the mask %#x is not shared (set no-sync mark in pf.conf); firewalld\n"+
			"# cannot mark connections: pfsyncctl print-rules nft has an example.\n", s.mark.Value, s.mark.Mask)
	}
	return b.String()
}

func (s *setup) source() string {
	if !s.syncpeer.IsValid() {
		return ""
	}
	return fmt.Sprintf(" source address=%q", s.syncpeer.String())
}

// quote keeps a shell from reading more than a name: Linux lets interfaces have almost any.
func quote(name string) string {
	if !slices.ContainsFunc([]byte(name), func(c byte) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-@:", c) >= 0)
	}) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
