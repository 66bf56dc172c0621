package ifconfig

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// keyword is a row of the table that drives parsing, the usage and completion.
// A row without set is refused: not yet (later), or never.
type keyword struct {
	names []string
	arg   string // what its argument is called; "": it takes none
	on    kind
	set   func(c *Change, arg string) error
	later bool
	hint  string // what to use instead; %i is the interface
}

// keywords holds every word that is understood, and those that are known and refused.
var keywords = []keyword{
	{names: words("create"), on: kindAny, set: func(c *Change, _ string) error { c.Create = true; return nil }},
	{names: words("destroy"), on: kindAny, set: func(c *Change, _ string) error { c.Destroy = true; return nil }},
	{names: words("up"), on: kindAny, set: func(c *Change, _ string) error { c.Up = new(true); return nil }},
	{names: words("down"), on: kindAny, set: func(c *Change, _ string) error { c.Up = new(false); return nil }},
	{names: words("mtu"), arg: "number", on: kindAny, set: setMTU},

	{names: words("syncdev syncif"), arg: "interface", on: kindPFSync, set: setSyncdev},
	{names: words("-syncdev -syncif"), on: kindPFSync, set: func(c *Change, _ string) error { c.Syncdev = new(""); return nil }},
	{names: words("syncpeer"), arg: "address", on: kindPFSync, set: setSyncpeer},
	{names: words("-syncpeer"), on: kindPFSync, set: func(c *Change, _ string) error { c.Syncpeer = new(netip.Addr); return nil }},
	{names: words("maxupd"), arg: "number", on: kindPFSync, set: setMaxUpd},
	{names: words("key"), arg: "file", on: kindPFSync, set: setKey},
	{names: words("-key"), on: kindPFSync, set: func(c *Change, _ string) error { c.Key = new(Key); return nil }},
	{names: words("defer"), on: kindPFSync, set: func(c *Change, _ string) error { c.Defer = new(true); return nil }},
	{names: words("-defer"), on: kindPFSync, set: func(c *Change, _ string) error { c.Defer = new(false); return nil }},

	{names: words("bulk"), on: kindPFSync, set: func(c *Change, _ string) error { c.Bulk = true; return nil }},

	{names: words("version"), on: kindPFSync, later: true, hint: "states are sent in OpenBSD's current format"},
	{names: words("push"), on: kindPFSync, later: true, hint: "run ifconfig %i bulk on the peer: that asks for this firewall's table"},
	{names: words("debug -debug"), on: kindPFSync, later: true, hint: "start pfsyncd with --log-level debug"},
	{names: words("group -group"), on: kindPFSync, later: true, hint: "pfsync0 is in the groups carp and pfsync"},
	{names: words("description descr -description -descr"), on: kindAny, later: true, hint: "use ip link set dev %i alias TEXT"},

	{names: words("alias -alias delete remove netmask prefixlen broadcast"), on: kindOther, later: true,
		hint: "use ip address add ADDRESS/LENGTH dev %i, or ip address delete"},
	{names: words("autoconf -autoconf"), on: kindOther, later: true, hint: "use sysctl net.ipv6.conf.%i.accept_ra"},
	{names: words("-inet6 eui64 anycast pltime vltime"), on: kindOther, later: true, hint: "use ip -6 address"},
	{names: words("lladdr ether"), on: kindOther, later: true, hint: "use ip link set dev %i address"},
	{names: words("name"), on: kindOther, later: true, hint: "use ip link set dev %i name"},
	{names: words("arp -arp promisc -promisc"), on: kindOther, later: true, hint: "use ip link set dev %i arp|promisc on|off"},
	{names: words("group -group debug -debug metric priority"), on: kindOther, later: true, hint: "leave it out"},
	{names: words("media mediaopt -mediaopt wol -wol tso -tso lro -lro rxcsum -rxcsum txcsum -txcsum"), on: kindOther,
		later: true, hint: "use ethtool"},
	{names: words("-rdomain llprio link0 -link0 link1 -link1 link2 -link2"), on: kindOther, later: true, hint: "leave it out"},
	{names: words("vhid pass advbase advskew carpdev -carpdev carppeer -carppeer peer peer6 mcast mcast6 state carpdemote -carpdemote"),
		on: kindOther, later: true, hint: "use keepalived for shared addresses"},

	{names: words("vlan -vlan vnetid -vnetid parent -parent vlandev -vlandev"), on: kindAny, hint: "use ip link add type vlan"},
	{names: words("trunkport -trunkport trunkproto laggport -laggport laggproto"), on: kindAny, hint: "use ip link add type bond"},
	{names: words("add del stp -stp span -span addm deletem addspan delspan"), on: kindAny, hint: "use ip link and bridge"},
	{names: words("tunnel -tunnel deletetunnel keepalive -keepalive"), on: kindAny, hint: "use ip tunnel"},
	{names: words("nwid -nwid join -join wpa -wpa wpakey -wpakey wpaprotos wpaakms wpaciphers wpagroupcipher nwkey -nwkey chan -chan scan"),
		on: kindAny, hint: "use wpa_supplicant or iw"},
	{names: words("wgkey wgport wgpeer -wgpeer wgendpoint wgaip wgpsk -wgpsk wgpka wgrtable"), on: kindAny, hint: "use wg(8)"},
	{names: words("rdomain fib"), on: kindAny, hint: "use a VRF or a network namespace"},
	{names: words("flowsrc -flowsrc flowdst -flowdst pflowproto"), on: kindAny, hint: "this is no flow exporter"},
	{names: words("balancing -balancing carpnodes"), on: kindAny, hint: "one vhid has one master"},
	{names: words("vrrpver vrrpprio vrrpinterval"), on: kindAny, hint: "use keepalived"},
	{names: words("hw txqueuelen pointopoint mem_start irq"), on: kindAny, hint: "run the net-tools ifconfig (/sbin/ifconfig)"},
}

