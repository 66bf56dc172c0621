package lab

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// The addresses of the lab. Firewall A owns .254, B .253 and C .252 on each of its links
// (::a, ::b and ::c for IPv6); the shared ones move between them. IPv4 is translated,
// IPv6 is routed.
const (
	ClientAddr     = "192.168.0.10"
	ClientAddr6    = "2001:db8:1::10"
	ServerAddr     = "10.0.0.10"
	ServerAddr6    = "2001:db8::10"
	SharedInside   = "192.168.0.1" // the client's gateway
	SharedInside6  = "2001:db8:1::1"
	SharedOutside  = "10.0.0.1" // what the server sees of the client
	SharedOutside6 = "2001:db8::1"
	ServicePort    = 8080 // of SharedOutside: translated to ClientAddr, InsidePort
	InsidePort     = 80
)

// The interfaces of a firewall.
const (
	Outside = "sis0"
	Inside  = "sis1"
	Sync    = "sis2"
)

//go:embed firewall.nft
var rules string

func (l *Lab) build() error {
	type host struct {
		name string
		ns   **NS
	}
	hosts := []host{
		{"client", &l.Client}, {"server", &l.Server},
		{"inside", &l.inside}, {"outside", &l.outside},
	}
	for _, f := range l.Firewalls() {
		hosts = append(hosts, host{f.port, &f.NS})
	}
	var err error
	for _, h := range hosts {
		if *h.ns, err = NewNS(l.prefix + "-" + h.name); err != nil {
			return err
		}
		if err := (*h.ns).noDAD(); err != nil {
			return err
		}
	}
	if err := errors.Join(
		l.inside.addSwitch(),
		l.outside.addSwitch(),
		l.inside.plug("client", l.Client, "eth0"),
		l.outside.plug("server", l.Server, "eth0"),
		l.connectSync(),
	); err != nil {
		return err
	}
	for _, f := range l.Firewalls() {
		if err := errors.Join(
			l.outside.plug(f.port, f.NS, Outside),
			l.inside.plug(f.port, f.NS, Inside),
		); err != nil {
			return err
		}
	}
	return l.address()
}

// connectSync joins the sis2, two directly or by a Cable, three by a switch.
func (l *Lab) connectSync() error {
	switch {
	case l.config.Cable && l.config.Third:
		return errors.New("a cable has two ends: none for a third firewall")
	case !l.config.Cable && !l.config.Third:
		return connect(l.A.NS, Sync, l.B.NS, Sync)
	}
	var err error
	if l.sync, err = NewNS(l.prefix + "-sync"); err != nil {
		return err
	}
	if err := l.sync.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil { // its ports are to say nothing themselves
		return err
	}
	if l.config.Third {
		errs := []error{l.sync.addSwitch()}
		for _, f := range l.Firewalls() {
			errs = append(errs, l.sync.plug(f.port, f.NS, Sync))
		}
		return errors.Join(errs...)
	}
	err = errors.Join(
		connect(l.A.NS, Sync, l.sync, l.A.port),
		connect(l.B.NS, Sync, l.sync, l.B.port),
	)
	if err != nil {
		return err
	}
	l.Cable, err = newCable(l.sync, l.config.Seed, l.A.port, l.B.port)
	return err
}

func (l *Lab) address() error {
	err := errors.Join(
		l.Client.addAddrs("eth0", ClientAddr+"/24", ClientAddr6+"/64"),
		l.Client.defaultRoutes(SharedInside, SharedInside6),
		l.Server.addAddrs("eth0", ServerAddr+"/24", ServerAddr6+"/64"),
		l.Server.defaultRoutes(SharedOutside6), // IPv4 comes from the shared address itself
	)
	if err != nil || l.config.Bare {
		return err
	}
	var errs []error
	for i, f := range l.Firewalls() {
		errs = append(errs,
			f.addAddrs(Outside, fmt.Sprintf("10.0.0.%d/24", 254-i), fmt.Sprintf("2001:db8::%x/64", 0xa+i)),
			f.addAddrs(Inside, fmt.Sprintf("192.168.0.%d/24", 254-i), fmt.Sprintf("2001:db8:1::%x/64", 0xa+i)),
			f.addAddrs(Sync, fmt.Sprintf("192.168.254.%d/24", 254-i)))
	}
	return errors.Join(errs...)
}

// shared are the addresses that belong to whoever is the master.
func shared() []struct{ link, addr, addr6 string } {
	return []struct{ link, addr, addr6 string }{
		{Outside, SharedOutside, SharedOutside6},
		{Inside, SharedInside, SharedInside6},
	}
}

// noDAD makes IPv6 addresses usable at once: nobody else can have them here.
func (n *NS) noDAD() error {
	return errors.Join(
		n.Sysctl("net/ipv6/conf/all/accept_dad", "0"),
		n.Sysctl("net/ipv6/conf/default/accept_dad", "0"),
		n.Sysctl("net/ipv6/conf/default/accept_ra", "0"),
	)
}

// addSwitch makes the namespace a switch: a bridge of its own.
func (n *NS) addSwitch() error {
	snooping := false
	return n.withNetlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridge
		br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
		if err := h.LinkAdd(br); err != nil {
			return fmt.Errorf("%s: %w", bridge, err)
		}
		return h.LinkSetUp(br)
	})
}

// bridge is the name of a switch's bridge.
const bridge = "br0"

// plug connects host's interface to a port of the switch n.
func (n *NS) plug(port string, host *NS, name string) error {
	if err := connect(n, port, host, name); err != nil {
		return err
	}
	return n.withNetlink(func(h *netlink.Handle) error {
		br, err := h.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("%s: %w", bridge, err)
		}
		l, err := h.LinkByName(port)
		if err != nil {
			return fmt.Errorf("%s: %w", port, err)
		}
		return h.LinkSetMaster(l, br)
	})
}
