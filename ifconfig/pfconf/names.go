package pfconf

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// foreignLines begin lines that pf has and we have not.
var foreignLines = map[string]string{
	"block": filtering, "antispoof": filtering, "scrub": filtering,
	"nat": translation, "rdr": translation, "binat": translation, "no": translation,
	"queue": "use tc", "altq": "use tc",
	"anchor": anchors, "load": anchors, "nat-anchor": anchors, "rdr-anchor": anchors, "binat-anchor": anchors,
}

const (
	filtering   = "use nftables for filtering"
	translation = "use nftables for translation"
	routing     = "use nftables and ip rule"
	anchors     = "put the rules here, or into a file with include"
	unknowable  = "a connection does not tell"
)

// foreignWords stand in pf's rules, not in ours.
var foreignWords = map[string]string{
	"nat-to": translation, "rdr-to": translation, "binat-to": translation, "af-to": translation,
	"route-to": routing, "reply-to": routing, "dup-to": routing, "rtable": routing, "rdomain": routing,
	"divert-to": filtering, "divert-reply": filtering, "divert-packet": filtering,
	"scrub": filtering, "queue": "use tc", "set": filtering, "prio": "use tc", "once": filtering,
	"allow-opts": filtering, "fragment": filtering, "max-pkt-rate": filtering, "probability": filtering, "return": filtering,
	"user": unknowable, "group": unknowable, "os": unknowable, "received-on": unknowable, "tos": unknowable,
	"tagged": "mark in nftables and use 'set no-sync mark'", "!": "mark in nftables and use 'set no-sync mark'",
}

var foreignSettings = map[string]string{
	"block-policy": filtering, "loginterface": "remove it", "optimization": "remove it", "ruleset-optimization": "remove it",
	"debug": "remove it", "fingerprints": "remove it", "reassemble": "remove it", "require-order": "remove it",
	"syncookies": "use sysctl net.ipv4.tcp_syncookies", "delay": "remove it", "keepcounters": "remove it", "prio": "use tc", "queue": "use tc",
}

var foreignLimits = []string{"frags", "src-nodes", "tables", "table-entries", "anchors", "pktdelay-pkts"}

// foreignHosts stand in the place of an address.
var foreignHosts = map[string]string{
	"self": "name the interfaces", "no-route": routing, "urpf-failed": "use sysctl net.ipv4.conf.all.rp_filter", "route": routing,
}

// timeouts are pf's names of them.
var timeouts = []string{
	"tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed", "tcp.tsdiff",
	"sctp.first", "sctp.opening", "sctp.established", "sctp.closing", "sctp.closed",
	"udp.first", "udp.single", "udp.multiple", "icmp.first", "icmp.error", "other.first", "other.single", "other.multiple",
	"frag", "interval", "adaptive.start", "adaptive.end", "src.track",
}

// protocols by the names people write in pf.conf; /etc/protocols has more.
var protocols = map[string]uint8{
	"icmp": pfstate.ProtoICMP, "igmp": pfstate.ProtoIGMP, "ipencap": 4, "tcp": pfstate.ProtoTCP, "udp": pfstate.ProtoUDP,
	"dccp": 33, "ipv6": 41, "gre": pfstate.ProtoGRE, "esp": 50, "ah": 51, "icmp6": pfstate.ProtoICMPv6, "ipv6-icmp": pfstate.ProtoICMPv6,
	"ospf": 89, "ipip": 94, "etherip": 97, "pim": 103, "carp": pfstate.ProtoCARP, "vrrp": pfstate.ProtoCARP, "l2tp": 115,
	"sctp": pfstate.ProtoSCTP, "udplite": 136, "pfsync": pfstate.ProtoPFSync,
}

// hasPorts tells whether conntrack knows the ports of the protocol.
func hasPorts(proto uint8) bool {
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoSCTP, 33, 136: // dccp, udplite
		return true
	}
	return false
}

// services are those that rules are most often about; /etc/services has more.
var services = map[string]uint16{
	"ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69,
	"http": 80, "www": 80, "pop3": 110, "sunrpc": 111, "ntp": 123, "imap": 143, "snmp": 161, "snmptrap": 162, "bgp": 179, "ldap": 389,
	"https": 443, "submission": 587, "imaps": 993, "pop3s": 995, "isakmp": 500, "syslog": 514, "ipsec-nat-t": 4500, "mysql": 3306, "sip": 5060,
}

// queries are the types that a connection of ICMP begins with.
var queries = map[uint8]map[string]uint8{
	pfstate.ProtoICMP:   {"echoreq": 8, "timereq": 13, "inforeq": 15, "maskreq": 17},
	pfstate.ProtoICMPv6: {"echoreq": 128, "fqdnreq": 139, "niqry": 139, "wrureq": 139},
}

// lines gives the words of each line of /etc/protocols and its like, without comments, which is read when first
// needed. A file that cannot be read has no lines.
func (p *parser) lines(path string) [][]string {
	if lines, ok := p.known[path]; ok || p.ReadFile == nil {
		return lines
	}
	var lines [][]string
	text, err := p.ReadFile(path)
	if err == nil {
		for line := range bytes.Lines(text) {
			line, _, _ = bytes.Cut(line, []byte{'#'})
			if words := strings.Fields(string(line)); len(words) > 1 {
				lines = append(lines, words)
			}
		}
	}
	if p.known == nil {
		p.known = map[string][][]string{}
	}
	p.known[path] = lines
	return lines
}

// protocol looks a name or a number up.
func (p *parser) protocol(name string) (uint8, bool) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return uint8(n), n != 0
	}
	if n, ok := protocols[name]; ok {
		return n, true
	}
	for _, words := range p.lines("/etc/protocols") {
		if n, err := strconv.ParseUint(words[1], 10, 8); err == nil && n != 0 && named(words, name) {
			return uint8(n), true
		}
	}
	return 0, false
}

// named tells whether name is the first word of a line or one behind the second.
func named(words []string, name string) bool {
	for i, w := range words {
		if w == name && i != 1 {
			return true
		}
	}
	return false
}

// service looks the name of a port up. As in pf the protocol makes no difference.
func (p *parser) service(name string) (uint16, bool) {
	if n, ok := services[name]; ok {
		return n, true
	}
	for _, words := range p.lines("/etc/services") {
		port, _, _ := strings.Cut(words[1], "/")
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 0 && named(words, name) {
			return uint16(n), true
		}
	}
	return 0, false
}

// host looks a name up in /etc/hosts, as often as it stands there. There is no DNS: at boot it would have to
// pass the firewall that is being set up.
func (p *parser) host(name string) []netip.Prefix {
	var found []netip.Prefix
	for _, words := range p.lines("/etc/hosts") {
		addr, err := netip.ParseAddr(words[0])
		if err != nil || addr.Zone() != "" {
			continue
		}
		for _, w := range words[1:] {
			if strings.EqualFold(w, name) {
				addr = addr.Unmap()
				found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
				break
			}
		}
	}
	return found
}
