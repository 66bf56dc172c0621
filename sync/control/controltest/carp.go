package controltest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// changeCarp takes every setting of a carp interface. One with a vhid and an address is master at once.
// In FreeBSD's form carp0 is the only one. n.mu is held.
func (n *Node) changeCarp(c ifconfig.Change) error {
	name, parent := c.Interface, ""
	if !ifconfig.IsCarp(name) {
		name, parent = "carp0", c.Interface
	}
	at := slices.IndexFunc(n.carps, func(i ifconfig.Interface) bool { return i.Name == name })
	switch {
	case c.Create && at >= 0:
		return fmt.Errorf("%s: SIOCIFCREATE: File exists", name)
	case c.Destroy && at < 0:
		return fmt.Errorf("%s: SIOCIFDESTROY: Device not configured", name)
	case c.Destroy:
		n.carps = slices.Delete(n.carps, at, at+1)
		return nil
	case at < 0:
		n.carps = append(n.carps, ifconfig.Interface{Name: name, MTU: 1500, Groups: []string{"carp"},
			Flags: ifconfig.FlagBroadcast | ifconfig.FlagSimplex | ifconfig.FlagMulticast,
			Carp:  &ifconfig.Carp{Name: name, AdvBase: 1, CarpDev: parent, OnParent: parent != ""}})
		slices.SortFunc(n.carps, func(a, b ifconfig.Interface) int { return strings.Compare(a.Name, b.Name) })
		at = slices.IndexFunc(n.carps, func(i ifconfig.Interface) bool { return i.Name == name })
	}
	i := &n.carps[at]
	i.Inet, i.Inet6 = slices.Clone(i.Inet), slices.Clone(i.Inet6) // others have been shown the old ones
	up := i.Flags&ifconfig.FlagUp != 0
	if c.Carp != nil {
		applyCarp(i, c.Carp)
		up = up || len(c.Carp.Addresses) > 0
	}
	if c.Up != nil {
		up = *c.Up
	}
	i.Flags &^= ifconfig.FlagUp | ifconfig.FlagRunning
	i.Carp.State, i.Status = "INIT", "invalid"
	if up {
		i.Flags |= ifconfig.FlagUp
	}
	if up && i.Carp.VHID != 0 && len(i.Inet)+len(i.Inet6) > 0 {
		i.Flags |= ifconfig.FlagRunning
		i.Carp.State, i.Status = "MASTER", "master"
	}
	return nil
}

func applyCarp(i *ifconfig.Interface, c *ifconfig.CarpChange) {
	if c.VHID != nil {
		i.Carp.VHID, i.LLAddr = *c.VHID, fmt.Sprintf("00:00:5e:00:01:%02x", *c.VHID)
	}
	if c.AdvBase != nil {
		i.Carp.AdvBase = *c.AdvBase
	}
	if c.AdvSkew != nil {
		i.Carp.AdvSkew = *c.AdvSkew
	}
	if c.CarpDev != nil {
		i.Carp.CarpDev = *c.CarpDev
	}
	if c.CarpPeer != nil {
		i.Carp.CarpPeer = *c.CarpPeer
	}
	for _, a := range c.Addresses {
		list := &i.Inet
		if a.Family == ifconfig.Inet6 {
			list = &i.Inet6
		}
		*list = slices.DeleteFunc(*list, func(have ifconfig.Address) bool { return have.Prefix.Addr() == a.Prefix.Addr() })
		if a.Op != ifconfig.AddressDelete {
			*list = append(*list, ifconfig.Address{Prefix: a.Prefix, Broadcast: broadcast(a)})
		}
	}
}

func broadcast(a ifconfig.AddressChange) netip.Addr { return a.BroadcastAddr() }

// Demotion implements control.Node.
func (n *Node) Demotion() ([]ifconfig.Demotion, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := ifconfig.Demotion{Group: "carp", Count: n.demoted, Shares: []ifconfig.DemotionShare{}}
	if n.demoted > 0 {
		d.Shares = append(d.Shares, ifconfig.DemotionShare{Reason: "carpdemote", Count: n.demoted})
	}
	return []ifconfig.Demotion{d}, nil
}

// Demote implements control.Node. There is the group carp only.
func (n *Node) Demote(d ifconfig.Demote) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.Group != "carp" {
		return errors.New(d.Group + ": no carp interface is in this group")
	}
	n.demoted = max(0, n.demoted+d.Count)
	return nil
}

// HoldDemotion implements control.Node. It only remembers what was asked for.
func (n *Node) HoldDemotion(d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, fmt.Sprintf("hold %v", d))
	return nil
}

// Events lists the holds and the names of the interfaces that were changed, in their order.
func (n *Node) Events() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

// Yield implements control.Node.
func (n *Node) Yield() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.yields++
	return nil
}

// Yields is how often the node was told that another one carries the traffic.
func (n *Node) Yields() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.yields
}

// Tell makes the node tell of a transition.
func (n *Node) Tell(t ifconfig.Transition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.Number = uint64(len(n.transitions)) + 1
	n.transitions = append(n.transitions, t)
	if n.told != nil {
		close(n.told)
	}
	n.told = nil
}

// Transitions implements control.Node.
func (n *Node) Transitions(ctx context.Context, after uint64) (control.Transitions, error) {
	for {
		n.mu.Lock()
		last := uint64(len(n.transitions))
		t := control.Transitions{Last: last, List: slices.Clone(n.transitions[min(after, last):])}
		if n.told == nil {
			n.told = make(chan struct{})
		}
		told := n.told
		n.mu.Unlock()
		if len(t.List) > 0 || after > last {
			return t, nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			t.List = []ifconfig.Transition{}
			return t, nil
		}
	}
}

// shownCarps copies what may change. n.mu is held.
func (n *Node) shownCarps() []ifconfig.Interface {
	list := slices.Clone(n.carps)
	for i := range list {
		c := *list[i].Carp
		list[i].Carp = &c
	}
	return list
}
