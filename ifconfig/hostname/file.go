package hostname

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Open opens a hostname.if file for reading. A file that is not regular, or that someone
// other than root can write, is refused: whoever writes it configures the firewall.
// A file that is merely too open (it may hold passwords) is reported to warn, in OpenBSD's
// words, and repaired if fix is set.
func Open(path string, fix bool, warn func(text string)) (*os.File, error) {
	return open(path, func(f *os.File) error { return secure(f, fix, warn) })
}

// OpenPublic is Open for files that anybody may read: mygate, rc.conf. private tells whether
// nobody but root and root's group can.
func OpenPublic(path string) (f *os.File, private bool, err error) {
	f, err = open(path, func(f *os.File) (err error) {
		private, err = trusted(f)
		return err
	})
	return f, private, err
}

func open(path string, check func(*os.File) error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", path, absent{})
		}
		return nil, fmt.Errorf("%s: %w", path, pathErr.Err)
	}
	if err := check(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// absent is os.ErrNotExist in OpenBSD's words.
type absent struct{}

func (absent) Error() string        { return "No such file or directory" }
func (absent) Is(target error) bool { return target == os.ErrNotExist }

// trusted refuses a file that is not root's alone to write.
func trusted(f *os.File) (private bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return false, errors.New("not a regular file")
	}
	perm := info.Mode().Perm()
	switch {
	case stat.Uid != 0: // an owner can give himself the right to write
		return false, fmt.Errorf("belongs to uid %d; make it root's (chown root:root)", stat.Uid)
	case perm&0o002 != 0:
		return false, errors.New("everybody can write it; take that away (chmod o-w)")
	case perm&0o020 != 0 && stat.Gid != 0:
		return false, fmt.Errorf("group %d can write it; take that away (chmod g-w)", stat.Gid)
	}
	return perm&0o007 == 0 && stat.Gid == 0, nil
}

func secure(f *os.File, fix bool, warn func(string)) error {
	switch private, err := trusted(f); {
	case err != nil || private:
		return err
	case !fix:
		warn(fmt.Sprintf("WARNING: %s is insecure", f.Name()))
		return nil
	}
	warn(fmt.Sprintf("WARNING: %s is insecure, fixing permissions", f.Name()))
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Chown(0, 0); err != nil {
		return err
	}
	return f.Chmod(info.Mode().Perm() &^ 0o007)
}

// leftovers end the names of files that editors and package managers leave.
var leftovers = []string{"~", ".orig", ".rej", ".bak", ".swp", ".rpmnew", ".rpmsave"}

// Names lists the interfaces that have a file hostname.IF in dir, in alphabetical order. Leftovers of
// editors and package managers are none.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "hostname.")
		if ok && isName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func isName(name string) bool {
	for _, end := range leftovers {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return name != "" && !strings.Contains(name, ".dpkg-")
}

// Path is the file of the interface name in dir.
func Path(dir, name string) string { return filepath.Join(dir, "hostname."+name) }
