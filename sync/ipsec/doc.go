// Package ipsec is the kernel's IPsec as far as pfsync has to do with it: the replay
// counters of security associations, which pf's TDB messages carry from the firewall that
// uses an SA to the one that will go on with it.
//
// The kernel tells of used SAs by its asynchronous events (XFRM_MSG_NEWAE; Linux
// Documentation/networking/xfrm_sync.rst) and takes a peer's counters by the same message.
package ipsec
