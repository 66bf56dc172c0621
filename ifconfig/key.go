package ifconfig

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// KeyLen is the length of a key in bytes; as text it has twice as many hexadecimal digits.
const KeyLen = 32

// Key is the key that a firewall shares with its peers, or none (the zero Key: -key).
// What Parse returns names the file only; ifconfig/keyfile reads it. No form of
// printing or marshalling shows what is in it.
type Key struct {
	File string // as the operator named it; "" for a key that came by another way

	// Behind two pointers: fmt cannot call methods where a Key is in a field that is not
	// exported, and follows one pointer when the verb does not fit (%s).
	secret **[KeyLen]byte
}

// ParseKey reads a key of 64 hexadecimal digits. The error does not quote them.
func ParseKey(text string) (Key, error) {
	var secret [KeyLen]byte
	if len(text) != hex.EncodedLen(KeyLen) {
		return Key{}, fmt.Errorf("%d characters instead of %d hexadecimal digits", len(text), hex.EncodedLen(KeyLen))
	}
	if _, err := hex.Decode(secret[:], []byte(text)); err != nil {
		return Key{}, errors.New("has other characters than hexadecimal digits")
	}
	return Key{secret: new(&secret)}, nil
}

// Secret is the key itself, KeyLen bytes, which the caller must not change; nil if
// there is none or its file was not read yet.
func (k Key) Secret() []byte {
	if k.secret == nil {
		return nil
	}
	return (*k.secret)[:]
}

// Unread tells whether the key is still to be read from its file.
func (k Key) Unread() bool { return k.File != "" && k.secret == nil }

// Equal tells whether both are the same key, of the same file.
func (k Key) Equal(other Key) bool {
	return k.File == other.File && (k.secret == nil) == (other.secret == nil) &&
		subtle.ConstantTimeCompare(k.Secret(), other.Secret()) == 1
}

// String names the file.
func (k Key) String() string {
	switch {
	case k.File != "":
		return Shown(k.File)
	case k.secret != nil:
		return "(not shown)"
	}
	return "none"
}

// GoString is String: not even the address is of use.
func (k Key) GoString() string { return "ifconfig.Key(" + k.String() + ")" }

// maxPath is the longest path in bytes (PATH_MAX less the NUL).
const maxPath = 4095

func setKey(p *parser, arg string) error {
	p.Key = &Key{File: arg}
	switch {
	case arg == "" || strings.ContainsFunc(arg, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }):
		return errors.New("not the name of a file")
	case len(arg) > maxPath:
		return errors.New("file name too long")
	}
	return nil
}

// KeyState tells what a pfsync0 has of a key. The zero value is as KeyOff.
type KeyState string

const (
	KeyOff      KeyState = "off"
	KeyOn       KeyState = "on"
	KeyChanging KeyState = "changing" // the key before is taken too, until every peer has the new one
)
