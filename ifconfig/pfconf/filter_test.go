package pfconf_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
)

func compile(t testing.TB, file string) *pfconf.Filter {
	t.Helper()
	rs, _, err := loader().Parse("/etc/pf.conf", file)
	must(t, err)
	f, err := pfconf.Compile(rs)
	must(t, err)
	return f
}

func tuple(src, dst string) pfstate.Tuple {
	a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return pfstate.Tuple{Src: a.Addr(), Dst: b.Addr(), SrcPort: a.Port(), DstPort: b.Port()}
}

func flow(proto uint8, src, dst string) pfconf.Flow {
	w := tuple(src, dst)
	return pfconf.Flow{Before: w, After: w, Proto: proto}
}

func TestNoSync(t *testing.T) {
	const tcp, udp, icmp, icmp6 = pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoICMP, pfstate.ProtoICMPv6
	web := flow(tcp, "192.168.0.20:40000", "198.51.100.80:80")
	web6 := flow(tcp, "[2001:db8::20]:40000", "[2001:db8:1::80]:80")
	dns := flow(udp, "192.168.0.20:40000", "192.0.2.53:53")
	ping := flow(icmp, "192.168.0.20:77", "192.0.2.53:8")
	ping6 := flow(icmp6, "[2001:db8::20]:77", "[2001:db8:1::80]:128")
	nat := pfconf.Flow{Proto: tcp, // from 192.168.0.20, known as 203.0.113.1, to 203.0.113.2, which is 10.0.0.80
		Before: tuple("192.168.0.20:40000", "203.0.113.2:80"), After: tuple("203.0.113.1:61000", "10.0.0.80:8080")}
	marked := web
	marked.Mark = 0x30001

	for _, test := range []struct {
		file string
		w    pfconf.Flow
		want bool
	}{
		{"", web, false},
		{"pass", web, false},
		{"pass keep state (no-sync)", web, true},
		{"pass no state", web, true},
		{"set state-defaults no-sync\npass", web, true},
		// The last match wins, unless one is quick.
		{"pass no state\npass", web, false},
		{"pass\npass no state", web, true},
		{"pass quick\npass no state", web, false},
		{"pass quick no state\npass", web, true},
		{"pass no state\npass quick", web, false},
		{"pass no state\npass proto udp", web, true},
		{"pass no state\npass proto udp", dns, false},
		// match adds, and does not decide.
		{"match keep state (no-sync)\npass", web, true},
		{"match keep state (no-sync)", web, true},
		{"pass quick\nmatch keep state (no-sync)", web, false},
		{"pass no state\nmatch", web, true},
		{"pass no state\nmatch quick\npass", web, true},
		{"pass no state\nmatch quick proto udp\npass", web, false},
		{"pass\nmatch quick\npass no state", web, false},
		{"match quick keep state (no-sync)\npass quick", web, true},
		// Protocols, families, addresses, ports.
		{"pass proto udp no state", web, false},
		{"pass proto udp no state", dns, true},
		{"pass inet6 no state", web, false},
		{"pass inet6 no state", web6, true},
		{"pass inet no state", web6, false},
		{"pass from 192.168.0.0/24 no state", web, true},
		{"pass to 192.168.0.0/24 no state", web, false},
		{"pass from ! 192.168.0.0/24 no state", web, false},
		{"pass from ! 192.168.1.0/24 no state", web, true},
		{"pass from ! 192.168.1.0/24 no state", web6, false}, // it is of inet
		{"pass from 0/0 no state", web6, false},
		{"pass from ::/0 no state", web, false},
		{"pass from 2001:db8::/32 no state", web6, true},
		{"pass from 2001:db8::/96 to 2001:db8:1::/48 no state", web6, true},
		{"pass from 2001:db8::/123 no state", web6, false},
		{"pass proto tcp to port 80 no state", web, true},
		{"pass proto tcp from port 80 no state", web, false},
		{"pass proto tcp to port != 80 no state", web, false},
		{"pass proto tcp to port 79 >< 81 no state", web, true},
		{"pass proto tcp to port 70 <> 79 no state", web, true},
		{"pass proto tcp to port 70 <> 80 no state", web, false},
		{"pass proto tcp from port > 39999 no state", web, true},
		{"pass proto tcp from port > 40000 no state", web, false},
		// Tables: the longest prefix decides.
		{"table <t> { 192/8 !192.168/16 192.168.0.20 }\npass from <t> no state", web, true},
		{"table <t> { 192/8 !192.168/16 192.168.0.20 }\npass from ! <t> no state", web, false},
		{"table <t> { 192/8 !192.168/16 }\npass from <t> no state", web, false},
		{"table <t> { ::/0 }\npass from <t> no state", web, false},
		{"table <t> { 0/0 }\npass from <t> no state", web, true},
		{"table <t> { ::/0 }\npass from <t> no state", web6, true},
		{"table <t> persist\npass from <t> no state", web, false},
		{"table <t> persist\npass from ! <t> no state", web, true},
		// A translated end is what it was and what it is.
		{"pass from 192.168.0.20 no state", nat, true},
		{"pass from 203.0.113.1 no state", nat, true},
		{"pass to 203.0.113.2 no state", nat, true},
		{"pass to 10.0.0.80 no state", nat, true},
		{"pass from 192.168.0.20 to 10.0.0.80 no state", nat, true},
		{"pass from ! 203.0.113.1 no state", nat, false},
		{"pass from ! 192.168.0.20 no state", nat, false},
		{"pass from ! 10.0.0.1 no state", nat, true},
		{"pass proto tcp to 203.0.113.2 port 80 no state", nat, true},
		{"pass proto tcp to 10.0.0.80 port 8080 no state", nat, true},
		{"pass proto tcp to 10.0.0.80 port 80 no state", nat, false}, // it never was
		{"pass proto tcp to port != 8080 no state", nat, false},
		{"pass proto tcp to ! 10.0.0.80 port 80 no state", nat, false},
		{"pass proto tcp to ! 10.0.0.81 port 80 no state", nat, true},
		// ICMP by the query it begins with.
		{"pass proto icmp icmp-type echoreq no state", ping, true},
		{"pass proto icmp icmp-type 13 no state", ping, false},
		{"pass proto icmp6 icmp6-type echoreq no state", ping6, true},
		{"pass proto icmp6 icmp6-type 129 no state", ping6, false},
		{"pass proto icmp no state", ping6, false},
		// Marks come before all rules.
		{"set no-sync mark 0x10000/0x10000\npass quick", marked, true},
		{"set no-sync mark 0x10000/0x10000", web, false},
		{"set no-sync mark 0x20000/0x30000", marked, false},
		{"set no-sync mark 0x30001", marked, true},
		{"set no-sync mark 0/1", web, true},
		{"set no-sync mark 0/1", marked, false},
		// What cannot be judged: no-sync only if it is in any case.
		{"pass on sis0 no state", web, false},
		{"pass in no state", web, false},
		{"pass quick out no state\npass quick no state", web, true}, // refused below: quick comes behind out
		{"pass no state\npass on sis0", web, false},
		{"pass no state\npass on sis0 proto udp", web, true},
		{"pass quick no state\npass on sis0", web, true},
		{"pass on any no state", web, true},
		{"match on sis0 keep state (no-sync)\npass", web, false},
		{"pass no state\nmatch quick on sis0\npass", web, false},
		{"pass no state\nmatch quick on sis0\npass no state", web, true},
		{"pass\nmatch quick on sis0\npass no state", web, false},
	} {
		t.Run(test.file, func(t *testing.T) {
			file := strings.ReplaceAll(test.file, "pass quick out", "pass out quick")
			if got := compile(t, file).NoSync(&test.w); got != test.want {
				t.Errorf("%v: no-sync %v, want %v", test.w, got, test.want)
			}
		})
	}
}

