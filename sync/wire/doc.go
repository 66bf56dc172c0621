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
//	16  Insert       creatorid 4, * length 1, entry (see Compact messages)
//	17  State        creatorid 4, * length 1, entry
//	18  Update       creatorid 4, * length 1, entry
//	19  Delete       creatorid 4, * id 8
//
// 14 and 15 are free.
//
// Resend, AskDigests, AskList, Ask and Same are for the node with that epoch;
// others overlook them.
//
//   - Hello: the sender's host id, and what it understands beyond the attributes 1 to
//     13: bit 0 (value 1), compact messages. A sender without it is an older one. Other
//     bits are sent as 0, and whatever comes in them is taken.
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
// # Compact messages
//
// While every firewall heard is a Linux one whose Hello has the feature, states are
// told by Insert, State, Update and Delete in the trailers of packets that hold no
// message of pf's for a state. They mean what INS, UPD, UPD_C and DEL_C do, with the
// flags of the trailer, and are read behind the sections of their packet, in their order, before the
// attributes that count what was told (Digest). A packet of another sender without a
// trailer, or a Hello without the feature, brings pf's messages back at once. What a
// compact message cannot say (rule numbers, routes, sequence numbers, the counters of
// a state that a pf made) is told in pf's all the time; a receiver takes either.
//
// An entry of Insert and State begins with 13 bytes behind its length, which counts what follows it:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    length     |            fields             |               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+               +
//	|                 id, 8 bytes                                   |
//	+                                               +-+-+-+-+-+-+-+-+
//	|                                               |   protocol    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  src  |  dst  |    timeout    |  key, expire, and fields
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// src and dst are the states of the peers; timeout is as in pf's message. The key
// follows: source and destination address of the initiator's packets before
// translation, 4 or 16 bytes each, and their ports, 2 each; for ICMP the id and the query type. Then expire, 4 bytes, seconds,
// 0 for a full period. Then, in the order of their bits, the fields that the entry has:
//
//	0x0001  IPv6: addresses of 16 bytes; nothing follows for it
//	0x0002  direction in (else out); nothing follows for it
//	0x0004  the key after translation, as the one above
//	0x0008  wscale of src 1, of dst 1
//	0x0010  TCP flags of conntrack: of src 1, of dst 1
//	0x0020  status of conntrack 1
//	0x0040  mark 4
//	0x0080  zone (routing domain) of the stack key 2, of the wire key 2
//	0x0100  creation 4, seconds ago
//	0x0200  state_flags 2
//	0x0400  SCTP's verification tags: of src 4, of dst 4
//	0x0800  labels 16
//	0x1000  name of the helper 16, NUL-padded
//	0x2000  master: protocol 1, source 16, destination 16 (IPv4: the first 4), ports 2 + 2
//	0x4000  sequence adjustment, of src and then of dst: position 4, before 4, after 4
//
// A field that is absent is 0, or as these say: the translated key is the same as the
// first one, state_flags are SLOPPY for TCP and none for others. TCP flags and status are
// there if they are not what states and wscale imply: window scale (1) where there is a
// wscale, close init (4) on the side that is ahead, from CLOSING on; a reply seen (2) from
// SYN_RECV on, and assured (4) from ESTABLISHED on. Of the TCP flags those of
// 0x87 count, of the status those of 0x06.
//
// An entry of Update, behind its length:
//
//	fields 1, id 8, src and dst 1, timeout 1, and then in the order of their bits
//
//	0x01  wscale of src 1, of dst 1
//	0x02  TCP flags
//	0x04  status
//	0x08  mark
//	0x10  SCTP's verification tags
//	0x20  labels
//	0x40  sequence adjustment
//
// An update says all of them anew: a mark that is absent is 0. But labels
// and a sequence adjustment, once told, are not taken back.
//
// What follows the last field known is overlooked, and so are unknown bits, whose fields
// come last. An entry that is shorter than its fields ends its attribute, malformed; one
// with a value that cannot be is left out alone.
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
// The fields are as in the message. If it is a compact one with TCP flags, a status, a
// mark or labels, 24 bytes follow these 17: its fields as in Update (0x2e at most), TCP
// flags 2, status 1, mark 4, labels 16, zero where it has none. So a state is named by
// what was said of it: the same state told in both forms has two names, of which the
// last counts, at both ends, and nobody has to guess in which form another has it. One
// that has none of these has one name. Who compares his table with that name
// (Have, List) tries the longer one; after pf's form was spoken that may
// differ, and the state is told again. What changes with each packet (sequence numbers,
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
