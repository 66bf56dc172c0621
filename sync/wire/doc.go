// Package wire turns bytes into pfsync messages and back. It does no I/O and
// keeps no state; parsing and appending allocate nothing and never panic,
// whatever the bytes are.
//
// A pfsync packet is the payload of IP protocol 240 (OpenBSD if_pfsync.h, version 6):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  version (6)  |       0       |            length             |  header, 20 bytes;
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  length counts from
//	|                 checksum of the ruleset,                      |  its first byte
//	|                 16 bytes, zero                                |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    action     | words of each |            count              |  section: subheader,
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  4 bytes, and its
//	|                 count messages of that many 32-bit words      |  messages
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 more sections                                 |
//
// All numbers are big-endian. Bytes behind the header's length are no part of
// the packet; see Trailer and Behind. Messages that are longer than known are read by their
// known prefix, sections of unknown messages are stepped over (Section.Skipped).
//
// To read a packet, loop over ParseHeader, NextSection and, for each message, the
// Parse function of its action, or Dialect.Parse for any. To write one, use a Writer.
package wire
