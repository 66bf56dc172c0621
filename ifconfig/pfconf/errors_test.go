package pfconf_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
)

const (
	ruleOrder = "the order is: pass|match [in|out] [log] [quick] [on IF] [inet|inet6] [proto P] [all | from HOST [port P] to HOST [port P]] [keep state (no-sync)]"
	ports     = "ports are: N, N:M, = N, != N, < N, <= N, > N, >= N, N >< M, N <> M, or a list of those"
	settings  = "what can be set: skip on IF, state-policy, limit states N, timeout, hostid N, state-defaults no-sync, no-sync mark VALUE/MASK"
	states    = "the options of a state are: no-sync, sloppy, pflow, if-bound, floating, max N, and timeouts"
	lines     = "a line begins with pass, match, set, table, include or NAME ="
	addresses = "an address stands here: any, ADDRESS, ADDRESS/LENGTH, <TABLE>, IF, (IF), IF:network"
)

func TestParseRefusesWithFileLineAndColumn(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"pass\n  pas all", "2:3: syntax error: unexpected 'pas'; " + lines},
		{"= 1", "1:1: syntax error: unexpected '='; " + lines},
		{`"pass" all`, "1:1: syntax error: unexpected string 'pass'; " + lines},
		{"pass quick in", "1:12: syntax error: unexpected 'in'; " + ruleOrder},
		{"pass proto tcp on sis0", "1:16: syntax error: unexpected 'on'; " + ruleOrder},
		{"pass all 'x'", "1:10: syntax error: unexpected string 'x'; " + ruleOrder},
		{"pass all }", "1:10: syntax error: unexpected '}'; " + ruleOrder},
		{"pass on { a\nb\n", "1:9: '{' is not closed; add '}'"},
		{"pass on { }", "1:11: the list is empty"},
		{"pass on", "1:8: syntax error: unexpected end of line; the name of an interface stands here"},
		{"pass on ! any", "1:11: '! any' matches no interface"},
		{"pass on sis0/1", "1:9: 'sis0/1': not the name of an interface (1 to 15 letters, digits and . _ - @ +)"},
		{"pass on abcdefghijklmnop", "1:9: 'abcdefghijklmnop': not the name of an interface (1 to 15 letters, digits and . _ - @ +)"},
		{"pass proto pfsnyc", "1:12: unknown protocol 'pfsnyc'; write one of /etc/protocols, or its number from 1 to 255"},
		{"pass proto 0", "1:12: unknown protocol '0'; write one of /etc/protocols, or its number from 1 to 255"},
		{"pass proto 256", "1:12: unknown protocol '256'; write one of /etc/protocols, or its number from 1 to 255"},
		{"pass from", "1:10: syntax error: unexpected end of line; " + addresses},
		{"pass from ! any", "1:13: '! any' matches no address"},
		{"pass from 10.0.0.256", "1:11: address '10.0.0.256': write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32"},
		{"pass from 10.0.0.0/33", "1:11: address '10.0.0.0/33': the length is from 0 to 32"},
		{"pass from 10.0.0.0/", "1:11: address '10.0.0.0/': the length is from 0 to 32"},
		{"pass from fe80::1%sis0", "1:11: address 'fe80::1%sis0': write it without its interface: fe80::1"},
		{"pass from ::ffff:10.0.0.1", "1:11: address '::ffff:10.0.0.1': write it as the IPv4 address it stands for"},
		{"pass from www.example.org", "1:11: no IP address found for 'www.example.org'; it is no interface here and not in /etc/hosts: write its address"},
		{"pass from (sis7)", "1:12: unknown interface 'sis7', or it has no address; write its address"},
		{"pass from (sis0", "1:16: syntax error: unexpected end of line; add ')'"},
		{"pass from sis0:peer", "1:11: 'sis0:peer': behind the interface stands :network, :0 or nothing"},
		{"pass from ! sis0", "1:13: '!' before a name with several addresses would match every one of them; put them into a table"},
		{"pass from self", "1:11: 'self' is not supported; name the interfaces"},
		{"pass inet from ::1", "1:1: the rule matches nothing: its addresses and its protocols are not of one family"},
		{"pass from ::1 to 10.0.0.1", "1:1: the rule matches nothing: its addresses and its protocols are not of one family"},
		{"pass inet6 proto icmp", "1:1: the rule matches nothing: its addresses and its protocols are not of one family"},
		{"pass to <bad>", "1:10: table <bad> is not defined; add 'table <bad> { ... }', or 'persist' instead of the braces for an empty one"},
		{"pass to <bad", "1:13: syntax error: unexpected end of line; add '>' behind the name of the table"},
		{"pass to any port 25", "1:13: port only applies to tcp, udp and sctp; add 'proto { tcp udp }'"},
		{"pass proto { tcp icmp } to any port 25", "1:32: port only applies to tcp, udp and sctp; add 'proto { tcp udp }'"},
		{"pass proto tcp to port 65536", "1:24: port '65536': out of range (1 to 65535)"},
		{"pass proto tcp to port 0", "1:24: port '0': out of range (1 to 65535)"},
		{"pass proto tcp to port 25:", "1:24: unknown port \"\"; write one of /etc/services, or its number"},
		{"pass proto tcp to port smpt", "1:24: unknown port 'smpt'; write one of /etc/services, or its number"},
		{"pass proto tcp to port 30:20", "1:24: no port is in this range"},
		{"pass proto tcp to port < 1", "1:24: no port is in this range"},
		{"pass proto tcp to port > 65535", "1:24: no port is in this range"},
		{"pass proto tcp to port 5 >< 6", "1:26: no port is in this range"},
		{"pass proto tcp to port ( 5 )", "1:24: syntax error: unexpected '('; " + ports},
		{"pass icmp-type echoreq", "1:6: 'icmp-type' only applies to icmp; add 'proto icmp'"},
		{"pass proto icmp icmp6-type 1", "1:17: 'icmp6-type' only applies to icmp6; add 'proto icmp6'"},
		{"pass proto icmp icmp-type unreach", "1:27: unknown type 'unreach'; a connection begins with echoreq or another query, or write its number (0 to 255)"},
		{"pass proto icmp icmp-type 3 code 4", "1:29: 'code' is not supported; a connection does not tell"},
		{"pass keep", "1:10: syntax error: unexpected end of line; write: keep state (no-sync)"},
		{"pass keep state (nosync)", "1:18: syntax error: unexpected 'nosync'; " + states},
		{"pass keep state ()", "1:18: syntax error: unexpected ')'; " + states},
		{"pass keep state (no-sync", "1:25: syntax error: unexpected end of line; add ')'"},
		{"pass keep state (max many)", "1:22: max 'many': not a number"},
		{"pass keep state no state", "1:17: 'no' is the second of its kind in this rule"},
		{"match no state", "1:7: 'no state' is for pass rules; write: match ... keep state (no-sync)"},
		{`pass label "a\b"`, `1:12: label 'a\b': at most 63 bytes of printable text without quotes and backslashes`},
		{"pass flags", "1:11: syntax error: unexpected end of line; flags are: S/SA or any"},
		{"block all", "1:1: 'block' is not supported; use nftables for filtering"},
		{"nat on sis0 from any to any -> sis0", "1:1: 'nat' is not supported; use nftables for translation"},
		{"pass all nat-to sis0", "1:10: 'nat-to' is not supported; use nftables for translation"},
		{"match in all scrub (no-df)", "1:14: 'scrub' is not supported; use nftables for filtering"},
		{"pass all tagged X", "1:10: 'tagged' is not supported; mark in nftables and use 'set no-sync mark'"},
		{"anchor x", "1:1: 'anchor' is not supported; put the rules here, or into a file with include"},
		{"set block-policy drop", "1:5: 'set block-policy' is not supported; use nftables for filtering"},
		{"set limit frags 3", "1:11: 'set limit frags' is not supported; remove it"},
		{"set nosync mark 1", "1:5: syntax error: unexpected 'nosync'; " + settings},
		{"set hostid 0", "1:12: hostid '0': out of range (1 to 4294967295)"},
		{"set hostid fw1", "1:12: hostid 'fw1': not a number"},
		{"set hostid 99999999999999999999", "1:12: hostid '99999999999999999999': out of range (1 to 4294967295)"},
		{"set limit states 1 2", "1:20: syntax error: unexpected '2'; the setting ends here"},
		{"set no-sync mark x", "1:18: mark 'x': not a number of 32 bits, or two; write: set no-sync mark 0x10000/0x10000"},
		{"set no-sync mark 1/0", "1:18: mark '1/0': a mask of 0 would exclude every connection; write: set no-sync mark 0x10000/0x10000"},
		{"set no-sync mark 3/1", "1:18: mark '3/1': no mark is equal to it, for it has bits that the mask has not"},
		{"set skip lo", "1:10: syntax error: unexpected 'lo'; write: set skip on IF"},
		{"set state-policy loose", "1:18: syntax error: unexpected 'loose'; the policy is floating"},
		{"set timeout tcp.frist 5", "1:13: syntax error: unexpected 'tcp.frist'; the names are those of pfctl -st"},
		{"set linux-accept yes", "1:5: linux-accept yes: rules let nothing through on Linux; use nftables for filtering"},
		{"a =", "1:4: syntax error: unexpected end of line; a macro has a value: a = \"...\""},
		{"1a = 2", "1:1: macro '1a': the name is of letters, digits and '_', and begins with no digit"},
		{"pass on $ext", "1:9: macro 'ext' not defined; write ext = \"...\" above"},
		{"pass on $", "1:9: syntax error: '$' without the name of a macro"},
		{"a = 'b'\nc = '$a'\npass on $c", "3:9: '$a' within the value of a macro is not replaced; write it outside of the quotes: \"{\" $a \"}\""},
		{"a = '#b'\npass on $a", "2:9: syntax error: unexpected '#' in the value of macro 'a'"},
		{"a = 'b", "1:5: the string is not closed; add '"},
		{"a = \"b\nc = 1", "1:5: the string is not closed on its line; add \""},
		{"pass \x1b[0m", `1:6: syntax error: unexpected "\x1b"`},
		{"pass \xff", `1:6: syntax error: unexpected "\xff"`},
		{`pass \ all`, `1:6: syntax error: unexpected '\'`},
		{"\ufeffpass", "1:1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"},
		{"table x { }", "1:7: syntax error: unexpected 'x'; a table is: table <NAME> [persist] [const] [{ ADDRESSES } | file \"/path\"]"},
		{"table <x y> { }", "1:10: syntax error: unexpected 'y'; add '>' behind the name of the table"},
		{"table <a/b> { }", "1:8: table 'a/b': the name has at most 31 letters, digits and . _ -"},
		{"table <x>\ntable <x>", "2:8: table <x> is defined above; put all addresses into one definition"},
		{"table <x> { 10/8 !10/8 }", "1:19: table <x> has 10.0.0.0/8 both with and without '!'; remove one of them"},
		{"table <x> file '/nowhere'", "1:16: '/nowhere': No such file or directory"},
		{"table <x> drop", "1:11: syntax error: unexpected 'drop'; a table is: table <NAME> [persist] [const] [{ ADDRESSES } | file \"/path\"]"},
		{"include '/nowhere'", "1:9: '/nowhere': No such file or directory"},
		{"include '/a' '/b'", "1:14: syntax error: unexpected string '/b'; an include is: include \"/path\""},
		{"pass proto { 1 2 3 4 5 6 7 8 9 10 } to { 1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 5.5.5.5 6.6.6.6 7.7.7.7 8.8.8.8 9.9.9.9 10.10.10.10 } from any",
			"1:128: syntax error: unexpected 'from'; " + ruleOrder},
		{strings.Repeat("a", 70) + " all", "1:1: syntax error: unexpected '" + strings.Repeat("a", 60) + "...'; " + lines},
	} {
		t.Run(test.file, func(t *testing.T) {
			rs, _, err := loader().Parse("/etc/pf.conf", test.file)
			if err == nil || err.Error() != "/etc/pf.conf:"+test.want || rs != nil {
				t.Errorf("error\n%v, want\n/etc/pf.conf:%s", err, test.want)
			}
		})
	}
}

