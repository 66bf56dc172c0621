package node_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Every word of ifconfig is a dialect, and is shown as it was set.
func TestVersionIsSet(t *testing.T) {
	r := start(t)
	for _, d := range []wire.Dialect{wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500, wire.OpenBSD6} {
		if err := r.ifconfig("version " + d.String()); err != nil {
			t.Fatal(err)
		}
		if p := r.pfsync0().PFSync; p.Version != d.String() || p.From != "set" {
			t.Errorf("version %v is shown as %q %q", d, p.Version, p.From)
		}
	}
	if err := r.ifconfig("-version pair"); err != nil {
		t.Fatal(err)
	}
	if p := r.pfsync0().PFSync; p.Version != "openbsd" || p.From != "" || p.Pair == nil || !*p.Pair {
		t.Errorf("without a version: %+v", p)
	}
	if err := r.ifconfig("-pair"); err != nil {
		t.Fatal(err)
	}
	if p := r.pfsync0().PFSync; p.Pair == nil || *p.Pair {
		t.Errorf("-pair: %+v", p)
	}
}
