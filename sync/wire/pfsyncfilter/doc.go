// Package pfsyncfilter selects pfsync messages by expressions in the manner of
// tcpdump's. What tcpdump asks of a packet is asked here of the state that a message
// is about:
//
//	host ADDR, net ADDR/LEN, port N[-N]   one of its ends, before or after translation
//	src ..., dst ...                      the same of its initiator, its responder
//	proto NAME|N; tcp, udp, icmp, ...     its protocol
//	id HEX[/HEX], creatorid HEX           its id, its creator
//
// and of the message:
//
//	act NAME                              what it is: ActionName
//	peer ADDR[/LEN]                       who sent the packet
//
// joined by and, or, not (&&, ||, !) and brackets. As in tcpdump, and and or are read
// from left to right, a value alone repeats the words in front of the one before it
// ("port 80 or 443"), and tcp, udp and the like may stand right in front of host, net and port.
//
// Most messages are an id only. Their states are known from the inserts and updates
// that the filter has seen before, of the latest hundred thousand or so.
package pfsyncfilter
