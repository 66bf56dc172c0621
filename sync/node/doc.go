// Package node puts one firewall together: the state table, the sync engine, the
// sync link, pfsync0 and the carp interfaces, and the configuration that ifconfig changes.
package node
