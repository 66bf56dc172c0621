package links

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// step is a part of a change: one word, carried out by one request to the kernel.
type step struct {
	word string // as the operator wrote it, for errors
	do   func() error
	undo func() error // nil: cannot be undone
}

// plan is the steps of a change in their order. Building it asks and checks; it changes nothing.
type plan struct {
	*Links
	change ifconfig.Change
	link   netlink.Link // nil: to be created by the first step
	making bool         // the first step creates it: undoing that undoes all
	groups groups
	steps  []step
}

// Change carries out c. All that can be checked is checked before anything is done. When the
// kernel refuses a step after that, the steps before are undone; the error tells what could
// not be.
func (l *Links) Change(c ifconfig.Change) error {
	p, err := l.plan(c)
	if err != nil {
		return err
	}
	if err := carryOut(p.steps, p.making); err != nil {
		return fmt.Errorf("%s: %w", c.Interface, err)
	}
	return nil
}

// carryOut does the steps. The first that fails ends it, and those before are undone, the
// last one first; if the first made the interface, undoing that is enough. The error tells
// which of them stay.
func carryOut(steps []step, making bool) error {
	for n, s := range steps {
		err := s.do()
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", s.word, reason(err))
		done := steps[:n]
		if making {
			done = steps[:min(n, 1)]
		}
		var stay []string
		for _, d := range slices.Backward(done) {
			if d.undo == nil || d.undo() != nil {
				stay = append(stay, d.word)
			}
		}
		slices.Reverse(stay)
		switch {
		case len(stay) > 0:
			return fmt.Errorf("%w; already done, and not undone: %s", err, strings.Join(stay, ", "))
		case n > 0:
			return fmt.Errorf("%w; nothing was changed", err)
		}
		return err
	}
	return nil
}

func (p *plan) add(s step) { p.steps = append(p.steps, s) }

