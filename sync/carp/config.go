package carp

import (
	"net"
	"net/netip"
	"time"
)

// State of a vhid on this host.
type State uint8

const (
	Init State = iota // no address, no link, or down
	Backup
	Master
)

// Config is one carp interface as the operator has set it.
type Config struct {
	Name      string           // carp0
	VHID      uint8            // 1 to 255; 0: not set yet, the state is Init
	Pass      string           // as typed; 19 bytes of it count
	AdvBase   int              // seconds, 0 to 254
	AdvSkew   int              // 1/256 seconds, 0 to 254
	CarpDev   string           // "": not known yet, Init
	CarpPeer  netip.Addr       // IPv4; not valid: the group 224.0.0.18
	Addresses []netip.Prefix   // virtual ones, both families
	LLAddr    net.HardwareAddr // set by hand; nil: 00:00:5e:00:01:VHID
	Groups    []string         // carp is always among them
	Up        bool
}

// Dialect is whose rules of demotion hold.
type Dialect uint8

const (
	OpenBSD Dialect = iota // a count per interface group, told in the advert
	FreeBSD                // one number, added to advskew
)

// Options are the host's, net.inet.carp.* of sysctl(8).
type Options struct {
	Allow   bool // off: adverts are ignored, everything is Init
	Preempt bool
	Log     int // OpenBSD's scale: a syslog level, 2 by default
	Dialect Dialect
	// FreeBSD's factors; OpenBSD's are 1.
	IfdownFactor, SenderrFactor int
}

// DefaultOptions are OpenBSD's.
func DefaultOptions() Options {
	return Options{Allow: true, Log: 2, IfdownFactor: 240, SenderrFactor: 240}
}

// Status is what ifconfig shows of one carp interface.
type Status struct {
	Config
	State    State
	Since    time.Time  // of State
	Demotion int        // its advertised one: the sum over its groups
	Master   netip.Addr // who was last heard as master; not valid: nobody, or ourselves
	Why      string     // it is Init: "carpdev sis0 has no carrier"
	Changes  uint64     // of State, since it was created
}

// Group is a demotion counter and what it is made of.
type Group struct {
	Name     string
	Demotion int     // never below 0
	Shares   []Share // in the order they came; what the operator has set is "carpdemote"
}

// Share is one reason's part of a demotion.
type Share struct {
	Reason string
	Count  int
}

// Transition is told to hook scripts.
type Transition struct {
	Name     string
	VHID     uint8
	Old, New State
	Why      string
	At       time.Time
}
