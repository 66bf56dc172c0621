package pfconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
)

func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.conf")
	must(f, err)
	for _, file := range seeds {
		text, err := os.ReadFile(file)
		must(f, err)
		f.Add(string(text))
	}
	for _, seed := range []string{"pass all \\\r\n", "a = '{ 1 2 }'\npass proto $a", "table <x> { 10/8, !10.1.2.3 }", "include '/f'", "pass to { ! <a> }",
		"set limit { states 3 }", "pass label \"x'\"", "table <t> file '/f'"} {
		f.Add(seed)
	}
	flows := []pfconf.Flow{flow(pfstate.ProtoTCP, "192.168.0.20:40000", "198.51.100.80:80"), flow(pfstate.ProtoUDP, "[2001:db8::1]:5", "[2001:db8::2]:53"), {}}
	f.Fuzz(func(t *testing.T, text string) {
		l := loader()
		l.ReadFile = func(string) ([]byte, error) { return []byte(text), nil }
		rs, notes, err := l.Parse("/etc/pf.conf", text)
		list, ok := errors.AsType[pfconf.Errors](err)
		if err != nil && (!ok || len(list) == 0 || rs != nil) {
			t.Fatalf("error %v, ruleset %v", err, rs)
		}
		for _, e := range list {
			if e.Line < 1 || e.Col < 1 || strings.ContainsAny(e.Text, "\n\x1b") {
				t.Errorf("error %q", e)
			}
		}
		for _, n := range notes {
			if n.Line < 1 || n.Col < 1 || strings.ContainsAny(n.Text, "\n\x1b") {
				t.Errorf("note %q", n)
			}
		}
		if err != nil {
			return
		}
		again(t, rs)
		filter, err := pfconf.Compile(rs)
		if err != nil {
			t.Fatalf("%s%v", rs, err)
		}
		for i := range flows {
			filter.NoSync(&flows[i])
		}
	})
}
