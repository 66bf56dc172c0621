package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// What save writes of a key is where it is, which only the file of before knows.
func TestSaveKeepsTheKey(t *testing.T) {
	on := []ifconfig.Interface{{Name: "pfsync0", MTU: 1500, Flags: ifconfig.FlagUp,
		PFSync: &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Key: ifconfig.KeyOn}}}
	for _, c := range []struct {
		name, before, after string
		stderr              string
	}{
		{"known", "up\nkey '/etc/pfsync key'\n", "up syncdev sis2 key \"/etc/pfsync key\"\n", ""},
		{"the last one counts", "key /a key /b\n", "up syncdev sis2 key /b\n", ""},
		{"taken back", "key /a\n-key\n", "up syncdev sis2\n", "does not know its file"},
		{"no file of before", "", "up syncdev sis2\n", "add to DIR/hostname.pfsync0: key FILE"},
		{"not understood", "up key\n", "up key\n", "DIR/hostname.pfsync0:1: "},
		{"of DHCP", "up\ndhcp\n", "up\ndhcp\n", "DIR/hostname.pfsync0:2: would be lost"},
	} {
		dir := t.TempDir()
		file := dir + "/hostname.pfsync0"
		if c.before != "" {
			if err := os.WriteFile(file, []byte(c.before), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		var stdout, stderr bytes.Buffer
		status := run([]string{"pfsyncctl", "save", "-C", dir}, fake{interfaces: on}, &stdout, &stderr)
		if said := strings.ReplaceAll(stderr.String(), dir, "DIR"); (status == 0) != (c.stderr == "") || !strings.Contains(said, c.stderr) {
			t.Errorf("%s: status %d, %s", c.name, status, said)
		}
		after, err := os.ReadFile(file)
		if err != nil || string(after) != c.after {
			t.Errorf("%s: %v, wrote %q, want %q", c.name, err, after, c.after)
		}
	}
}

// The format of the BSDs is kept when the operator has chosen it, not when it was learnt.
func TestSaveKeepsWhatIsSetForBSDs(t *testing.T) {
	no := false
	for _, c := range []struct {
		set  ifconfig.PFSync
		want string
	}{
		{ifconfig.PFSync{Version: "1400", From: ifconfig.VersionSet, Pair: &no}, "up syncdev sis2 version 1400 -pair\n"},
		{ifconfig.PFSync{Version: "1400", From: ifconfig.VersionLearnt, Pair: new(true)}, "up syncdev sis2 pair\n"},
		{ifconfig.PFSync{Listen: true}, "up syncdev sis2 listen\n"},
		{ifconfig.PFSync{}, "up syncdev sis2\n"},
	} {
		c.set.Syncdev, c.set.MaxUpd = "sis2", 128
		dir := t.TempDir()
		var stdout, stderr bytes.Buffer
		all := []ifconfig.Interface{{Name: "pfsync0", MTU: 1500, Flags: ifconfig.FlagUp, PFSync: &c.set}}
		if status := run([]string{"pfsyncctl", "save", "-C", dir}, fake{interfaces: all}, &stdout, &stderr); status != 0 {
			t.Errorf("status %d: %s", status, &stderr)
		}
		if got, err := os.ReadFile(dir + "/hostname.pfsync0"); err != nil || string(got) != c.want {
			t.Errorf("%v, wrote %q, want %q", err, got, c.want)
		}
	}
}

// With a table in memory pfsync0 listens unless it is told not to: that is kept.
func TestSaveKeepsWhatIsSetForATableInMemory(t *testing.T) {
	for listen, want := range map[bool]string{true: "up syncdev sis2 listen\n", false: "up syncdev sis2 -listen\n"} {
		all := []ifconfig.Interface{{Name: "pfsync0", MTU: 1500, Flags: ifconfig.FlagUp, PFSync: &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Listen: listen}}}
		dir := t.TempDir()
		var stdout, stderr bytes.Buffer
		if status := run([]string{"pfsyncctl", "save", "-C", dir}, fake{interfaces: all, table: "memory"}, &stdout, &stderr); status != 0 {
			t.Errorf("status %d: %s", status, &stderr)
		}
		if got, err := os.ReadFile(dir + "/hostname.pfsync0"); err != nil || string(got) != want {
			t.Errorf("%v, wrote %q, want %q", err, got, want)
		}
	}
}
