package carp

import (
	"encoding/json"
	"fmt"
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

// Config is one carp interface as the operator has set it. Its JSON has no password.
type Config struct {
	Name      string           `json:"name"`      // carp0
	VHID      uint8            `json:"vhid"`      // 1 to 255; 0: not set yet, the state is Init
	Pass      string           `json:"-"`         // as typed; 19 bytes of it count
	AdvBase   int              `json:"advbase"`   // seconds, 0 to 254
	AdvSkew   int              `json:"advskew"`   // 1/256 seconds, 0 to 254; not both 0
	CarpDev   string           `json:"carpdev"`   // "": not known yet, Init
	CarpPeer  netip.Addr       `json:"carppeer"`  // IPv4; not valid: the group 224.0.0.18
	Addresses []netip.Prefix   `json:"addresses"` // virtual ones, both families
	LLAddr    net.HardwareAddr `json:"-"`         // set by hand; nil: 00:00:5e:00:01:VHID. Status has it as text
	Groups    []string         `json:"groups"`    // carp is always among them
	Up        bool             `json:"up"`
}

// Dialect is whose rules of demotion hold.
type Dialect uint8

const (
	OpenBSD Dialect = iota // a count per interface group, told in the advert
	FreeBSD                // one number, added to advskew
)

// Options are the host's, net.inet.carp.* of sysctl(8).
type Options struct {
	Allow   bool    `json:"allow"` // off: adverts are ignored, everything is Init
	Preempt bool    `json:"preempt"`
	Log     int     `json:"log"` // OpenBSD's scale: a syslog level, 2 by default. 2: states, 3: demotions, 4: INIT
	Dialect Dialect `json:"dialect"`
	// FreeBSD's factors, 0 to 255; OpenBSD's are 1.
	IfdownFactor  int `json:"ifdown_factor"`
	SenderrFactor int `json:"senderr_factor"`
}

// DefaultOptions are OpenBSD's.
func DefaultOptions() Options {
	return Options{Allow: true, Log: 2, IfdownFactor: 240, SenderrFactor: 240}
}

// Status is what ifconfig shows of one carp interface.
type Status struct {
	Config
	State    State      `json:"state"`
	Since    time.Time  `json:"since"`    // of State
	Demotion int        `json:"demotion"` // its advertised one: the sum over its groups
	Master   netip.Addr `json:"master"`   // who was last heard as master; not valid: nobody, or ourselves
	Why      string     `json:"why"`      // it is Init: "carpdev sis0 has no carrier"; or it is Master without its addresses
	Changes  uint64     `json:"changes"`  // of State, since it was created
}

// Group is a demotion counter and what it is made of.
type Group struct {
	Name     string  `json:"name"`
	Demotion int     `json:"demotion"` // never below 0
	Shares   []Share `json:"shares"`   // in the order they came; what the operator has set is "carpdemote"
}

// Share is one reason's part of a demotion.
type Share struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Transition is told to hook scripts.
type Transition struct {
	Name string    `json:"name"`
	VHID uint8     `json:"vhid"`
	Old  State     `json:"old"`
	New  State     `json:"new"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
}

// MarshalJSON writes link addresses as they are read: net.HardwareAddr is bytes to JSON.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status // without this method
	text := ""
	if s.VHID != 0 || len(s.LLAddr) != 0 {
		text = (&vhid{cfg: s.Config}).mac().String()
	}
	return json.Marshal(struct {
		plain
		LLAddr string `json:"lladdr"` // the one in use
	}{plain(s), text})
}

// UnmarshalJSON is the opposite of MarshalJSON, but that lladdr may be set by hand or not.
func (s *Status) UnmarshalJSON(b []byte) error {
	type plain Status
	var read struct {
		*plain
		LLAddr string `json:"lladdr"`
	}
	read.plain = (*plain)(s)
	if err := json.Unmarshal(b, &read); err != nil {
		return err
	}
	if read.LLAddr == "" {
		return nil
	}
	mac, err := net.ParseMAC(read.LLAddr)
	if err != nil {
		return fmt.Errorf("%s: lladdr: %w", s.Name, err)
	}
	s.LLAddr = mac
	return nil
}
