// Package sync is a map and holds no code (its name is the standard library's;
// it is never imported). Below it lies what keeps two firewalls' states equal:
//
//	sync/wire      bytes <-> messages; sync/wire/pfsynclayer: the same for gopacket
//	sync/auth      the shared key: codes that packets are checked by
//	sync/link      the sync link: raw IP protocol 240 on the syncdev
//	sync/engine    when to send what: queues, merging, bulk updates, counters
//	sync/node      one firewall: table, engine, link and pfsync0 put together
//	sync/control   the control socket: server and client
//	sync/metrics   the same for Prometheus
package sync
