// Package pfconf reads the subset of pf.conf(5) that says which connections are synchronised.
//
// Loader.Parse makes a Ruleset of a file: macros replaced, lists expanded to one rule per
// combination, tables read, names looked up. A Ruleset is plain data: it is compared, sent
// as JSON, and printed as pf.conf lines that parse to the same Ruleset. Compile makes a
// Filter of it, which judges connections without allocating.
//
// Rules are judged as in pf: from top to bottom, the last pass rule that matches decides
// unless one with quick ends the search. A match rule decides nothing, but its no-sync stays
// with the connection. What no rule matches is synchronised.
//
// Where Linux differs. Conntrack has one entry for what pf keeps as two states, and does not
// know its interfaces. So an address of a rule is compared with the connection as it was
// before translation and as it is after; and a rule with "on", "in" or "out" cannot be judged.
// The safe side is to synchronise: a state too many at the peer does no harm, one that is
// missing there ends a connection when the peer takes over. Filter.NoSync therefore says no-sync
// only if that is so whether or not the rules that cannot be judged match, and Parse
// warns of each such rule that could matter. What has to be told by interface is marked
// in nftables and excluded with "set no-sync mark".
//
// Nothing is executed, and nothing is opened but through Loader.ReadFile.
package pfconf
