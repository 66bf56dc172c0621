package ifconfig

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CarpChange is the part of a Change that is about carp: of a carp interface or, in FreeBSD's form,
// of a vhid on the Change's interface. A nil pointer means "not mentioned".
type CarpChange struct {
	VHID        *int            `json:"vhid,omitempty"`
	Pass        *Pass           `json:"-"` // sync/control sends it by itself
	AdvBase     *int            `json:"advbase,omitempty"`
	AdvSkew     *int            `json:"advskew,omitempty"`
	CarpDev     *string         `json:"carpdev,omitempty"`  // "": -carpdev, found from the address
	CarpPeer    *netip.Addr     `json:"carppeer,omitempty"` // the zero Addr: -carppeer
	State       string          `json:"state,omitempty"`    // master, backup or init
	LLAddr      *string         `json:"lladdr,omitempty"`
	Description *string         `json:"description,omitempty"`
	Group       *string         `json:"group,omitempty"`
	Ungroup     *string         `json:"ungroup,omitempty"`
	Addresses   []AddressChange `json:"addresses,omitempty"` // in the order of the command line
}

// Pass is the password of a vhid. No form of printing or marshalling shows it.
type Pass struct{ secret **string } // two pointers, as Key has them

// NewPass is the password as typed.
func NewPass(text string) Pass { return Pass{new(&text)} }

// Secret is the password.
func (p Pass) Secret() string {
	if p.secret == nil {
		return ""
	}
	return **p.secret
}

// Equal tells whether both are the same password; go-cmp asks it too.
func (p Pass) Equal(other Pass) bool { return p.Secret() == other.Secret() }

func (p Pass) String() string { return "(not shown)" }

// GoString is String.
func (p Pass) GoString() string { return "ifconfig.Pass(not shown)" }

// MaxPass is how many bytes of a password count, on all systems.
const MaxPass = 19

const (
	maxVHID    = 255
	maxAdvBase = 254
	maxAdvSkew = 254
	// MaxCarpdemote is the largest number that carpdemote takes.
	MaxCarpdemote = 128
)

// carpStates are the arguments of state.
var carpStates = words("init backup master")

// IsCarp tells whether the name is that of a carp interface.
func IsCarp(name string) bool {
	driver, unit := cutUnit(name)
	return driver == "carp" && unit != ""
}

func (p *parser) carp() *CarpChange {
	if p.Carp == nil {
		p.Carp = new(CarpChange)
	}
	return p.Carp
}

func setVHID(p *parser, arg string) error {
	n, err := number(arg, 1, maxVHID)
	p.carp().VHID = &n
	return err
}

func setPass(p *parser, arg string) error {
	if len(arg) > MaxPass {
		p.warn("pass: only the first %d bytes are used", MaxPass)
		arg = arg[:MaxPass]
	}
	p.carp().Pass = new(NewPass(arg))
	return nil
}

func setAdvBase(p *parser, arg string) error {
	n, err := number(arg, 0, maxAdvBase)
	p.carp().AdvBase = &n
	return err
}

func setAdvSkew(p *parser, arg string) error {
	n, err := number(arg, 0, maxAdvSkew)
	p.carp().AdvSkew = &n
	return err
}

func setCarpDev(p *parser, arg string) error {
	p.carp().CarpDev = &arg
	return checkCarpDev(arg)
}

func checkCarpDev(name string) error {
	switch {
	case IsCarp(name) || name == "pfsync0":
		return errors.New("neither a carp nor a pfsync interface can carry adverts")
	case name == "lo" || name == "lo0":
		return errors.New("nobody is heard on a loopback interface")
	}
	return checkName(name)
}

// multicastCarp is the group that adverts are sent to when no carppeer is set.
var multicastCarp = netip.AddrFrom4([4]byte{224, 0, 0, 18})

func setCarpPeer(p *parser, arg string) error {
	addr, err := netip.ParseAddr(arg)
	if err != nil {
		return errors.New("error in parsing address string: not an IPv4 address")
	}
	if addr == multicastCarp {
		addr = netip.Addr{} // the default, shown as such
	}
	p.carp().CarpPeer = &addr
	return checkCarpPeer(addr)
}

func checkCarpPeer(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return nil
	case !addr.Is4():
		return errors.New("only IPv4 addresses supported for the carppeer")
	case addr.IsMulticast():
		return errors.New("not the address of a host (-carppeer goes back to the group 224.0.0.18)")
	}
	return checkSyncpeer(addr)
}