func words(s string) []string { return strings.Fields(s) }

// lookup finds a word's row for one of these kinds of interface; nil: no keyword there.
func lookup(word string, kind kind) *keyword {
	for i := range keywords {
		if keywords[i].on&kind != 0 && slices.Contains(keywords[i].names, word) {
			return &keywords[i]
		}
	}
	return nil
}

// refusal says that a known word does nothing here, and what does.
func (k *keyword) refusal(name, word string) error {
	hint := strings.ReplaceAll(k.hint, "%i", name)
	if k.later {
		return fmt.Errorf("%s: not supported yet (%s)", word, hint)
	}
	return fmt.Errorf("%s: not supported on Linux (%s)", word, hint)
}

// misplaced says that a word belongs to another kind of interface.
func (k *keyword) misplaced(name, word string) error {
	if k.on == kindPFSync {
		return fmt.Errorf("%s: %s is not a pfsync interface", word, name)
	}
	return fmt.Errorf("%s: not possible on %s", word, name)
}

// Keyword is a word of the grammar, for usage texts and completion.
type Keyword struct {
	Word string
	Arg  string // what its argument is called; "": it takes none
}

// Keywords lists the words that can be given for the interface of that name.
func Keywords(name string) []Keyword {
	kind, err := kindOf(name)
	if err != nil {
		return nil
	}
	var list []Keyword
	for _, k := range keywords {
		if k.set == nil || k.on&kind == 0 {
			continue
		}
		for _, word := range k.names {
			if kind == kindPFSync || word != "create" && word != "destroy" {
				list = append(list, Keyword{Word: word, Arg: k.arg})
			}
		}
	}
	return list
}

// meant is how a word that is not understood was probably to be written, or "".
func meant(word string, kind kind) string {
	name, arg, assigned := strings.Cut(strings.ToLower(word), "=")
	switch k := lookup(name, kind); {
	case k == nil || k.set == nil:
		return nearest(word, kind)
	case assigned && k.arg != "" && arg != "":
		return name + " " + Shown(word[len(name)+1:])
	}
	return name
}

// nearest is the keyword that a misspelt word probably meant, or "".
func nearest(word string, kind kind) string {
	best, limit := "", 3
	switch {
	case len(word) < 3 || len(word) > 2*maxName:
		return ""
	case len(word) < 5:
		limit = 2
	}
	for _, k := range keywords {
		if k.set == nil || k.on&kind == 0 {
			continue
		}
		for _, name := range k.names {
			if d := distance(word, name); d < limit {
				best, limit = name, d
			}
		}
	}
	return best
}

// distance is the number of letters to insert, drop or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal = row[j+1]
			row[j+1] = d
		}
	}
	return row[len(b)]
}
