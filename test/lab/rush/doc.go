// Package rush makes connections by the ten thousand a second: entries in a
// namespace's conntrack table, and packets for a firewall to forward. It reads two tables
// back and tells how they differ and how late each entry came. What it makes lies in
// 198.18.0.0/15 and 2001:db8:18::/47, networks for measurements; it sees nothing else.
package rush