// files is a loader with these files.
func files(content map[string]string) pfconf.Loader {
	return pfconf.Loader{ReadFile: func(path string) ([]byte, error) {
		if path == "/secret" {
			return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}
		text, ok := content[path]
		if !ok {
			return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}}
}

func TestErrorsNameTheFileTheyAreIn(t *testing.T) {
	l := files(map[string]string{
		"/inc":  "pass\npass from <a> to <b>\ntable <a>\n",
		"/loop": "include '/loop'",
		"/bad":  "10.0.0.1\n# 1\n  ! 10.0.0.256\n",
		"/name": "10.0.0.1 ghost\n",
		"/not":  "10.0.0.1 !\n10.0.0.2\n",
	})
	for _, test := range []struct{ file, want string }{
		{"table <b> { x }\ninclude '/inc'\npass om a", `/etc/pf.conf:1:13: no IP address found for 'x'; it is no interface here and not in /etc/hosts: write its address
/etc/pf.conf:3:6: syntax error: unexpected 'om'; ` + ruleOrder + `
/inc:2:19: table <b> is not defined; add 'table <b> { ... }', or 'persist' instead of the braces for an empty one`},
		{"include '/loop'", "/loop:1:9: include '/loop': nested 10 deep; does a file include itself?"},
		{"table <x> file '/bad'", "/bad:3:5: address '10.0.0.256': write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32"},
		{"table <x> file '/name'", "/name:1:10: no IP address found for 'ghost'; it is no interface here and not in /etc/hosts: write its address"},
		{"table <x> file '/not'", "/not:1:10: '!' without an address behind it"},
		{"table <x> file '/secret'", "/etc/pf.conf:1:16: '/secret': permission denied"},
		{"pass on {\n  a\n  \\x b }\nblock\n", "/etc/pf.conf:3:3: syntax error: unexpected '\\'\n/etc/pf.conf:4:1: 'block' is not supported; use nftables for filtering"},
	} {
		t.Run(test.file, func(t *testing.T) {
			_, _, err := l.Parse("/etc/pf.conf", test.file)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	var ports, wide strings.Builder
	for i := range 101 {
		fmt.Fprintf(&ports, " %d", i+1)
	}
	for i := range 200_001 {
		fmt.Fprintf(&wide, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	l := files(map[string]string{"/wide": wide.String(), "/empty": ""})
	for _, test := range []struct{ name, file, want string }{
		{"rules", "pass proto tcp from port {" + ports.String() + " } to port {" + ports.String() + " }",
			"/etc/pf.conf:1:1: more than 10000 rules; use tables for lists of addresses"},
		{"entries", "table <x> file '/wide'", "/wide:200001:1: more than 200000 addresses in all tables; use larger networks"},
		{"files", strings.Repeat("include '/empty'\n", 101), "/etc/pf.conf:101:9: include '/empty': more than 100 files"},
		{"macros", "a = '" + strings.Repeat("x ", 1000) + "'\nb = $a $a $a $a $a $a $a $a\nc = $b $b $b $b $b $b $b $b",
			"/etc/pf.conf:3:1: macro 'c': more than 65536 bytes; use a table for addresses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := l.Parse("/etc/pf.conf", test.file)
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
	_, _, err := l.Parse("/etc/pf.conf", strings.Repeat("bad\n", 1000))
	if list, ok := errors.AsType[pfconf.Errors](err); !ok || len(list) != 20 {
		t.Errorf("%d errors, want 20", len(list))
	}
}

func TestUnsupportedLinesCanBeLeftOut(t *testing.T) {
	l := pfconf.Loader{SkipUnsupported: true}
	rs, notes, err := l.Parse("/etc/pf.conf", "block all\npass from <gone> rtable 3\nset debug err\npass quick proto udp to port 53 keep state (no-sync)\n")
	must(t, err)
	if want := "pass quick proto udp from any to any port = 53 keep state (no-sync)\n"; rs.String() != want {
		t.Errorf("rules %s, want %s", rs, want)
	}
	var got strings.Builder
	for _, n := range notes {
		fmt.Fprintln(&got, n)
	}
	want := `/etc/pf.conf:1:1: note: 'block' is not supported; use nftables for filtering; the line is left out
/etc/pf.conf:2:18: note: 'rtable' is not supported; use nftables and ip rule; the line is left out
/etc/pf.conf:3:5: note: 'set debug' is not supported; remove it; the line is left out
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, _, err := l.Parse("/etc/pf.conf", "block all\npas"); err == nil || err.Error() != "/etc/pf.conf:2:1: syntax error: unexpected 'pas'; "+lines {
		t.Errorf("error %v", err)
	}
}

func TestNotes(t *testing.T) {
	const plain = "rules only decide what is synchronised; they pass and block nothing, which is left to nftables"
	for _, test := range []struct{ file, want string }{
		{"pass proto udp keep state (no-sync)\npass on a\n", "2:1: " + plain + "\n2:1: 'on a' cannot be judged (conntrack does not know interfaces): the rule is taken to match, so that it overrules the no-sync of others\n"},
		{"pass proto udp keep state (no-sync)\npass on a proto tcp\n", "2:1: " + plain + "\n"}, // nothing to overrule
		{"pass quick proto udp keep state (no-sync)\npass on a\n", "2:1: " + plain + "\n"},
		{"pass out keep state (no-sync)\n", "1:1: 'out' cannot be judged (a connection passes both in and out): the rule is never applied and its connections are synchronised; mark them in nftables and use 'set no-sync mark'\n"},
		{"pass on ! a no state\n", "1:1: 'on ! a' cannot be judged (conntrack does not know interfaces): the rule is never applied and its connections are synchronised; mark them in nftables and use 'set no-sync mark'\n"},
		{"match on a\n", "1:1: " + plain + "\n"},
		{"# a \\\n# b\n", "1:5: the backslash makes the next line part of the comment\n"},
		{"set skip on lo\nset state-policy floating\n", ""},
		{"pass quick from { !10.0.0.1 10.0.0.2 } no state\n", "1:17: a list with '!' makes one rule per entry, and they may match everything together; use a table\n"},
	} {
		t.Run(test.file, func(t *testing.T) {
			_, notes, err := pfconf.Loader{}.Parse("/etc/pf.conf", test.file)
			must(t, err)
			var got strings.Builder
			for _, n := range notes {
				got.WriteString(strings.TrimPrefix(strings.Replace(n.String(), "note: ", "", 1), "/etc/pf.conf:") + "\n")
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
