// Package wire turns bytes into pfsync messages and back. It does no I/O and
// keeps no state; parsing and appending allocate nothing and never panic,
// whatever the bytes are.
//
// # Packet
//
// A pfsync packet is the payload of IP protocol 240. As OpenBSD writes it (if_pfsync.h, version 6):
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
// All numbers are big-endian. Messages that are longer than known are read by their
// known prefix, sections of unknown messages are stepped over (Section.Skipped).
//
// FreeBSD's version 5 has 0 in place of the words, and other numbers for INS and UPD
// of each of the three formats of states that it has had (1301, 1400, 1500). The last
// section is EOF (Section.End), without messages.
//
// A Dialect is what one system writes: version, numbers, and the layout of states,
// which is a row of offsets. All of version 5 can be read side by side; what to
// write is somebody's choice.
//
// To read a packet, loop over ParseHeader, Header.NextSection and, for each message, the
// Parse function of its action, or Section.Dialect.Parse for any. To write one, use a Writer.
//
// # Trailer
//
// Bytes behind the header's length, in the same IP datagram, are no part of the
// packet for any BSD and move none of its counters (tried on OpenBSD 8.0 and
// FreeBSD 13.0). A Linux sender puts a trailer there, behind each of its packets;
// when there is nothing to say, behind a header without sections. A packet without
// a trailer is a BSD's.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 magic, "pfLx" (0x70664c78)                    |  24 bytes; length
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  counts from the
//	|  version (1)  |     flags     |            length             |  magic's first byte
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  to the end of the
//	|                 epoch,                                        |  datagram's payload
//	|                 8 bytes                                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 sequence,                                     |
//	|                 8 bytes                                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     type      |       0       |            length             |  attribute: length
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+  counts from its
//	|                 length - 4 bytes                              |  type, no padding
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 more attributes                               |
//
// The epoch is a random number, not 0, made at each start of the sender; the
// sequence counts the packets of that epoch, from 1 on. They tell lost packets,
// duplicates and restarts. A packet that is sent again is the same, byte for byte,
// with the sequence it had. The epoch is also the name by which a node is asked
// for something.
//
// Whoever sends INS, UPD or UPD_C of a state answers for that state from then on,
// until another sends one: it is the state's owner. The exception are packets with
// FlagAnswer: their states are told on request, or in a bulk update, by one who
// only knows them; DEL_C in them says that a state which was asked for is not known.
// With FlagHeir the sender answers for the states because their owner is gone, and
// has seen no traffic of them: an owner who is there after all says so, and has
// them back; the creator, if it has ended them meanwhile, deletes them.
// The messages of a packet with FlagPair are for BSD peers alone; others overlook them.
//
// A sender sets the bytes shown as 0, and flags that are not defined, to zero; a
// receiver looks at neither.
//
// To read a trailer, give what Behind returns to ParseTrailer and loop over
// NextAttr. To write one, use BeginTrailer on what Writer.Finish returned.
//
// # Attributes
//
// An attribute may come more than once, and in any order, but the codes of Auth are
// last. The bodies, with the bytes of each field; * is a list, which may be empty:
//
//	 1  Hello        creatorid 4, features 4
//	 2  Heard        * epoch 8, sequence 8
//	 3  Digest       states 4, zero 4, sum 8
//	 4  Oldest       sequence 8
//	 5  Resend       epoch 8, * first sequence 8, count 4
//	 6  AskDigests   epoch 8
//	 7  Digests      first bucket 2, zero 2, * sum 8
//	 8  AskList      epoch 8, * bucket 2
//	 9  List         bucket 2, flags 1, zero 1, * id 8, creatorid 4, said 8
//	10  Ask          epoch 8, * id 8, creatorid 4
//	11  Have         first bucket 2, zero 2, * sum 8
//	12  Same         epoch 8, bits 128
//	13  Auth         hint 4, code 16
//
// Resend, AskDigests, AskList, Ask and Same are for the node with that epoch;
// others overlook them.
//
//   - Hello: the sender's host id. No feature is defined yet: 0 is sent, and whatever
//     comes is taken.
//   - Heard: of each peer the last packet up to which all have come or were given up.
//     So a sender learns that it is not heard by one whom it hears (a link that works
//     one way), and which of its words the other did not know yet when he spoke.
//   - Digest: number and sum (see below) of the states that the sender answers for, as
//     it last said them up to and with this packet. It comes at least once a second.
//     Who has all packets of the sender up to this one, and another sum in
//     his table, has drifted.
//   - Oldest: the first packet that the sender can still repeat; requests for earlier
//     ones are in vain.
//   - Resend: the packets that the sender misses and wants again, in ranges.
//   - AskDigests: a request for Digests.
//   - Digests: as the sum of Digest, but of one bucket each, from the first on. All
//     1024 of them need several attributes or packets.
//   - AskList: a request for the List of some buckets.
//   - List: the states in a bucket that the sender answers for, and what it said of
//     them (Said). Bit 0 of the flags marks the first, bit 1 the last part of a list,
//     which has both if it is the only one.
//   - Ask: a request for states. Each is answered by UPD, or by DEL_C if it is not known.
//   - Have: sent after a restart. As Digests, of those states found in the sender's
//     table whose creator the sender is.
//   - Same: the answer to Have. A set bit tells that the peer knows the bucket just so;
//     nothing in it needs to be sent. Bucket b is bit b%8, from the lowest on, of byte b/8.
//   - Auth: a code made with a shared key, the first 16 bytes of an HMAC-SHA-256 over
//     all of the datagram's payload in front of the code. The hint tells keys
//     apart: the first 4 bytes of the HMAC-SHA-256 over the text "pfsync key hint". While
//     the key changes there are two Auth, that of the new key last and over the other one
//     too. The lengths in front count both. See sync/auth.
//
// # Digests
//
// What was said of a state, by INS, UPD or UPD_C, is summed up in a number, Said:
// SipHash-2-4 with the key 00 01 02 ... 0f of these 17 bytes, and 1 in place of 0.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 id,                                           |
//	|                 8 bytes                                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 creatorid                                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| state of src  | state of dst  | wscale of src | wscale of dst |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    timeout    |
//	+-+-+-+-+-+-+-+-+
//
// The fields are as in the message. What changes with each packet (sequence numbers,
// counters, expiry) and what never changes is left out. The sum over a set of states is that of their Said, modulo
// 2^64: a state is added to it, or taken out, without a look at the others. It is
// meant for loss and defects. An enemy knows the key; against him there is Auth.
//
// A state's bucket is the number in the upper 10 bits of
//
//	(id + creatorid) * 0x9e3779b97f4a7c15 modulo 2^64
//
// # Versions
//
// What is added later gets an attribute type of its own; a receiver steps over types
// that it does not know. A body without a list may become longer; it is read by its
// known prefix. An attribute that is shorter than known, ends within an entry of its
// list or goes beyond the trailer is malformed, and so is all behind it. Another
// version means another layout: nothing of it is read, and its packet is taken like
// one without a trailer.
package wire
