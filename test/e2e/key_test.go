package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// keyFile writes a key whose 64 digits are all the same.
func keyFile(t *testing.T, digit string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pfsync.key")
	if err := os.WriteFile(name, []byte(strings.Repeat(digit, 64)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func setKey(t *testing.T, f *lab.Firewall, words ...string) {
	t.Helper()
	if out, err := f.Ifconfig(t.Context(), append([]string{"pfsync0"}, words...)...); err != nil {
		t.Fatal(out, err)
	}
}

// A pair with a key shares its states, goes on while the key is changed, and hears
// nobody who has none.
func TestSharedKey(t *testing.T) {
	l := newLab(t)
	startPair(t, l)
	first, second := keyFile(t, "7"), keyFile(t, "a")
	load := func(n int) {
		t.Helper()
		if err := l.A.Load(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		inSync(t, l, patience)
	}
	for _, f := range []*lab.Firewall{l.A, l.B} {
		setKey(t, f, "key", first)
	}
	shows(t, l.B, "\tkey: on\n")
	load(100)

	refused := map[*lab.Firewall]uint64{l.A: counters(t, l.A)["badauth"], l.B: counters(t, l.B)["badauth"]}
	setKey(t, l.A, "key", second)
	shows(t, l.A, "\tkey: changing\n")
	load(200)
	setKey(t, l.B, "key", second)
	load(300)
	shows(t, l.A, "\tkey: on\n")
	shows(t, l.B, "\tkey: on\n")
	load(400)
	for _, f := range []*lab.Firewall{l.A, l.B} {
		if n := counters(t, f)["badauth"] - refused[f]; n != 0 {
			t.Errorf("%s: %d packets refused while the key was changed", f.Name, n)
		}
		if strings.Contains(f.Log(), "7777") || strings.Contains(f.Log(), "aaaaaaaa") {
			t.Errorf("%s: the key is in the log", f.Name)
		}
	}

	setKey(t, l.B, "-key")
	err := lab.Eventually(t.Context(), "packets without a code are refused", func() error {
		if n := counters(t, l.A)["badauth"] - refused[l.A]; n == 0 {
			return fmt.Errorf("%d refused", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	setKey(t, l.A, "-key")
	inSync(t, l, patience)
}
