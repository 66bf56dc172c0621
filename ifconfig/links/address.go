package links

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// Of linux/if_addr.h, which the netlink package does not have.
const (
	ifaFlags = 8
	ifaProto = 11 // who set the address; kernels before 5.18 know nothing of it

	// protoIfconfig marks the address that a plain `inet ADDRESS` set, which the next one replaces.
	protoIfconfig = 240

	// keptFlags are those of an address that are not the kernel's own view of it: nodad,
	// optimistic, home address, manage temporary addresses, no route to the prefix.
	keptFlags = 0x02 | 0x04 | 0x10 | 0x100 | 0x200
)

// address is an address as the kernel has it.
type address struct {
	netlink.Addr
	ours bool // marked by protoIfconfig
}

func (a *address) ip() netip.Addr { return unmapped(a.IP) }

// same tells whether both are one and the same for the kernel.
func (a *address) same(b *address) bool {
	return a.IPNet.String() == b.IPNet.String() && (a.Peer == nil) == (b.Peer == nil) &&
		(a.Peer == nil || a.Peer.String() == b.Peer.String())
}

// list reads the addresses of one family, in the kernel's order.
func (l *Links) list(link netlink.Link, family ifconfig.Family) ([]address, error) {
	number := syscall.AF_INET
	if family == ifconfig.Inet6 {
		number = syscall.AF_INET6
	}
	got, err := dump(func() ([]netlink.Addr, error) { return l.netlink.AddrList(link, number) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	marked, err := marked(link.Attrs().Index, number)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	list := make([]address, 0, len(got))
	for _, a := range got {
		if a.Peer != nil && a.Peer.IP.Equal(a.IP) {
			a.Peer = nil
		}
		list = append(list, address{a, marked[unmapped(a.IP)]})
	}
	return list, nil
}

// marked finds the addresses of an interface that a plain `inet ADDRESS` set.
func marked(index, family int) (map[netip.Addr]bool, error) {
	found := make(map[netip.Addr]bool)
	_, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(syscall.RTM_GETADDR, syscall.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(family))
		messages, err := req.Execute(syscall.NETLINK_ROUTE, syscall.RTM_NEWADDR)
		for _, m := range messages {
			head := nl.DeserializeIfAddrmsg(m)
			attrs, err := nl.ParseRouteAttr(m[head.Len():])
			if err != nil || int(head.Index) != index {
				continue
			}
			var addr, local netip.Addr
			ours := false
			for _, a := range attrs {
				switch a.Attr.Type {
				case syscall.IFA_ADDRESS:
					addr = unmapped(a.Value)
				case syscall.IFA_LOCAL:
					local = unmapped(a.Value)
				case ifaProto:
					ours = len(a.Value) == 1 && a.Value[0] == protoIfconfig
				}
			}
			if local.IsValid() {
				addr = local
			}
			if ours {
				found[addr] = true
			}
		}
		return messages, err
	})
	return found, err
}

// write adds an address, or with NLM_F_REPLACE changes its lifetimes.
func write(link netlink.Link, a *address, flags int) error {
	req := nl.NewNetlinkRequest(syscall.RTM_NEWADDR, flags|syscall.NLM_F_CREATE|syscall.NLM_F_ACK)
	local, network := a.IP.To4(), a.Mask
	family := syscall.AF_INET
	if local == nil {
		local, family = a.IP.To16(), syscall.AF_INET6
	}
	remote := local
	if a.Peer != nil {
		remote, network = a.Peer.IP, a.Peer.Mask
		if family == syscall.AF_INET {
			remote = remote.To4()
		}
	}
	head := nl.NewIfAddrmsg(family)
	head.Index = uint32(link.Attrs().Index)
	ones, _ := network.Size()
	head.Prefixlen = uint8(ones)
	head.Scope = uint8(a.Scope)
	req.AddData(head)
	req.AddData(nl.NewRtAttr(syscall.IFA_LOCAL, local))
	req.AddData(nl.NewRtAttr(syscall.IFA_ADDRESS, remote))
	if b := a.Broadcast.To4(); b != nil {
		req.AddData(nl.NewRtAttr(syscall.IFA_BROADCAST, b))
	}
	if kept := a.Flags & keptFlags; kept != 0 {
		req.AddData(nl.NewRtAttr(ifaFlags, binary.NativeEndian.AppendUint32(nil, uint32(kept))))
	}
	if a.Label != "" && family == syscall.AF_INET {
		req.AddData(nl.NewRtAttr(syscall.IFA_LABEL, nl.ZeroTerminated(a.Label)))
	}
	if a.ValidLft != 0 {
		times := binary.NativeEndian.AppendUint32(nil, uint32(a.PreferedLft)) // struct ifa_cacheinfo
		times = binary.NativeEndian.AppendUint32(times, uint32(a.ValidLft))
		req.AddData(nl.NewRtAttr(syscall.IFA_CACHEINFO, append(times, make([]byte, 8)...)))
	}
	if a.ours {
		req.AddData(nl.NewRtAttr(ifaProto, []byte{protoIfconfig}))
	}
	_, err := req.Execute(syscall.NETLINK_ROUTE, 0)
	return err
}

