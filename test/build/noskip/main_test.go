package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The inner tests are a module of their own, with a test that passes, one that skips
// and one that fails.
func TestNoSkip(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "noskip")
	mustRun(t, ".", "go", "build", "-buildvcs=false", "-o", tool, ".")
	write(t, filepath.Join(dir, "go.mod"), "module inner\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "inner_test.go"), `package inner

import "testing"

func TestPass(t *testing.T) { t.Log("quiet") }
func TestSkip(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Skip("no such thing here") }) }
func TestFail(t *testing.T) { t.Error("loud") }
`)
	for _, test := range []struct {
		run       string
		pass      bool
		want, not []string
	}{
		{"Pass", true, []string{"ok"}, []string{"quiet", "=== RUN"}},
		{"Pass|Skip", false, []string{"--- SKIP: TestSkip/sub", "no such thing here", "1 skipped", "FAIL\tinner"}, []string{"=== RUN"}},
		{"Pass|Fail", false, []string{"--- FAIL: TestFail", "loud", "FAIL\tinner"}, []string{"=== RUN"}},
	} {
		out, err := outputOf(dir, "go", "test", "-count=1", "-exec", tool, "-run", test.run, "./...")
		if (err == nil) != test.pass {
			t.Errorf("-run %s: %v:\n%s", test.run, err, out)
		}
		for _, s := range test.want {
			if !strings.Contains(out, s) {
				t.Errorf("-run %s: no %q in:\n%s", test.run, s, out)
			}
		}
		for _, s := range test.not {
			if strings.Contains(out, s) {
				t.Errorf("-run %s: %q in:\n%s", test.run, s, out)
			}
		}
	}
}

func outputOf(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	if out, err := outputOf(dir, name, args...); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