func TestSomeConnectionsAreNeverSynchronised(t *testing.T) {
	for _, file := range []string{"", "pass", "pass quick on sis2 proto pfsync", "pass quick proto { carp pfsync igmp icmp6 }\npass quick to lo"} {
		l := loader()
		l.Addresses = func(string) []netip.Prefix { return prefixes("127.0.0.1/8", "::1/128") }
		rs, _, err := l.Parse("/etc/pf.conf", file)
		must(t, err)
		f, err := pfconf.Compile(rs)
		must(t, err)
		for _, w := range []pfconf.Flow{
			flow(pfstate.ProtoPFSync, "10.0.0.1:0", "224.0.0.240:0"),
			flow(pfstate.ProtoCARP, "10.0.0.1:0", "224.0.0.18:0"),
			flow(pfstate.ProtoIGMP, "10.0.0.1:0", "224.0.0.22:0"),
			flow(pfstate.ProtoTCP, "127.0.0.1:1", "127.0.0.1:2"),
			flow(pfstate.ProtoUDP, "[::1]:1", "[::1]:2"),
			flow(pfstate.ProtoICMPv6, "[fe80::1]:0", "[ff02::1]:135"),
		} {
			if !f.NoSync(&w) {
				t.Errorf("%q: %v is synchronised", file, w)
			}
		}
	}
}

