// Package carp is the Common Address Redundancy Protocol: which firewall holds an
// address that two or more of them share. It is pure: adverts are bytes and who is
// master follows from them, from timers and from the links; sockets, interfaces and
// addresses are a [System]'s business.
//
// The facts are those of OpenBSD ip_carp.c, FreeBSD's where it says so.
//
// # Who does what
//
// One goroutine, [Host.Run], owns everything and never waits for the system. Each
// [Device] has three: one that sends adverts, one that does all other calls in turn,
// one that passes on events. A call that changes an interface waits for a lock of the
// kernel that any other program may hold for long; with it in the way of the adverts
// the peers would take over for nothing. What Run hands to a device is what should be
// now, not a queue: a device that hangs is behind by one call.
//
// A turn of Run sends what is due before anything else. A silent master is declared
// down only after what has been received was looked at, and, if this host has not run
// for a while, after a moment more: the adverts may wait in a socket.
//
// # What is not as in the BSDs
//
//   - Adverts are sent only while the addresses are there: whoever cannot have them is
//     silent and then, like one who cannot send, demoted. A minute after it has become a
//     backup that is forgotten, or the demotion would stick.
//   - Of two masters with equal settings the one whose counter is greater stays. In BSD both
//     yield to each other, perhaps for ever. It is authenticated, and BSD hosts yield.
//   - A master that hears a worse one sends an advert and announces itself at once,
//     not more than once between two regular adverts.
//   - A last advert (bow out) ends no other master's mastership, and a backup with
//     advbase 0 takes over as well.
//   - With advbase 0, three intervals of a fast backup may be less than one of a slow
//     master, and it would take over for nothing: it waits for three of the master's.
//   - A backup takes over after two silent adverts when the peers of pfsync, heard until a
//     moment before, are silent too ([Host.PeersSilent]).
//   - Every change of demotion is advertised at once, as in FreeBSD.
package carp
