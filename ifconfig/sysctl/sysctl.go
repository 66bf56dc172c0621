// Package sysctl knows the BSDs' kernel variables of carp and pfsync, which Linux has not: their
// names, ranges, defaults and meanings. It reads NAME=VALUE and the lines of sysctl.conf
// that set one of them. It holds no values: who does is pfsyncd.
package sysctl

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// Variable is a kernel variable of the BSDs.
type Variable struct {
	Name    string
	Meaning string // a phrase, with the unit if there is one
	Min     int64
	Max     int64
	Default int64
	// ReadOnly tells how else the variable is changed, if it cannot be set; "" if it can.
	ReadOnly string
	// Linux is the variable of Linux's own that it stands for, or "".
	Linux string
	// Opaque variables have no number to read, but many: pfsyncctl stats.
	Opaque bool
}

// variables is in the order they are listed in. Ranges and defaults are OpenBSD's for what it has, else FreeBSD's
// (spec/operator-interface.md 6).
var variables = [...]Variable{
	{Name: "net.inet.carp.allow", Max: 1, Default: 1, Meaning: "take part in carp: 0 puts every vhid into state INIT"},
	{Name: "net.inet.carp.preempt", Max: 1, Meaning: "take over from a master that advertises less often, and all vhids together when one link fails"},
	{Name: "net.inet.carp.log", Max: 7, Default: 2, Meaning: "what is logged: 0 nothing, 2 changes of state, higher also bad packets"},
	{Name: "net.inet.carp.demotion", Min: -maxDemotion, Max: maxDemotion,
		Meaning: "by how much this firewall is less fit to be master: the demotion of the group carp; what is written is added"},
	{Name: "net.inet.carp.dialect", Max: 1, Meaning: "whose rules of demotion hold: 0 OpenBSD's, told in the adverts; 1 FreeBSD's, added to advskew"},
	{Name: "net.inet.carp.senderr_demotion_factor", Max: 255, Default: 240, Meaning: "added to the demotion when advertisements cannot be sent"},
	{Name: "net.inet.carp.ifdown_demotion_factor", Max: 255, Default: 240, Meaning: "added to the demotion when an interface with a vhid is down"},
	{Name: "net.inet.carp.dscp", Max: 63, Default: 56, Meaning: "differentiated services code point of advertisements"},
	{Name: "net.pfsync.carp_demotion_factor", Max: 255, Default: 240, Meaning: "added to the demotion until the states of the peers are here"},
	{Name: "net.pfsync.pfsync_buckets", Min: 1, Max: math.MaxInt32, Default: 1, ReadOnly: "pfsyncd chooses it",
		Meaning: "how many queues the states are spread over"},
	{Name: "net.pfsync.defer_delay", Min: 1, Max: 1000, Default: 20, Meaning: "how long defer holds a packet at most, in milliseconds"},
	{Name: "net.pfsync.stats", ReadOnly: "it counts", Opaque: true, Meaning: "the counters of pfsync"},
	{Name: "net.inet.pfsync.stats", ReadOnly: "it counts", Opaque: true, Meaning: "the counters of pfsync, by OpenBSD's name"},
	{Name: "net.inet.ip.forwarding", Max: 1, Linux: "net.ipv4.ip_forward", Meaning: "forward IPv4 packets"},
	{Name: "net.inet6.ip6.forwarding", Max: 1, Linux: "net.ipv6.conf.all.forwarding", Meaning: "forward IPv6 packets"},
}

// maxDemotion bounds what is added at once to the demotion.
const maxDemotion = 1 << 16

// own are the beginnings of names that cannot be Linux's: what is unknown there is misspelt.
var own = [...]string{"net.inet.carp.", "net.inet.pfsync.", "net.pfsync."}

// ErrUnknown says that a name is none of ours.
var ErrUnknown = errors.New("unknown oid")

// Variables lists them all.
func Variables() []Variable { return slices.Clone(variables[:]) }

// Lookup finds a variable by its name.
func Lookup(name string) (Variable, bool) {
	for _, v := range variables {
		if v.Name == name {
			return v, true
		}
	}
	return Variable{}, false
}

// Setting is a value for a variable.
type Setting struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// String prints NAME=VALUE, which Parse reads.
func (s Setting) String() string { return s.Name + "=" + strconv.FormatInt(s.Value, 10) }

// Parse reads NAME=VALUE, with or without blanks around the '='. The value is decimal, or hexadecimal
// behind 0x. A name that is not ours is an ErrUnknown; it may be Linux's.
func Parse(text string) (Setting, error) {
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	v, known := Lookup(name)
	switch {
	case !known:
		return Setting{}, unknown(name)
	case v.ReadOnly != "":
		return Setting{}, fmt.Errorf("%s: read only; %s", name, v.ReadOnly)
	case !ok || value == "":
		return Setting{}, fmt.Errorf("%s: no value; write %v", name, Setting{name, v.Max})
	}
	n, err := number(value)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return Setting{}, fmt.Errorf("%s: %s is not a number (%d to %d)", name, ifconfig.Shown(value), v.Min, v.Max)
	}
	if err := v.check(n, value); err != nil {
		return Setting{}, err
	}
	return Setting{name, n}, nil
}

func (v Variable) check(n int64, shown string) error {
	switch {
	case n < v.Min:
		return fmt.Errorf("%s: %s is too small (%d to %d)", v.Name, ifconfig.Shown(shown), v.Min, v.Max)
	case n > v.Max:
		return fmt.Errorf("%s: %s is too large (%d to %d)", v.Name, ifconfig.Shown(shown), v.Min, v.Max)
	}
	return nil
}

// Validate checks what Parse checks, for a Setting that came by another way (the control socket).
func (s Setting) Validate() error {
	v, known := Lookup(s.Name)
	switch {
	case !known:
		return unknown(s.Name)
	case v.ReadOnly != "":
		return fmt.Errorf("%s: read only; %s", v.Name, v.ReadOnly)
	}
	return v.check(s.Value, strconv.FormatInt(s.Value, 10))
}

func number(s string) (int64, error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 63)
		return int64(n), err
	}
	return strconv.ParseInt(s, 10, 64)
}

func unknown(name string) error {
	err := fmt.Errorf("%w '%s'", ErrUnknown, ifconfig.Shown(name))
	for _, prefix := range own {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		var names []string
		for _, v := range variables {
			if strings.HasPrefix(v.Name, prefix) {
				names = append(names, v.Name[len(prefix):])
			}
		}
		return fmt.Errorf("%w; %s has: %s", err, strings.TrimSuffix(prefix, "."), strings.Join(names, ", "))
	}
	return err
}
