package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// Daemon is asked for its side; control.Client.
type Daemon interface {
	Interfaces(ctx context.Context) ([]ifconfig.Interface, error)
	Status(ctx context.Context) (control.Status, error)
	Counters(ctx context.Context) ([]pfstate.Counter, error)
}

// Gather looks at the caller's network namespace and changes nothing. What cannot be seen is said in the
// Snapshot.
func Gather(ctx context.Context, d Daemon) *Snapshot {
	s := &Snapshot{Counters: map[string]uint64{}, Links: map[string]Link{}, Routes: map[string]string{}, Sysctls: map[string]int{}}
	s.Daemon = s.ask(ctx, d)
	s.LinksErr = s.readLinks()
	for _, name := range []string{sysctlEvents, sysctlLoose, sysctlLiberal} {
		if v, err := readSysctl(strings.Split(name, ".")...); err == nil {
			s.Sysctls[name] = v
		}
	}
	s.Rules, s.RulesErr = readRules()
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil {
		s.LegacyRules = len(strings.Fields(string(names))) > 0
	}
	s.Conntrackd = runs("conntrackd")
	return s
}

func (s *Snapshot) ask(ctx context.Context, d Daemon) error {
	list, err := d.Interfaces(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].PFSync != nil {
			s.PFSync0 = &list[i]
		}
		if list[i].Carp != nil {
			s.Carps = append(s.Carps, list[i])
		}
	}
	if s.Status, err = d.Status(ctx); err != nil {
		return err
	}
	all, err := d.Counters(ctx)
	for _, c := range all {
		s.Counters[c.Name] = c.Value
	}
	return err
}

func readRules() (*Rules, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	rules, err := ReadRules(conn)
	if errors.Is(err, os.ErrPermission) {
		return nil, errors.New("needs root")
	}
	return rules, err
}

// readLinks reads interfaces, their addresses, and the routes that matter.
func (s *Snapshot) readLinks() error {
	h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("rtnetlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("rtnetlink: interfaces: %w", err)
	}
	names := map[int]string{}
	all, _ := readSysctl("net", "ipv4", "conf", "all", "rp_filter")
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		own, _ := readSysctl("net", "ipv4", "conf", a.Name, "rp_filter")
		one := Link{
			MTU: a.MTU, RPFilter: max(all, own),
			Up: a.RawFlags&syscall.IFF_UP != 0, Running: a.RawFlags&syscall.IFF_RUNNING != 0,
			Multicast: a.RawFlags&syscall.IFF_MULTICAST != 0, Loopback: a.RawFlags&syscall.IFF_LOOPBACK != 0,
		}
		addrs, err := h.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return fmt.Errorf("rtnetlink: addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			if ip, ok := netip.AddrFromSlice(addr.IP.To4()); ok {
				bits, _ := addr.Mask.Size()
				one.Addrs = append(one.Addrs, netip.PrefixFrom(ip, bits))
			}
		}
		if addrs, err = h.AddrList(l, netlink.FAMILY_V6); err != nil {
			return fmt.Errorf("rtnetlink: addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			if ip, ok := netip.AddrFromSlice(addr.IP); ok && addr.Flags&syscall.IFA_F_TENTATIVE == 0 {
				bits, _ := addr.Mask.Size()
				one.Addrs6 = append(one.Addrs6, netip.PrefixFrom(ip, bits))
			}
		}
		s.Links[a.Name] = one
	}
	return s.readRoutes(h, names)
}

func (s *Snapshot) readRoutes(h *netlink.Handle, names map[int]string) error {
	var routes []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := h.RouteList(nil, family)
		if err != nil {
			return fmt.Errorf("rtnetlink: routes: %w", err)
		}
		routes = append(routes, list...)
	}
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		indexes := []int{r.LinkIndex}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
		for _, i := range indexes {
			if name := names[i]; name != "" && !slices.Contains(s.Defaults, name) {
				s.Defaults = append(s.Defaults, name)
			}
		}
	}
	for _, addr := range Addresses(s.PFSync0, s.Status.Peers) {
		if addr.Is6() { // there is no rp_filter to be asked of
			continue
		}
		s.Routes[addr.String()] = ""
		if towards, err := h.RouteGet(addr.AsSlice()); err == nil && len(towards) > 0 {
			s.Routes[addr.String()] = names[towards[0].LinkIndex]
		}
	}
	if s.PFSync0 == nil || s.PFSync0.PFSync.Syncdev == "" {
		return nil
	}
	for index, name := range names {
		if name == s.PFSync0.PFSync.Syncdev {
			return s.readNeighbours(h, index)
		}
	}
	return nil
}

func (s *Snapshot) readNeighbours(h *netlink.Handle, index int) error {
	const there = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := h.NeighList(index, family)
		if err != nil {
			return fmt.Errorf("rtnetlink: neighbours: %w", err)
		}
		for _, n := range list {
			// Of IPv6 the link-local ones alone: each host has one, and may have more of the others.
			ip, ok := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); ok && n.State&there != 0 && (ip.Is4() || ip.IsLinkLocalUnicast()) {
				s.Neighbours = append(s.Neighbours, link.Config{Syncdev: s.PFSync0.PFSync.Syncdev}.Scoped(ip))
			}
		}
	}
	return nil
}

// readSysctl reads a number of the caller's namespace. A dot in an interface's name is no harm: it
// is one path element.
func readSysctl(path ...string) (int, error) {
	text, err := os.ReadFile(filepath.Join(append([]string{"/proc/sys"}, path...)...))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// runs tells whether a program of that name runs in the caller's network namespace.
func runs(program string) bool {
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // an error is of the pattern
	return slices.ContainsFunc(names, func(file string) bool {
		comm, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(comm)) != program {
			return false
		}
		theirs, err := os.Readlink(filepath.Join(filepath.Dir(file), "ns", "net"))
		return err == nil && theirs == ours
	})
}
