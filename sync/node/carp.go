package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/engine"
)

// Network is one of Linux's interfaces, as far as it tells where a virtual address belongs.
type Network struct {
	Name                    string
	Up, Multicast, Loopback bool
	Prefixes                []netip.Prefix // its addresses with their networks
}

// vhid is a carp interface as the operator has set it.
type vhid struct {
	carp.Config
	description string
	picked      bool // the carpdev was found from an address
	onParent    bool // it was made in FreeBSD's form: it goes with its last address
}

// errNoCarp refuses carp where nothing could hold an address.
func (n *Node) errNoCarp(name string) error {
	return fmt.Errorf("%s: this pfsyncd only watches (--table %s): it holds no addresses", name, n.cfg.TableName)
}

// changeCarp applies c to a carp interface as a whole or not at all; n.mu is held.
func (n *Node) changeCarp(c ifconfig.Change) error {
	if n.host == nil {
		return n.errNoCarp(c.Interface)
	}
	name, err := n.carpName(c)
	if err != nil {
		return err
	}
	old, exists := n.carps[name]
	switch {
	case c.Create && exists:
		return fmt.Errorf("%s: SIOCIFCREATE: File exists", name)
	case c.Destroy && !exists:
		return fmt.Errorf("%s: SIOCIFDESTROY: Device not configured", name)
	case c.Destroy:
		return n.removeCarp(name)
	}
	next := old
	if !exists {
		next = vhid{Config: carp.Config{Name: name, AdvBase: 1}}
		if !ifconfig.IsCarp(c.Interface) {
			next.CarpDev, next.onParent = c.Interface, true
		}
	}
	next.Addresses, next.Groups = slices.Clone(old.Addresses), slices.Clone(old.Groups)
	word, err := n.withCarp(&next, c)
	if err != nil {
		return &control.WordError{Word: word, Err: fmt.Errorf("%s: %w", name, err)}
	}
	if next.onParent && len(next.Addresses) == 0 && len(old.Addresses) > 0 {
		return n.removeCarp(name)
	}
	if !exists || !sameVHID(old, next) {
		if err := n.host.Configure(next.Config); err != nil {
			return &control.WordError{Word: word, Err: named(name, err)}
		}
		n.carps[name] = next
		n.log.Info("carp configured", "interface", name, "carpdev", next.CarpDev, "vhid", next.VHID, "advbase", next.AdvBase,
			"advskew", next.AdvSkew, "addresses", next.Addresses, "up", next.Up)
	}
	if c.Carp != nil && c.Carp.State != "" {
		state := map[string]carp.State{"init": carp.Init, "backup": carp.Backup, "master": carp.Master}[c.Carp.State]
		if err := n.host.Force(name, state); err != nil {
			return &control.WordError{Word: "state", Err: named(name, err)}
		}
	}
	return nil
}

