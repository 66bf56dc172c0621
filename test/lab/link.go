package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// netlink opens a handle in the namespace; the caller closes it.
func (n *NS) netlink() (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		return nil, fmt.Errorf("%s: netlink: %w", n.Name, err)
	}
	return h, nil
}

// withNetlink runs f with a handle in the namespace and names the namespace in its error.
func (n *NS) withNetlink(f func(h *netlink.Handle) error) error {
	h, err := n.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := f(h); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

func (n *NS) withLink(name string, f func(h *netlink.Handle, l netlink.Link) error) error {
	return n.withNetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err == nil {
			err = f(h, l)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

func (n *NS) linkUp(name string) error {
	return n.withLink(name, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetUp(l) })
}

func (n *NS) linkDown(name string) error {
	return n.withLink(name, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) })
}

func (n *NS) waitCarrier(ctx context.Context, name string) error {
	return Eventually(ctx, "carrier", func() error {
		return n.withLink(name, func(_ *netlink.Handle, l netlink.Link) error {
			if state := l.Attrs().OperState; state != netlink.OperUp {
				return fmt.Errorf("link is %v", state)
			}
			return nil
		})
	})
}

// connect makes a cable: a veth pair between two namespaces, both ends up.
func connect(a *NS, nameA string, b *NS, nameB string) error {
	err := a.withNetlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(b.Fd())})
		if err != nil {
			return fmt.Errorf("veth %s to %s %s: %w", nameA, b.Name, nameB, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(a.linkUp(nameA), b.linkUp(nameB))
}

func (n *NS) addAddrs(link string, prefixes ...string) error {
	return n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		for _, p := range prefixes {
			a, err := netlink.ParseAddr(p)
			if err != nil {
				return err
			}
			if err := h.AddrReplace(l, a); err != nil {
				return fmt.Errorf("address %s: %w", p, err)
			}
		}
		return nil
	})
}

// delAddrs removes those of the prefixes that the link has.
func (n *NS) delAddrs(link string, prefixes ...string) error {
	return n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		have, err := h.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range have {
			for _, p := range prefixes {
				if a.IPNet.String() != p {
					continue
				}
				if err := h.AddrDel(l, &a); err != nil {
					return fmt.Errorf("address %s: %w", p, err)
				}
			}
		}
		return nil
	})
}

func (n *NS) defaultRoutes(gateways ...string) error {
	return n.withNetlink(func(h *netlink.Handle) error {
		for _, gw := range gateways {
			if err := h.RouteReplace(&netlink.Route{Gw: net.ParseIP(gw)}); err != nil {
				return fmt.Errorf("route by %s: %w", gw, err)
			}
		}
		return nil
	})
}

// sent is what the namespace has sent by a link.
func (n *NS) sent(link string) (w Wire, err error) {
	err = n.withLink(link, func(_ *netlink.Handle, l netlink.Link) error {
		if s := l.Attrs().Statistics; s != nil {
			w = Wire{Frames: s.TxPackets, Bytes: s.TxBytes}
		}
		return nil
	})
	return w, err
}

// Addr is the first IPv4 address of a link.
func (n *NS) Addr(link string) (addr netip.Addr, err error) {
	err = n.withLink(link, func(h *netlink.Handle, l netlink.Link) error {
		have, err := h.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return errors.New("no IPv4 address")
		}
		addr, _ = netip.AddrFromSlice(have[0].IP.To4())
		return nil
	})
	return addr, err
}
