// Package check names what is wrong with the set-up of a firewall that runs pfsyncd, and what to
// do about it: pfsyncctl check. Gather looks, Run judges what was seen; Run asks nobody.
package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// Level tells how bad a Finding is.
type Level string

// The levels, worst first.
const (
	Error   Level = "error"   // states are not shared, or strangers can add some
	Warning Level = "warning" // states may be lost, now or at a take-over
	Note    Level = "note"    // good to know
	OK      Level = "ok"      // nothing is wrong; only All has such
)

// Finding is one thing that is wrong. Its JSON is that of pfsyncctl check --json: fields are
// added, never renamed.
type Finding struct {
	Name   string `json:"name"` // of the kind of finding, for scripts: one word
	Level  Level  `json:"level"`
	Where  string `json:"where"`  // an interface, a peer's address, a sysctl, a chain, a counter
	What   string `json:"what"`   // what is wrong
	Remedy string `json:"remedy"` // what to do, without a full stop; "" of what is ok
}

// String is the line that is printed.
func (f Finding) String() string {
	if f.Level == OK {
		return fmt.Sprintf("%s: %s: %s", f.Level, f.Where, f.What)
	}
	return fmt.Sprintf("%s: %s: %s; %s", f.Level, f.Where, f.What, f.Remedy)
}

// Snapshot is a firewall at one moment.
type Snapshot struct {
	Daemon   error                // why pfsyncd cannot be asked; nil: what follows is its answer
	PFSync0  *ifconfig.Interface  // nil: there is none
	Carps    []ifconfig.Interface // those of carp
	Status   control.Status
	Counters map[string]uint64

	Links      map[string]Link   // by name
	LinksErr   error             // why there are none
	Defaults   []string          // interfaces with a default route
	Routes     map[string]string // from a peer's address to the interface towards it, "" if none
	Neighbours []netip.Addr      // hosts on syncdev that were reached

	Sysctls map[string]int // by name; what this kernel lacks is not there

	Rules       *Rules // nftables' rules; nil: they could not be read
	RulesErr    error  // why
	LegacyRules bool   // there are rules of the old iptables, which are not looked at
	Conntrackd  bool   // it runs in this network namespace
}

// Link is a Linux interface.
type Link struct {
	MTU       int
	Up        bool
	Running   bool // up, and the carrier is there
	Multicast bool
	Loopback  bool
	Addrs     []netip.Prefix // IPv4
	Addrs6    []netip.Prefix // IPv6, those that can be used already
	RPFilter  int            // as it counts: the larger one of the interface's and of all's
}

// Run judges s. The findings are in the order of their checks: from pfsyncd to the
// link, the rules, the peers, the table.
func Run(s *Snapshot) []Finding {
	return slices.DeleteFunc(All(s), func(f Finding) bool { return f.Level == OK })
}

// All is Run that also tells what is right.
func All(s *Snapshot) []Finding {
	r := &report{Snapshot: s, findings: []Finding{}}
	for _, c := range checks {
		if c.asked && r.Daemon != nil {
			continue
		}
		before := len(r.findings)
		c.look(r)
		if wrong := Worst(r.findings[before:]); wrong != "" && wrong != Note {
			continue
		}
		if where, what := c.right(r); what != "" {
			r.add(OK, c.name, where, what, "")
		}
	}
	return r.findings
}

// Worst is the worst level among findings, "" if there are none.
func Worst(findings []Finding) Level {
	for _, l := range []Level{Error, Warning, Note} {
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == l }) {
			return l
		}
	}
	return ""
}

// report collects findings.
type report struct {
	*Snapshot
	findings []Finding
}

func (r *report) add(l Level, name, where, what, remedy string) {
	r.findings = append(r.findings, Finding{
		Name: name, Level: l, Where: ifconfig.Shown(where), What: what, Remedy: remedy,
	})
}

// dev is the syncdev's name, "" if none is set.
func (r *report) dev() string {
	if r.PFSync0 == nil || r.PFSync0.PFSync == nil {
		return ""
	}
	return r.PFSync0.PFSync.Syncdev
}

// syncpeer is what packets are sent to: one address, or a group. It has no zone.
func (r *report) syncpeer() netip.Addr {
	if r.dev() == "" {
		return link.Group
	}
	return link.Config{Syncpeer: r.PFSync0.PFSync.Syncpeer}.Peer()
}

// group tells whether packets go to a multicast group.
func (r *report) group() bool { return r.syncpeer().IsMulticast() }