// named puts the name in front of an error that has it not.
func named(name string, err error) error {
	if text := err.Error(); len(text) > len(name) && text[:len(name)] == name {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (n *Node) removeCarp(name string) error {
	if err := n.host.Remove(name); err != nil {
		return named(name, err)
	}
	delete(n.carps, name)
	n.log.Info("carp removed", "interface", name)
	return nil
}

// carpName is the carp interface that c is about: by its name or, in FreeBSD's form, the one that has the
// vhid on the interface, or the lowest that is free.
func (n *Node) carpName(c ifconfig.Change) (string, error) {
	if ifconfig.IsCarp(c.Interface) {
		return c.Interface, nil
	}
	if c.Carp == nil || c.Carp.VHID == nil {
		return "", fmt.Errorf("%s: not an interface of pfsyncd", c.Interface)
	}
	for _, name := range slices.Sorted(maps.Keys(n.carps)) {
		if v := n.carps[name]; v.CarpDev == c.Interface && int(v.VHID) == *c.Carp.VHID {
			return name, nil
		}
	}
	if _, err := n.cfg.InterfaceMTU(c.Interface); err != nil {
		return "", fmt.Errorf("%s: %w", c.Interface, ifconfig.ErrNoInterface)
	}
	makes := c.Carp.Pass != nil || c.Carp.AdvBase != nil || c.Carp.AdvSkew != nil ||
		slices.ContainsFunc(c.Carp.Addresses, func(a ifconfig.AddressChange) bool { return a.Op != ifconfig.AddressDelete })
	if !makes {
		return "", fmt.Errorf("%s: there is no vhid %d on it (make it: ifconfig %s inet ADDRESS vhid %d pass WORD alias)",
			c.Interface, *c.Carp.VHID, c.Interface, *c.Carp.VHID)
	}
	for unit := 0; ; unit++ {
		name := "carp" + strconv.Itoa(unit)
		if _, taken := n.carps[name]; !taken {
			return name, nil
		}
	}
}

// withCarp makes v what c asks for. The word is the one to blame for the error, also for one of the Host.
func (n *Node) withCarp(v *vhid, c ifconfig.Change) (word string, err error) {
	word = "vhid"
	w := c.Carp
	if w == nil {
		w = new(ifconfig.CarpChange)
	}
	if w.VHID != nil {
		v.VHID = uint8(*w.VHID)
	}
	if w.Pass != nil {
		v.Pass = w.Pass.Secret()
	}
	set(&v.AdvBase, w.AdvBase)
	set(&v.AdvSkew, w.AdvSkew)
	set(&v.CarpPeer, w.CarpPeer)
	set(&v.description, w.Description)
	if w.LLAddr != nil {
		if v.LLAddr, err = net.ParseMAC(*w.LLAddr); err != nil {
			return "lladdr", err
		}
	}
	if err := v.group(w); err != nil {
		return "group", err
	}
	for _, a := range w.Addresses {
		if err := v.address(a); err != nil {
			return string(a.Family), err
		}
		if a.Op != ifconfig.AddressDelete {
			v.Up = true // as the BSDs do with an address
		}
	}
	set(&v.Up, c.Up)
	if w.CarpDev != nil {
		v.CarpDev, v.picked = *w.CarpDev, *w.CarpDev == ""
		if _, err := n.cfg.InterfaceMTU(v.CarpDev); v.CarpDev != "" && err != nil {
			return "carpdev", fmt.Errorf("carpdev %s: no such interface", v.CarpDev)
		}
		word = "carpdev"
	}
	if (v.CarpDev == "" || v.picked) && (len(w.Addresses) > 0 || w.CarpDev != nil) {
		v.picked = true
		if v.CarpDev, err = n.pickCarpDev(v.Addresses); err != nil {
			return word, err
		}
	}
	return word, nil
}

func (v *vhid) group(w *ifconfig.CarpChange) error {
	if w.Group != nil && *w.Group != "carp" && !slices.Contains(v.Groups, *w.Group) {
		v.Groups = append(v.Groups, *w.Group)
	}
	if w.Ungroup == nil {
		return nil
	}
	switch i := slices.Index(v.Groups, *w.Ungroup); {
	case *w.Ungroup == "carp":
		return errors.New("-group carp: it is in this group by its name")
	case i < 0:
		return fmt.Errorf("-group %s: the interface is not in it", *w.Ungroup)
	default:
		v.Groups = slices.Delete(v.Groups, i, i+1)
	}
	return nil
}

// address adds an address, replaces the first one of its family, or takes one away.
func (v *vhid) address(a ifconfig.AddressChange) error {
	same := func(p netip.Prefix) bool { return p.Addr() == a.Prefix.Addr() }
	first := slices.IndexFunc(v.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == (a.Family == ifconfig.Inet) })
	at := slices.IndexFunc(v.Addresses, same)
	if a.Op == ifconfig.AddressDelete {
		if !a.Prefix.IsValid() {
			at = first
		}
		if at < 0 {
			return errors.New("SIOCDIFADDR: Can't assign requested address")
		}
		v.Addresses = slices.Delete(v.Addresses, at, at+1)
		return nil
	}
	switch {
	case at >= 0:
		v.Addresses[at] = a.Prefix
	case a.Op == ifconfig.AddressSet && a.Family == ifconfig.Inet && first >= 0:
		v.Addresses[first] = a.Prefix
	default:
		v.Addresses = append(v.Addresses, a.Prefix)
	}
	return nil
}

// pickCarpDev finds the interface that has one of the addresses in its network, as OpenBSD did and FreeBSD does.
// "": there is no address yet.
func (n *Node) pickCarpDev(addresses []netip.Prefix) (string, error) {
	if len(addresses) == 0 {
		return "", nil
	}
	list, err := n.cfg.Networks()
	if err != nil {
		return "", fmt.Errorf("carpdev: %w", err)
	}
	down := ""
	for _, a := range addresses {
		for _, i := range list {
			if i.Loopback || !i.Multicast || ifconfig.IsCarp(i.Name) || !slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Contains(a.Addr()) }) {
				continue
			}
			if i.Up {
				return i.Name, nil
			}
			down = i.Name
		}
	}
	if down != "" {
		return "", fmt.Errorf("%v: belongs to the network of %s, which is down (ifconfig %s up)", addresses[0].Addr(), down, down)
	}
	return "", fmt.Errorf("%v: no interface that is up has an address in its network (give one to it first, or name it: carpdev INTERFACE)", addresses[0].Addr())
}

// sameVHID tells whether nothing changes: then nothing is done, and no election disturbed.
func sameVHID(a, b vhid) bool {
	return a.VHID == b.VHID && a.Pass == b.Pass && a.AdvBase == b.AdvBase && a.AdvSkew == b.AdvSkew && a.CarpDev == b.CarpDev &&
		a.CarpPeer == b.CarpPeer && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.LLAddr, b.LLAddr) &&
		slices.Equal(a.Groups, b.Groups) && a.Up == b.Up && a.description == b.description && a.picked == b.picked
}

// runCarp works until ctx ends and masters have bowed out.
func (n *Node) runCarp(ctx context.Context) error {
	if n.host == nil {
		return nil
	}
	followed := make(chan struct{})
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(followed)
		n.transitions.follow(following, n.host.Transitions(), n.yield)
	}()
	err := n.host.Run(ctx)
	n.shares.end()
	stop()
	<-followed
	return err
}

// yield tells the engine that connections run elsewhere from now on.
func (n *Node) yield() {
	if err := n.engine.Yield(); err != nil && !errors.Is(err, engine.ErrStopped) {
		n.log.Warn("connections that come back may be called invalid", "err", err)
	}
}
