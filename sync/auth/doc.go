// Package auth makes and checks the authentication codes of packets whose sender
// shares a key with its peers. It does no I/O; Seal and Open allocate nothing.
//
// A code is the last attribute of the trailer (wire.AttrAuth):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|      13       |       0       |          length (24)          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        hint of the key                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        code, 16 bytes                         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The code is the first 16 bytes of HMAC-SHA-256 (RFC 2104) over every byte in
// front of it, from the pfsync header on: messages, the trailer with its final
// length, epoch and sequence number, and the attribute's own first 8 bytes. The
// hint is the first 4 bytes of HMAC-SHA-256 over the text "pfsync key hint".
//
// While a key is being changed two codes stand there, that of the new key last:
// a peer that has only one of the two keys finds its own.
//
// That a packet is one of the peers' does not make it a new one: replays are for
// the receiver to tell by epoch and sequence number, which the code protects.
package auth