// addrs are those addresses of l that packets to the syncpeer can have as their source.
func (r *report) addrs(l Link) []netip.Prefix {
	peer := r.syncpeer()
	if peer.Is4() {
		return l.Addrs
	}
	local := peer.IsLinkLocalUnicast() || peer.IsLinkLocalMulticast()
	var all []netip.Prefix
	for _, a := range l.Addrs6 {
		if a.Addr().IsLinkLocalUnicast() == local {
			all = append(all, a)
		}
	}
	return all
}

func (r *report) keyed() bool {
	return r.dev() != "" && (r.PFSync0.PFSync.Key == ifconfig.KeyOn || r.PFSync0.PFSync.Key == ifconfig.KeyChanging)
}

func (r *report) daemon() {
	if r.Daemon == nil {
		return
	}
	what, remedy := r.Daemon.Error(), "see its log, then start it anew: systemctl restart pfsyncd"
	if before, after, ok := strings.Cut(what, "; "); ok { // the error has its remedy
		what, remedy = before, after
	}
	r.add(Error, "daemon", "pfsyncd", what, remedy)
}

// device looks at pfsync0 itself.
func (r *report) device() {
	i := r.PFSync0
	switch {
	case i == nil:
		r.add(Error, "no-pfsync0", "pfsync0", "does not exist", "make it: ifconfig pfsync0 create")
	case r.dev() == "":
		r.add(Error, "no-syncdev", "pfsync0", "has no syncdev", "name the interface to the other firewall: ifconfig pfsync0 syncdev IF up")
	case i.Flags&ifconfig.FlagUp == 0:
		r.add(Error, "down", "pfsync0", "is down", "ifconfig pfsync0 up")
	}
}

// minMTU holds a packet with a state, its trailer and some more of pfsync's small messages.
const minMTU = 576

// syncdev looks at what carries the packets.
func (r *report) syncdev() {
	dev := r.dev()
	switch {
	case r.LinksErr != nil:
		r.add(Note, "links-unread", "rtnetlink", "interfaces cannot be read: "+r.LinksErr.Error(), "ip link and ip address show them")
		return
	case dev == "":
		return
	}
	l, ok := r.Links[dev]
	switch {
	case !ok && dev == link.IPsecOnly:
		if r.PFSync0.Status == link.WaitingForIPsec {
			r.add(Error, "ipsec", dev, "there are no security associations with the syncpeer in both directions",
				"ip xfrm state shows them; the key exchange must begin by itself (strongSwan: start_action = start)")
		}
		return
	case !ok:
		r.add(Error, "syncdev-missing", dev, "no such interface, though it is the syncdev", "make it, or name another: ifconfig pfsync0 syncdev IF")
		return
	case l.Loopback:
		r.add(Error, "syncdev-loopback", dev, "is a loopback interface", "name another one: ifconfig pfsync0 syncdev IF")
		return
	case !l.Up:
		r.add(Error, "syncdev-down", dev, "is down", "ifconfig "+dev+" up")
	case !l.Running:
		r.add(Error, "no-carrier", dev, "has no carrier", "look at the cable, the switch and the other firewall")
	}
	if len(r.addrs(l)) == 0 {
		r.noAddress(dev, l)
	}
	if r.group() && !l.Multicast {
		r.add(Error, "no-multicast", dev, "cannot multicast, and there is no syncpeer",
			"name the other firewall's address: ifconfig pfsync0 syncpeer ADDRESS")
	}
	for _, a := range r.addrs(l) {
		if a.Addr() == r.syncpeer() {
			r.add(Error, "syncpeer-own", dev, fmt.Sprintf("syncpeer %v is its own address", a.Addr()),
				"name the other firewall's: ifconfig pfsync0 syncpeer ADDRESS")
		}
	}
	switch mtu := r.PFSync0.MTU; {
	case mtu > l.MTU:
		r.add(Warning, "mtu", "pfsync0", fmt.Sprintf("its mtu %d is larger than the %d of %s, which counts", mtu, l.MTU, dev),
			fmt.Sprintf("ifconfig pfsync0 mtu %d, or raise that of %s on both firewalls", l.MTU, dev))
	case mtu < minMTU:
		r.add(Warning, "mtu", "pfsync0", fmt.Sprintf("its mtu %d leaves room for one state or two in a packet", mtu), "ifconfig pfsync0 mtu 1500")
	}
	if l.MTU < minMTU {
		r.add(Warning, "mtu", dev, fmt.Sprintf("its mtu %d leaves room for one state or two in a packet", l.MTU), "ifconfig "+dev+" mtu 1500")
	}
}

// minMTU6 is what IPv6 asks of an interface, RFC 8200.
const minMTU6 = 1280

