// Package links shows and changes Linux's own interfaces in ifconfig's terms. Of pfsync0
// it knows the description and the group: the kernel sees a TUN device there, and pfsyncd
// knows the rest. Apply sends a change, or each part of it, to the one that it concerns.
package links

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// BSD's name of the loopback interface is taken for Linux's.
const (
	loopback    = "lo"
	bsdLoopback = "lo0"
)

// Links speaks rtnetlink in one network namespace.
type Links struct{ netlink *netlink.Handle }

// Open works in the caller's network namespace; Close when done.
func Open() (*Links, error) {
	h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(5 * time.Second); err != nil {
		h.Close()
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return New(h), nil
}

// New works through h, in h's namespace, which must be the caller's where changes are made.
// Close closes h.
func New(h *netlink.Handle) *Links { return &Links{h} }

// Close closes the socket.
func (l *Links) Close() { l.netlink.Close() }

// Interfaces lists all interfaces with their addresses, ordered by index.
func (l *Links) Interfaces() ([]ifconfig.Interface, error) {
	all, err := dump(l.netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return l.netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	egress, err := l.egress()
	if err != nil {
		return nil, err
	}
	groups, err := readGroups()
	if err != nil {
		return nil, err
	}
	list := make([]ifconfig.Interface, 0, len(all))
	at := make(map[int]int, len(all))
	for _, link := range all {
		at[link.Attrs().Index] = len(list)
		i := show(link.Attrs())
		if driver, ok := driverOf(link); ok {
			i.Groups = append(i.Groups, driver.Name)
		}
		if n := link.Attrs().Group; n != 0 {
			i.Groups = append(i.Groups, groups.name(n))
		}
		if autoconf(i.Name) {
			i.Flags |= ifconfig.FlagAutoconf6
		}
		if egress[i.Index] {
			i.Groups = append(i.Groups, "egress")
		}
		list = append(list, i)
	}
	for _, a := range addrs {
		if n, ok := at[a.LinkIndex]; ok { // else the interface came between the two dumps
			addAddress(&list[n], a)
		}
	}
	slices.SortFunc(list, func(a, b ifconfig.Interface) int { return a.Index - b.Index })
	return list, nil
}

// dumps is how often a dump is tried that the kernel says was interrupted by a change.
const dumps = 5

// dump asks again while the answer was interrupted by a change; the last one is
// used as it is: it may lack what changed in that very moment.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for n := 1; ; n++ {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
		if n == dumps {
			return got, nil
		}
	}
}

// egress finds the interfaces that hold a default route: OpenBSD's group of that name.
func (l *Links) egress() (map[int]bool, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return l.netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: syscall.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	egress := make(map[int]bool)
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 || !r.Dst.IP.IsUnspecified() {
				continue
			}
		}
		if r.Type != syscall.RTN_UNICAST {
			continue
		}
		egress[r.LinkIndex] = true
		for _, hop := range r.MultiPath {
			egress[hop.LinkIndex] = true
		}
	}
	return egress, nil
}

// flags pairs Linux's bits with OpenBSD's. Linux's RUNNING tells of the carrier, which the
// display shows as status; OpenBSD's says that the interface works at all.
var flags = []struct {
	linux uint32
	bsd   ifconfig.Flags
}{
	{syscall.IFF_UP, ifconfig.FlagUp | ifconfig.FlagRunning},
	{syscall.IFF_BROADCAST, ifconfig.FlagBroadcast},
	{syscall.IFF_DEBUG, ifconfig.FlagDebug},
	{syscall.IFF_LOOPBACK, ifconfig.FlagLoopback},
	{syscall.IFF_POINTOPOINT, ifconfig.FlagPointToPoint},
	{syscall.IFF_NOARP, ifconfig.FlagNoARP},
	{syscall.IFF_PROMISC, ifconfig.FlagPromisc},
	{syscall.IFF_ALLMULTI, ifconfig.FlagAllMulti},
	{syscall.IFF_MULTICAST, ifconfig.FlagMulticast},
}

func show(a *netlink.LinkAttrs) ifconfig.Interface {
	i := ifconfig.Interface{Name: a.Name, Index: a.Index, MTU: a.MTU, Description: a.Alias, AltNames: a.AltNames}
	if a.RawFlags&syscall.IFF_LOOPBACK != 0 && a.Name == loopback {
		i.AltNames = append(i.AltNames, bsdLoopback)
	}
	for _, f := range flags {
		if a.RawFlags&f.linux != 0 {
			i.Flags |= f.bsd
		}
	}
	if a.EncapType == "ether" {
		i.Flags |= ifconfig.FlagSimplex
		i.LLAddr = a.HardwareAddr.String()
		i.Status = "no carrier"
		if a.RawFlags&syscall.IFF_RUNNING != 0 {
			i.Status = "active"
		}
	}
	return i
}

// marks names the flags of an IPv6 address (linux/if_addr.h) as OpenBSD's display does, in its order.
var marks = []struct {
	flag int
	name string
}{
	{0x40, "tentative"},  // IFA_F_TENTATIVE
	{0x08, "duplicated"}, // IFA_F_DADFAILED
	{0x20, "deprecated"}, // IFA_F_DEPRECATED
	{0x100, "autoconf"},  // IFA_F_MANAGETEMPADDR: made from a router's prefix
	{0x01, "temporary"},  // IFA_F_TEMPORARY
}

func addAddress(i *ifconfig.Interface, a netlink.Addr) {
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return // not an internet address
	}
	ones, _ := a.Mask.Size()
	out := ifconfig.Address{Prefix: netip.PrefixFrom(ip.Unmap(), ones)}
	if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
		out.Peer = unmapped(a.Peer.IP)
		ones, _ = a.Peer.Mask.Size() // the network is the peer's
		out.Prefix = netip.PrefixFrom(out.Prefix.Addr(), ones)
	}
	if out.Prefix.Addr().Is4() {
		out.Broadcast = unmapped(a.Broadcast)
		i.Inet = append(i.Inet, out)
		return
	}
	if ip.IsLinkLocalUnicast() {
		out.ScopeID = i.Index
	}
	for _, m := range marks {
		if a.Flags&m.flag != 0 {
			out.Marks = append(out.Marks, m.name)
		}
	}
	out.PLTime, out.VLTime = lifetime(a.PreferedLft), lifetime(a.ValidLft)
	i.Inet6 = append(i.Inet6, out)
}

func lifetime(seconds int) *uint32 {
	if n := uint32(seconds); n != ifconfig.Forever {
		return &n
	}
	return nil
}

func unmapped(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
