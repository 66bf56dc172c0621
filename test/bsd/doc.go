// Package bsd plays what BSD kernels send to a firewall with the kernel's own state
// table: captures of real ones, and the two states of connections with every kind of
// translation.
package bsd
