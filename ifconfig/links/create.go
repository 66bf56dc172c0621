package links

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// support names what of the kernel makes the interfaces of a kind.
var support = map[string]string{
	"bridge": "modprobe bridge, or a kernel with CONFIG_BRIDGE",
	"dummy":  "modprobe dummy, or a kernel with CONFIG_DUMMY",
	"veth":   "modprobe veth, or a kernel with CONFIG_VETH",
	"vlan":   "modprobe 8021q, or a kernel with CONFIG_VLAN_8021Q",
}

// driverOf tells which driver of BSD's would have made the interface: one of its name and of its kind.
func driverOf(link netlink.Link) (ifconfig.Driver, bool) {
	d, ok := ifconfig.DriverOf(link.Attrs().Name)
	return d, ok && d.Linux == link.Type()
}

// ownGroups are the groups that an interface of that name is in by itself.
func ownGroups(name string) []string {
	d, ok := ifconfig.DriverOf(name)
	switch {
	case name == pfsync0:
		return []string{"carp", d.Name}
	case ok:
		return []string{d.Name}
	}
	return nil
}

// create plans the making of an interface that is not there.
func (p *plan) create(d ifconfig.Driver) error {
	c := p.change
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.Interface
	var link netlink.Link
	word := "create"
	switch d.Linux {
	case "vlan":
		if c.VNetID == nil || c.Parent == nil {
			return fmt.Errorf("%s: SIOCIFCREATE: needs a tag and a parent (ifconfig %s create vnetid TAG parent INTERFACE)", c.Interface, c.Interface)
		}
		parent, err := p.find(*c.Parent)
		if err != nil {
			return fmt.Errorf("%s: parent %w", c.Interface, err)
		}
		if parent.Attrs().RawFlags&syscall.IFF_LOOPBACK != 0 {
			return fmt.Errorf("%s: parent %s: carries no vlans", c.Interface, *c.Parent)
		}
		attrs.ParentIndex = parent.Attrs().Index
		link = &netlink.Vlan{LinkAttrs: attrs, VlanId: *c.VNetID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	case "bridge":
		link = &netlink.Bridge{LinkAttrs: attrs}
	case "dummy":
		link = &netlink.Dummy{LinkAttrs: attrs}
	case "veth":
		if c.Patch == nil {
			return fmt.Errorf("%s: SIOCIFCREATE: needs the name of its other end (ifconfig %s create patch pair1)", c.Interface, c.Interface)
		}
		if _, err := p.find(*c.Patch); err == nil {
			return fmt.Errorf("%s: patch %s: File exists (Linux makes both ends together; give the name of none that is there)", c.Interface, *c.Patch)
		}
		word += " patch " + *c.Patch
		link = &netlink.Veth{LinkAttrs: attrs, PeerName: *c.Patch}
	}
	p.add(step{
		word: word,
		do: func() error {
			err := p.netlink.LinkAdd(link)
			if errors.Is(err, syscall.EOPNOTSUPP) {
				return fmt.Errorf("this kernel has no %s interfaces (%s)", d.Linux, support[d.Linux])
			}
			return err
		},
		undo: p.on(p.netlink.LinkDel),
	})
	return nil
}

// checkCreated refuses to change what an interface keeps from its creation on.
func (p *plan) checkCreated(d ifconfig.Driver) error {
	c := p.change
	ofDriver := c.VNetID != nil || c.Parent != nil || c.Patch != nil || len(c.Add)+len(c.Del) > 0
	if ofDriver && p.link.Type() != d.Linux {
		return fmt.Errorf("%s: not a %s interface (Linux's kind of it is %s)", c.Interface, d.Name, p.link.Type())
	}
	fixed := fmt.Errorf("cannot be changed (ifconfig %s destroy, then create)", c.Interface)
	if vlan, ok := p.link.(*netlink.Vlan); ok && c.VNetID != nil && *c.VNetID != vlan.VlanId {
		return fmt.Errorf("%s: vnetid %d: it has %d, which %w", c.Interface, *c.VNetID, vlan.VlanId, fixed)
	}
	other, word := c.Parent, "parent"
	if c.Patch != nil {
		other, word = c.Patch, "patch"
	}
	if other == nil {
		return nil
	}
	link, err := p.find(*other)
	if err != nil {
		return fmt.Errorf("%s: %s %w", c.Interface, word, err)
	}
	if link.Attrs().Index != p.link.Attrs().ParentIndex { // of a veth, the other end
		return fmt.Errorf("%s: %s %s: it has another one, which %w", c.Interface, word, *other, fixed)
	}
	return nil
}

// destroy plans to remove an interface that could have been created here.
func (p *plan) destroy() error {
	name := p.change.Interface
	if p.link == nil {
		return fmt.Errorf("%s: SIOCIFDESTROY: %w", name, ifconfig.ErrNoInterface)
	}
	if _, ok := driverOf(p.link); !ok {
		return fmt.Errorf("%s: SIOCIFDESTROY: of Linux's kind %s, not made by ifconfig (use ip link delete %s)", name, p.link.Type(), name)
	}
	p.add(step{"destroy", p.on(p.netlink.LinkDel), nil})
	return nil
}

// members are the interfaces of a bridge.
func (p *plan) members() error {
	for _, name := range p.change.Add {
		member, err := p.find(name)
		if err != nil {
			return fmt.Errorf("%s: add %w", p.change.Interface, err)
		}
		switch master := member.Attrs().MasterIndex; {
		case master != 0 && p.link != nil && master == p.attrs().Index:
			continue
		case master != 0:
			return fmt.Errorf("%s: add %s: it is a member of another interface (ip link set dev %s nomaster)", p.change.Interface, name, name)
		case p.link != nil && member.Attrs().Index == p.attrs().Index:
			return fmt.Errorf("%s: add %s: must be another interface", p.change.Interface, name)
		}
		join := p.on(func(bridge netlink.Link) error { return p.netlink.LinkSetMaster(member, bridge) })
		p.add(step{"add " + name, join, func() error { return p.netlink.LinkSetNoMaster(member) }})
	}
	for _, name := range p.change.Del {
		member, err := p.find(name)
		if err != nil {
			return fmt.Errorf("%s: del %w", p.change.Interface, err)
		}
		if p.link == nil || member.Attrs().MasterIndex != p.attrs().Index || slices.Contains(p.change.Add, name) {
			return fmt.Errorf("%s: del %s: it is no member", p.change.Interface, name)
		}
		p.add(step{"del " + name, func() error { return p.netlink.LinkSetNoMaster(member) },
			func() error { return p.netlink.LinkSetMaster(member, p.link) }})
	}
	return nil
}
