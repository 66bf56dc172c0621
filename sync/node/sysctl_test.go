package node_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func TestSysctlsAreKept(t *testing.T) {
	r := start(t)
	factor := sysctl.Setting{Name: "net.pfsync.carp_demotion_factor", Value: 10}
	for _, want := range []int64{240, 10} {
		if old, err := r.SetSysctl(factor); err != nil || old != want {
			t.Errorf("it was %d, %v, want %d", old, err, want)
		}
	}
	list, err := r.Sysctls()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int64{}
	for _, s := range list {
		shown[s.Name] = s.Value
	}
	for _, v := range sysctl.Variables() {
		value, ok := shown[v.Name]
		want := v.Default
		if v.Name == factor.Name {
			want = factor.Value
		}
		if ours := v.Linux == "" && !v.Opaque; ok != ours || ours && value != want {
			t.Errorf("%s=%d, %v", v.Name, value, ok)
		}
	}
	for s, want := range map[sysctl.Setting]string{
		{Name: "net.inet.ip.forwarding", Value: 1}: "net.inet.ip.forwarding: is Linux's own net.ipv4.ip_forward",
		{Name: "net.inet.carp.allow", Value: 2}:    "net.inet.carp.allow: 2 is too large (0 to 1)",
		{Name: "net.pfsync.stats"}:                 "net.pfsync.stats: read only; it counts",
	} {
		if _, err := r.SetSysctl(s); err == nil || err.Error() != want {
			t.Errorf("%v: error %v, want %s", s, err, want)
		}
	}
	if again, err := r.Sysctls(); err != nil || !slices.Equal(again, list) {
		t.Errorf("refused, and %v became %v, %v", list, again, err)
	}
}

// netstart finds the line of a file by it.
func TestRefusalsNameTheWord(t *testing.T) {
	r := start(t)
	for words, want := range map[string]string{
		"up syncdev em9":         "syncdev",
		"syncdev small mtu 1000": "mtu",
		"up bulk":                "bulk",
		"up push":                "push",
		"key /etc/pfsync.key up": "key",
	} {
		err := r.ifconfig(words)
		if e, ok := errors.AsType[*control.WordError](err); !ok || e.Word != want {
			t.Errorf("%s: %#v", words, err)
		}
	}
	if i := r.pfsync0(); i == nil || i.Flags&ifconfig.FlagUp != 0 {
		t.Errorf("changed: %+v", i)
	}
}
