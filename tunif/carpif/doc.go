// Package carpif is carpN: what sync/carp needs of Linux. Each is a macvlan with the
// vhid's virtual MAC on its carpdev, which is up and has the addresses only while this
// host is the master: a backup that kept them would answer ARP for them, and send to
// them, whatever the state of the interface. The addresses have a lifetime, so that
// those of a daemon that died vanish by themselves.
//
// Adverts are heard on the carpdev, one socket per family for all that is on it, and
// sent through carpN, so that switches learn where the virtual MAC is.
package carpif
