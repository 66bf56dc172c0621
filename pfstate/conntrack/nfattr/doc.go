// Package nfattr reads and writes netlink messages and their attributes as the
// netfilter subsystems use them: in place, without allocation, without I/O.
//
// Reading walks over the bytes it is given; what it hands out shares their
// memory. Writing appends to a slice. Integers inside attributes are big endian,
// as nfnetlink wants them; the message header is in the machine's order
// (RFC 3549, include/uapi/linux/netlink.h).
package nfattr
