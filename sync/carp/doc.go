// Package carp is the Common Address Redundancy Protocol: which firewall holds an
// address that two or more of them share. It is pure: adverts are bytes and who is
// master follows from them, from timers and from the links; sockets, interfaces and
// addresses are a [System]'s business.
//
// The facts are those of OpenBSD ip_carp.c, FreeBSD's where it says so.
package carp
