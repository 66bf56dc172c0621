package carp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
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

// Host is this firewall's part in CARP: all its carp interfaces.
type Host struct{}

// New returns a Host without interfaces; Run starts it.
func New(system System, log *slog.Logger) *Host { return &Host{} }

// Run works until ctx ends. Then masters bow out, addresses are withdrawn and the
// interfaces removed.
func (h *Host) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// ErrStopped is returned when Run has ended.
var ErrStopped = errors.New("carp has stopped")

// Configure makes the interface or changes it. What does not fit is refused and
// nothing is changed: a vhid that the carpdev has already, an address of another vhid.
func (h *Host) Configure(c Config) error { return nil }

// Remove bows out and removes the interface.
func (h *Host) Remove(name string) error { return nil }

// Force is ifconfig's state keyword: it takes effect unless the state is Init, and
// the next advert or timer may undo it.
func (h *Host) Force(name string, s State) error { return nil }

// SetOptions takes effect at once.
func (h *Host) SetOptions(o Options) error { return nil }

// Demote adds n, which may be negative, to what the operator has set for group.
// Masters of the group advertise at once.
func (h *Host) Demote(group string, n int) error { return nil }

// SetShare makes count the part of reason in group's demotion: 0 takes it away. It
// never blocks, and the last value counts; it may be called before Run.
func (h *Host) SetShare(group, reason string, count int) {}

// Status returns all interfaces, in the order of their names.
func (h *Host) Status() ([]Status, error) { return nil, nil }

// Groups returns the groups that have carp interfaces or a demotion.
func (h *Host) Groups() ([]Group, error) { return nil, nil }

// Counters are those of netstat -s -p carp, and ours.
func (h *Host) Counters() ([]pfstate.Counter, error) { return nil, nil }

// Transitions tells every change of state. Who does not read loses the oldest, counted.
func (h *Host) Transitions() <-chan Transition { return nil }
