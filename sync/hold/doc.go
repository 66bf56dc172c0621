// Package hold keeps first packets of connections back in the kernel, by NFQUEUE,
// until somebody says that they may go on: the defer of pfsync. It knows what a
// packet looks like as it leaves, and nothing of states.
//
// # What diverts the packets
//
// A table of its own, "table inet pfsyncd_hold", with a chain behind everything else
// in postrouting: packets that are forwarded and those of the firewall itself come
// by there, translated. The table belongs to the socket that made it (nft shows
// "flags owner"): it is gone when the process is, however that ends, and a flush of
// the ruleset leaves it alone. Kernels before 5.12 know no owners; there it is removed
// at the end, or else by the next start.
//
// While Arm(false) holds, the chain is empty. With Arm(true) it passes each new connection's
// first packet to the queue, with bypass: if nobody reads, it goes on. A set
// remembers the connections (ct id) whose first packet has been here, so that the
// packets behind it in an unanswered flow do not come too.
//
// # Where a packet can be caught
//
// What is to be told of a connection must be known while its packet is held. Conntrack
// tells of it when it confirms it, which is the last hook of postrouting too: a chain
// that was there before conntrack's hooks comes after them, and so one made at the
// start of a daemon that is started before the firewall's rules; any other comes before.
// There a kernel with NETFILTER_NETLINK_GLUE_CT gives the queue's reader the connection with
// the packet (Packet.CT). Without either, nothing is held: Where says so once
// a packet has shown it.
//
// # Fail open
//
// At most Limit packets are held by the kernel; those behind go on, also when the socket's
// buffer is full, when the process is stopped or has ended. Those held at the moment of
// a kill -9 are dropped by the kernel.
package hold
