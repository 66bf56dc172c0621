package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
)

// peers judges the other firewalls.
func (r *report) peers() {
	if r.dev() == "" || r.PFSync0.Flags&ifconfig.FlagUp == 0 {
		return
	}
	if len(r.Status.Peers) == 0 {
		what, ip := "no other firewall is heard", "ip"
		if r.syncpeer().Is6() {
			ip = "ip6"
		}
		remedy := "run pfsyncctl check there; tcpdump -ni " + r.dev() + " " + ip + " proto 240 shows what arrives"
		if !r.group() {
			remedy += "; if that comes to a multicast group, set a syncpeer there too, or none here"
		}
		if n := r.Counters["badauth"]; n > 0 {
			what = fmt.Sprintf("no other firewall is heard: %d packets had another key or none", n)
			remedy = "give all firewalls the same key: ifconfig pfsync0 key /etc/pfsync.key"
		}
		r.add(Error, "no-peer", r.dev(), what, remedy)
	}
	for _, p := range r.Status.Peers {
		r.peer(p)
	}
	if r.Status.Bulk == "listening" && r.Status.Table == "conntrack" {
		r.add(Warning, "listen", "pfsync0", "only listens: no other firewall learns of the connections here", "ifconfig pfsync0 -listen")
	}
	if b := r.Status.Bulk; b == "failed" {
		r.add(Warning, "bulk", "pfsync0", "the states of before were asked for and did not come",
			"they are asked for again when a peer is heard; or now: pfsyncctl bulk")
	}
}

func (r *report) peer(p ifconfig.Peer) {
	where := p.Addr.String()
	if strings.HasPrefix(p.Kind, "version") {
		r.add(Error, "dialect", where, "speaks pfsync "+p.Kind+", which is not understood",
			"use version 6 there: OpenBSD 5.0 or later, pfsyncd, or FreeBSD's own")
		return
	}
	switch p.State {
	case "dead":
		r.add(Error, "dead", where, fmt.Sprintf("has not been heard for %.0f seconds", seconds(p.Age)),
			"see whether it runs, then the cable, then its rules: pfsyncctl check there")
		return // the rest is of before
	case "stale":
		r.add(Warning, "stale", where, fmt.Sprintf("has not been heard for %.0f seconds", seconds(p.Age)),
			"see whether packets are lost: pfsyncctl stats there")
	}
	for _, problem := range p.Problems {
		if n, ok := Refused(problem); ok {
			r.add(Error, "refused", where, fmt.Sprintf("%d of its states are refused here", n), r.whyRefused())
			continue
		}
		switch problem {
		case "does not hear us":
			r.add(Error, "one-way", where, "is heard and does not hear us",
				"let protocol 240 in there, set a syncpeer on both firewalls or on none: pfsyncctl check there")
		case "uses our creatorid":
			r.add(Error, "creatorid", where, fmt.Sprintf("uses our creatorid %v", ifconfig.CreatorID(r.Status.Creator)),
				"give one of them another: pfsyncd --hostid HEX, or remove its --state-dir before it is started")
		case "its packets are not understood":
			r.add(Error, "dialect", where, "sends packets that are not understood", "use pfsync version 6 there")
		default: // of a daemon that is newer than this program
			r.add(Error, "peer", where, problem, "see pfsyncctl(8) and the log of pfsyncd")
		}
	}
	switch {
	case p.Sync == "no" && r.Status.Bulk == "listening":
		r.add(Note, "not-in-sync", where, "of its states some are not known here, or have ended there",
			"pfsync0 only listens, and cannot ask for them; it goes by itself as they end")
	case p.Sync == "no":
		r.add(Warning, "not-in-sync", where, "its states and our copies of them differ at the moment",
			"wait some seconds; if it stays: pfsyncctl stats, and pfsyncctl check there")
	}
}

// whyRefused says what to do about states that the table does not take.
func (r *report) whyRefused() string {
	switch {
	case r.full() || r.Counters["tablefull"] > 0:
		return "raise net.netfilter.nf_conntrack_max, the same on all firewalls"
	case r.Counters["peerlimit"] > 0:
		return "raise --peer-states of pfsyncd, or net.netfilter.nf_conntrack_max"
	}
	return "see table_refused... in pfsyncctl stats -a, and the log of pfsyncd"
}

// Refused reads how many states of a peer are refused out of the peer's problem that says so.
func Refused(problem string) (n int, ok bool) {
	count, found := strings.CutSuffix(problem, " of its states are refused here")
	n, err := strconv.Atoi(count)
	return n, found && err == nil
}

func seconds(s ifconfig.Seconds) float64 { return float64(s) / 1e9 }

// nearlyFull is the part of the table, in per cent, from which on it is time to raise its limit.
const nearlyFull = 90

