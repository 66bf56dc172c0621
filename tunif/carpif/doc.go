// Package carpif is carpN: what sync/carp needs of Linux. Each is a macvlan with the
// vhid's virtual MAC on its carpdev, which is up and has the addresses only while this
// host is the master: a backup that kept them would answer ARP for them, and send to
// them, whatever the state of the interface. The addresses have a lifetime, so that
// those of a daemon that died vanish by themselves.
//
// Adverts are heard on the carpdev, one socket per family for all that is on it, and
// sent through carpN, so that switches learn where the virtual MAC is. The host's own
// firewall must let protocol 112 in on the carpdev; what is sent to the group it does not see.
//
// Sysctls: carpN has arp_ignore 1, arp_announce 2, rp_filter 2, addr_gen_mode 1,
// accept_ra 0, autoconf 0 and accept_dad 0. The carpdev gets arp_ignore 1 and arp_announce
// 2 unless they are stricter, and what it had when the last carp interface on it is
// closed, unless somebody has changed them since. One whose daemon was killed keeps them.
//
// The daemon that finds a carpN of one before it, known by its alias, makes it anew. An
// interface of that name which is not pfsyncd's is left alone, and an error.
package carpif
