// Package pfsyncprint prints pfsync packets as text, in the words of OpenBSD's
// tcpdump. It is what pfsyncdump does between reading and writing.
//
// Verbosity 0 is one line a message; 1 has a line for the packet, one for each
// section and the items below, as OpenBSD does; 2 adds the ids of full states; 3 adds
// what else the messages carry. All bytes from the network are escaped.
package pfsyncprint
