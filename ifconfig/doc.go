// Package ifconfig is the configuration as operators write it: the grammar of the
// ifconfig command line, its checks, and the display of interfaces in OpenBSD's form.
// Everything here is pure: Parse makes a Change out of words, Print makes text out of
// Interfaces. Who applies the one and reads the other is sync/control (pfsync0) and
// ifconfig/links (Linux's own interfaces). ifconfig/keyfile reads the file of a key.
package ifconfig
