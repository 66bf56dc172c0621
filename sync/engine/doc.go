// Package engine decides when to send what: it turns the changes of a state
// table into pfsync messages, and the messages of the peers into writes to that
// table (OpenBSD if_pfsync.c, rev 1.332).
//
// One goroutine, Run, owns everything. It is fed batches: changes of the table,
// packets of the link, requests of the control socket, timers. What it knows of a
// state is a record without pointers: its identity, its keys, the progress that
// was last said of it, its place in a queue. A state waits in one queue at most,
// and a message is written from the record when its packet is built, so that
// many changes collapse into one message.
//
// Packets leave as soon as no input is waiting, so an idle firewall replicates at
// once and a busy one in full packets; maxupd and one second are the bounds.
package engine