func (l *Links) plan(c ifconfig.Change) (*plan, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Syncdev != nil || c.Syncpeer != nil || c.MaxUpd != nil || c.Defer != nil || c.Key != nil || c.Bulk || c.Push {
		return nil, fmt.Errorf("%s: belongs to pfsyncd", c.Interface)
	}
	link, err := l.find(c.Interface)
	absent := errors.Is(err, ifconfig.ErrNoInterface)
	if err != nil && !absent {
		return nil, err
	}
	groups, err := readGroups()
	if err != nil {
		return nil, err
	}
	p := &plan{Links: l, change: c, link: link, making: absent, groups: groups}
	driver, known := ifconfig.DriverOf(c.Interface)
	switch {
	case c.Create && !absent:
		return nil, fmt.Errorf("%s: SIOCIFCREATE: File exists", c.Interface)
	case c.Destroy:
		return p, p.destroy()
	case absent && (!known || driver.Linux == ""):
		return nil, fmt.Errorf("%s: %w", c.Interface, ifconfig.ErrNoInterface)
	case absent:
		if err := p.create(driver); err != nil {
			return nil, err
		}
	default:
		if err := p.checkCreated(driver); err != nil {
			return nil, err
		}
	}
	for _, part := range []func() error{p.lladdr, p.mtu, p.texts, p.members, p.flags, p.upDown, p.inet6, p.addresses, p.rename} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// find looks an interface up by any of its names. The error wraps ErrNoInterface.
func (l *Links) find(name string) (netlink.Link, error) {
	link, err := l.netlink.LinkByName(name) // also by altnames: the kernel looks through both
	absent := errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, syscall.ENODEV)
	switch {
	case absent && name == bsdLoopback:
		return l.find(loopback)
	case absent:
		return nil, fmt.Errorf("%s: %w", name, ifconfig.ErrNoInterface)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	return link, nil
}

// attrs are the attributes that the interface has; those of a new one are its kind's defaults.
func (p *plan) attrs() *netlink.LinkAttrs {
	if p.link == nil {
		return &netlink.LinkAttrs{}
	}
	return p.link.Attrs()
}

// target is the interface when a step is carried out.
func (p *plan) target() (netlink.Link, error) {
	if p.link == nil { // it was created by a step
		link, err := p.find(p.change.Interface)
		if err != nil {
			return nil, err
		}
		p.link = link
	}
	return p.link, nil
}

// on makes a step of something done to the interface.
func (p *plan) on(do func(netlink.Link) error) func() error {
	return func() error {
		link, err := p.target()
		if err != nil {
			return err
		}
		return do(link)
	}
}

func (p *plan) lladdr() error {
	if p.change.LLAddr == nil {
		return nil
	}
	now := p.attrs().HardwareAddr
	var want net.HardwareAddr
	if text := *p.change.LLAddr; text == ifconfig.RandomLLAddr {
		want = make(net.HardwareAddr, 6)
		rand.Read(want)
		want[0] = want[0]&^1 | 2 // of one host, locally made up
	} else {
		var err error
		if want, err = net.ParseMAC(text); err != nil {
			return fmt.Errorf("lladdr %s: %w", text, err)
		}
	}
	if p.link != nil && len(now) != len(want) {
		return fmt.Errorf("%s: lladdr: this interface has no Ethernet address", p.change.Interface)
	}
	if slices.Equal(now, want) {
		return nil
	}
	set := func(mac net.HardwareAddr) func() error {
		return p.on(func(link netlink.Link) error {
			err := p.netlink.LinkSetHardwareAddr(link, mac)
			if errors.Is(err, syscall.EBUSY) {
				return fmt.Errorf("its driver changes the address only while it is down (ifconfig %s down)", p.change.Interface)
			}
			return err
		})
	}
	p.add(step{"lladdr " + want.String(), set(want), set(now)})
	return nil
}

func (p *plan) mtu() error {
	now := p.attrs().MTU
	if p.change.MTU == nil || *p.change.MTU == now {
		return nil
	}
	set := func(mtu int) func() error {
		return p.on(func(link netlink.Link) error { return p.netlink.LinkSetMTU(link, mtu) })
	}
	p.add(step{fmt.Sprintf("mtu %d", *p.change.MTU), set(*p.change.MTU), set(now)})
	return nil
}

// texts are the description and the group.
func (p *plan) texts() error {
	if text := p.change.Description; text != nil && *text != p.attrs().Alias {
		set := func(text string) func() error {
			return p.on(func(link netlink.Link) error { return p.netlink.LinkSetAlias(link, text) })
		}
		word := "description " + ifconfig.Shown(*text)
		if *text == "" {
			word = "-description"
		}
		p.add(step{word, set(*text), set(p.attrs().Alias)})
	}
	now := p.attrs().Group
	want, word, err := p.groups.change(p.change, now, ownGroups(p.change.Interface))
	if err != nil {
		return err
	}
	if want != now {
		set := func(n uint32) func() error {
			return p.on(func(link netlink.Link) error { return p.netlink.LinkSetGroup(link, int(n)) })
		}
		p.add(step{word, set(want), set(now)})
	}
	return nil
}

// flags are those that are neither up nor down.
func (p *plan) flags() error {
	for _, f := range []struct {
		want    *bool
		now     bool
		word    string
		on, off func(netlink.Link) error
	}{
		{p.change.ARP, p.attrs().RawFlags&syscall.IFF_NOARP == 0, "arp", p.netlink.LinkSetARPOn, p.netlink.LinkSetARPOff},
		{p.change.Promisc, p.attrs().Promisc != 0, "promisc", p.netlink.SetPromiscOn, p.netlink.SetPromiscOff},
	} {
		if f.want == nil || p.link != nil && *f.want == f.now {
			continue
		}
		s := step{f.word, p.on(f.on), p.on(f.off)}
		if !*f.want {
			s = step{"-" + f.word, p.on(f.off), p.on(f.on)}
		}
		p.add(s)
	}
	return nil
}

// upDown takes the interface up also when it is given an address, as on BSD.
func (p *plan) upDown() error {
	want := p.change.Up
	for _, a := range p.change.Addresses {
		if want == nil && a.Op != ifconfig.AddressDelete {
			want = new(true)
		}
	}
	if want == nil || p.link != nil && *want == (p.attrs().RawFlags&syscall.IFF_UP != 0) {
		return nil
	}
	s := step{"up", p.on(p.netlink.LinkSetUp), p.on(p.netlink.LinkSetDown)}
	if !*want {
		s = step{"down", p.on(p.netlink.LinkSetDown), p.on(p.netlink.LinkSetUp)}
	}
	p.add(s)
	return nil
}

// rename comes last: the steps before know the interface by its index.
func (p *plan) rename() error {
	to := p.change.Rename
	if to == nil || *to == p.attrs().Name {
		return nil
	}
	if _, err := p.find(*to); err == nil {
		return fmt.Errorf("%s: name %s: File exists", p.change.Interface, *to)
	}
	p.add(step{"name " + *to, p.on(func(link netlink.Link) error {
		err := p.netlink.LinkSetName(link, *to)
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("only while it is down (ifconfig %s down name %s)", p.change.Interface, *to)
		}
		return err
	}), nil})
	return nil
}

// reason words what an operator cannot guess from the error number.
func reason(err error) error {
	if errors.Is(err, syscall.EINVAL) {
		return errors.New("the interface does not take this value")
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (needs root)", syscall.EPERM)
	}
	if errors.Is(err, syscall.ENETDOWN) {
		return errors.New("the interface below it is down; take that one up first")
	}
	return err
}
