package ifconfig

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// printFreeBSD is print in FreeBSD's form: other words and another order. Nothing is shown
// that it would not show.
func (i *Interface) printFreeBSD(b *strings.Builder) {
	fmt.Fprintf(b, "%s: flags=%v metric 0 mtu %d\n", Shown(i.Name), i.Flags, i.MTU)
	if i.Description != "" {
		fmt.Fprintf(b, "\tdescription: %s\n", Shown(i.Description))
	}
	if i.LLAddr != "" {
		fmt.Fprintf(b, "\tether %s\n", i.LLAddr)
	}
	for _, a := range i.Inet {
		a.printInet(b, "%08x")
	}
	for _, a := range i.Inet6 {
		a.printInet6(b, i.Name)
	}
	for _, v := range i.VHIDs {
		for _, a := range v.Addresses {
			a.printVirtual(b, i.Name, "%08x", v.VHID)
		}
	}
	if i.Carp != nil {
		i.Carp.printFreeBSD(b)
	}
	for _, v := range i.VHIDs {
		v.printFreeBSD(b)
	}
	groups := i.Groups
	if p := i.PFSync; p != nil {
		p.printFreeBSD(b)
		groups = slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == "carp" })
	}
	if len(groups) > 0 {
		fmt.Fprintf(b, "\tgroups: %s\n", strings.Join(groups, " "))
	}
	if i.Media != "" {
		fmt.Fprintf(b, "\tmedia: %s\n", i.Media)
	}
	if i.Status != "" && i.PFSync == nil {
		fmt.Fprintf(b, "\tstatus: %s\n", i.Status)
	}
}

func (p *PFSync) printFreeBSD(b *strings.Builder) {
	if p.Syncdev != "" {
		fmt.Fprintf(b, "\tsyncdev: %s ", p.Syncdev)
	} else {
		b.WriteByte('\t')
	}
	if p.Syncpeer.IsValid() && p.Syncpeer != multicastPeer {
		fmt.Fprintf(b, "syncpeer: %v ", p.Syncpeer)
	}
	fmt.Fprintf(b, "maxupd: %d defer: %s version: %s\n", p.MaxUpd, onOff(p.Defer), cmp.Or(p.Version, versionOpenBSD))
	fmt.Fprintf(b, "\tsyncok: %d\n", bit(p.SyncOK))
}
