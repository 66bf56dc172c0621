// Package flowexport tells a collector of states that have ended: a record for each
// direction, in IPFIX (RFC 7011) or NetFlow version 9 (RFC 3954), over UDP. What an
// OpenBSD does so is its pflow(4).
package flowexport