// wanted is the address that a asks for.
func wanted(a ifconfig.AddressChange, mac net.HardwareAddr) (*address, error) {
	ip := a.Prefix.Addr()
	if a.EUI64 {
		if len(mac) != 6 {
			return nil, fmt.Errorf("eui64: the interface has no Ethernet address to make it from")
		}
		b := ip.As16() // RFC 4291, appendix A
		copy(b[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
		ip = netip.AddrFrom16(b)
	}
	size := ip.BitLen()
	w := &address{ours: a.Op == ifconfig.AddressSet && a.Family == ifconfig.Inet}
	w.IPNet = &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(a.Prefix.Bits(), size)}
	if a.Peer.IsValid() {
		w.Peer = &net.IPNet{IP: a.Peer.AsSlice(), Mask: w.Mask}
		w.Mask = net.CIDRMask(size, size)
	}
	if b := a.BroadcastAddr(); b.IsValid() {
		w.Broadcast = b.AsSlice()
	}
	if ip.IsLoopback() {
		w.Scope = syscall.RT_SCOPE_HOST
	}
	if a.Valid != nil || a.Preferred != nil {
		valid, preferred := ifconfig.Forever, ifconfig.Forever
		if a.Valid != nil {
			valid, preferred = *a.Valid, *a.Valid
		}
		if a.Preferred != nil {
			preferred = *a.Preferred
		}
		w.ValidLft, w.PreferedLft = int(valid), int(preferred)
	}
	return w, nil
}

// addresses plans a step for each address, in their order. What is deleted must be there, or
// be given before on the same line.
func (p *plan) addresses() error {
	given := make(map[netip.Addr]bool)
	for _, a := range p.change.Addresses {
		if a.Op == ifconfig.AddressDelete {
			if err := p.checkDelete(a, given); err != nil {
				return err
			}
		} else {
			given[a.Prefix.Addr()] = true
		}
		if mtu := p.nextMTU(); a.Family == ifconfig.Inet6 && a.Op != ifconfig.AddressDelete && mtu < minInet6MTU {
			return fmt.Errorf("%s: %v: IPv6 needs an mtu of %d or more, and it is %d", p.change.Interface, a, minInet6MTU, mtu)
		}
		e := &edit{plan: p, asked: a}
		p.add(step{a.String(), p.on(e.do), p.on(e.undo)})
	}
	return nil
}

// minInet6MTU is the least that IPv6 works with (RFC 8200, section 5).
const minInet6MTU = 1280

// nextMTU is the mtu that the interface is to have.
func (p *plan) nextMTU() int {
	switch {
	case p.change.MTU != nil:
		return *p.change.MTU
	case p.link == nil:
		return minInet6MTU // no kind begins with less
	}
	return p.attrs().MTU
}

func (p *plan) checkDelete(a ifconfig.AddressChange, given map[netip.Addr]bool) error {
	var list []address
	if p.link != nil {
		var err error
		if list, err = p.list(p.link, a.Family); err != nil {
			return err
		}
	}
	if given[a.Prefix.Addr()] || pick(list, a.Prefix.Addr()) >= 0 {
		return nil
	}
	return noAddress(p.change.Interface, a)
}

func noAddress(name string, a ifconfig.AddressChange) error {
	what := fmt.Sprintf("%s address", a.Family)
	if a.Prefix.IsValid() {
		what = fmt.Sprintf("address %v; one of a vhid is deleted with: vhid N", a.Prefix.Addr())
	}
	return fmt.Errorf("SIOCDIFADDR: Can't assign requested address (%s has no %s)", name, what)
}

// pick finds an address in the list, the first one if it is the zero Addr; -1: it is not there.
func pick(list []address, ip netip.Addr) int {
	return slices.IndexFunc(list, func(a address) bool { return !ip.IsValid() || a.ip() == ip })
}

// edit is the step that adds, replaces or deletes an address.
type edit struct {
	*plan
	asked  ifconfig.AddressChange
	before []address // all of the family
	added  *address
}

func (e *edit) do(link netlink.Link) error {
	var err error
	if e.before, err = e.list(link, e.asked.Family); err != nil {
		return err
	}
	if e.asked.Op == ifconfig.AddressDelete {
		at := pick(e.before, e.asked.Prefix.Addr())
		if at < 0 {
			return noAddress(e.change.Interface, e.asked)
		}
		return e.apply(link, func(a address) bool { return a.same(&e.before[at]) })
	}
	fresh, err := e.freshLink(link)
	if err != nil {
		return err
	}
	if e.added, err = wanted(e.asked, fresh.Attrs().HardwareAddr); err != nil {
		return err
	}
	at := slices.IndexFunc(e.before, func(a address) bool {
		return a.same(e.added) && (!e.asked.Broadcast.IsValid() || a.Broadcast.Equal(e.added.Broadcast))
	})
	remove := func(a address) bool { // BSD has an address once, whatever its mask
		return at < 0 && a.ip() == e.added.ip() || e.added.ours && a.ours && a.ip() != e.added.ip()
	}
	if at >= 0 { // it is there already
		lifetimes := e.added
		if e.added = nil; lifetimes.ValidLft != 0 {
			if err := write(link, lifetimes, syscall.NLM_F_REPLACE); err != nil {
				return err
			}
		}
		remove = func(a address) bool { return lifetimes.ours && a.ours && a.ip() != lifetimes.ip() }
	}
	return e.apply(link, remove)
}

// freshLink reads the link again: a step before may have changed its address.
func (e *edit) freshLink(link netlink.Link) (netlink.Link, error) {
	return e.netlink.LinkByIndex(link.Attrs().Index)
}

// apply removes addresses and adds e.added; after an error all is as before.
func (e *edit) apply(link netlink.Link, remove func(address) bool) (err error) {
	defer func() {
		if err != nil {
			_ = e.undo(link) // its error would hide the reason
		}
	}()
	kept := e.before[:0:0]
	for _, a := range e.before {
		if !remove(a) {
			kept = append(kept, a)
			continue
		}
		if err := e.netlink.AddrDel(link, &a.Addr); err != nil {
			return err
		}
	}
	if e.added != nil {
		if err := write(link, e.added, syscall.NLM_F_EXCL); err != nil {
			return err
		}
	}
	return e.restore(link, kept)
}

// restore adds those of the addresses that are missing: with the first address of a network
// Linux deletes the others of it too, unless promote_secondaries is set.
func (e *edit) restore(link netlink.Link, want []address) error {
	now, err := e.list(link, e.asked.Family)
	if err != nil {
		return err
	}
	for _, a := range want {
		if slices.ContainsFunc(now, func(b address) bool { return b.same(&a) }) {
			continue
		}
		if err := write(link, &a, syscall.NLM_F_EXCL); err != nil {
			return fmt.Errorf("%v, which was there before: %w", a.IPNet, err)
		}
	}
	return nil
}

// undo removes what was added and adds what was there before.
func (e *edit) undo(link netlink.Link) error {
	if a := e.added; a != nil && !slices.ContainsFunc(e.before, func(b address) bool { return b.same(a) }) {
		now, err := e.list(link, e.asked.Family)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(now, func(b address) bool { return b.same(a) }) {
			if err := e.netlink.AddrDel(link, &a.Addr); err != nil {
				return err
			}
		}
	}
	return e.restore(link, e.before)
}
