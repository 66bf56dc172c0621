package pfconf_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// loader knows the files below testdata/root and two interfaces.
func loader() pfconf.Loader {
	return pfconf.Loader{
		ReadFile: func(path string) ([]byte, error) {
			return os.ReadFile(filepath.Join("testdata/root", path))
		},
		Addresses: func(iface string) []netip.Prefix {
			switch iface {
			case "sis0":
				return prefixes("203.0.113.1/24", "203.0.113.3/24", "2001:db8::1/64")
			case "sis1":
				return prefixes("192.168.0.1/24")
			}
			return nil
		},
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// comparable makes cmp compare addresses.
var comparable = cmpopts.EquateComparable(netip.Prefix{})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// again checks that what is printed, and what goes over a socket, is the same ruleset.
func again(t testing.TB, rs *pfconf.Ruleset) {
	t.Helper()
	second, notes, err := pfconf.Loader{}.Parse("printed", rs.String())
	if err != nil {
		t.Fatalf("printed as\n%swhich is refused: %v", rs, err)
	}
	if diff := cmp.Diff(rs, second, comparable); diff != "" || !rs.Equal(second) {
		t.Errorf("printed as\n%s-parsed +printed and parsed again:\n%s", rs, diff)
	}
	for _, n := range notes {
		if strings.Contains(n.Text, "no effect") && !strings.Contains(n.Text, "skip on") {
			t.Errorf("printed a word without effect: %v", n)
		}
	}
	b, err := json.Marshal(rs)
	must(t, err)
	var third pfconf.Ruleset
	must(t, json.Unmarshal(b, &third))
	if diff := cmp.Diff(rs, &third, comparable); diff != "" || !rs.Equal(&third) {
		t.Errorf("as JSON %s\n-parsed +from JSON:\n%s", b, diff)
	}
}

func TestFilesAgainstGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			rs, notes, err := loader().Parse("/etc/pf.conf", string(text))
			must(t, err)
			again(t, rs)
			var got strings.Builder
			for _, n := range notes {
				fmt.Fprintln(&got, n)
			}
			got.WriteString(rs.String())
			golden := strings.TrimSuffix(file, ".conf") + ".golden"
			if *update {
				must(t, os.WriteFile(golden, []byte(got.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheCustomersFile(t *testing.T) {
	text, err := os.ReadFile("testdata/customer.conf")
	must(t, err)
	rs, notes, err := pfconf.Loader{}.Parse("/etc/pf.conf", string(text))
	must(t, err)
	if notes != nil {
		t.Errorf("notes %v", notes)
	}
	want := `pass quick on sis2 proto pfsync all keep state (no-sync)
pass on sis0 proto carp all keep state (no-sync)
pass on sis1 proto carp all keep state (no-sync)
`
	if diff := cmp.Diff(want, rs.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Each line of the file is written in another way than the one it is printed in.
func TestSpellings(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"pass", "pass all\n"},
		{"pass all keep state", "pass all\n"},
		{"pass from any to any", "pass all\n"},
		{"pass on any", "pass all\n"},
		{"pass on ! lo0", "pass on ! lo0 all\n"},
		{"pass in log quick on sis0 inet all", "pass in quick on sis0 inet all\n"},
		{"pass quick log all", "pass quick all\n"},
		{"pass proto 6", "pass proto tcp all\n"},
		{"pass proto 200", "pass proto 200 all\n"},
		{"pass proto icmp6", "pass proto ipv6-icmp all\n"},
		{"pass from 10/8", "pass inet from 10.0.0.0/8 to any\n"},
		{"pass from 10.1.2.3/8", "pass inet from 10.0.0.0/8 to any\n"},
		{"pass from ! 10.1.2.3", "pass inet from ! 10.1.2.3 to any\n"},
		{"pass from ::/0", "pass inet6 from ::/0 to any\n"},
		{"pass from 0/0", "pass inet from 0.0.0.0/0 to any\n"},
		{"pass inet6 from { 10.0.0.1 2001:DB8::1 }", "pass inet6 from 2001:db8::1 to any\n"},
		{"pass proto tcp from port 1 to port http", "pass proto tcp from any port = 1 to any port = 80\n"},
		{"pass proto tcp from any port < 1024", "pass proto tcp from any port 1:1023 to any\n"},
		{"pass proto tcp to any port <= 1024", "pass proto tcp from any to any port 1:1024\n"},
		{"pass proto tcp to any port > 1024", "pass proto tcp from any to any port 1025:65535\n"},
		{"pass proto tcp to any port >= 1024", "pass proto tcp from any to any port 1024:65535\n"},
		{"pass proto tcp to any port 10 >< 20", "pass proto tcp from any to any port 11:19\n"},
		{"pass proto tcp to any port 10 <> 20", "pass proto tcp from any to any port 10 <> 20\n"},
		{"pass proto tcp to any port = 20", "pass proto tcp from any to any port = 20\n"},
		{"pass proto tcp to any port != 20", "pass proto tcp from any to any port != 20\n"},
		{"pass proto tcp to any port ssh:25", "pass proto tcp from any to any port 22:25\n"},
		{"pass proto icmp icmp-type 8", "pass proto icmp all icmp-type echoreq\n"},
		{"pass proto icmp icmp-type 255", "pass proto icmp all icmp-type 255\n"},
		{"pass proto ipv6-icmp icmp6-type 128", "pass proto ipv6-icmp all icmp6-type echoreq\n"},
		{"pass label 'x y' no state", "pass all no state label \"x y\"\n"},
		{"pass keep state (no-sync sloppy,max 5)", "pass all keep state (no-sync)\n"},
		{"pass synproxy state (no-sync)", "pass all keep state (no-sync)\n"},
		{"match quick keep state (no-sync)", "match quick all keep state (no-sync)\n"},
		{"set state-defaults no-sync\npass\npass keep state\nmatch all", "pass all keep state (no-sync)\npass all\nmatch all\n"},
		{"pass on { a, b } proto { tcp, udp } to { 10.0.0.1 10.0.0.2 }", `pass on a inet proto tcp from any to 10.0.0.1
pass on a inet proto tcp from any to 10.0.0.2
pass on a inet proto udp from any to 10.0.0.1
pass on a inet proto udp from any to 10.0.0.2
pass on b inet proto tcp from any to 10.0.0.1
pass on b inet proto tcp from any to 10.0.0.2
pass on b inet proto udp from any to 10.0.0.1
pass on b inet proto udp from any to 10.0.0.2
`},
		{"a = 10.0.0.1\nb = \"{\" $a 10.0.0.2 \"}\"\npass to { $b 10.0.0.3 }",
			"pass inet from any to 10.0.0.1\npass inet from any to 10.0.0.2\npass inet from any to 10.0.0.3\n"},
		{"a = 1\na = 2\npass proto tcp to port $a", "pass proto tcp from any to any port = 2\n"},
		{"opts = 'keep state (no-sync)'\npass all $opts", "pass all keep state (no-sync)\n"},
		{"pass \\\r\n\tall # c\r\n\r\n", "pass all\n"},
		{"pass on {\n a # one\n\n b }\npass", "pass on a all\npass on b all\npass all\n"},
		{"# a \\\npass quick all\npass", "pass all\n"},
		{"table <t> { 10/8 10.0.0.0/8 !10.1.0.0/16 ::1, 9.9.9.9 }", "table <t> { 9.9.9.9 10.0.0.0/8 !10.1.0.0/16 ::1 }\n"},
		{"table <t> { }\npass to <t>", "table <t> persist\npass from any to <t>\n"},
		{"pass to ! <t>\ntable <t> counters", "table <t> persist\npass from any to ! <t>\n"},
		{"set no-sync mark 7", "set no-sync mark 0x7/0xffffffff\n"},
		{"set hostid 10\nset limit states 7", "set hostid 0x0000000a\nset limit states 7\n"},
		{"set skip on { lo, lo }", "set skip on { lo }\n"},
		{"pass to (sis0)", "pass inet from any to 203.0.113.1\npass inet from any to 203.0.113.3\npass inet6 from any to 2001:db8::1\n"},
		{"pass to sis0:0", "pass inet from any to 203.0.113.1\npass inet6 from any to 2001:db8::1\n"},
		{"pass inet to sis0:network", "pass inet from any to 203.0.113.0/24\n"},
		{"pass to ! sis1", "pass inet from any to ! 192.168.0.1\n"},
		{"pass to printer", "pass inet from any to 192.168.0.30\n"},
		{"", ""},
	} {
		t.Run(test.file, func(t *testing.T) {
			rs, _, err := loader().Parse("/etc/pf.conf", test.file)
			must(t, err)
			if diff := cmp.Diff(test.want, rs.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			again(t, rs)
		})
	}
}

func ExampleLoader_Parse() {
	rs, notes, err := pfconf.Loader{}.Parse("/etc/pf.conf", `
		monitors = "{ 192.0.2.10 192.0.2.11 }"
		pass quick proto udp from $monitors to any port snmp keep state (no-sync)
	`)
	fmt.Print(rs)
	fmt.Println(notes, err)
	// Output:
	// pass quick inet proto udp from 192.0.2.10 to any port = 161 keep state (no-sync)
	// pass quick inet proto udp from 192.0.2.11 to any port = 161 keep state (no-sync)
	// [] <nil>
}
