package labtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// recorder is a test whose errors are no errors.
type recorder struct {
	testing.TB
	said     []string
	cleanups []func()
}

func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any) { r.said = append(r.said, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, a ...any) {
	r.said = append(r.said, fmt.Sprintf(format, a...))
}

// end is the end of the recorded test.
func (r *recorder) end() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func TestNamespacesAreApartAndEndWithTheTest(t *testing.T) {
	r := &recorder{TB: t}
	a, b := labtest.NewNS(r), labtest.NewNS(r)
	labtest.Run(t, a, "ip link add sis2 type veth peer name sis2 netns "+b.Name)
	if out := labtest.Run(t, b, "ip -o link show sis2"); !strings.Contains(out, "sis2") {
		t.Errorf("ip printed %q", out)
	}
	r.end()
	for _, name := range []string{a.Name, b.Name} {
		if _, err := os.Stat("/run/netns/" + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", name, err)
		}
	}
	if len(r.said) > 0 {
		t.Errorf("errors: %q", r.said)
	}
	r.end()
	if len(r.said) != 2 {
		t.Errorf("errors after closing twice: %q, want one of each namespace", r.said)
	}
}

func TestBackgroundTellsHowItEnded(t *testing.T) {
	for _, c := range []struct {
		err  error
		want []string
	}{
		{nil, nil},
		{errors.New("broken"), []string{"Run: broken"}},
	} {
		r := &recorder{TB: t}
		ended := false
		stop := labtest.Background(r, func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return c.err
		})
		stop()
		if !ended {
			t.Error("stop does not wait")
		}
		r.end()
		if diff := cmp.Diff(c.want, r.said); diff != "" {
			t.Errorf("errors -want +got:\n%s", diff)
		}
	}
}

func TestProgramsThatAreThereAlready(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "pfsyncd"), []byte("of before"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(labtest.Prebuilt, from)
	if err := labtest.Build(to); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "pfsyncd")); err != nil || string(text) != "of before" {
		t.Errorf("got %q, %v", text, err)
	}
	t.Setenv(labtest.Prebuilt, filepath.Join(from, "nowhere"))
	if err := labtest.Build(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("from nowhere: %v", err)
	}
}
