// Package conntrack is the kernel's state table: netfilter's connection tracking,
// seen as pf states. It speaks ctnetlink, and knows nothing of pfsync.
//
// # One entry, one state
//
// A conntrack entry becomes one state of direction out: the stack key is the
// original tuple, the wire key the reply tuple reversed. That carries source and
// destination translation alike. TCP states are marked sloppy, for the kernel
// does not tell sequence numbers; on import window checks are switched off for
// both directions (BE_LIBERAL) for the same reason. The conntrack zone is the
// routing domain of the keys; where a zone holds in one direction only, the
// domains of the two keys differ. For ICMP queries the port at the initiator's
// end is the id and the one at the responder's end the query type. A reply seen
// by an ICMP entry shows in State.Timeout, since pf gives ICMP peers no state.
//
// SCTP verification tags travel in Scrub.TSMod: Src.Scrub has the tag in packets
// from the initiator, Dst.Scrub the one in packets from the responder, each valid
// when Scrub.Valid is set (FreeBSD's pfss_v_tag).
//
// # What it does to the namespace
//
// Open sets net.netfilter.nf_conntrack_events to 1, because entries made while
// nobody listened would be mute for life. And it brings a table of its own,
// "table inet pfsyncd" with one empty nat chain: a kernel without any nat chain
// translates nothing, not even entries that say so. Run makes it again when a
// `nft flush ruleset` took it. It stays after exit, on purpose: without it the
// translated connections already in the kernel would stop. Remove it with
// `nft delete table inet pfsyncd` when nothing is left to translate.
//
// Entries that were there before, when it was something else, may be mute: every
// dump then says so, also those of a daemon started later, which the empty chain
// "mute" in that table reminds of them. A ruleset that is flushed takes the
// reminder along until the next translated insert.
//
// # Where entries and traffic come from
//
// An entry made through ctnetlink carries synproxy's numbers, all zero, and one of
// traffic carries none, or some that are not: so Injected is told. Forwarding is
// hinted at by the namespace's counters of forwarded IP packets. Connections of the
// firewall itself give no hint, nor do packets that pass a bridge, a flow table or
// hardware without the kernel's forwarding.
//
// # Races that remain
//
// Changes are in the order of the kernel's events. A Seen never follows the
// Deleted of its entry, but it may be older than a Write ordered since
// DumpBegin: the one who ordered it knows. A dump may miss entries made while
// it runs; those come as Created. An Absent may be older than a Created that was
// reported while its probe was on the way.
//
// The kernel finds the entry of an update or a delete by the original tuple in
// either direction. An insert checks which connection it met (see settle); an
// update does not, and a delete only by its Ref. Give deletes the Ref you know.
package conntrack
