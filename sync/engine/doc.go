// Package engine decides when to send what: it turns the changes of a state
// table into pfsync messages, and the messages of the peers into writes to that
// table (OpenBSD if_pfsync.c, rev 1.332).
//
// One goroutine, Run, owns everything. It is fed batches: changes of the table,
// packets of the link, requests of the control socket, timers. What it knows of a
// state is a record without pointers: its identity, its keys, the progress that
// was last said of it, its place in a queue. A state waits in one queue at most,
// and a message is written from the record when its packet is built, so that
// many changes collapse into one message.
//
// Packets leave as soon as no input is waiting, so an idle firewall replicates at
// once and a busy one in full packets; maxupd and one second are the bounds.
//
// # Between Linux peers
//
// Every packet carries a trailer (package wire). What follows from it, file by file:
//
//   - window, ring, resend: a gap in a peer's packets is asked for, and repeated out
//     of the packets sent last. A packet is taken once.
//
//   - owner, digest: who says a state last answers for it. Each firewall sums up what
//     it answers for, and each other what it was told, as of the same packet: the
//     sums are equal, also under load, or something has been lost.
//
//   - repair, answer: a difference is located by the sums of buckets, then by the
//     lists of those that differ, and what differs is asked for.
//
//   - lease: a copy lives as long as its living owner, and shows by its time left
//     in the table that its traffic has moved here.
//
//   - restart: after a restart the peers need not tell what is known in the table.
//
//   - peers: who is up, stale, dead, deaf, or somebody else.
//
//   - compact, linux: while all peers understand them, states are told by compact
//     messages in the trailer, with what only conntrack knows. A state is named in the
//     digests by the message that said it last, in whichever form that was, at both
//     ends: the form may change at any packet, and peers of different age agree. Only
//     names made from the table (after a restart, or to settle who owns a state) have to
//     guess: they try the compact one, and a wrong guess costs a message, no more.
//
// Towards a peer without trailers all is as in OpenBSD.
//
// # Memory
//
// A record takes 88 bytes, and six in each of two indices that find it. Beside the records
// is what not all have: keys that are translated, of IPv6 or in a zone (28 to 80 bytes),
// marks, counts of packets, pf's other state of a connection, and, in maps, what a pf knows
// of its peers and rules, labels and the like. A join of 500,000 states costs a daemon some
// 60 MiB, of which 7 are its program.
//
// A peer is sent at most a thousand packets that it has not said to have heard (pacing): so
// much fits into the buffer of its socket, and into the ring.
package engine
