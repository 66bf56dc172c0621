package sysctl_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text string
		want sysctl.Setting
	}{
		{"net.inet.carp.preempt=1", sysctl.Setting{Name: "net.inet.carp.preempt", Value: 1}}, // the customer's
		{" net.inet.carp.allow = 0 ", sysctl.Setting{Name: "net.inet.carp.allow"}},
		{"net.inet.carp.log=7", sysctl.Setting{Name: "net.inet.carp.log", Value: 7}},
		{"net.pfsync.carp_demotion_factor=0xf0", sysctl.Setting{Name: "net.pfsync.carp_demotion_factor", Value: 240}},
		{"net.pfsync.defer_delay=1000", sysctl.Setting{Name: "net.pfsync.defer_delay", Value: 1000}},
		{"net.inet.ip.forwarding=1", sysctl.Setting{Name: "net.inet.ip.forwarding", Value: 1}},
	} {
		s, err := sysctl.Parse(test.text)
		must(t, err)
		if s != test.want {
			t.Errorf("%s: %v, want %v", test.text, s, test.want)
		}
		if again, err := sysctl.Parse(s.String()); err != nil || again != s {
			t.Errorf("%v became %v, %v", s, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const carp = "; net.inet.carp has: allow, preempt, log, demotion, dialect, senderr_demotion_factor, ifdown_demotion_factor, dscp"
	for text, want := range map[string]string{
		"net.inet.carp.preempt=2":                    "net.inet.carp.preempt: 2 is too large (0 to 1)",
		"net.inet.carp.preempt=-1":                   "net.inet.carp.preempt: -1 is too small (0 to 1)",
		"net.inet.carp.preempt=yes":                  "net.inet.carp.preempt: yes is not a number (0 to 1)",
		"net.inet.carp.preempt=1_0":                  "net.inet.carp.preempt: 1_0 is not a number (0 to 1)",
		"net.inet.carp.preempt=0x-1":                 "net.inet.carp.preempt: 0x-1 is not a number (0 to 1)",
		"net.inet.carp.preempt=\x1b":                 `net.inet.carp.preempt: "\x1b" is not a number (0 to 1)`,
		"net.inet.carp.preempt=99999999999999999999": "net.inet.carp.preempt: 99999999999999999999 is too large (0 to 1)",
		"net.inet.carp.preempt=":                     "net.inet.carp.preempt: no value; write net.inet.carp.preempt=1",
		"net.inet.carp.preempt":                      "net.inet.carp.preempt: no value; write net.inet.carp.preempt=1",
		"net.inet.carp.demotion=65537":               "net.inet.carp.demotion: 65537 is too large (-65536 to 65536)",
		"net.pfsync.pfsync_buckets=5":                "net.pfsync.pfsync_buckets: read only; pfsyncd chooses it",
		"net.pfsync.stats=0":                         "net.pfsync.stats: read only; it counts",
		"net.pfsync.defer_delay=0":                   "net.pfsync.defer_delay: 0 is too small (1 to 1000)",
		"net.inet.carp.premept=1":                    "unknown oid 'net.inet.carp.premept'" + carp,
		"net.inet.carp.=1":                           "unknown oid 'net.inet.carp.'" + carp,
		"Net.inet.carp.preempt=1":                    "unknown oid 'Net.inet.carp.preempt'",
		"net.ipv4.ip_forward=1":                      "unknown oid 'net.ipv4.ip_forward'",
		"=1":                                         `unknown oid '""'`,
	} {
		_, err := sysctl.Parse(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
		if got := errors.Is(err, sysctl.ErrUnknown); got != strings.HasPrefix(want, "unknown") {
			t.Errorf("%q: is ErrUnknown: %v", text, got)
		}
	}
}

func TestValidate(t *testing.T) {
	for s, want := range map[sysctl.Setting]string{
		{Name: "net.inet.carp.preempt", Value: 1}:  "",
		{Name: "net.inet.carp.preempt", Value: 2}:  "net.inet.carp.preempt: 2 is too large (0 to 1)",
		{Name: "net.inet.carp.preempt", Value: -1}: "net.inet.carp.preempt: -1 is too small (0 to 1)",
		{Name: "net.pfsync.pfsync_buckets"}:        "net.pfsync.pfsync_buckets: read only; pfsyncd chooses it",
		{Name: "x"}:                                "unknown oid 'x'",
	} {
		if err := s.Validate(); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%v: %v, want %s", s, err, want)
		}
	}
}

func TestVariablesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range sysctl.Variables() {
		if seen[v.Name] || v.Meaning == "" || v.Min > v.Max || v.Default < v.Min || v.Default > v.Max {
			t.Errorf("%+v", v)
		}
		seen[v.Name] = true
		if got, ok := sysctl.Lookup(v.Name); !ok || got != v {
			t.Errorf("%s: found %+v", v.Name, got)
		}
		if v.ReadOnly != "" {
			continue
		}
		for _, n := range []int64{v.Min, v.Default, v.Max} {
			s := sysctl.Setting{Name: v.Name, Value: n}
			if got, err := sysctl.Parse(s.String()); err != nil || got != s {
				t.Errorf("%v: %v, %v", s, got, err)
			}
		}
	}
	sysctl.Variables()[0].Name = "changed"
	if sysctl.Variables()[0].Name == "changed" {
		t.Error("Variables gives away the registry")
	}
}

func listed(lines []sysctl.Line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s:%d: %v\n", l.File, l.Line, l.Setting)
	}
	return b.String()
}