func TestFlowOfAState(t *testing.T) {
	for _, d := range []pfstate.Direction{pfstate.In, pfstate.Out} {
		s := pfstate.Default()
		s.Proto, s.Direction = pfstate.ProtoTCP, d
		before, after := tuple("192.168.0.20:40000", "203.0.113.2:80"), tuple("203.0.113.1:61000", "10.0.0.80:8080")
		s.SetTuples(before, after.Reversed(), 0)
		if got, want := pfconf.FlowOf(&s, 7), (pfconf.Flow{Before: before, After: after, Mark: 7, Proto: pfstate.ProtoTCP}); got != want {
			t.Errorf("%v: flow %v, want %v", d, got, want)
		}
	}
}

func TestCompileRefusesWhatParseDoesNotMake(t *testing.T) {
	p := netip.MustParsePrefix
	pass := pfconf.Rule{Action: pfconf.Pass}
	with := func(change func(*pfconf.Rule)) *pfconf.Ruleset {
		r := pass
		change(&r)
		return &pfconf.Ruleset{Rules: []pfconf.Rule{pass, r}}
	}
	for want, rs := range map[string]*pfconf.Ruleset{
		`rule 1: bad interface "a\nb" or label ""`:         with(func(r *pfconf.Rule) { r.On.Name = "a\nb" }),
		`rule 1: bad interface "" or label "\""`:           with(func(r *pfconf.Rule) { r.Label = `"` }),
		"rule 1: bad type 8 of ICMP":                       with(func(r *pfconf.Rule) { r.ICMPType, r.Proto = 9, 6 }),
		`table "a>": bad name, or the second of this name`: {Tables: []pfconf.Table{{Name: "a>"}}},
		`table "a": bad name, or the second of this name`:  {Tables: []pfconf.Table{{Name: "a"}, {Name: "a"}}},
		"rule 1: to: no table <x>":                         with(func(r *pfconf.Rule) { r.To.Table = "x" }),
		`rule 1: bad action "block"`:                       with(func(r *pfconf.Rule) { r.Action = "block" }),
		`rule 1: bad direction "up"`:                       with(func(r *pfconf.Rule) { r.Direction = "up" }),
		`rule 1: bad family "ipx"`:                         with(func(r *pfconf.Rule) { r.Family = "ipx" }),
		"rule 1: from: bad address 10.0.0.1/8":             with(func(r *pfconf.Rule) { r.From.Addr, r.Family = p("10.0.0.1/8"), pfconf.Inet }),
		"rule 1: from: bad address 10.0.0.0/8":             with(func(r *pfconf.Rule) { r.From.Addr = p("10.0.0.0/8") }),
		"rule 1: from: all addresses excluded":             with(func(r *pfconf.Rule) { r.From.Not = true }),
		"rule 1: to: bad ports 3 to 2":                     with(func(r *pfconf.Rule) { r.To.Ports = pfconf.Ports{First: 3, Last: 2} }),
		"rule 1: to: bad ports 0 to 0":                     with(func(r *pfconf.Rule) { r.To.Ports = pfconf.Ports{Not: true} }),
		"table <x>: bad address invalid Prefix":            {Tables: []pfconf.Table{{Name: "x", Entries: []pfconf.Entry{{}}}}},
		"table <x>: bad address ::ffff:1.2.3.4/128":        {Tables: []pfconf.Table{{Name: "x", Entries: []pfconf.Entry{{Prefix: p("::ffff:1.2.3.4/128")}}}}},
	} {
		if _, err := pfconf.Compile(rs); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// naive judges as pf does, rule by rule from the top. known tells of each rule that cannot be judged
// whether it matches. label is that of the rule that decides.
func naive(rs *pfconf.Ruleset, w *pfconf.Flow, known func(rule int) bool) (noSync bool, label string) {
	winner, tagged := false, false
	for i := range rs.Rules {
		r := &rs.Rules[i]
		if !naiveMatch(rs, r, w) || (r.On.Name != "" || r.Direction != "") && !known(i) {
			continue
		}
		if r.Action == pfconf.Match {
			tagged = tagged || r.NoSync || r.NoState
		} else {
			winner, label = r.NoSync || r.NoState, r.Label
		}
		if r.Quick {
			break
		}
	}
	return winner || tagged, label
}

func naiveMatch(rs *pfconf.Ruleset, r *pfconf.Rule, w *pfconf.Flow) bool {
	if r.Proto != 0 && r.Proto != w.Proto {
		return false
	}
	if r.Family != "" && (r.Family == pfconf.Inet) != w.Before.Src.Is4() {
		return false
	}
	return naiveEnd(rs, &r.From, w.Before.Src, w.Before.SrcPort, w.After.Src, w.After.SrcPort) &&
		naiveEnd(rs, &r.To, w.Before.Dst, w.Before.DstPort, w.After.Dst, w.After.DstPort)
}

func naiveEnd(rs *pfconf.Ruleset, h *pfconf.Host, before netip.Addr, port uint16, after netip.Addr, afterPort uint16) bool {
	addr := func(a netip.Addr) bool {
		if h.Table == "" {
			return !h.Addr.IsValid() || h.Addr.Contains(a)
		}
		i := slices.IndexFunc(rs.Tables, func(t pfconf.Table) bool { return t.Name == h.Table })
		return naiveTable(rs.Tables[i].Entries, a)
	}
	ports := func(p uint16) bool {
		return h.Ports == pfconf.Ports{} || h.Ports.First <= p && p <= h.Ports.Last
	}
	if h.Not && (addr(before) || addr(after)) || h.Ports.Not && (ports(port) || ports(afterPort)) {
		return false
	}
	return (h.Not || addr(before)) && (h.Ports.Not || ports(port)) ||
		(h.Not || addr(after)) && (h.Ports.Not || ports(afterPort))
}

func naiveTable(entries []pfconf.Entry, a netip.Addr) bool {
	best, in := -1, false
	for _, e := range entries {
		if e.Prefix.Contains(a) && e.Prefix.Bits() > best {
			best, in = e.Prefix.Bits(), !e.Not
		}
	}
	return in
}

// Few addresses, ports and protocols, so that rules and flows meet.

func drawAddr(t *rapid.T, v4 bool) netip.Addr {
	n := rapid.Uint32Range(0, 15).Draw(t, "addr")
	n = n&3 | n>>2<<30 // the ends of the space too
	if v4 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
	}
	var b [16]byte
	binary.BigEndian.PutUint32(b[4:], n)
	binary.BigEndian.PutUint32(b[12:], rapid.SampledFrom([]uint32{0, 1, ^uint32(0)}).Draw(t, "low"))
	return netip.AddrFrom16(b)
}

func drawPrefix(t *rapid.T, v4 bool) netip.Prefix {
	a := drawAddr(t, v4)
	bits := rapid.SampledFrom([]int{0, 1, 2, 30, 31, 32}).Draw(t, "bits")
	if !v4 {
		bits = rapid.SampledFrom([]int{0, 1, 33, 34, 62, 63, 64, 65, 127, 128}).Draw(t, "bits6")
	}
	p, err := a.Prefix(bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drawEntries(t *rapid.T) (entries []pfconf.Entry) {
	seen := map[netip.Prefix]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		p := drawPrefix(t, rapid.Bool().Draw(t, "v4"))
		if !seen[p] {
			entries = append(entries, pfconf.Entry{Prefix: p, Not: rapid.Bool().Draw(t, "not")})
		}
		seen[p] = true
	}
	return entries
}

func drawHost(t *rapid.T, family pfconf.Family) (h pfconf.Host) {
	switch rapid.IntRange(0, 3).Draw(t, "host") {
	case 0:
		h.Table = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "table")
		h.Not = rapid.Bool().Draw(t, "not")
	case 1:
		if family != "" {
			h.Addr = drawPrefix(t, family == pfconf.Inet)
			h.Not = rapid.Bool().Draw(t, "not")
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "ports") == 0 {
		h.Ports.First = rapid.Uint16Range(1, 3).Draw(t, "first")
		h.Ports.Last = h.Ports.First + rapid.Uint16Range(0, 2).Draw(t, "more")
		h.Ports.Not = rapid.Bool().Draw(t, "not")
	}
	return h
}

func drawRuleset(t *rapid.T) *pfconf.Ruleset {
	rs := &pfconf.Ruleset{Tables: []pfconf.Table{{Name: "a", Entries: drawEntries(t)}, {Name: "b", Entries: drawEntries(t)}}}
	for range rapid.IntRange(0, 8).Draw(t, "rules") {
		r := pfconf.Rule{
			Action: rapid.SampledFrom([]pfconf.Action{pfconf.Pass, pfconf.Pass, pfconf.Match}).Draw(t, "action"),
			Quick:  rapid.IntRange(0, 3).Draw(t, "quick") == 0,
			Family: rapid.SampledFrom([]pfconf.Family{"", pfconf.Inet, pfconf.Inet6}).Draw(t, "family"),
			Proto:  rapid.SampledFrom([]uint8{0, 0, 6, 17}).Draw(t, "proto"),
			NoSync: rapid.Bool().Draw(t, "nosync"),
			Label:  rapid.SampledFrom([]string{"", "a", "a", "b"}).Draw(t, "label"),
		}
		switch rapid.IntRange(0, 6).Draw(t, "judged") {
		case 0:
			r.On = pfconf.Interface{Name: "sis0"}
		case 1:
			r.Direction = pfconf.Out
		}
		if r.Action == pfconf.Pass && !r.NoSync {
			r.NoState = rapid.IntRange(0, 4).Draw(t, "nostate") == 0
		}
		r.From, r.To = drawHost(t, r.Family), drawHost(t, r.Family)
		rs.Rules = append(rs.Rules, r)
	}
	return rs
}

func drawTuple(t *rapid.T, v4 bool) pfstate.Tuple {
	port := rapid.Uint16Range(0, 5)
	return pfstate.Tuple{Src: drawAddr(t, v4), Dst: drawAddr(t, v4), SrcPort: port.Draw(t, "sport"), DstPort: port.Draw(t, "dport")}
}

// The filter says no-sync, and labelled, exactly if pf does, whether or not the rules that cannot be judged match.
func TestFilterJudgesAsPF(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := drawRuleset(t)
		f, err := pfconf.Compile(rs)
		if err != nil {
			t.Fatal(err)
		}
		var unknown []int
		for i := range rs.Rules {
			if !rs.Rules[i].Judged() {
				unknown = append(unknown, i)
			}
		}
		for range 4 {
			v4 := rapid.Bool().Draw(t, "v4")
			w := pfconf.Flow{Proto: rapid.SampledFrom([]uint8{6, 17, 47}).Draw(t, "proto"), Before: drawTuple(t, v4)}
			w.After = w.Before
			if rapid.Bool().Draw(t, "translated") {
				w.After = drawTuple(t, v4)
			}
			if w.Before.Src.IsLoopback() || w.Before.Dst.IsLoopback() {
				continue // ::1
			}
			want, labelled := true, true
			for guess := range 1 << len(unknown) {
				noSync, label := naive(rs, &w, func(rule int) bool { return guess>>slices.Index(unknown, rule)&1 == 1 })
				want, labelled = want && noSync, labelled && label == "a"
			}
			if got := f.Labelled(&w, "a"); got != labelled {
				t.Fatalf("%+v\n%s: labelled %v, want %v", w, rs, got, labelled)
			}
			if labelled && rs.CheckLabel("a") != nil {
				t.Fatalf("%s: %v", rs, rs.CheckLabel("a"))
			}
			if got := f.NoSync(&w); got != want {
				t.Fatalf("%+v\n%s: no-sync %v, want %v", w, rs, got, want)
			}
		}
	})
}

func TestTableDecidesByTheLongestPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawEntries(t)
		f, err := pfconf.Compile(&pfconf.Ruleset{
			Tables: []pfconf.Table{{Name: "a", Entries: entries}},
			Rules:  []pfconf.Rule{{Action: pfconf.Pass, From: pfconf.Host{Table: "a"}, NoSync: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			v4 := rapid.Bool().Draw(t, "v4")
			w := pfconf.Flow{Proto: 6, Before: pfstate.Tuple{Src: drawAddr(t, v4), Dst: drawAddr(t, v4)}}
			w.After = w.Before
			if w.Before.Src.IsLoopback() || w.Before.Dst.IsLoopback() {
				continue
			}
			if got, want := f.NoSync(&w), naiveTable(entries, w.Before.Src); got != want {
				t.Fatalf("%v in %v: %v, want %v", w.Before.Src, entries, got, want)
			}
		}
	})
}

// Any ruleset prints as one that parses to itself.
func TestRulesetsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := drawRuleset(t)
		rs.Mark = pfconf.Mark{Value: 4, Mask: rapid.SampledFrom([]uint32{4, 5, 1<<32 - 1}).Draw(t, "mask")}
		for i := range rs.Rules { // as Parse would
			r := &rs.Rules[i]
			if r.Proto == 0 {
				r.From.Ports, r.To.Ports = pfconf.Ports{}, pfconf.Ports{}
			}
			for _, h := range []*pfconf.Host{&r.From, &r.To} {
				if h.Addr == (netip.Prefix{}) && h.Table == "" {
					h.Not = false
				}
			}
		}
		first := rs.String()
		second, _, err := pfconf.Loader{}.Parse("printed", first)
		if err != nil {
			t.Fatalf("%s%v", first, err)
		}
		// Tables are sorted by Parse.
		if second.String() != mustParse(t, second.String()).String() || !slices.Equal(rs.Rules, second.Rules) || rs.Mark != second.Mark {
			t.Fatalf("%s became\n%s", first, second)
		}
	})
}