func (r *report) noAddress(dev string, l Link) {
	switch peer := r.syncpeer(); {
	case peer.Is4():
		r.add(Error, "no-address", dev, "has no IPv4 address", "give it one: ifconfig "+dev+" inet 192.168.254.254/24")
	case l.MTU < minMTU6:
		r.add(Error, "no-address", dev, fmt.Sprintf("has no IPv6 with its mtu of %d", l.MTU), fmt.Sprintf("ifconfig %s mtu %d, or more", dev, minMTU6))
	case !peer.IsLinkLocalUnicast() && !peer.IsLinkLocalMulticast():
		r.add(Error, "no-address", dev, "has no IPv6 address but those of the link", "give it one in the network of "+peer.String()+": ifconfig "+dev+" inet6 ADDRESS/64")
	default:
		r.add(Error, "no-address", dev, "has no link-local IPv6 address", "let it have one: sysctl -w net.ipv6.conf."+dev+".disable_ipv6=0; ifconfig "+dev+" inet6 fe80::1%"+dev+"/64 on one firewall, fe80::2 on the other")
	}
}

// reversePath finds packets of peers that the kernel takes for forged. Of IPv6 it does not ask.
func (r *report) reversePath() {
	l, ok := r.Links[r.dev()]
	if !ok || l.RPFilter == 0 {
		return
	}
	for _, addr := range r.addresses() {
		towards, asked := r.Routes[addr.String()]
		switch {
		case !asked || towards == r.dev():
		case l.RPFilter == 1:
			r.add(Error, "rp-filter", r.dev(),
				fmt.Sprintf("rp_filter is strict and the route to %v %s: its packets are dropped", addr, leads(towards)),
				fmt.Sprintf("give %s an address in its network, or: sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.%s.rp_filter=2", r.dev(), r.dev()))
		case towards == "":
			r.add(Error, "rp-filter", r.dev(), fmt.Sprintf("rp_filter is on and there is no route to %v: its packets are dropped", addr),
				fmt.Sprintf("give %s an address in its network", r.dev()))
		}
	}
}

func leads(towards string) string {
	if towards == "" {
		return "is missing"
	}
	return "leads out of " + ifconfig.Shown(towards)
}

// addresses are those that packets should come from: of the peers, and the syncpeer.
func (r *report) addresses() []netip.Addr { return Addresses(r.Snapshot.PFSync0, r.Status.Peers) }

// Addresses are those that packets should come from: the peers' and the syncpeer, each once.
func Addresses(pfsync0 *ifconfig.Interface, peers []ifconfig.Peer) []netip.Addr {
	var all []netip.Addr
	for _, p := range peers {
		all = append(all, p.Addr)
	}
	if pfsync0 != nil && pfsync0.PFSync != nil {
		if a := (link.Config{Syncdev: pfsync0.PFSync.Syncdev, Syncpeer: pfsync0.PFSync.Syncpeer}); !a.Peer().IsMulticast() && !slices.Contains(all, a.Scoped(a.Peer())) {
			all = append(all, a.Scoped(a.Peer()))
		}
	}
	return all
}

// exposure asks who else can speak on the link. A key makes that harmless.
func (r *report) exposure() {
	dev := r.dev()
	if dev == "" || r.keyed() {
		return
	}
	const remedy = "give pfsync a cable of its own, or a key on all firewalls: ifconfig pfsync0 key /etc/pfsync.key"
	if slices.Contains(r.Defaults, dev) {
		r.add(Error, "exposed", dev, "carries the default route: strangers on it can add and remove states", remedy)
	}
	var strangers []string
	for _, n := range r.Neighbours {
		if !slices.Contains(r.addresses(), n) && n.Is6() == r.syncpeer().Is6() {
			strangers = append(strangers, n.String())
		}
	}
	if len(strangers) > 1 { // one may be the other firewall, which has not been heard
		more := ""
		if len(strangers) > 3 {
			strangers, more = strangers[:3], ", ..."
		}
		r.add(Error, "exposed", dev, "other hosts are on it ("+strings.Join(strangers, ", ")+more+") and can add and remove states", remedy)
	}
}

// input is a packet of a peer that comes in on an interface.
func (r *report) input(dev string) packet {
	p := packet{in: dev, dst: r.syncpeer(), tracked: newConnection}
	if a := r.addresses(); len(a) > 0 && a[0].Is6() == p.dst.Is6() {
		p.src = a[0].WithZone("")
	}
	if own := r.addrs(r.Links[dev]); !r.group() && len(own) > 0 {
		p.dst, p.tracked = own[0].Addr(), establishedConnection
	}
	return p
}

// output is a packet of ours.
func (r *report) output(dev string) packet {
	p := packet{out: dev, dst: r.syncpeer(), tracked: newConnection}
	if own := r.addrs(r.Links[dev]); len(own) > 0 {
		p.src = own[0].Addr()
	}
	return p
}
