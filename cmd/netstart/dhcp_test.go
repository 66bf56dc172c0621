package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A client that works for the interface is found by its pid file, and not mistaken for another process.
func TestRunningClientsAreFound(t *testing.T) {
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	comm := strings.TrimSpace(string(self))
	pid := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		text, program string
		want          bool
	}{
		{pid + "\n", comm, true},
		{" " + pid, comm, true},
		{pid, "dhclient", false},
		{"", comm, false},
		{"0", comm, false},
		{"-1", comm, false},
		{"99999999", comm, false},
		{"x", comm, false},
	} {
		file := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := runs(file, test.program); got != test.want {
			t.Errorf("pid file %q of %s: %v", test.text, test.program, got)
		}
	}
	if runs(filepath.Join(t.TempDir(), "none"), comm) {
		t.Error("without a pid file")
	}
}
