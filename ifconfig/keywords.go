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
	names    []string
	arg      string // what its argument is called; "": it takes none
	on       kind
	set      func(p *parser, arg string) error
	noEffect bool // accepted with a warning, so that BSD's files can stay as they are
	later    bool
	ofGroup  bool   // it goes with -g, not with an interface
	hint     string // why, and what to use instead; %i is the interface
}

// keywords holds every word that is understood, and those that are known and refused.
var keywords = []keyword{
	{names: words("create"), on: kindAny, set: setCreate},
	{names: words("destroy"), on: kindAny, set: setDestroy},
	{names: words("up"), on: kindAny, set: func(p *parser, _ string) error { p.Up = new(true); return nil }},
	{names: words("down"), on: kindAny, set: func(p *parser, _ string) error { p.Up = new(false); return nil }},
	{names: words("mtu"), arg: "number", on: kindPFSync | kindLinux, set: setMTU},
	{names: words("description descr"), arg: "text", on: kindAny, set: setDescription},
	{names: words("-description -descr"), on: kindAny, set: func(p *parser, _ string) error { p.Description = new(""); return nil }},
	{names: words("group"), arg: "group", on: kindAny, set: setGroup},
	{names: words("-group"), arg: "group", on: kindAny, set: func(p *parser, arg string) error { p.Ungroup = &arg; return checkGroup(arg) }},

	{names: words("syncdev syncif"), arg: "interface", on: kindPFSync, set: setSyncdev},
	{names: words("-syncdev -syncif"), on: kindPFSync, set: func(p *parser, _ string) error { p.Syncdev = new(""); return nil }},
	{names: words("syncpeer"), arg: "address", on: kindPFSync, set: setSyncpeer},
	{names: words("-syncpeer"), on: kindPFSync, set: func(p *parser, _ string) error { p.Syncpeer = new(netip.Addr); return nil }},
	{names: words("maxupd"), arg: "number", on: kindPFSync, set: setMaxUpd},
	{names: words("version"), arg: "version", on: kindPFSync, set: setVersion},
	{names: words("-version"), on: kindPFSync, set: func(p *parser, _ string) error { p.Version = new(""); return nil }},
	{names: words("pair"), on: kindPFSync, set: func(p *parser, _ string) error { p.Pair = new(true); return nil }},
	{names: words("-pair"), on: kindPFSync, set: func(p *parser, _ string) error { p.Pair = new(false); return nil }},
	{names: words("key"), arg: "file", on: kindPFSync, set: setKey},
	{names: words("-key"), on: kindPFSync, set: func(p *parser, _ string) error { p.Key = new(Key); return nil }},
	{names: words("defer"), on: kindPFSync, set: func(p *parser, _ string) error { p.Defer = new(true); return nil }},
	{names: words("-defer"), on: kindPFSync, set: func(p *parser, _ string) error { p.Defer = new(false); return nil }},
	{names: words("listen"), on: kindPFSync, set: func(p *parser, _ string) error { p.Listen = new(true); return nil }},
	{names: words("-listen"), on: kindPFSync, set: func(p *parser, _ string) error { p.Listen = new(false); return nil }},
	{names: words("bulk"), on: kindPFSync, set: func(p *parser, _ string) error { p.Bulk = true; return nil }},
	{names: words("push"), on: kindPFSync, set: func(p *parser, _ string) error { p.Push = true; return nil }},

	{names: words("vhid"), arg: "number", on: kindInet, set: setVHID},
	{names: words("pass"), arg: "password", on: kindInet, set: setPass},
	{names: words("advbase"), arg: "number", on: kindInet, set: setAdvBase},
	{names: words("advskew"), arg: "number", on: kindInet, set: setAdvSkew},
	{names: words("state"), arg: "state", on: kindInet, set: setState},
	{names: words("peer"), arg: "address", on: kindInet, set: setCarpPeer},
	{names: words("mcast"), on: kindInet, set: unsetCarpPeer},
	{names: words("carpdev"), arg: "interface", on: kindCarp, set: setCarpDev},
	{names: words("-carpdev"), on: kindCarp, set: func(p *parser, _ string) error { p.carp().CarpDev = new(""); return nil }},
	{names: words("carppeer"), arg: "address", on: kindCarp, set: setCarpPeer},
	{names: words("-carppeer"), on: kindCarp, set: unsetCarpPeer},
	{names: words("carpnodes"), arg: "vhid:advskew", on: kindCarp, set: setCarpNodes},
	{names: words("balancing"), arg: "mode", on: kindCarp, set: setBalancing},

	{names: words("alias"), on: kindInet, set: func(p *parser, _ string) error { p.address.op = AddressAlias; return nil }},
	{names: words("-alias delete remove"), on: kindInet, set: func(p *parser, _ string) error { p.address.op = AddressDelete; return nil }},
	{names: words("netmask"), arg: "mask", on: kindInet, set: setNetmask},
	{names: words("prefixlen"), arg: "number", on: kindInet, set: setPrefixLen},
	{names: words("broadcast"), arg: "address", on: kindInet, set: setBroadcast},
	{names: words("pltime"), arg: "seconds", on: kindLinux, set: setPLTime},
	{names: words("vltime"), arg: "seconds", on: kindLinux, set: setVLTime},
	{names: words("eui64"), on: kindLinux, set: setEUI64},
	{names: words("autoconf"), on: kindLinux, set: func(p *parser, _ string) error { return setAutoconf(p, true) }},
	{names: words("-autoconf"), on: kindLinux, set: func(p *parser, _ string) error { return setAutoconf(p, false) }},
	{names: words("-inet6"), on: kindLinux, set: func(p *parser, _ string) error { p.NoInet6 = true; return nil }},

	{names: words("lladdr ether link"), arg: "lladdr", on: kindInet, set: setLLAddr},
	{names: words("name"), arg: "interface", on: kindLinux, set: setName},
	{names: words("arp"), on: kindLinux, set: func(p *parser, _ string) error { p.ARP = new(true); return nil }},
	{names: words("-arp"), on: kindLinux, set: func(p *parser, _ string) error { p.ARP = new(false); return nil }},
	{names: words("promisc"), on: kindLinux, set: func(p *parser, _ string) error { p.Promisc = new(true); return nil }},
	{names: words("-promisc"), on: kindLinux, set: func(p *parser, _ string) error { p.Promisc = new(false); return nil }},

	{names: words("vnetid vlan"), arg: "number", on: kindVLAN, set: setVNetID},
	{names: words("parent vlandev"), arg: "interface", on: kindVLAN, set: setParent},
	{names: words("patch"), arg: "interface", on: kindPair, set: setPatch},
	{names: words("add addm"), arg: "interface", on: kindBridge, set: func(p *parser, arg string) error { p.Add = append(p.Add, arg); return checkName(arg) }},
	{names: words("del deletem"), arg: "interface", on: kindBridge, set: func(p *parser, arg string) error { p.Del = append(p.Del, arg); return checkName(arg) }},

	{names: words("media mediaopt"), arg: "option", on: kindLinux, set: ignore, noEffect: true, hint: "use ethtool -s %i"},
	{names: words("-mediaopt wol -wol tso -tso lro -lro rxcsum -rxcsum txcsum -txcsum"), on: kindLinux, set: ignore, noEffect: true, hint: "use ethtool"},
	{names: words("-rdomain link0 -link0 link1 -link1 link2 -link2"), on: kindInet, set: ignore, noEffect: true, hint: "leave it out"},
	{names: words("llprio metric priority"), arg: "number", on: kindInet, set: ignoreNumber, noEffect: true, hint: "leave it out"},
	{names: words("rdomain fib"), arg: "number", on: kindInet, set: setRDomain, noEffect: true, hint: "leave it out"},

	{names: words("debug -debug"), on: kindPFSync, later: true, hint: "start pfsyncd with --log-level debug"},

	{names: words("debug -debug"), on: kindLinux, hint: "use ethtool -s %i msglvl"},
	{names: words("anycast"), on: kindLinux, hint: "leave it out: a router has the anycast address of each of its networks by itself"},
	{names: words("temporary -temporary soii -soii"), on: kindLinux, hint: "use sysctl net.ipv6.conf.%i.use_tempaddr and addr_gen_mode"},
	{names: words("-vlan -vnetid -parent -vlandev"), on: kindVLAN, hint: "a vlan interface keeps its tag and parent: ifconfig %i destroy, then create"},
	{names: words("-patch"), on: kindPair, hint: "both ends live and die together: ifconfig %i destroy"},
	{names: words("stp -stp span -span addspan delspan"), on: kindBridge, hint: "use ip link set dev %i type bridge stp_state, or tc"},
	{names: words("trunkport -trunkport trunkproto laggport -laggport laggproto"), on: kindAny, hint: "use ip link add type bond"},
	{names: words("tunnel -tunnel deletetunnel keepalive -keepalive"), on: kindAny, hint: "use ip tunnel"},
	{names: words("nwid -nwid join -join wpa -wpa wpakey -wpakey wpaprotos wpaakms wpaciphers wpagroupcipher nwkey -nwkey chan -chan scan"),
		on: kindAny, hint: "use wpa_supplicant or iw"},
	{names: words("wgkey wgport wgpeer -wgpeer wgendpoint wgaip wgpsk -wgpsk wgpka wgrtable"), on: kindAny, hint: "use wg(8)"},
	{names: words("flowsrc -flowsrc flowdst -flowdst pflowproto"), on: kindAny, hint: "use pfsyncd --export"},
	{names: words("-balancing"), on: kindAny, hint: "one vhid has one master"},
	{names: words("carpdemote -carpdemote"), on: kindAny, ofGroup: true},
	{names: words("peer6 mcast6"), on: kindInet, hint: "adverts of IPv6 go to the group ff02::12"},
	{names: words("mtu"), on: kindCarp, hint: "a carp interface has that of its carpdev"},
	{names: words("debug -debug"), on: kindCarp, hint: "use pfsyncctl sysctl net.inet.carp.log=7"},
	{names: words("-inet6"), on: kindCarp, set: ignore, noEffect: true, hint: "it has no address but those that it is given"},
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
	if k.ofGroup {
		return fmt.Errorf("%s: of a group, not of an interface (ifconfig -g carp %s N)", word, word)
	}
	if k.later {
		return fmt.Errorf("%s: not supported yet (%s)", word, k.forInterface(name))
	}
	return fmt.Errorf("%s: not supported on Linux (%s)", word, k.forInterface(name))
}

// forInterface is the hint of k for the interface of that name.
func (k *keyword) forInterface(name string) string { return strings.ReplaceAll(k.hint, "%i", name) }

// misplaced says that a word belongs to another kind of interface.
func (k *keyword) misplaced(name, word string) error {
	switch k.on {
	case kindPFSync:
		return fmt.Errorf("%s: %s is not a pfsync interface", word, name)
	case kindCarp:
		return fmt.Errorf("%s: %s is not a carp interface (ifconfig carp0 %s ...)", word, name, word)
	case kindVLAN:
		return fmt.Errorf("%s: %s is not a vlan interface (ifconfig vlan7 create vnetid 7 parent INTERFACE)", word, name)
	case kindBridge:
		return fmt.Errorf("%s: %s is not a bridge interface (ifconfig bridge0 create add INTERFACE)", word, name)
	case kindPair:
		return fmt.Errorf("%s: %s is not a pair interface (ifconfig pair0 create patch pair1)", word, name)
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
			if kind != kindPlain || word != "create" && word != "destroy" {
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
