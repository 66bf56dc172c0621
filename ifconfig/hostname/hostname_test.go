package hostname_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
)

const path = "/etc/hostname.pfsync0"

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       string // the commands, each behind its line number
	}{
		{"the customer's file", "up syncdev sis2\n", "1: ifconfig pfsync0 up syncdev sis2\n"},
		{"no newline at the end", "up syncdev sis2", "1: ifconfig pfsync0 up syncdev sis2\n"},
		{"Windows' line ends", "up\r\nsyncdev sis2\r\n", "1: ifconfig pfsync0 up\n2: ifconfig pfsync0 syncdev sis2\n"},
		{"several lines", "syncdev sis2\nmaxupd 64 defer\nup\n",
			"1: ifconfig pfsync0 syncdev sis2\n2: ifconfig pfsync0 maxupd 64 defer\n3: ifconfig pfsync0 up\n"},
		{"comments and blank lines", "# sync\n\n  \t\n\t# more \\\nup # now\n", "5: ifconfig pfsync0 up\n"},
		{"continuation", "up \\\n\t  syncdev \\\nsis2\nmtu 1400\n", "1: ifconfig pfsync0 up syncdev sis2\n4: ifconfig pfsync0 mtu 1400\n"},
		{"quotes and backslashes", `"up" 'syncdev' s\is"2"`, "1: ifconfig pfsync0 up syncdev sis2\n"},
		{"a # within a word is none", "syncdev sis#2", "1: ifconfig pfsync0 syncdev 'sis#2'\n"},
		{"what a shell would read", `syncdev 'a$b;c'`, "1: ifconfig pfsync0 syncdev 'a$b;c'\n"},
		{"a family alone does nothing", "inet\ninet6\nup", "3: ifconfig pfsync0 up\n"},
		{"a key", "up syncdev eth2 key /etc/pfsync.key\n", "1: ifconfig pfsync0 up syncdev eth2 key /etc/pfsync.key\n"},
		{"no key", "-key\n", "1: ifconfig pfsync0 -key\n"},
		{"empty", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			commands, err := hostname.Parse(strings.NewReader(test.file), "pfsync0", path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, c := range commands {
				fmt.Fprintf(&got, "%d: %v\n", c.Line, c)
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMergeMakesOneChange(t *testing.T) {
	commands, err := hostname.Parse(strings.NewReader("down syncdev sis1\nsyncpeer 10.0.0.2\nsyncdev sis2 up\n"), "pfsync0", path)
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddr("10.0.0.2")
	want := ifconfig.Change{Interface: "pfsync0", Up: new(true), Syncdev: new("sis2"), Syncpeer: &peer}
	if diff := cmp.Diff(want, hostname.Merge("pfsync0", commands), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseRefusesWithFileAndLine(t *testing.T) {
	for _, test := range []struct{ iface, file, want string }{
		{"pfsync0", "up\nsyncdev sis2\nmaxupd 300", ":3: maxupd 300: too large (0 to 255)"},
		{"pfsync0", "up \\\nsynccdev sis2", ":1: synccdev: bad value (did you mean 'syncdev'?)"},
		{"pfsync0", "up\nkey pfsync.key", ":2: key pfsync.key: write the whole path, from / on"},
		{"pfsync0", "destroy", ":1: destroy: not in a hostname.if file"},
		{"pfsync0", "syncdev", ":1: 'syncdev' requires argument"},
		{"pfsync0", "up; reboot", ":1: unexpected ';' (there is no shell; quote it)"},
		{"pfsync0", "syncdev $if", ":1: unexpected '$' (there is no shell; quote it)"},
		{"pfsync0", "syncdev 'sis2", ":1: ' is not closed on its line"},
		{"pfsync0", `up \`, ":1: the backslash at the end of the file continues nothing"},
		{"pfsync0", "up\n!echo \x1b", `:2: '!echo \x1b': commands are not supported yet (run it from your system's boot scripts)`},
		{"pfsync0", "!", ":1: '!': commands are not supported yet (run it from your system's boot scripts)"},
		{"sis0", "inet 10.0.0.254 255.255.255.0 NONE", ":1: 'inet' is not supported yet (use ip address add 10.0.0.254/24 dev sis0)"},
		{"sis0", "inet alias 10.0.0.1 0xffffffff", ":1: 'inet' is not supported yet (use ip address add 10.0.0.1/32 dev sis0)"},
		{"sis0", "inet 172.19.13.1/28", ":1: 'inet' is not supported yet (use ip address add 172.19.13.1/28 dev sis0)"},
		{"sis0", "inet 10.0.0.1 255.0.255.0", ":1: 'inet' is not supported yet (use ip address add ADDRESS/LENGTH dev sis0)"},
		{"sis0", "inet6 alias 2001:db8::1 64", ":1: 'inet6' is not supported yet (use ip address add 2001:db8::1/64 dev sis0)"},
		{"sis0", "inet6 2001:db8::1 640", ":1: 'inet6' is not supported yet (use ip address add ADDRESS/LENGTH dev sis0)"},
		{"sis0", "inet autoconf", ":1: 'inet' is not supported yet (use your system's DHCP client)"},
		{"sis0", "inet6 autoconf", ":1: 'inet6' is not supported yet (use sysctl net.ipv6.conf.sis0.accept_ra=1)"},
		{"sis0", "dhcp", ":1: 'dhcp' is not supported yet (use your system's DHCP client)"},
		{"sis0", "rtsol", ":1: 'rtsol' is not supported yet (use sysctl net.ipv6.conf.sis0.accept_ra=1)"},
		{"sis0", "dest 10.0.0.2", ":1: 'dest' is not supported yet (use ip address add ADDRESS peer DESTINATION dev sis0)"},
		{"carp0", "vhid 1 pass foo", ": carp0: carp interfaces are not supported yet (use keepalived for shared addresses)"},
		{"pfsync0", "up " + strings.Repeat("x", 5000), ":1: more than 4096 bytes; put its words on several lines"},
		{"pfsync0", "up\n#\ndefer \\\n" + strings.Repeat("x", 5000), ":4: more than 4096 bytes; put its words on several lines"},
		{"pfsync0", "\ufeffup", ":1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"},
		{"pfsync0", "\xff\xfeu\x00p\x00", ":1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"},
		{"pfsync0", "up\ninet 10.0.0.1 255.255.255.0", ":2: pfsync0: SIOCAIFADDR: Operation not supported (pfsync0 takes no address; give it to the syncdev)"},
		{"pfsync0", "dhcp", ":1: pfsync0: SIOCAIFADDR: Operation not supported (pfsync0 takes no address; give it to the syncdev)"},
		{"pfsync0", "!" + strings.Repeat("x", 61), ":1: '!" + strings.Repeat("x", 60) + "...': commands are not supported yet (run it from your system's boot scripts)"},
	} {
		t.Run(test.file, func(t *testing.T) {
			path := "/etc/hostname." + test.iface
			_, err := hostname.Parse(strings.NewReader(test.file), test.iface, path)
			if err == nil || err.Error() != path+test.want {
				t.Errorf("error %q, want %q", err, path+test.want)
			}
		})
	}
}

func TestTheCustomersFiles(t *testing.T) {
	for _, side := range []string{"a", "b"} {
		f, err := os.Open(filepath.Join("testdata", side, "hostname.pfsync0"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		commands, err := hostname.Parse(f, "pfsync0", f.Name())
		if err != nil {
			t.Fatal(err)
		}
		want := ifconfig.Change{Interface: "pfsync0", Up: new(true), Syncdev: new("sis2")}
		if diff := cmp.Diff(want, hostname.Merge("pfsync0", commands), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", side, diff)
		}
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
	file := "syncdev sis2 \\\n  maxupd 64\nup\n"
	commands, err := hostname.Parse(strings.NewReader(file), "pfsync0", "/etc/hostname.pfsync0")
	if err != nil {
		fmt.Println(err)
	}
	for _, c := range commands {
		fmt.Println(c)
	}
	// Output:
	// ifconfig pfsync0 syncdev sis2 maxupd 64
	// ifconfig pfsync0 up
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"up syncdev sis2\n", "inet 10.0.0.1 255.255.255.0 NONE\n", "up \\\nsyncdev 'a b'\n", "!reboot", "# x\n\\", "dest 1"} {
		f.Add("pfsync0", seed)
	}
	f.Add("sis0", "mtu 1400\ninet6 alias ::1 128")
	f.Fuzz(func(t *testing.T, name, file string) {
		commands, err := hostname.Parse(strings.NewReader(file), name, path)
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+":") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q", err)
			}
			return
		}
		// What is printed reads back as the same commands.
		var again strings.Builder
		for _, c := range commands {
			line, ok := strings.CutPrefix(c.String(), "ifconfig "+name+" ")
			if !ok {
				t.Fatalf("command %q", c)
			}
			again.WriteString(line + "\n")
		}
		second, err := hostname.Parse(strings.NewReader(again.String()), name, path)
		if err != nil {
			t.Fatalf("%q: %v", again.String(), err)
		}
		ignoreLine := cmpopts.IgnoreFields(hostname.Command{}, "Line")
		if diff := cmp.Diff(commands, second, ignoreLine, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("-first +again:\n%s", diff)
		}
	})
}
