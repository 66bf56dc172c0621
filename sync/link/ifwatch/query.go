// Package ifwatch tells what the kernel says of a network interface, and when
// to ask again. Nothing is cached: names change, indexes are the identity.
package ifwatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNoInterface is returned for a name or an index that nothing has.
var ErrNoInterface = errors.New("no such interface")

// Interface is one interface at one moment.
type Interface struct {
	Name      string
	Index     int
	MTU       int // bytes
	Up        bool
	Running   bool // up, and the carrier is there
	Multicast bool
	Loopback  bool
	MAC       net.HardwareAddr // nil: it has none
	IPv4      []Address        // in the kernel's order
}

// Address is one address of an interface.
type Address struct {
	Prefix    netip.Prefix // the address with the length of its network
	HostScope bool         // never a source of packets to others
	Tentative bool         // IPv6: another host may have it too; not to be used yet
	Passing   bool         // IPv6: temporary or deprecated; others do better
}

// Query asks the kernel for interfaces. It may be used by many goroutines.
type Query struct{ handle *netlink.Handle }

// OpenQuery opens a query in the network namespace of that file descriptor; 0 is the
// namespace of the calling thread.
func OpenQuery(netNS int) (*Query, error) {
	h, err := openHandle(netNS)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(5 * time.Second); err != nil { // the library waits a minute
		h.Close()
		return nil, fmt.Errorf("rtnetlink: timeout: %w", err)
	}
	return &Query{handle: h}, nil
}

func openHandle(netNS int) (*netlink.Handle, error) {
	if netNS == 0 {
		return netlink.NewHandle(syscall.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(netns.NsHandle(netNS), syscall.NETLINK_ROUTE)
}

// Close frees the query's socket.
func (q *Query) Close() { q.handle.Close() }

// Handle is the query's netlink handle, for changes to interfaces of its namespace.
func (q *Query) Handle() *netlink.Handle { return q.handle }

// ByName looks an interface up by its name.
func (q *Query) ByName(name string) (Interface, error) {
	l, err := q.handle.LinkByName(name)
	return q.describe(l, err)
}

// ByIndex looks an interface up by its index.
func (q *Query) ByIndex(index int) (Interface, error) {
	l, err := q.handle.LinkByIndex(index)
	return q.describe(l, err)
}

func (q *Query) describe(l netlink.Link, err error) (Interface, error) {
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, syscall.ENODEV) {
		return Interface{}, ErrNoInterface
	}
	if err != nil {
		return Interface{}, err
	}
	a := l.Attrs()
	i := Interface{
		Name: a.Name, Index: a.Index, MTU: a.MTU,
		Up:        a.RawFlags&syscall.IFF_UP != 0,
		Running:   a.RawFlags&syscall.IFF_RUNNING != 0,
		Multicast: a.RawFlags&syscall.IFF_MULTICAST != 0,
		Loopback:  a.RawFlags&syscall.IFF_LOOPBACK != 0,
		MAC:       a.HardwareAddr,
	}
	i.IPv4, err = q.addresses(l, netlink.FAMILY_V4)
	return i, err
}

// IPv6 returns the IPv6 addresses of the interface with that index, in the kernel's order.
func (q *Query) IPv6(index int) ([]Address, error) {
	return q.addresses(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: fmt.Sprintf("interface %d", index)}}, netlink.FAMILY_V6)
}

func (q *Query) addresses(l netlink.Link, family int) ([]Address, error) {
	var list []netlink.Addr
	for range 3 { // a change during the dump interrupts it
		var err error
		list, err = q.handle.AddrList(l, family)
		if err == nil {
			break
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("%s: addresses: %w", l.Attrs().Name, err)
		}
	}
	addrs := make([]Address, 0, len(list))
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		addrs = append(addrs, Address{
			Prefix:    netip.PrefixFrom(ip.Unmap(), ones),
			HostScope: a.Scope == syscall.RT_SCOPE_HOST,
			Tentative: a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0,
			Passing:   a.Flags&(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED) != 0,
		})
	}
	return addrs, nil
}

// CheckName reports why name cannot be an interface's. The rules are the kernel's
// (dev_valid_name), and that no % may make the kernel choose a number, and that no
// name may lead to the sysctls of all interfaces.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("interface name is empty")
	case len(name) >= syscall.IFNAMSIZ:
		return fmt.Errorf("%q: interface name is longer than %d bytes", name, syscall.IFNAMSIZ-1)
	case name == "." || name == ".." || name == "all" || name == "default":
		return fmt.Errorf("%q: not an interface name", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("/:%", c) >= 0 {
			return fmt.Errorf("%q: character %q cannot be in an interface name", name, c)
		}
	}
	return nil
}
