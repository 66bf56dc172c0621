package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// handle opens a netlink handle in the namespace; the caller closes it.
func (n *NS) netlink() (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		return nil, fmt.Errorf("%s: netlink: %w", n.Name, err)
	}
	return h, nil
}

func (n *NS) linkUp(name string) error {
	h, err := n.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", n.Name, name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("%s: %s up: %w", n.Name, name, err)
	}
	return nil
}
