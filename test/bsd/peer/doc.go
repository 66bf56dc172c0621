// Package peer is a BSD firewall at the other end of the sync link, for tests: the
// layouts and the behaviour of OpenBSD 6 and FreeBSD 1301, 1400 and 1500 as the protocol's
// description has them, written anew. It imports nothing of the product, so that both
// cannot be wrong in the same way.
package peer
