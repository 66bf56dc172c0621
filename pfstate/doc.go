// Package pfstate says what a state is, in pf's words: its two keys, the
// progress of its two peers, its identity on every firewall, its timeouts.
// It knows neither sockets nor bytes on the wire.
//
// It also defines how a state table talks to the one who syncs it: changes come
// out in batches (Change), writes go in in batches (Write). The tables are
// pfstate/conntrack (the kernel's) and pfstate/memory.
package pfstate
