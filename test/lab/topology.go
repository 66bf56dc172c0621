package lab

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// The addresses of the lab. Firewall A owns .254 and B .253 on each of its links
// (::a and ::b for IPv6); the shared ones move between them. IPv4 is translated,
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
	var err error
	for _, h := range []struct {
		name string
		ns   **NS
	}{
		{"client", &l.Client}, {"server", &l.Server},
		{"inside", &l.inside}, {"outside", &l.outside},
		{"fwA", &l.A.NS}, {"fwB", &l.B.NS},
	} {
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
	for _, f := range []*Firewall{l.A, l.B} {
		if err := errors.Join(
			l.outside.plug(f.port, f.NS, Outside),
			l.inside.plug(f.port, f.NS, Inside),
		); err != nil {
			return err
		}
	}
	return l.address()
}

// connectSync joins the two sis2, directly or by a Cable.
func (l *Lab) connectSync() error {
	if !l.config.Cable {
		return connect(l.A.NS, Sync, l.B.NS, Sync)
	}
	var err error
	if l.sync, err = NewNS(l.prefix + "-sync"); err != nil {
		return err
	}
	err = errors.Join(
		l.sync.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"), // its ports are to say nothing themselves
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
	return errors.Join(
		l.A.addAddrs(Outside, "10.0.0.254/24", "2001:db8::a/64"),
		l.A.addAddrs(Inside, "192.168.0.254/24", "2001:db8:1::a/64"),
		l.A.addAddrs(Sync, "192.168.254.254/24"),
		l.B.addAddrs(Outside, "10.0.0.253/24", "2001:db8::b/64"),
		l.B.addAddrs(Inside, "192.168.0.253/24", "2001:db8:1::b/64"),
		l.B.addAddrs(Sync, "192.168.254.253/24"),
	)
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
