package node

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Identity is what makes this firewall's states recognisable to the peers, also
// after a restart.
type Identity struct {
	Creator uint32   // host id, not 0
	Key     [16]byte // of the hash that names states
	dir     string
	lock    *os.File
}

// The files in the state directory.
const (
	creatorFile = "creatorid"
	keyFile     = "idkey"
	tableFile   = "table"
	rulesFile   = "rules"
	lockFile    = "lock"
)

// LoadIdentity reads the identity kept in dir, and makes what is missing. A
// creator other than 0 replaces the one kept. One daemon at a time may use dir:
// two with one creatorid would destroy each other's states.
func LoadIdentity(dir string, creator uint32) (id Identity, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, fmt.Errorf("state directory: %w", err)
	}
	if id.lock, err = lockDir(dir); err != nil {
		return id, err
	}
	id.dir = dir
	defer func() {
		if err != nil {
			id.Close()
		}
	}()
	key, err := keptBytes(filepath.Join(dir, keyFile), len(id.Key))
	if err != nil {
		return id, err
	}
	id.Key = [16]byte(key)
	if creator != 0 {
		id.Creator = creator
		return id, writeBytes(filepath.Join(dir, creatorFile), binary.BigEndian.AppendUint32(nil, creator))
	}
	kept, err := keptBytes(filepath.Join(dir, creatorFile), 4)
	if err != nil {
		return id, err
	}
	if id.Creator = binary.BigEndian.Uint32(kept); id.Creator == 0 {
		return id, fmt.Errorf("%s: creatorid 0 is invalid; remove the file, and a random one is made", filepath.Join(dir, creatorFile))
	}
	return id, nil
}

// Continues reports whether the state table is the one that was there when it was
// last asked, by the name the table gives itself, and keeps the name. A table
// without a name ("") is always a new one. After an error the table passes for new.
func (id *Identity) Continues(incarnation string) (bool, error) {
	name := filepath.Join(id.dir, tableFile)
	kept, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("state directory: %w", err)
	}
	if err == nil && incarnation != "" && string(kept) == incarnation+"\n" {
		return true, nil
	}
	return false, writeLine(name, incarnation)
}

// keptRules is what keepRules kept last, nil if nothing.
func (id *Identity) keptRules() ([]byte, error) {
	if id.dir == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(id.dir, rulesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return text, nil
}

// keepRules keeps a line.
func (id *Identity) keepRules(text []byte) error {
	if id.dir == "" {
		return nil
	}
	return writeLine(filepath.Join(id.dir, rulesFile), string(text))
}

// Close lets others use the state directory.
func (id *Identity) Close() error { return id.lock.Close() }

// ParseCreator reads a creatorid as pf.conf's `set hostid` has it: hexadecimal,
// with 0x or without; not 0.
func ParseCreator(s string) (uint32, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 32)
	switch {
	case err != nil:
		return 0, fmt.Errorf("hostid %s: not a hexadecimal number of at most 8 digits", s)
	case n == 0:
		return 0, fmt.Errorf("hostid %s: must not be 0", s)
	}
	return uint32(n), nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		f.Close()
		return nil, fmt.Errorf("state directory %s: in use by another pfsyncd; give each its own (--state-dir)", dir)
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("state directory %s: lock: %w", dir, err)
	}
	return f, nil
}

// keptBytes reads n bytes, kept as a line of hexadecimal; absent, they are made at random.
func keptBytes(name string, n int) ([]byte, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		b := make([]byte, n)
		rand.Read(b)
		b[0] |= 1 // never all zero
		return b, writeBytes(name, b)
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(b) != n {
		return nil, fmt.Errorf("%s: not %d bytes in hexadecimal; remove the file, and it is made anew", name, n)
	}
	return b, nil
}

func writeBytes(name string, b []byte) error { return writeLine(name, hex.EncodeToString(b)) }

// writeLine replaces the file as a whole: a crash leaves the old one or the new one.
func writeLine(name, line string) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, line)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("state directory: %s: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}
