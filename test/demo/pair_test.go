package main

import (
	"maps"
	"os"
	"slices"
	"testing"
)

// Both runs have the documents' files, and differ by the one that makes pfsync.
func TestRunsDifferByOneFile(t *testing.T) {
	for _, letter := range []string{"a", "b"} {
		folder := "../e2e/testdata/openbsd/" + letter
		with, err := (&pair{pfsync: true}).files(folder)
		if err != nil {
			t.Fatal(err)
		}
		without, err := (&pair{}).files(folder)
		if err != nil {
			t.Fatal(err)
		}
		for name, file := range with {
			text, err := os.ReadFile(folder + "/" + name)
			if err != nil || string(text) != string(file.Data) {
				t.Errorf("%s: %v, %q, want %q", name, err, file.Data, text)
			}
		}
		delete(with, "hostname.pfsync0")
		names := slices.Sorted(maps.Keys(without))
		if !slices.Equal(names, slices.Sorted(maps.Keys(with))) || len(names) != 7 {
			t.Errorf("%s without pfsync: %q", letter, names)
		}
	}
}
