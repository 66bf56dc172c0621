// Package link carries pfsync packets over the sync interface: IP protocol 240,
// to a multicast group or to one peer. It knows nothing of what is in them.
//
// The interface may be missing, down or without an address, now or later: the
// link is then not up, says why, and comes up by itself.
package link