func mustParse(t *rapid.T, text string) *pfconf.Ruleset {
	rs, _, err := pfconf.Loader{}.Parse("printed", text)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// large is 100 rules of which 20 have a table each of 100 networks. The last one is the first that matches.
func large(t testing.TB) *pfconf.Filter {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "table <t%d> {", i)
		for n := range 100 {
			fmt.Fprintf(&b, " 10.%d.%d.0/24", i, 2*n)
		}
		b.WriteString(" }\n")
	}
	b.WriteString("pass quick proto tcp from 192.168.0.0/16 to 198.51.100.0/24 port 443 keep state (no-sync)\n")
	for i := range 20 {
		fmt.Fprintf(&b, "pass proto tcp from any to <t%d> keep state (no-sync)\n", i)
	}
	for i := range 79 {
		fmt.Fprintf(&b, "pass proto tcp from 172.16.%d.0/24 to any port { %d } keep state (no-sync)\n", i, 1000+i)
	}
	rs, _, err := loader().Parse("/etc/pf.conf", b.String())
	must(t, err)
	if len(rs.Rules) != 100 || len(rs.Tables) != 20 {
		t.Fatalf("%d rules, %d tables", len(rs.Rules), len(rs.Tables))
	}
	f, err := pfconf.Compile(rs)
	must(t, err)
	return f
}

