package keyfile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/keyfile"
)

const digits = "00112233445566778899aabbccddeeff0123456789abcdefFEDCBA9876543210"

func write(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pfsync.key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	want := []byte("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10")
	for _, content := range []string{digits, digits + "\n", digits + "\r\n", " \t" + digits + " \n\n"} {
		path := write(t, content)
		k, err := keyfile.Read(path)
		if err != nil || !bytes.Equal(k.Secret(), want) || k.File != path {
			t.Errorf("%q: %v, %v", content, k, err)
		}
	}
}

func TestContentIsRefusedAndNotShown(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "empty; put a key there (openssl rand -hex 32 makes one)"},
		{"blank", " \n", "empty; put a key there (openssl rand -hex 32 makes one)"},
		{"short", digits[:32], "32 characters instead of 64 hexadecimal digits (openssl rand -hex 32 makes a key)"},
		{"a digit more", digits + "0", "65 characters instead of 64 hexadecimal digits (openssl rand -hex 32 makes a key)"},
		{"a pass phrase", strings.Repeat("pass word ", 6) + "1234", "has other characters than hexadecimal digits (openssl rand -hex 32 makes a key)"},
		{"a byte order mark", "\xef\xbb\xbf" + digits, "67 characters instead of 64 hexadecimal digits (openssl rand -hex 32 makes a key)"},
		{"two keys", digits + "\n" + digits + "\n", "more than one line; a key is one line of 64 hexadecimal digits"},
		{"long", strings.Repeat(digits, 9), "too long for a key of 64 hexadecimal digits"},
		{"binary", strings.Repeat("\x00", 64), "has other characters than hexadecimal digits (openssl rand -hex 32 makes a key)"},
	} {
		path := write(t, c.content)
		_, err := keyfile.Read(path)
		if err == nil || err.Error() != path+": "+c.want {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		if text := strings.TrimSpace(c.content); len(text) >= 4 && err != nil && strings.Contains(err.Error(), text[:4]) {
			t.Errorf("%s: error %v shows the content", c.name, err)
		}
	}
}

func TestOnlyRootsSecretsAreRead(t *testing.T) {
	for _, c := range []struct {
		name string
		mode uint32
		uid  int
		want string
	}{
		{"root's", 0o600, 0, ""},
		{"read-only", 0o400, 0, ""},
		{"others may read", 0o604, 0, "readable by others; chmod 600 it"},
		{"the usual mode", 0o644, 0, "readable by others; chmod 600 it"},
		{"its group may read", 0o640, 0, "readable by its group; chmod 600 it"},
		{"others may write", 0o602, 0, "writable by others; chmod 600 it"},
		{"its group may write", 0o620, 0, "writable by its group; chmod 600 it"},
		{"another's", 0o600, 65534, "belongs to uid 65534; make a new key, and the file root's (chown root)"},
	} {
		path := write(t, digits)
		if err := os.Chown(path, c.uid, 0); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.Read(path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != path+": "+c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                      "not a regular file", // and does not wait for a writer
		dir:                       "not a regular file",
		"/dev/null":               "not a regular file",
		filepath.Join(dir, "no"):  "no such file or directory (openssl rand -hex 32 makes a key)",
		filepath.Join(fifo, "no"): "not a directory",
	} {
		if _, err := keyfile.Read(path); err == nil || err.Error() != path+": "+want {
			t.Errorf("error %v, want %s: %s", err, path, want)
		}
	}
}

func TestLoadReadsWhatIsNamed(t *testing.T) {
	path := write(t, digits)
	for _, c := range []struct {
		name   string
		change ifconfig.Change
		secret bool
	}{
		{"no key mentioned", ifconfig.Change{Interface: "pfsync0"}, false},
		{"-key", ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)}, false},
		{"key", ifconfig.Change{Interface: "pfsync0", Key: &ifconfig.Key{File: path}}, true},
	} {
		got, err := keyfile.Load(c.change)
		if err != nil || (got.Key == nil) != (c.change.Key == nil) || c.secret != (got.Key != nil && got.Key.Secret() != nil) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	first, err := keyfile.Load(ifconfig.Change{Key: &ifconfig.Key{File: path}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("7", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := keyfile.Load(ifconfig.Change{Key: &ifconfig.Key{File: path}}); err != nil || again.Key.Equal(*first.Key) {
		t.Errorf("the file's new content is not another key: %v", err)
	}
}
