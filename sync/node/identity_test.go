package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/node"
)

func TestIdentityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := load(t, dir)
	if first.Creator == 0 || first.Key == [16]byte{} {
		t.Errorf("identity %08x %x: want random, not zero", first.Creator, first.Key)
	}
	first.Close()
	second := load(t, dir)
	defer second.Close()
	if second.Creator != first.Creator || second.Key != first.Key {
		t.Errorf("after a restart %08x %x, want %08x %x", second.Creator, second.Key, first.Creator, first.Key)
	}
}

func TestStateDirectoryServesOneDaemon(t *testing.T) {
	dir := t.TempDir()
	first := load(t, dir)
	_, err := node.LoadIdentity(dir, 0)
	if err == nil || !strings.Contains(err.Error(), "in use by another pfsyncd") {
		t.Errorf("second daemon on one directory: %v", err)
	}
	first.Close()
	again := load(t, dir)
	again.Close()
}

func TestCreatorCanBeSet(t *testing.T) {
	dir := t.TempDir()
	set, err := node.LoadIdentity(dir, 0xc0ffee01)
	if err != nil {
		t.Fatal(err)
	}
	set.Close()
	id := load(t, dir)
	defer id.Close()
	if id.Creator != 0xc0ffee01 {
		t.Errorf("creatorid %08x, want c0ffee01", id.Creator)
	}
}

func TestParseCreator(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint32
		err  string
	}{
		{"0xc0ffee01", 0xc0ffee01, ""},
		{"A1", 0xa1, ""},
		{"0", 0, "must not be 0"},
		{"xyz", 0, "not a hexadecimal number"},
		{"123456789", 0, "at most 8 digits"},
	} {
		got, err := node.ParseCreator(c.in)
		if got != c.want || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ParseCreator(%q) = %x, %v; want %x, %q", c.in, got, err, c.want, c.err)
		}
	}
}

func TestDamagedIdentityIsRefused(t *testing.T) {
	for _, c := range []struct{ file, content, want string }{
		{"creatorid", "zz\n", "not 4 bytes in hexadecimal"},
		{"creatorid", "00000000\n", "creatorid 0 is invalid"},
		{"idkey", "00\n", "not 16 bytes in hexadecimal"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := node.LoadIdentity(dir, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s holding %q: %v, want %q", c.file, c.content, err, c.want)
		}
	}
}

func TestTableOfBeforeIsKnownAgain(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		table string
		want  bool
	}{
		{"boot 1 netns 7", false}, // the first start
		{"boot 1 netns 7", true},
		{"boot 1 netns 7", true},
		{"boot 2 netns 7", false},
		{"boot 2 netns 7", true},
		{"boot 2 netns", false},
		{"", false},
		{"", false}, // no name says nothing
		{"boot 2 netns", false},
	} {
		id := load(t, dir)
		if got, err := id.Continues(c.table); got != c.want || err != nil {
			t.Errorf("%q continues: %v, %v; want %v", c.table, got, err, c.want)
		}
		id.Close()
	}
	id := load(t, dir)
	defer id.Close()
	if err := os.Remove(filepath.Join(dir, "table")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "table"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := id.Continues("boot 2 netns"); got || err == nil || !strings.Contains(err.Error(), "state directory: ") {
		t.Errorf("unreadable: %v, %v; want an error that names the state directory", got, err)
	}
}

func load(t *testing.T, dir string) node.Identity {
	t.Helper()
	id, err := node.LoadIdentity(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
