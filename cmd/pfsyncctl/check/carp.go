package check

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// carp judges the shared addresses, if there are any.
func (r *report) carp() {
	idle := 0
	for _, i := range r.Carps {
		c := i.Carp
		if c.State == "INIT" {
			idle++
			r.add(Warning, "carp-init", i.Name, "takes no part: "+whyInit(i), "ifconfig "+i.Name+" shows what it has; it needs to be up, a vhid, an address and a carpdev with a carrier")
			continue
		}
		if c.State == "MASTER" && c.Master.IsValid() {
			r.add(Error, "carp-two-masters", i.Name, fmt.Sprintf("is master, and hears %v as master of vhid %d too", c.Master, c.VHID),
				"see whether both hear each other: pfsyncctl check there; their pass and addresses must be the same")
		}
		if c.NoPass {
			r.add(Warning, "carp-pass", i.Name, "has no password: strangers on "+ifconfig.Shown(c.CarpDev)+" can take its addresses",
				"give the same one to all firewalls: ifconfig "+i.Name+" pass WORD")
		}
		if c.Demotion > 0 {
			r.add(Note, "carp-demoted", i.Name, fmt.Sprintf("is demoted by %d", c.Demotion), "pfsyncctl demotion tells why")
		}
	}
	if len(r.Carps) > 0 && idle == len(r.Carps) {
		r.add(Error, "carp-none", "carp", "no shared address can be served here", "see the lines before")
	}
	if n := r.Counters["carp_badauth"]; n > 0 && len(r.Carps) > 0 {
		r.add(Warning, "carp-auth", "carp", fmt.Sprintf("%d adverts had another password or other addresses", n),
			"a vhid must have the same pass and the same addresses on all firewalls; or another network uses the same vhid")
	}
}

func whyInit(i ifconfig.Interface) string {
	switch c := i.Carp; {
	case c.Why != "":
		return c.Why
	case i.Flags&ifconfig.FlagUp == 0:
		return "it is down"
	case c.CarpDev == "":
		return "it has no carpdev"
	}
	return "its carpdev " + ifconfig.Shown(i.Carp.CarpDev) + " cannot be used"
}