const mixed = `# Linux's own, and ours
net.ipv4.ip_forward = 1
; net.inet.carp.preempt=0
   -net.inet.carp.preempt = 1	# group failover
kernel.printk = 4 4 1 7
net/ipv4/conf/eth0.100/rp_filter=2
net/inet/carp/log=0
-net.inet.carp.allow
net.ipv4.conf.*.rp_filter = 2
-net.ipv4.conf.all.rp_filter
vm.swappiness
net.*.carp.preempt=0
net.inet.tcp.ecn=1
*=1
net.inet.carp.dscp=48`

func TestParseFileTakesOnlyOurs(t *testing.T) {
	lines, err := sysctl.ParseFile("/etc/sysctl.conf", mixed)
	must(t, err)
	want := `/etc/sysctl.conf:4: net.inet.carp.preempt=1
/etc/sysctl.conf:7: net.inet.carp.log=0
/etc/sysctl.conf:15: net.inet.carp.dscp=48
`
	if diff := cmp.Diff(want, listed(lines)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseFileNamesFileAndLineAndGoesOn(t *testing.T) {
	lines, err := sysctl.ParseFile("/etc/sysctl.conf", `net.inet.carp.preempt=2
-net.inet.carp.allow=no
net.inet.carp.*=1
net.pfsync.carp_demotoin_factor=0
net.inet.carp.log 3
net.pfsync.pfsync_buckets=2

net.pfsync.nothing
net.inet.carp.preempt=1
`)
	want := `/etc/sysctl.conf:1: net.inet.carp.preempt: 2 is too large (0 to 1)
/etc/sysctl.conf:2: net.inet.carp.allow: no is not a number (0 to 1)
/etc/sysctl.conf:3: 'net.inet.carp.*': patterns are Linux's alone; write each name out
/etc/sysctl.conf:4: unknown oid 'net.pfsync.carp_demotoin_factor'; net.pfsync has: carp_demotion_factor, pfsync_buckets, defer_delay, stats
/etc/sysctl.conf:5: net.inet.carp.log: '=' is missing
/etc/sysctl.conf:6: net.pfsync.pfsync_buckets: read only; pfsyncd chooses it
/etc/sysctl.conf:8: unknown oid 'net.pfsync.nothing'; net.pfsync has: carp_demotion_factor, pfsync_buckets, defer_delay, stats`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := listed(lines); got != "/etc/sysctl.conf:9: net.inet.carp.preempt=1\n" {
		t.Errorf("lines %s", got)
	}
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestLoadReadsTheFilesInOrder(t *testing.T) {
	lines, err := sysctl.Load(fstest.MapFS{
		"sysctl.conf":             file("net.inet.carp.preempt=1\n"),
		"sysctl.d/20-b.conf":      file("net.inet.carp.log=3\nnet.inet.carp.preempt=0\n"),
		"sysctl.d/10-a.conf":      file("net.inet.carp.log=1\nnet.inet.carp.dscp=1\n"),
		"sysctl.d/README":         file("net.inet.carp.log=7\n"),
		"sysctl.d/30-c.conf.save": file("net.inet.carp.log=7\n"),
		"pfsync/sysctl.conf":      file("net.inet.carp.dscp=2\n"),
	}, "/etc")
	must(t, err)
	want := `/etc/sysctl.d/10-a.conf:1: net.inet.carp.log=1
/etc/sysctl.d/10-a.conf:2: net.inet.carp.dscp=1
/etc/sysctl.d/20-b.conf:1: net.inet.carp.log=3
/etc/sysctl.d/20-b.conf:2: net.inet.carp.preempt=0
/etc/sysctl.conf:1: net.inet.carp.preempt=1
/etc/pfsync/sysctl.conf:1: net.inet.carp.dscp=2
`
	if diff := cmp.Diff(want, listed(lines)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = `/etc/sysctl.conf:1: net.inet.carp.preempt=1
/etc/sysctl.d/20-b.conf:1: net.inet.carp.log=3
/etc/pfsync/sysctl.conf:1: net.inet.carp.dscp=2
`
	if diff := cmp.Diff(want, listed(sysctl.Last(lines))); diff != "" {
		t.Errorf("last: -want +got:\n%s", diff)
	}
}

// denied has a file that cannot be read.
type denied struct{ fstest.MapFS }

func (d denied) Open(name string) (fs.File, error) {
	if name == "sysctl.conf" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.MapFS.Open(name)
}

// ReadFile hides that of MapFS, which does not ask Open.
func (d denied) ReadFile(name string) ([]byte, error) {
	if _, err := d.Open(name); err != nil {
		return nil, err
	}
	return d.MapFS.ReadFile(name)
}

func TestLoadGoesOnAfterErrors(t *testing.T) {
	if lines, err := sysctl.Load(fstest.MapFS{}, "/etc"); err != nil || lines != nil {
		t.Errorf("no files: %v, %v", lines, err)
	}
	lines, err := sysctl.Load(denied{fstest.MapFS{
		"sysctl.d/a.conf":    file("net.inet.carp.log=x\n"),
		"pfsync/sysctl.conf": file("net.inet.carp.log=1\n"),
	}}, "/etc")
	if want := "/etc/sysctl.d/a.conf:1: net.inet.carp.log: x is not a number (0 to 7)\n/etc/sysctl.conf: permission denied"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := listed(lines); got != "/etc/pfsync/sysctl.conf:1: net.inet.carp.log=1\n" {
		t.Errorf("lines %s", got)
	}
}

func ExampleParseFile() {
	lines, err := sysctl.ParseFile("/etc/sysctl.conf", "net.ipv4.ip_forward=1\nnet.inet.carp.preempt=1\n")
	for _, l := range lines {
		fmt.Println(l.Line, l.Setting)
	}
	fmt.Println(err)
	// Output:
	// 2 net.inet.carp.preempt=1
	// <nil>
}

func FuzzParseFile(f *testing.F) {
	f.Add(mixed)
	f.Add("net.inet.carp.preempt=2\nnet.pfsync.x\r\n-net/pfsync/stats 1")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := sysctl.ParseFile("/f", text)
		if err != nil {
			for _, l := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(l, "/f:") || strings.Contains(l, "\x1b") {
					t.Errorf("error %q", l)
				}
			}
		}
		var again strings.Builder
		for _, l := range lines {
			again.WriteString(l.Setting.String() + "\n")
		}
		second, err := sysctl.ParseFile("/f", again.String())
		must(t, err)
		if len(second) != len(lines) {
			t.Fatalf("%q became %q", again.String(), second)
		}
		for i := range lines {
			if lines[i].Setting != second[i].Setting {
				t.Errorf("%v became %v", lines[i], second[i])
			}
		}
	})
}
