package carpif

import (
	"github.com/pfsync-linux/pfsync/sync/carp"
	"golang.org/x/sys/unix"
)

// What the tests see of the parsers.

func ParseIPv4(b []byte) (carp.Packet, bool) { return parseIPv4(b) }

func ParseIPv6(b, oob []byte) (carp.Packet, bool) {
	return parseIPv6(b, oob, &unix.SockaddrInet6{})
}