func TestNoSyncAllocatesNothing(t *testing.T) {
	f := large(t)
	s := pfstate.Default()
	s.Proto = pfstate.ProtoTCP
	s.SetTuples(tuple("192.168.0.20:40000", "198.51.100.80:80"), tuple("10.3.9.1:80", "203.0.113.1:61000"), 0)
	if n := testing.AllocsPerRun(100, func() {
		w := FlowOf(&s)
		f.NoSync(&w)
		f.Labelled(&w, "web")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FlowOf is that of a state without a mark.
func FlowOf(s *pfstate.State) pfconf.Flow { return pfconf.FlowOf(s, 0) }

func BenchmarkNoSync(b *testing.B) {
	f := large(b)
	none, err := pfconf.Compile(&pfconf.Ruleset{})
	must(b, err)
	udp := flow(pfstate.ProtoUDP, "192.168.0.20:40000", "192.0.2.53:53")
	nat := flow(pfstate.ProtoTCP, "192.168.0.20:40000", "198.51.100.80:80")
	nat.After = tuple("203.0.113.1:61000", "10.30.0.80:80")
	for _, bench := range []struct {
		name string
		f    *pfconf.Filter
		w    pfconf.Flow
	}{
		{"no rules", none, udp},
		{"100 rules, first matches", f, flow(pfstate.ProtoTCP, "192.168.0.20:40000", "198.51.100.80:443")},
		{"100 rules, other protocol", f, udp},
		{"100 rules, none matches", f, flow(pfstate.ProtoTCP, "192.168.0.20:40000", "198.51.100.80:80")},
		{"100 rules, none matches, translated", f, nat},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.f.NoSync(&bench.w)
			}
		})
	}
}
