package wire

import "github.com/pfsync-linux/pfsync/pfstate"

// Dialect is one operating system's way to write a state.
type Dialect uint8

// OpenBSD6 is spoken by OpenBSD: version 6.
const OpenBSD6 Dialect = 0

// dialects is where they differ.
var dialects = [...]struct {
	name       string
	inet6      uint8 // the number of IPv6's address family; IPv4's is 2 everywhere
	maxTimeout pfstate.Timeout
}{
	OpenBSD6: {"openbsd", 24, pfstate.MaxTimeout},
}

func (d Dialect) String() string { return dialects[d].name }
