// Package node puts one firewall together: the state table, the sync engine, the
// sync link and pfsync0, and the configuration that ifconfig changes.
package node
