package hostname_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
)

const path = "/etc/hostname.sis0"

// shown is the steps, each behind its line number.
func shown(steps []plan.Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%d: %v\n", s.Line, s)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       string
	}{
		{"no newline at the end", "up mtu 1400", "1: ifconfig sis0 up mtu 1400\n"},
		{"Windows' line ends", "up\r\ninet 10.0.0.1 \\\r\n 255.0.0.0\r\n!true\r\n", "1: ifconfig sis0 up\n2: ifconfig sis0 inet 10.0.0.1 netmask 255.0.0.0\n4: true\n"},
		{"comments and blank lines", "# sync\n\n  \t\n\t# more \\\nup # now\n", "5: ifconfig sis0 up\n"},
		{"continuation", "up \\\n\t  mtu \\\n1400\ngroup wan\n", "1: ifconfig sis0 up mtu 1400\n4: ifconfig sis0 group wan\n"},
		{"quotes and backslashes", `"up" 'mtu' 1\4"00"`, "1: ifconfig sis0 up mtu 1400\n"},
		{"a # within a word is none", "group sis#2", "1: ifconfig sis0 group 'sis#2'\n"},
		{"what a shell would read", `description 'a$b;c'`, "1: ifconfig sis0 description 'a$b;c'\n"},
		{"a family alone does nothing", "inet\ninet6\nup", "3: ifconfig sis0 up\n"},
		{"empty", "", ""},

		{"the customer's", "inet 10.0.0.254 255.255.255.0 NONE\n", "1: ifconfig sis0 inet 10.0.0.254 netmask 255.255.255.0\n"},
		{"an address alone", "inet 10.0.0.1", "1: ifconfig sis0 inet 10.0.0.1\n"},
		{"hexadecimal", "inet alias 10.0.0.1 0xFFFFFF00 10.0.0.255", "1: ifconfig sis0 inet alias 10.0.0.1 netmask 0xFFFFFF00 broadcast 10.0.0.255\n"},
		{"behind a slash", "inet 10.0.0.1/24", "1: ifconfig sis0 inet 10.0.0.1/24\n"},
		{"a slash of its own", "inet 10.0.0.1 /24 NONE up", "1: ifconfig sis0 inet 10.0.0.1/24 up\n"},
		{"a slash and a broadcast address", "inet 10.0.0.1/24 10.0.0.255 up", "1: ifconfig sis0 inet 10.0.0.1/24 broadcast 10.0.0.255 up\n"},
		{"a slash and options", "inet 10.0.0.1/24 description 'WAN uplink'\ninet 10.0.0.2/24 NONE up",
			"1: ifconfig sis0 inet 10.0.0.1/24 description 'WAN uplink'\n2: ifconfig sis0 inet 10.0.0.2/24 up\n"},
		{"options", `inet 10.0.1.12 255.255.255.0 NONE description "WAN uplink"`, "1: ifconfig sis0 inet 10.0.1.12 netmask 255.255.255.0 description 'WAN uplink'\n"},
		{"a mask of all ones and none", "inet 10.0.0.1 255.255.255.255\ninet 10.0.0.2 0x0", "1: ifconfig sis0 inet 10.0.0.1 netmask 255.255.255.255\n2: ifconfig sis0 inet 10.0.0.2 netmask 0x0\n"},
		{"an address taken away", "inet -alias 10.0.0.1\ninet6 delete ::1", "1: ifconfig sis0 inet -alias 10.0.0.1\n2: ifconfig sis0 inet6 delete ::1\n"},
		{"a syncpeer of IPv6", "up syncdev sis2 syncpeer fe80::b%sis2", "1: ifconfig sis0 up syncdev sis2 syncpeer fe80::b%sis2\n"},
		{"inet6", "inet6 2001:db8::1\ninet6 alias 2001:db8::2 64 pltime 5\ninet6 2001:db8::3/48 up\ninet6 eui64",
			"1: ifconfig sis0 inet6 2001:db8::1\n2: ifconfig sis0 inet6 alias 2001:db8::2 prefixlen 64 pltime 5\n3: ifconfig sis0 inet6 2001:db8::3/48 up\n4: ifconfig sis0 inet6 eui64\n"},
		{"the other end", "inet 10.0.0.1 255.255.255.252 NONE up\ndest 10.0.0.2\ninet6 alias ::1 128\ndest ::2",
			"1: ifconfig sis0 inet 10.0.0.1 10.0.0.2 netmask 255.255.255.252 up\n3: ifconfig sis0 inet6 alias ::1 ::2 prefixlen 128\n"},
		{"dhcp", "dhcp\ninet autoconf mtu 1400", "1: ifconfig sis0 up\n1: dhcp sis0\n2: ifconfig sis0 mtu 1400 up\n2: dhcp sis0\n"},
		{"dhcp's old form", "dhcp NONE NONE NONE mtu 1400", "1: ifconfig sis0 mtu 1400 up\n1: dhcp sis0\n"},
		{"routers' addresses", "inet6 autoconf\nrtsol", "1: ifconfig sis0 inet6 autoconf\n2: ifconfig sis0 inet6 autoconf\n"},
		{"commands", "! echo $if \\$if ${if} $ifs $x; echo '#' # x\n!a \\\n b", "1: echo sis0 sis0 sis0 $ifs $x; echo '#' # x\n2: a  b\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			steps, err := hostname.Parse(strings.NewReader(test.file), "sis0", path)
			must(t, err)
			if diff := cmp.Diff(test.want, shown(steps)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The system's own addresses of lo stay.
func TestAddressesOfLoAreAdded(t *testing.T) {
	steps, err := hostname.Parse(strings.NewReader("inet 10.9.9.9 255.255.255.255\ninet alias 10.9.9.8/32\ninet6 ::2 128\ninet -alias 10.9.9.7"), "lo", path)
	must(t, err)
	want := "1: ifconfig lo inet alias 10.9.9.9 netmask 255.255.255.255\n2: ifconfig lo inet alias 10.9.9.8/32\n" +
		"3: ifconfig lo inet6 alias ::2 prefixlen 128\n4: ifconfig lo inet -alias 10.9.9.7\n"
	if diff := cmp.Diff(want, shown(steps)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseRefusesWithFileAndLine(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"up; reboot", ":1: unexpected ';' (there is no shell; quote it)"},
		{"mtu $if", ":1: unexpected '$' (there is no shell; quote it)"},
		{"mtu '1400", ":1: ' is not closed on its line"},
		{`up \`, ":1: the backslash at the end of the file continues nothing"},
		{"!", ":1: '!': no command behind it"},
		{"inet 10.0.0.1 255.0.255.0", ":1: inet 10.0.0.1: 255.0.255.0 is no netmask (write 255.255.255.0, 0xffffff00 or /24)"},
		{"inet 10.0.0.1 0xffffff01", ":1: inet 10.0.0.1: 0xffffff01 is no netmask (write 255.255.255.0, 0xffffff00 or /24)"},
		{"inet 10.0.0.1 /33", ":1: inet 10.0.0.1: /33 is no netmask (write 255.255.255.0, 0xffffff00 or /24)"},
		{"inet 10.0.0.1 netmask 255.255.255.0", ":1: inet 10.0.0.1: netmask is no netmask (write 255.255.255.0, 0xffffff00 or /24)"},
		{"inet 10.0.0.1 NONE", ":1: inet 10.0.0.1: NONE stands in the place of the netmask (write 255.255.255.0, 0xffffff00 or /24 before it)"},
		{"inet 10.0.0.1/24 255.255.255.0", ":1: inet 10.0.0.1/24: both prefix and mask; leave 255.255.255.0 out"},
		{"inet 10.0.0.1 255.255.255.0 up", ":1: inet 10.0.0.1: up is no broadcast address (NONE if there is none, options behind it)"},
		{"inet alias", ":1: inet alias: no address"},
		{"inet6 alias", ":1: inet6 alias: no address"},
		{"inet6 2001:db8::1 640", ":1: inet6 2001:db8::1: 640 is no prefix length (0 to 128)"},
		{"inet6 2001:db8::1 up", ":1: inet6 2001:db8::1: up is no prefix length (0 to 128)"},
		{"dest 10.0.0.2", ":1: dest 10.0.0.2: there is no address on the line before"},
		{"inet 10.0.0.1/30\nup\ndest 10.0.0.2", ":3: dest 10.0.0.2: there is no address on the line before"},
		{"inet 10.0.0.1/30\ndest 10.0.0.2\ndest 10.0.0.3", ":3: dest 10.0.0.3: there is no address on the line before"},
		{"inet 10.0.0.1/30\ndest", ":2: dest: takes one address"},
		{"up " + strings.Repeat("x", 5000), ":1: more than 4096 bytes; put its words on several lines"},
		{"up\n#\narp \\\n" + strings.Repeat("x", 5000), ":4: more than 4096 bytes; put its words on several lines"},
		{"\ufeffup", ":1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"},
		{"\xff\xfeu\x00p\x00", ":1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"},
		{"up; x\nup\ndest \x1b", ":1: unexpected ';' (there is no shell; quote it)\n" + path + `:3: dest "\x1b": there is no address on the line before`},
	} {
		t.Run(test.file, func(t *testing.T) {
			_, err := hostname.Parse(strings.NewReader(test.file), "sis0", path)
			if err == nil || err.Error() != path+test.want {
				t.Errorf("error %q, want %q", err, path+test.want)
			}
		})
	}
	for _, name := range []string{"", "-a", "0123456789abcdef", "a$b"} {
		if _, err := hostname.Parse(strings.NewReader("!echo $if"), name, path); err == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
}

// The documents' files become the commands that they say.
func TestTheCustomersFiles(t *testing.T) {
	for side, want := range map[string]string{
		"a": `1: ifconfig carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo
1: ifconfig carp1 inet 192.168.0.1 netmask 255.255.255.0 broadcast 192.168.0.255 vhid 2 pass bar
1: ifconfig pfsync0 up syncdev sis2
1: ifconfig sis0 inet 10.0.0.254 netmask 255.255.255.0
1: ifconfig sis1 inet 192.168.0.254 netmask 255.255.255.0
1: ifconfig sis2 inet 192.168.254.254 netmask 255.255.255.0
`,
		"b": `1: ifconfig carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo advskew 100
1: ifconfig carp1 inet 192.168.0.1 netmask 255.255.255.0 broadcast 192.168.0.255 vhid 2 pass bar advskew 100
1: ifconfig pfsync0 up syncdev sis2
1: ifconfig sis0 inet 10.0.0.253 netmask 255.255.255.0
1: ifconfig sis1 inet 192.168.0.253 netmask 255.255.255.0
1: ifconfig sis2 inet 192.168.254.253 netmask 255.255.255.0
`,
	} {
		dir := filepath.Join("testdata", side)
		names, err := hostname.Names(dir)
		must(t, err)
		var got strings.Builder
		for _, name := range names {
			f, err := os.Open(hostname.Path(dir, name))
			must(t, err)
			defer f.Close()
			steps, err := hostname.Parse(f, name, f.Name())
			must(t, err)
			for _, s := range steps {
				fmt.Fprintf(&got, "%d: %s\n", s.Line, s.Show(true))
				if strings.Contains(s.String(), "pass ") && !strings.Contains(s.String(), "pass ********") {
					t.Errorf("%v", s)
				}
			}
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", side, diff)
		}
	}
}

func TestOrder(t *testing.T) {
	before, after := hostname.Order([]string{"aggr0", "br-lan", "bridge0", "carp0", "carp1", "enp3s0f1", "gif0", "lo0", "pfsync0", "pppoe0", "sis0", "sis2", "svlan0", "trunk0", "tun1", "vlan5", "wan"})
	if diff := cmp.Diff([]string{"lo0", "br-lan", "enp3s0f1", "sis0", "sis2", "wan", "trunk0", "aggr0", "svlan0", "vlan5", "carp0", "carp1"}, before); diff != "" {
		t.Errorf("before the routes: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pppoe0", "tun1", "gif0", "bridge0", "pfsync0"}, after); diff != "" {
		t.Errorf("after the routes: -want +got:\n%s", diff)
	}
	if before, after := hostname.Order([]string{"sis0"}); len(before) != 1 || len(after) != 0 {
		t.Errorf("%v, %v", before, after)
	}
}

func TestParseGateways(t *testing.T) {
	steps, err := hostname.ParseGateways(strings.NewReader("# ours\n10.0.0.1 # the provider's\n\nfe80::1%sis0\n"), "/etc/mygate")
	must(t, err)
	if got, want := shown(steps), "2: ip route replace default via 10.0.0.1\n4: ip -6 route replace default via fe80::1 dev sis0\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	steps, err = hostname.ParseGateways(strings.NewReader("10.0.0.1\n10.0.0.2\ngw.example.org\nfe80::1\n::\n224.0.0.1\n2001:db8::1"), "/etc/mygate")
	want := `/etc/mygate:2: 10.0.0.2: there is a gateway of this family above
/etc/mygate:3: gw.example.org is no address
/etc/mygate:4: fe80::1: write its interface behind it, fe80::1%eth0
/etc/mygate:5: :: is no gateway
/etc/mygate:6: 224.0.0.1 is no gateway`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got, want := shown(steps), "1: ip route replace default via 10.0.0.1\n7: ip -6 route replace default via 2001:db8::1\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOpenKeepsOthersOut(t *testing.T) {
	for _, test := range []struct {
		name     string
		mode     uint32
		uid, gid int
		refused  string
		warns    bool
		want     uint32 // the mode afterwards
	}{
		{"root's", 0o640, 0, 0, "", false, 0o640},
		{"root's group may write", 0o660, 0, 0, "", false, 0o660},
		{"others may read", 0o644, 0, 0, "", true, 0o640},
		{"another group may read", 0o640, 0, 65534, "", true, 0o640},
		{"others may write", 0o602, 0, 0, "everybody can write it; take that away (chmod o-w)", false, 0o602},
		{"another group may write", 0o660, 0, 65534, "group 65534 can write it; take that away (chmod g-w)", false, 0o660},
		{"another's", 0o400, 65534, 0, "belongs to uid 65534; make it root's (chown root:root)", false, 0o400},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := hostname.Path(t.TempDir(), "pfsync0")
			must(t, os.WriteFile(path, []byte("up\n"), 0o600))
			must(t, os.Chown(path, test.uid, test.gid))
			must(t, syscall.Chmod(path, test.mode))
			for _, fix := range []bool{false, true} {
				var warned []string
				f, err := hostname.Open(path, fix, func(text string) { warned = append(warned, text) })
				if err == nil {
					f.Close()
				}
				if test.refused != "" && (err == nil || err.Error() != path+": "+test.refused) || test.refused == "" && err != nil {
					t.Errorf("fix %v: error %v, want %q", fix, err, test.refused)
				}
				var want []string
				if test.warns {
					want = []string{"WARNING: " + path + " is insecure"}
				}
				if test.warns && fix {
					want[0] += ", fixing permissions"
				}
				if diff := cmp.Diff(want, warned); diff != "" {
					t.Errorf("fix %v: warnings: -want +got:\n%s", fix, diff)
				}
				info, err := os.Stat(path)
				must(t, err)
				mode := test.mode
				if fix {
					mode = test.want
				}
				if got := uint32(info.Mode().Perm()); got != mode {
					t.Errorf("fix %v: mode %o, want %o", fix, got, mode)
				}
				if gid := info.Sys().(*syscall.Stat_t).Gid; fix && test.warns && gid != 0 {
					t.Errorf("group %d, want root's", gid)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(hostname.Path(dir, "fifo0"), 0o600))
	must(t, os.Mkdir(hostname.Path(dir, "dir0"), 0o700))
	for name, want := range map[string]string{
		"fifo0": ": not a regular file", // and does not wait for a writer
		"dir0":  ": not a regular file",
		"sis7":  ": No such file or directory",
	} {
		path := hostname.Path(dir, name)
		_, err := hostname.Open(path, true, func(text string) { t.Error(text) })
		if err == nil || err.Error() != path+want {
			t.Errorf("error %v, want %s%s", err, path, want)
		}
	}
}

func TestNamesLeavesLeftoversOut(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"hostname", "hostname.sis0", "hostname.pfsync0", "hostname.br-lan", "hostname.sis0~", "hostname.sis0.orig",
		"hostname.sis1.dpkg-old", "hostname.", "hosts", ".hostname.sis0.swp", "hostname.sis0.swp"} {
		must(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
	}
	names, err := hostname.Names(dir)
	must(t, err)
	if diff := cmp.Diff([]string{"br-lan", "pfsync0", "sis0"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func ExampleParse() {
	file := "inet 10.0.0.254 255.255.255.0 NONE \\\n  mtu 1400\n!echo $if is up\n"
	steps, err := hostname.Parse(strings.NewReader(file), "sis0", "/etc/hostname.sis0")
	if err != nil {
		fmt.Println(err)
	}
	for _, s := range steps {
		fmt.Println(s)
	}
	// Output:
	// ifconfig sis0 inet 10.0.0.254 netmask 255.255.255.0 mtu 1400
	// echo sis0 is up
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"up syncdev sis2\n", "inet 10.0.0.1 255.255.255.0 NONE\n", "up \\\nsyncdev 'a b'\n", "!reboot $if", "# x\n\\", "dest 1",
		"inet 10.0.0.1 /24 10.0.0.255 up\ndest 10.0.0.2", "dhcp NONE x", "inet6 alias ::1 128"} {
		f.Add("pfsync0", seed)
	}
	f.Add("sis0", "mtu 1400\ninet6 alias ::1 128")
	f.Fuzz(func(t *testing.T, name, file string) {
		steps, err := hostname.Parse(strings.NewReader(file), name, path)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, path+":") || strings.Contains(line, "\x1b") {
					t.Errorf("error %q", line)
				}
			}
			return
		}
		for _, s := range steps {
			if _, err := s.Change(); s.Do == plan.Ifconfig && err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%v: error %q", s, err)
			}
			// What is printed as a line of the file again is the same words.
			line, ok := strings.CutPrefix(s.Show(true), "ifconfig "+name+" ")
			if s.Do != plan.Ifconfig || !ok || strings.ContainsAny(line, "\n\r") || len(line) > 4000 || strings.HasPrefix(line, "inet") ||
				strings.HasPrefix(line, "#") {
				continue
			}
			switch s.Words[0] {
			case "dest", "dhcp", "rtsol":
				continue
			}
			again, err := hostname.Parse(strings.NewReader(line), name, path)
			must(t, err)
			if diff := cmp.Diff(s.Words, again[0].Words); diff != "" {
				t.Errorf("-first +again:\n%s", diff)
			}
		}
	})
}

func FuzzParseGateways(f *testing.F) {
	f.Add("10.0.0.1\n# x\nfe80::1%a\n::1\n10.0.0.2\x1b")
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := hostname.ParseGateways(strings.NewReader(text), "/m")
		if len(steps) > 2 {
			t.Error(steps)
		}
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "/m:") || strings.Contains(line, "\x1b") {
				t.Errorf("error %q", line)
			}
		}
	})
}
