package ifconfig

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// print adds the line of a carp interface.
func (c *Carp) print(b *strings.Builder) {
	fmt.Fprintf(b, "\tcarp: %s carpdev %s vhid %d advbase %d advskew %d", c.State, Shown(cmp.Or(c.CarpDev, "none")), c.VHID, c.AdvBase, c.AdvSkew)
	if c.CarpPeer.IsValid() && c.CarpPeer != multicastCarp {
		fmt.Fprintf(b, " carppeer %v", c.CarpPeer)
	}
	b.WriteByte('\n')
}

// printVHIDs adds what was configured in FreeBSD's form, as FreeBSD shows it.
func (i *Interface) printVHIDs(b *strings.Builder) {
	for _, v := range i.VHIDs {
		if !v.OnParent {
			continue
		}
		v.printLine(b)
		for _, a := range v.Addresses {
			a.printVirtual(b, i.Name, "%x", v.VHID)
		}
	}
}

// multicastCarp6 is where adverts of IPv6 go.
var multicastCarp6 = netip.MustParseAddr("ff02::12")

func (c *Carp) printFreeBSD(b *strings.Builder) {
	c.printLine(b)
	peer := c.CarpPeer
	if !peer.IsValid() {
		peer = multicastCarp
	}
	fmt.Fprintf(b, "\t      peer %v peer6 %v\n", peer, multicastCarp6)
}

func (c *Carp) printLine(b *strings.Builder) {
	fmt.Fprintf(b, "\tcarp: %s vhid %d advbase %d advskew %d\n", c.State, c.VHID, c.AdvBase, c.AdvSkew)
}

// printVirtual writes an address with its vhid behind it.
func (a *Address) printVirtual(b *strings.Builder, name, netmask string, vhid int) {
	var line strings.Builder
	if a.Prefix.Addr().Is4() {
		a.printInet(&line, netmask)
	} else {
		a.printInet6(&line, name)
	}
	fmt.Fprintf(b, "%s vhid %d\n", strings.TrimSuffix(line.String(), "\n"), vhid)
}

// jsonCarp is a vhid of the JSON display.
type jsonCarp struct {
	Name      string         `json:"name"`
	VHID      int            `json:"vhid"`
	State     string         `json:"state"`
	CarpDev   string         `json:"carpdev"`
	AdvBase   int            `json:"advbase"`
	AdvSkew   int            `json:"advskew"`
	Peer      netip.Addr     `json:"peer"`
	Demotion  int            `json:"demotion"`
	Master    netip.Addr     `json:"master,omitzero"`
	Why       string         `json:"why,omitempty"`
	Since     Seconds        `json:"since"`
	Changes   uint64         `json:"changes"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

func (c *Carp) json() jsonCarp {
	j := jsonCarp{
		Name: c.Name, VHID: c.VHID, State: c.State, CarpDev: c.CarpDev, AdvBase: c.AdvBase, AdvSkew: c.AdvSkew, Peer: c.CarpPeer,
		Demotion: c.Demotion, Master: c.Master, Why: c.Why, Since: c.Since, Changes: c.Changes,
	}
	if !j.Peer.IsValid() {
		j.Peer = multicastCarp
	}
	for _, a := range c.Addresses {
		j.Addresses = append(j.Addresses, a.Prefix)
	}
	return j
}

// AddCarp puts the interfaces of pfsyncd in the place of the kernel's of the same name, and behind
// the others those that the kernel has not yet. Each vhid is named on its carpdev too.
func AddCarp(all, owned []Interface) []Interface {
	at := map[string]int{}
	for n, i := range all {
		at[i.Name] = n
	}
	for _, o := range owned {
		if o.Carp == nil {
			continue
		}
		v := *o.Carp
		v.Addresses = append(append([]Address{}, o.Inet...), o.Inet6...)
		if n, ok := at[v.CarpDev]; ok {
			all[n].VHIDs = append(all[n].VHIDs, v)
		}
		n, ok := at[o.Name]
		if !ok {
			all = append(all, o)
			continue
		}
		o.Index, o.AltNames = all[n].Index, all[n].AltNames
		all[n] = o
	}
	return all
}

// WithoutCarp is FreeBSD's view: what is a vhid of an interface there is no interface of its own.
func WithoutCarp(all []Interface) []Interface {
	var list []Interface
	shown := map[string]bool{}
	for _, i := range all {
		for _, v := range i.VHIDs {
			shown[v.Name] = true
		}
	}
	for _, i := range all {
		if !shown[i.Name] {
			list = append(list, i)
		}
	}
	return list
}