func (r *report) full() bool {
	return r.Status.Limit > 0 && r.Status.Entries >= r.Status.Limit/100*nearlyFull
}

// eventBuffer is what pfsyncd asks of the kernel for the events of its table, in bytes.
const eventBuffer = conntrack.DefaultReadBuffer

// table judges the kernel's table of connections.
func (r *report) table() {
	const limit = "net.netfilter.nf_conntrack_max"
	if r.full() {
		r.add(Warning, "table-full", limit, fmt.Sprintf("the table has %d of %d entries", r.Status.Entries, r.Status.Limit),
			"raise it on all firewalls: sysctl -w "+limit+"="+strconv.Itoa(2*r.Status.Limit))
	}
	for _, p := range r.Status.Peers {
		if r.Status.Limit > 0 && p.States > r.Status.Limit/2 {
			r.add(Warning, "peer-states", p.Addr.String(),
				fmt.Sprintf("answers for %d states, and the table here takes %d in all", p.States, r.Status.Limit),
				"raise it here to what it is there: sysctl -w "+limit+"="+strconv.Itoa(2*r.Status.Limit))
		}
	}
	if r.Status.Table != "conntrack" {
		r.add(Note, "memory", "pfsyncd", "keeps the states in memory: it only watches", "start it without --table "+r.Status.Table+" to share connections")
		return
	}
	if n, known := r.Counters["table_read_buffer_bytes"]; known && n < eventBuffer {
		r.add(Warning, "event-buffer", "pfsyncd", fmt.Sprintf("has %d KiB for events of the table instead of %d", n>>10, eventBuffer>>10),
			"let it have CAP_NET_ADMIN in the first user namespace, or raise net.core.rmem_max to "+strconv.Itoa(eventBuffer))
	}
	if r.Rules != nil && !r.Rules.NAT() {
		r.add(Warning, "nat-chain", "inet pfsyncd", "there is no chain of type nat: copies of translated connections are not translated",
			"start pfsyncd anew, and do not remove its table: flush your own tables instead of the ruleset")
	}
}

// counted are counters that should stand still. What they count is of the past, so none is an error: those have checks
// of their own.
var counted = []struct {
	counter, name, remedy string
}{
	{"badauth", "key", "give all firewalls the same key: ifconfig pfsync0 key /etc/pfsync.key"},
	{"badttl", "ttl", "they were routed: put both firewalls on one network"},
	{"badpeer", "not-the-syncpeer", "its log names one; for more than two firewalls let all have no syncpeer: ifconfig pfsync0 -syncpeer"},
	{"toomanypeers", "peers", "see who else sends protocol 240 on the syncdev"},
	{"overruns", "overruns", "a dump mended it; raise net.core.rmem_max, or give pfsyncd more of the processor"},
	{"link_receive_drops", "receive-drops", "what was lost is asked for again; give pfsyncd more of the processor"},
	{"link_send_refused", "send-refused", "let protocol 240 out: pfsync(4) has the rules"},
	{"link_send_toobig", "send-toobig", "make the mtu of the syncdev the same on all firewalls and switches"},
	{"tablefull", "table-full", "raise net.netfilter.nf_conntrack_max, the same on all firewalls"},
	{"peerlimit", "peer-limit", "raise --peer-states of pfsyncd"},
	{"hold_restored", "defer-rules", "do not remove the table inet pfsyncd_hold: flush your own tables instead of the ruleset"},
	{"table_nat_hooks_failed", "nat-hooks", "load the module nft_chain_nat, or any rule of iptables's nat table"},
}

func (r *report) counts() {
	for _, c := range counted {
		if n := r.Counters[c.counter]; n > 0 && !(c.counter == "badauth" && len(r.Status.Peers) == 0) {
			r.add(Warning, c.name, c.counter, fmt.Sprintf("counted %d since pfsyncd began: %s", n, meaning[c.counter]), c.remedy)
		}
	}
}

// meaning is what the counters count, in fewer words than pfsyncctl stats has.
var meaning = map[string]string{
	"badauth":                "packets with another key or none",
	"badttl":                 "packets that passed a router",
	"badpeer":                "packets of others than the syncpeer",
	"toomanypeers":           "packets of more firewalls than are remembered",
	"overruns":               "times that events of the table were lost",
	"link_receive_drops":     "packets lost because they were read too slowly",
	"link_send_refused":      "packets that a rule of this firewall refused",
	"link_send_toobig":       "packets larger than the mtu",
	"tablefull":              "states refused because the table was full",
	"peerlimit":              "states refused because their peer has too many",
	"hold_restored":          "times that the rules which hold first packets were removed",
	"table_nat_hooks_failed": "times that the table inet pfsyncd could not be made",
}
