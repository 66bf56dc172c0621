// Package keyfile reads the file of the key that a pfsync0 shares with its peers:
// one line of 64 hexadecimal digits, as `openssl rand -hex 32` makes it, which
// only root can read. It is read by those who ask for a change, ifconfig and
// netstart; the daemon opens no file for it.
package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// maxSize bounds a file in bytes: a key, and blanks around it.
const maxSize = 512

// Load returns c with the key that it names, read from its file. Nothing is read if
// c names none. The error names the file and says what to do, never what is in it.
func Load(c ifconfig.Change) (ifconfig.Change, error) {
	if c.Key == nil || !c.Key.Unread() {
		return c, nil
	}
	k, err := Read(c.Key.File)
	c.Key = &k
	return c, err
}

// Read reads the key in a file. A file that is not regular, not root's, or open to
// anybody else is refused.
func Read(path string) (ifconfig.Key, error) {
	k, err := read(path)
	if err != nil {
		return ifconfig.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	k.File = path
	return k, nil
}

func read(path string) (ifconfig.Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if errors.Is(err, fs.ErrNotExist) {
		return ifconfig.Key{}, errors.New("no such file or directory (openssl rand -hex 32 makes a key)")
	}
	if err != nil {
		return ifconfig.Key{}, bare(err)
	}
	defer f.Close()
	if err := secure(f); err != nil {
		return ifconfig.Key{}, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return ifconfig.Key{}, bare(err)
	}
	defer clear(content)
	text := bytes.TrimSpace(content)
	switch {
	case len(content) > maxSize:
		return ifconfig.Key{}, errors.New("too long for a key of 64 hexadecimal digits")
	case len(text) == 0:
		return ifconfig.Key{}, errors.New("empty; put a key there (openssl rand -hex 32 makes one)")
	case bytes.ContainsAny(text, "\r\n"):
		return ifconfig.Key{}, errors.New("more than one line; a key is one line of 64 hexadecimal digits")
	}
	k, err := ifconfig.ParseKey(string(text))
	if err != nil {
		return ifconfig.Key{}, fmt.Errorf("%w (openssl rand -hex 32 makes a key)", err)
	}
	return k, nil
}

// secure refuses a file whose content others than root know or have written.
func secure(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if stat.Uid != 0 {
		return fmt.Errorf("belongs to uid %d; make a new key, and the file root's (chown root)", stat.Uid)
	}
	for _, open := range []struct {
		bits fs.FileMode
		how  string
	}{
		{0o004, "readable by others"}, {0o040, "readable by its group"},
		{0o002, "writable by others"}, {0o020, "writable by its group"},
	} {
		if info.Mode()&open.bits != 0 {
			return fmt.Errorf("%s; chmod 600 it", open.how)
		}
	}
	return nil
}

// bare is an error of os without the path, which the caller adds.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
