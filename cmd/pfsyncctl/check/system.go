package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// These are the sysctls that are looked at.
const (
	sysctlEvents  = "net.netfilter.nf_conntrack_events"
	sysctlLoose   = "net.netfilter.nf_conntrack_tcp_loose"
	sysctlLiberal = "net.netfilter.nf_conntrack_tcp_be_liberal"
)

// rules asks what the firewall's own rules make of pfsync's packets.
func (r *report) rules() {
	if r.LegacyRules {
		r.add(Note, "legacy-rules", "iptables-legacy", "has rules, which are not looked at here",
			"iptables-legacy-save shows them; let protocol 240 in and out on the syncdev")
	}
	if r.Rules == nil {
		what := "rules cannot be read"
		if r.RulesErr != nil {
			what += ": " + r.RulesErr.Error()
		}
		r.add(Note, "rules-unread", "nftables", what, "run pfsyncctl check as root")
		return
	}
	dev := r.dev()
	if dev == "" {
		return
	}
	in, out := r.Rules.judge(r.input(dev)), r.Rules.judge(r.output(dev))
	if in.dropped {
		r.blocked("input-blocked", in, fmt.Sprintf("%s packets of protocol 240 that come in on %s", drops(in), dev),
			fmt.Sprintf(`nft insert rule %s iifname %s meta l4proto 240 accept`, in.chain, dev))
	}
	if out.dropped {
		r.blocked("output-blocked", out, fmt.Sprintf("%s packets of protocol 240 that go out on %s", drops(out), dev),
			fmt.Sprintf(`nft insert rule %s oifname %s meta l4proto 240 accept`, out.chain, dev))
	}
	if _, conntrack := r.Sysctls[sysctlEvents]; conntrack && (in.tracked || out.tracked) {
		r.add(Note, "tracked", dev, "pfsync's own packets are tracked as a connection",
			"notrack them: pfsyncctl print-rules")
	}
	r.elsewhere(dev)
	if r.Rules.flowtables {
		r.add(Note, "flowtable", "nftables", "connections in flowtables are seen late, and their ends too",
			"expect them on the other firewall with the timeouts of their last change")
	}
}

func (r *report) blocked(name string, o outcome, what, remedy string) {
	level := Error
	if o.unsure {
		level = Warning
	}
	r.add(level, name, o.chain, what, remedy)
}

func drops(o outcome) string {
	if o.unsure {
		return "may drop (some of its matches are not understood here)"
	}
	if o.policy {
		return "has the policy drop and no rule for"
	}
	return "drops"
}

// elsewhere finds other interfaces on which protocol 240 is let in. pfsyncd does not listen
// there; it is one change of the syncdev away from doing so.
func (r *report) elsewhere(dev string) {
	var open []string
	for _, name := range slices.Sorted(maps.Keys(r.Links)) {
		l := r.Links[name]
		if name == dev || name == "pfsync0" || l.Loopback || !l.Up || len(r.addrs(l)) == 0 {
			continue
		}
		if o := r.Rules.judge(r.input(name)); !o.dropped && !o.unsure {
			open = append(open, ifconfig.Shown(name))
		}
	}
	if len(open) > 0 && !r.keyed() {
		r.add(Note, "open", strings.Join(open, ","), "protocol 240 is let in there too, where it has no business",
			"nft add rule to your input chain: meta l4proto 240 drop, behind what lets in that of "+dev)
	}
}

// sysctls judges the kernel's settings for connections.
func (r *report) sysctls() {
	if v, ok := r.Sysctls[sysctlEvents]; ok && r.Daemon == nil && r.Status.Table == "conntrack" { // pfsyncd sets it when it starts
		switch v {
		case 1:
		case 0:
			r.add(Error, "events", sysctlEvents, "is 0: new connections are never told of", "sysctl -w "+sysctlEvents+"=1")
		default:
			r.add(Warning, "events", sysctlEvents, fmt.Sprintf("is %d: connections made while pfsyncd does not run are never told of", v),
				"sysctl -w "+sysctlEvents+"=1")
		}
	}
	if v := r.Sysctls[sysctlLoose]; v != 0 {
		r.add(Warning, "tcp-loose", sysctlLoose, fmt.Sprintf("is %d: connections are picked up in their middle, often reversed", v),
			"sysctl -w "+sysctlLoose+"=0 on all firewalls")
	}
	if v := r.Sysctls[sysctlLiberal]; v != 0 {
		r.add(Note, "tcp-be-liberal", sysctlLiberal, fmt.Sprintf("is %d: windows of no connection are checked", v),
			"pfsyncd needs it not: it is liberal with the copies alone; sysctl -w "+sysctlLiberal+"=0")
	}
}

// others looks for programs that do the same.
func (r *report) others() {
	if r.Conntrackd {
		r.add(Error, "conntrackd", "conntrackd", "runs here too: both write the same table", "stop one of them: systemctl disable --now conntrackd")
	}
}