func unsetCarpPeer(p *parser, _ string) error {
	p.carp().CarpPeer = new(netip.Addr)
	return nil
}

func setState(p *parser, arg string) error {
	p.carp().State = strings.ToLower(arg)
	return checkState(p.Carp.State)
}

func checkState(state string) error {
	if !slices.Contains(carpStates, state) {
		return errors.New("unknown state (master, backup or init)")
	}
	return nil
}

// setCarpNodes takes the one node that a vhid without load balancing has.
func setCarpNodes(p *parser, arg string) error {
	if strings.Contains(arg, ",") {
		return errors.New("several nodes are OpenBSD's load balancing, which Linux has not (one vhid has one master: a carp interface for each vhid)")
	}
	vhid, skew, ok := strings.Cut(arg, ":")
	if !ok {
		return errors.New("not VHID:ADVSKEW")
	}
	if err := setVHID(p, vhid); err != nil {
		return fmt.Errorf("vhid %s: %w", Shown(vhid), err)
	}
	if err := setAdvSkew(p, skew); err != nil {
		return fmt.Errorf("advskew %s: %w", Shown(skew), err)
	}
	return nil
}

// setBalancing takes none, which is so anyway.
func setBalancing(_ *parser, arg string) error {
	if arg != "none" {
		return errors.New("not supported on Linux (one vhid has one master: balancing none, and a carp interface for each vhid)")
	}
	return nil
}

// finishCarp gives the words of a carp interface, and an address with a vhid, to the part that pfsyncd
// applies.
func (p *parser) finishCarp() error {
	l := &p.Linux
	switch {
	case p.kind == kindCarp && !l.Empty():
		c := p.carp()
		c.Addresses, c.Description, c.Group, c.Ungroup, c.LLAddr = l.Addresses, l.Description, l.Group, l.Ungroup, l.LLAddr
		*l = Linux{}
	case p.kind != kindCarp && p.Carp != nil:
		if p.Carp.VHID == nil {
			return fmt.Errorf("%s requires vhid (ifconfig %s vhid N ...)", p.Carp.word(), p.Interface)
		}
		p.Carp.Addresses, l.Addresses = l.Addresses, nil
	}
	if p.Carp == nil {
		return nil
	}
	for i, a := range p.Carp.Addresses {
		if b := a.Broadcast; b.IsValid() && b != (AddressChange{Family: a.Family, Prefix: a.Prefix}).BroadcastAddr() {
			p.warn("broadcast %v: has no effect, a virtual address has that of its network", b)
		}
		p.Carp.Addresses[i].Broadcast = netip.Addr{}
	}
	return nil
}

// word is one of those that need a vhid, as FreeBSD names them.
func (c *CarpChange) word() string {
	for _, w := range []struct {
		name  string
		given bool
	}{
		{"passwd", c.Pass != nil}, {"advskew", c.AdvSkew != nil}, {"advbase", c.AdvBase != nil}, {"state", c.State != ""},
	} {
		if w.given {
			return w.name
		}
	}
	return "peer"
}

// validate checks what the setters check, for a change of an interface of that kind.
func (c *CarpChange) validate(kind kind) error {
	if c == nil {
		return nil
	}
	if kind != kindCarp {
		switch {
		case c.VHID == nil:
			return fmt.Errorf("%s requires vhid", c.word())
		case c.CarpDev != nil || c.LLAddr != nil || c.Description != nil || c.Group != nil || c.Ungroup != nil:
			return errors.New("vhid: carpdev, lladdr, description and group are for carp interfaces")
		}
	}
	for _, n := range []struct {
		word   string
		value  *int
		lo, hi int
	}{{"vhid", c.VHID, 1, maxVHID}, {"advbase", c.AdvBase, 0, maxAdvBase}, {"advskew", c.AdvSkew, 0, maxAdvSkew}} {
		if n.value == nil {
			continue
		}
		if _, err := number(strconv.Itoa(*n.value), n.lo, n.hi); err != nil {
			return fmt.Errorf("%s %d: %w", n.word, *n.value, err)
		}
	}
	if d := c.CarpDev; d != nil && *d != "" {
		if err := checkCarpDev(*d); err != nil {
			return fmt.Errorf("carpdev %s: %w", Shown(*d), err)
		}
	}
	if a := c.CarpPeer; a != nil {
		if err := checkCarpPeer(*a); err != nil {
			return fmt.Errorf("carppeer %v: %w", *a, err)
		}
	}
	if c.State != "" {
		if err := checkState(c.State); err != nil {
			return fmt.Errorf("state %s: %w", Shown(c.State), err)
		}
	}
	if a := c.LLAddr; a != nil {
		if _, err := net.ParseMAC(*a); err != nil {
			return fmt.Errorf("lladdr %s: a virtual address has no random one", Shown(*a))
		}
	}
	for _, a := range c.Addresses {
		if err := a.validate(); err != nil {
			return err
		}
		if a.EUI64 || a.Peer.IsValid() || a.Preferred != nil || a.Valid != nil {
			return fmt.Errorf("%v: a virtual address has neither a destination nor eui64, pltime or vltime", a.Prefix.Addr())
		}
		if addr := a.Prefix.Addr(); addr.Is6() && addr.IsLinkLocalUnicast() {
			return fmt.Errorf("%v: a link-local address cannot be shared (both firewalls would have it at once)", addr)
		}
	}
	return nil
}

