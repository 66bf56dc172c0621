// Package tunif is pfsync0: a TUN device that shows what goes over the sync link
// to tcpdump and to every tool that counts packets, and that can be set up and down.
//
// A frame written to a TUN device is, to the kernel, a packet that arrived. The
// device is therefore set up so that nothing more comes of it: it has no
// address, does not forward, and the reverse path filter drops what would be for
// this host.
package tunif
