// Package pfsyncprint prints pfsync packets as text, in the words of OpenBSD's
// tcpdump. It is what pfsyncdump does between reading and writing.
//
// Verbosity 0 is one line a message; 1 has a line for the packet, one for each
// section and the items below, as OpenBSD does; 2 adds the ids of full states; 3 adds
// what else the messages carry. All bytes from the network are escaped.
//
// The trailer of a Linux sender is one line, from verbosity 1 on or when there are no
// messages; 2 adds a line for each attribute, 3 what is in lists of buckets and states.
//
// Or packets are printed as JSON, with all their fields.
package pfsyncprint
