package carp

import "fmt"

// String is the state as ifconfig shows it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

var stateNames = [...]string{Init: "INIT", Backup: "BACKUP", Master: "MASTER"}

// MarshalText writes the state as String does.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the opposite of MarshalText.
func (s *State) UnmarshalText(b []byte) error {
	for i, name := range stateNames {
		if string(b) == name {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("carp state %q: INIT, BACKUP or MASTER", b)
}

// String is the dialect's name, lower case.
func (d Dialect) String() string {
	if d == FreeBSD {
		return "freebsd"
	}
	return "openbsd"
}

// MarshalText writes the dialect as String does.
func (d Dialect) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the opposite of MarshalText.
func (d *Dialect) UnmarshalText(b []byte) error {
	switch string(b) {
	case "openbsd":
		*d = OpenBSD
	case "freebsd":
		*d = FreeBSD
	default:
		return fmt.Errorf("carp dialect %q: openbsd or freebsd", b)
	}
	return nil
}
