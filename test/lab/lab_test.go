package lab_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

func newLab(t *testing.T) (*lab.Lab, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Patience)
	t.Cleanup(cancel)
	return labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-lab"}), ctx
}

// namespaces returns those of this process's labs.
func namespaces(t *testing.T, prefix string) []string {
	t.Helper()
	found, err := filepath.Glob("/run/netns/" + prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCloseLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Patience)
	defer cancel()
	for _, c := range []struct {
		third      bool
		namespaces int
	}{{false, 6}, {true, 8}} {
		l := labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-lab", Third: c.third})
		prefix := strings.TrimSuffix(l.A.Name, "-fwA")
		if n := len(namespaces(t, prefix)); n != c.namespaces {
			t.Errorf("%d namespaces, want %d", n, c.namespaces)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if left := namespaces(t, prefix); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want it gone", l.Dir, err)
		}
	}
}

func TestPartialSetUpLeavesNothing(t *testing.T) {
	before := namespaces(t, "pfs-lab")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the namespaces come up, the programs do not
	if _, err := lab.New(ctx, lab.Config{Prefix: "pfs-lab"}); err == nil || !strings.Contains(err.Error(), "nft") {
		t.Errorf("error %v, want it to name nft", err)
	}
	if after := namespaces(t, "pfs-lab"); !slices.Equal(before, after) {
		t.Errorf("namespaces: %v, want %v", after, before)
	}
}

func TestRemoveStale(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := func(pid string) string { return "pfs-stale-" + pid + "-fwA" }
	stale, err := lab.NewNS(name(pidOf(dead)))
	if err != nil {
		t.Fatal(err)
	}
	living, err := lab.NewNS(name("1")) // init lives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { living.Close() })
	t.Setenv("TMPDIR", t.TempDir())
	folder, err := os.MkdirTemp("", name(pidOf(dead)))
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.RemoveStale("pfs-stale"); err != nil {
		t.Fatal(err)
	}
	if left := namespaces(t, "pfs-stale-"); !slices.Equal(left, []string{"/run/netns/" + living.Name}) {
		t.Errorf("left: %v, want only %s; %s was stale", left, living.Name, stale.Name)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", folder, err)
	}
}

// The client reaches the server through whoever has the shared addresses, and only
// through him; IPv4 with its source translated.
func TestMoveTo(t *testing.T) {
	l, ctx := newLab(t)
	for _, hop := range []struct {
		name string
		do   func() error
		by   *lab.Firewall
	}{
		{"at first", func() error { return nil }, l.A},
		{"moved", func() error { return l.MoveTo(l.B) }, l.B},
		{"moved back", func() error { return l.MoveTo(l.A) }, l.A},
		{"after a death", func() error { return errorsOf(l.Kill(l.A), l.MoveTo(l.B)) }, l.B},
		{"after its return", func() error { return errorsOf(l.Reconnect(ctx, l.A), l.MoveTo(l.A)) }, l.A},
	} {
		if err := hop.do(); err != nil {
			t.Fatalf("%s: %v", hop.name, err)
		}
		for _, f := range []*lab.Firewall{l.A, l.B} {
			if _, err := f.Run(ctx, "conntrack", "-F"); err != nil {
				t.Fatal(err)
			}
		}
		for _, server := range []string{lab.ServerAddr, lab.ServerAddr6} {
			if err := lab.Eventually(ctx, "connection to "+server, func() error { return connect(l, server) }); err != nil {
				t.Fatalf("%s: %v", hop.name, err)
			}
		}
		for _, f := range []*lab.Firewall{l.A, l.B} {
			n := countTCP(ctx, t, f)
			if want := map[bool]int{true: 2}[f == hop.by]; n < want || want == 0 && n > 0 {
				t.Errorf("%s: %s has %d connections, want %d", hop.name, f.Name, n, want)
			}
		}
	}
}