// merge adds what a later command says.
func (c *CarpChange) merge(later CarpChange) {
	keep(&c.VHID, later.VHID)
	keep(&c.Pass, later.Pass)
	keep(&c.AdvBase, later.AdvBase)
	keep(&c.AdvSkew, later.AdvSkew)
	keep(&c.CarpDev, later.CarpDev)
	keep(&c.CarpPeer, later.CarpPeer)
	if later.State != "" {
		c.State = later.State
	}
	keep(&c.LLAddr, later.LLAddr)
	keep(&c.Description, later.Description)
	keep(&c.Group, later.Group)
	keep(&c.Ungroup, later.Ungroup)
	c.Addresses = append(c.Addresses, later.Addresses...)
}

// parseGroup reads what stands behind -g: a group, and perhaps what is done to its demotion.
func (cmd *Command) parseGroup(args []string) error {
	if len(args) == 0 {
		return errors.New("'-g' requires argument")
	}
	cmd.Group = args[0]
	if err := checkDemoted(cmd.Group); err != nil {
		return err
	}
	if args = args[1:]; len(args) == 0 {
		return nil
	}
	sign := map[string]int{"carpdemote": 1, "-carpdemote": -1}[args[0]]
	switch {
	case sign == 0:
		return fmt.Errorf("%s: bad value (behind -g GROUP stands carpdemote or -carpdemote)", Shown(args[0]))
	case len(args) > 2:
		return fmt.Errorf("%s: bad value (one word too many)", Shown(args[2]))
	}
	n := 1
	if len(args) == 2 {
		var err error
		if n, err = number(args[1], 0, MaxCarpdemote); err != nil {
			return fmt.Errorf("%s: invalid carp demotion: %w", cmd.Group, err)
		}
	}
	cmd.Demote = new(sign * n)
	return nil
}

// checkDemoted refuses what is no group that could be demoted.
func checkDemoted(group string) error {
	if err := checkGroup(group); err != nil && group != "egress" {
		return fmt.Errorf("-g %s: %w", Shown(group), err)
	}
	return nil
}

func tooDemoted(group string) error {
	return fmt.Errorf("%s: invalid carp demotion: too large (0 to %d)", group, MaxCarpdemote)
}

// Carp is the carp part of an interface's display: of a carp interface or, in FreeBSD's form, one of
// the vhids on an interface.
type Carp struct {
	Name     string     `json:"name"`               // carp0
	State    string     `json:"state"`              // INIT, BACKUP or MASTER
	CarpDev  string     `json:"carpdev,omitempty"`  // "": none is known
	VHID     int        `json:"vhid"`               // 0: not set
	AdvBase  int        `json:"advbase"`            //
	AdvSkew  int        `json:"advskew"`            //
	CarpPeer netip.Addr `json:"carppeer,omitzero"`  // zero: the multicast group
	Demotion int        `json:"demotion"`           // that it advertises
	Master   netip.Addr `json:"master,omitzero"`    // who was last heard as master
	Why      string     `json:"why,omitempty"`      // it is INIT
	Since    Seconds    `json:"since"`              // it is in this state
	Changes  uint64     `json:"changes"`            // of state
	NoPass   bool       `json:"nopass,omitempty"`   // its adverts have no password
	OnParent bool       `json:"onparent,omitempty"` // it was configured in FreeBSD's form
	Picked   bool       `json:"picked,omitempty"`   // the carpdev was found from the address

	Addresses []Address `json:"addresses,omitempty"` // of one of an interface's vhids
}
