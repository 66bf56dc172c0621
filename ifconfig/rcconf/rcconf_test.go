package rcconf_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/ifconfig/rcconf"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// planned is the plan of a file as text: steps, then notes and errors.
func planned(t *testing.T, text string) string {
	t.Helper()
	vars := rcconf.Vars{}
	must(t, vars.Parse("rc.conf", text))
	steps, notes, err := vars.Plan()
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%d: %s\n", s.Line, s.Show(true))
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	return b.String()
}

func TestTheCustomersFiles(t *testing.T) {
	for file, want := range map[string]string{
		"a.conf": `2: ifconfig sis0 10.0.0.254/24 up
3: ifconfig sis0 inet alias 10.0.0.1/24 vhid 1 pass foo
4: ifconfig sis1 192.168.0.254/24 up
5: ifconfig sis1 inet alias 192.168.0.1/24 vhid 2 pass bar
6: ifconfig sis2 192.168.254.254/24 up
8: ifconfig pfsync0 syncdev sis2 up
`,
		"b.conf": `2: ifconfig sis0 10.0.0.253/24 up
3: ifconfig sis0 inet alias 10.0.0.1/24 vhid 1 pass foo advskew 100
4: ifconfig sis1 192.168.0.253/24 up
5: ifconfig sis1 inet alias 192.168.0.1/24 vhid 2 pass bar advskew 100
6: ifconfig sis2 192.168.254.253/24 up
8: ifconfig pfsync0 syncdev sis2 up
`,
		"damaged.conf": `2: ifconfig sis0 up
3: ifconfig sis0 inet vhid 1 pass foo
4: ifconfig sis1 up
5: ifconfig sis1 inet vhid 2 pass bar
6: ifconfig sis2 up
8: ifconfig pfsync0 syncdev sis2 up
`,
	} {
		text, err := os.ReadFile("testdata/" + file)
		must(t, err)
		if diff := cmp.Diff(want, planned(t, string(text))); diff != "" {
			t.Errorf("%s: -want +got:\n%s", file, diff)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"nothing of ours", "hostname=\"fw.example.org\"\nsshd_enable=YES\n", ""},
		{"all that have a variable", "ifconfig_sis1=\"inet 10.0.0.1/24\"\nifconfig_sis0=\"up\"\nifconfig_br0_alias0=\"inet 10.0.1.1/24\"",
			"3: ifconfig br0 inet alias 10.0.1.1/24\n2: ifconfig sis0 up\n1: ifconfig sis1 inet 10.0.0.1/24 up\n"},
		{"AUTO", "network_interfaces=auto\nifconfig_sis0=down", "2: ifconfig sis0 down\n"},
		{"the last one wins", "ifconfig_sis0=down\nifconfig_sis0=up", "2: ifconfig sis0 up\n"},
		{"names with other letters", "network_interfaces=\"br-lan eth0.5\"\nifconfig_br_lan=up\nifconfig_eth0_5=up", "2: ifconfig br-lan up\n3: ifconfig eth0.5 up\n"},
		{"not in the list", "network_interfaces=sis0\nifconfig_sis0=up\nifconfig_sis3=up",
			"2: ifconfig sis0 up\nnote: rc.conf:3: ifconfig_sis3: left alone, the interface is not in network_interfaces\n"},
		{"aliases stop at a gap", "ifconfig_sis0_alias0=\"inet 10.0.0.1/32\"\nifconfig_sis0_alias1='10.0.0.2 netmask 255.255.255.255'\nifconfig_sis0_alias3=\"inet6 ::1\"\nifconfig_sis0_alias10=x",
			"1: ifconfig sis0 inet alias 10.0.0.1/32\n2: ifconfig sis0 inet alias 10.0.0.2 netmask 255.255.255.255\n" +
				"note: rc.conf:4: ifconfig_sis0_alias10: left alone, there is no ifconfig_sis0_alias2 before it\n" +
				"note: rc.conf:3: ifconfig_sis0_alias3: left alone, there is no ifconfig_sis0_alias2 before it\n"},
		{"several aliases at once", "ifconfig_sis0_aliases=\"inet 10.0.0.1/32 inet6 2001:db8::1 prefixlen 64\"",
			"1: ifconfig sis0 inet alias 10.0.0.1/32\n1: ifconfig sis0 inet6 alias 2001:db8::1 prefixlen 64\n"},
		{"wrong aliases", "ifconfig_sis0_alias0=\nifconfig_sis0_alias1=\"vhid 1\"",
			"error: rc.conf:1: the alias is empty\nrc.conf:2: vhid: an alias begins with inet or inet6 and an address\n"},
		{"a bare alias of IPv6", "ifconfig_sis0_alias0=2001:db8::1/64", "1: ifconfig sis0 inet6 alias 2001:db8::1/64\n"},
		{"IPv6", "ifconfig_sis0_ipv6=\"inet6 accept_rtadv\"\nifconfig_sis1_ipv6=\"::1\"", "1: ifconfig sis0 inet6 autoconf\nerror: rc.conf:2: ifconfig_sis1_ipv6: does not begin with inet6\n"},
		{"a description", "ifconfig_sis0_descr='the office'\nifconfig_sis0=up", "2: ifconfig sis0 up\n1: ifconfig sis0 description 'the office'\n"},
		{"DHCP", "ifconfig_sis0=\"SYNCDHCP mtu 1400\"", "1: ifconfig sis0 mtu 1400 up\n1: dhcp sis0\n"},
		{"what is not there on Linux", "ifconfig_sis0=\"WPA DHCP\"\nifconfig_sis0_name=wan",
			"error: rc.conf:2: ifconfig_sis0_name: not supported (an interface with '_' in its name belongs into network_interfaces)\nrc.conf:1: WPA: not supported (use wpa_supplicant or hostapd)\n"},
		{"NOAUTO", "ifconfig_sis0=\"10.0.0.1/24 NOAUTO\"", "note: rc.conf:1: sis0: left alone, as NOAUTO says\n"},
		{"clones first", "ifconfig_vlan5=\"inet 10.0.0.1/24\"\ncloned_interfaces=\"vlan5 pfsync0\"", "2: ifconfig vlan5 create\n2: ifconfig pfsync0 create\n1: ifconfig vlan5 inet 10.0.0.1/24 up\n"},
		{"lo0", "ifconfig_lo0=\"inet 127.0.0.1\"\nifconfig_lo0_alias0=\"inet 10.9.9.9/32\"", "1: ifconfig lo inet alias 127.0.0.1\n2: ifconfig lo inet alias 10.9.9.9/32\n"},
		{"forwarding and routes", "gateway_enable=yes\nipv6_gateway_enable=ON\ndefaultrouter=10.0.0.1\nipv6_defaultrouter=fe80::1%sis0\nifconfig_sis0=up",
			"5: ifconfig sis0 up\n1: pfsyncctl sysctl net.inet.ip.forwarding=1\n2: pfsyncctl sysctl net.inet6.ip6.forwarding=1\n3: ip route replace default via 10.0.0.1\n4: ip -6 route replace default via fe80::1 dev sis0\n"},
		{"no route", "defaultrouter=NO\nipv6_defaultrouter=10.0.0.1", "error: rc.conf:2: ipv6_defaultrouter: 10.0.0.1 is no address of a router\n"},
		{"pfsync in full", "pfsync_ifconfig=\"maxupd 64 defer\"\npfsync_syncpeer=10.0.0.2\npfsync_syncdev=sis2\npfsync_enable=yes\nifconfig_sis2=up",
			"5: ifconfig sis2 up\n3: ifconfig pfsync0 syncpeer 10.0.0.2 syncdev sis2 maxupd 64 defer up\n"},
		{"pfsync by IPv6", "pfsync_enable=YES\npfsync_syncdev=sis2\npfsync_syncpeer=\"ff12::f0\"", "2: ifconfig pfsync0 syncpeer ff12::f0 syncdev sis2 up\n"},
		{"pfsync without syncdev", "pfsync_enable=YES", "error: rc.conf:1: pfsync_syncdev is not set.\n"},
		{"pfsync disabled", "pfsync_enable=NO\npfsync_syncdev=sis2", "note: rc.conf:2: pfsync_syncdev: left alone, pfsync_enable is not YES\n"},
		{"neither yes nor no", "pfsync_enable=YEP", "note: rc.conf:1: pfsync_enable: YEP is neither YES nor NO; taken as NO\n"},
		{"rules", "pf_enable=YES\npf_rules=/etc/my.conf", "note: rc.conf:1: pf_enable: rules are not loaded by netstart; use pfctl -f /etc/my.conf\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, planned(t, test.file)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Each word of the one command of pfsync is somewhere else.
func TestWordsOfPfsyncHaveTheirPlaces(t *testing.T) {
	vars := rcconf.Vars{}
	must(t, vars.Parse("rc.conf", "pfsync_enable=YES\npfsync_syncdev=sis2\npfsync_ifconfig='mtu 9000'\n"))
	must(t, vars.Parse("rc.conf.local", "\npfsync_syncpeer=10.0.0.2\n"))
	steps, _, err := vars.Plan()
	must(t, err)
	for word, want := range map[string]string{
		"up": "rc.conf:1", "syncdev": "rc.conf:2", "mtu": "rc.conf:3", "syncpeer": "rc.conf.local:2", "none of it": "rc.conf:2",
	} {
		if got := steps[0].At(word).String(); got != want {
			t.Errorf("%s is at %v, want %v", word, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	vars := rcconf.Vars{}
	must(t, vars.Parse("rc.conf", `# comment \
a="x y"	# more
b='$x `+"`y`"+` \n'
c=plain#no
d="a \"quoted\" \$5 \n"
e="one \
  two"
  f=
g="a"'b'c\ d
`+"h=\"x\"\r\ni=a\\\r\nb\r\na2=1"))
	want := rcconf.Vars{}
	for name, v := range map[string]struct {
		text string
		line int
	}{
		"a": {"x y", 2}, "b": {"$x `y` \\n", 3}, "c": {"plain#no", 4}, "d": {`a "quoted" $5 \n`, 5}, "e": {"one   two", 6}, "f": {"", 8},
		"g": {"abc d", 9}, "h": {"x", 10}, "i": {"ab", 11}, "a2": {"1", 13},
	} {
		want[name] = rcconf.Value{Text: v.text, Place: plan.Place{File: "rc.conf", Line: v.line}}
	}
	if diff := cmp.Diff(want, vars); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseRefusesWhatIsNoAssignment(t *testing.T) {
	const only, run = ` (only NAME="VALUE" is read, nothing is executed)`, " (nothing is executed; quote it)"
	for line, want := range map[string]string{
		"reboot":             "reboot" + only,
		". /etc/rc.local":    "." + only,
		"export a=1":         "export" + only,
		"a+=1":               "a+" + only,
		"1a=1":               "1a" + only,
		"=1":                 "=1" + only,
		"a = 1":              "a" + only,
		"if [ x ]; then a=1": "if" + only,
		"\x1bx=1":            `"\x1bx"` + only,
		"a=1 b=2":            "b=2 behind the value of a (put quotes around all of it)",
		"a=inet 10.0.0.1":    "10.0.0.1 behind the value of a (put quotes around all of it)",
		"a=1; reboot":        "unexpected ';'" + run,
		"a=1 ; reboot":       "; reboot behind the value of a (put quotes around all of it)",
		"a=1&":               "unexpected '&'" + run,
		"a=~root":            "unexpected '~'" + run,
		"a=\"$(reboot)\"":    "unexpected '$' (nothing is expanded or executed; write the value itself)",
		"a=`reboot`":         "unexpected '`' (nothing is expanded or executed; write the value itself)",
		"a=(1 2)":            "unexpected '('" + run,
		"a=\"x":              "\" is not closed on its line (end the line with a backslash to go on)",
		"a='x":               "' is not closed on its line (end the line with a backslash to go on)",
		"a=x\\":              "the backslash at the end of the file continues nothing",
		"reboot() { a=1; }":  "reboot()" + only,
		"\"a\"=1":            "\"a\"" + only,
	} {
		vars := rcconf.Vars{}
		err := vars.Parse("/etc/rc.conf", "ok=1\n"+line)
		if want = "/etc/rc.conf:2: not a plain assignment: " + want; err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", line, err, want)
		}
	}
	err := rcconf.Vars{}.Parse("/etc/rc.conf", "reboot\na=1\nhalt\n")
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not both lines: %v", err)
	}
	err = rcconf.Vars{}.Parse("/etc/rc.conf", "\ufeffa=1")
	if err == nil || !strings.HasPrefix(err.Error(), "/etc/rc.conf:1: begins with a byte order mark") {
		t.Errorf("error %v", err)
	}
}

func ExampleVars_Plan() {
	vars := rcconf.Vars{}
	err := vars.Parse("/etc/rc.conf", "ifconfig_sis2=\"192.168.254.254/24\"\npfsync_enable=\"YES\"\npfsync_syncdev=\"sis2\"\n")
	if err != nil {
		fmt.Println(err)
	}
	steps, _, err := vars.Plan()
	for _, s := range steps {
		fmt.Println(s)
	}
	fmt.Println(err)
	// Output:
	// ifconfig sis2 192.168.254.254/24 up
	// ifconfig pfsync0 syncdev sis2 up
	// <nil>
}

func FuzzPlan(f *testing.F) {
	for _, seed := range []string{"a.conf", "damaged.conf"} {
		text, err := os.ReadFile("testdata/" + seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("network_interfaces=auto\nifconfig_a_aliases=\"inet 1 inet6 ::\"\ncloned_interfaces='x \x1b'\npfsync_enable=1\ndefaultrouter=::\\\n1")
	f.Fuzz(func(t *testing.T, text string) {
		vars := rcconf.Vars{}
		err := vars.Parse("/rc", text)
		if err == nil {
			var steps []plan.Step
			var notes []string
			steps, notes, err = vars.Plan()
			for _, s := range steps {
				if s.File != "/rc" || s.Line < 1 || s.Places != nil && len(s.Places) != len(s.Words) {
					t.Errorf("%+v", s)
				}
			}
			for _, n := range notes {
				if !strings.HasPrefix(n, "/rc:") || strings.ContainsAny(n, "\n\x1b") {
					t.Errorf("note %q", n)
				}
			}
		}
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "/rc:") || strings.Contains(line, "\x1b") {
				t.Errorf("error %q", line)
			}
		}
	})
}
