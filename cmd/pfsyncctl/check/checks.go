package check

import (
	"fmt"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// checks are all there are, in their order.
var checks = []struct {
	name  string
	asked bool // of what pfsyncd says
	look  func(*report)
	// right says what is so where nothing is wrong; "": it could not be judged.
	right func(*report) (where, what string)
}{
	{"daemon", false, (*report).daemon, func(*report) (string, string) { return "pfsyncd", "answers" }},
	{"pfsync0", true, (*report).device, func(r *report) (string, string) {
		return "pfsync0", "is up, its syncdev is " + r.dev()
	}},
	{"syncdev", true, (*report).syncdev, func(r *report) (string, string) {
		l, ok := r.Links[r.dev()]
		own := r.addrs(l)
		if !ok || len(own) == 0 {
			return "", ""
		}
		return r.dev(), fmt.Sprintf("is up, with the address %v and an mtu of %d", own[0], l.MTU)
	}},
	{"rp-filter", true, (*report).reversePath, func(r *report) (string, string) {
		if _, ok := r.Links[r.dev()]; !ok || len(r.addresses()) == 0 || r.syncpeer().Is6() {
			return "", ""
		}
		return r.dev(), "rp_filter lets the packets of the other firewalls in"
	}},
	{"exposed", true, (*report).exposure, func(r *report) (string, string) {
		_, there := r.Links[r.dev()]
		switch {
		case !there:
			return "", ""
		case r.keyed():
			return r.dev(), "packets are taken from those alone who have the key"
		}
		return r.dev(), "no stranger was seen on it, and the default route leads elsewhere"
	}},
	{"peers", true, (*report).peers, func(r *report) (string, string) {
		var all []string
		for _, p := range r.Status.Peers {
			one := "is heard, and hears us"
			if p.Kind != "linux" {
				one = "is heard"
			}
			if p.Sync == "yes" {
				one += ", and its states are the same there and here"
			}
			all = append(all, p.Addr.String()+" "+one)
		}
		if r.dev() == "" || r.PFSync0.Flags&ifconfig.FlagUp == 0 {
			return "", ""
		}
		return "peers", strings.Join(all, "; ")
	}},
	{"table", true, (*report).table, func(r *report) (string, string) {
		if r.Status.Limit == 0 {
			return "", ""
		}
		return "state table", fmt.Sprintf("has %d of %d entries", r.Status.Entries, r.Status.Limit)
	}},
	{"defer", true, (*report).deferral, func(r *report) (string, string) {
		if r.PFSync0 == nil || r.PFSync0.PFSync == nil {
			return "", ""
		}
		switch r.PFSync0.PFSync.DeferState {
		case ifconfig.DeferHolding:
			return "defer", "first packets are held until a peer knows their connection"
		case ifconfig.DeferEarly:
			return "defer", "first packets are held until a peer knows their connection, which the kernel gives with them"
		}
		return "", ""
	}},
	{"carp", true, (*report).carp, func(r *report) (string, string) {
		if len(r.Carps) == 0 {
			return "", ""
		}
		return "carp", fmt.Sprintf("%d carp interfaces take part", len(r.Carps))
	}},
	{"counters", true, (*report).counts, func(*report) (string, string) {
		return "counters", "nothing was lost or refused since pfsyncd began"
	}},
	{"rules", false, (*report).rules, func(r *report) (string, string) {
		if r.Rules == nil || r.dev() == "" {
			return "", ""
		}
		return "nftables", "protocol 240 passes in and out on " + r.dev()
	}},
	{"sysctls", false, (*report).sysctls, func(r *report) (string, string) {
		if _, ok := r.Sysctls[sysctlEvents]; !ok {
			return "", ""
		}
		return "net.netfilter", "the sysctls of connections are as they should be"
	}},
	{"others", false, (*report).others, func(*report) (string, string) {
		return "conntrackd", "does not run here"
	}},
}
