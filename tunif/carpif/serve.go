package carpif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// batch is requests and what each is for.
type batch struct {
	requests []mdnetlink.Message
	what     []string
}

func (b *batch) add(what string, m mdnetlink.Message) {
	b.requests, b.what = append(b.requests, m), append(b.what, what)
}

// Serve is carp.Device's. The kernel's lifetimes are whole seconds: it is rounded up.
// All goes to the kernel in one send.
func (d *Device) Serve(addresses []netip.Prefix, lifetime time.Duration) error {
	p := d.parent
	p.mu.Lock()
	defer p.mu.Unlock()
	defer d.publish()
	d.system.counters.renewed.Add(1)
	err := d.serve(unmapped(addresses), lifetime)
	if err != nil {
		d.system.counters.serveErrors.Add(1)
	}
	return err
}

func (d *Device) serve(addresses []netip.Prefix, lifetime time.Duration) error {
	if d.index == 0 {
		return d.missing()
	}
	has := d.served
	if has == nil {
		var err error
		if has, err = d.has(); err != nil {
			return err
		}
	}
	if err := d.inet6(slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })); err != nil {
		return err
	}
	seconds := uint32(max(1, (lifetime+time.Second-1)/time.Second))
	var b batch
	for _, a := range has {
		if !slices.Contains(addresses, a) {
			b.add("removing "+a.String(), deleteAddress(d.index, a))
		}
	}
	for _, a := range addresses {
		if a.Addr().Is4() {
			b.add(a.String(), newAddress(d.index, a, seconds))
		}
	}
	b.add("up", setUp(d.index))
	for _, a := range addresses { // IPv6 ones have no route while it is down
		if a.Addr().Is6() {
			b.add(a.String(), newAddress(d.index, a, seconds))
		}
	}
	if err := d.do(b); err != nil {
		d.served = nil
		return err
	}
	d.up, d.served = true, append(make([]netip.Prefix, 0, len(addresses)), addresses...)
	return nil
}

// inet6 switches IPv6 on for the interface, or off.
func (d *Device) inet6(on bool) error {
	if d.speaks6 == on {
		return nil
	}
	to := withoutIPv6
	if on {
		to = withIPv6
	}
	if _, err := d.system.sysctls.apply(d.name, to); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.speaks6 = on
	return nil
}

// Withdraw is carp.Device's. Addresses that somebody else has added go too.
func (d *Device) Withdraw() error {
	p := d.parent
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.index == 0 {
		return nil
	}
	d.up, d.served = false, nil
	d.publish()
	has, err := d.has()
	var b batch
	for _, a := range has {
		b.add("removing "+a.String(), deleteAddress(d.index, a))
	}
	b.add("down", setDown(d.index))
	return errors.Join(err, d.do(b), d.inet6(false))
}

// has returns the addresses that the interface has.
func (d *Device) has() ([]netip.Prefix, error) {
	l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: d.index}}
	list, err := d.parent.query.Handle().AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // then it is nearly complete
		return nil, fmt.Errorf("%s: addresses: %w", d.name, err)
	}
	var has []netip.Prefix
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if ones, _ := a.Mask.Size(); ok {
			has = append(has, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return has, nil
}

// do executes a batch. An address that is gone already may be removed.
func (d *Device) do(b batch) error {
	var errs []error
	for i, err := range d.parent.netlink.do(b.requests) {
		switch {
		case err == nil:
		case errors.Is(err, unix.EADDRNOTAVAIL) && b.requests[i].Header.Type == unix.RTM_DELADDR:
		case errors.Is(err, unix.ENODEV):
			return d.missing()
		case errors.Is(err, unix.EADDRINUSE):
			errs = append(errs, fmt.Errorf("%s: %s: another interface on %s has the address %v; is the vhid used twice?: %w", d.name, b.what[i], d.parent.name, d.mac, err))
		default:
			errs = append(errs, fmt.Errorf("%s: %s: %w", d.name, b.what[i], err))
		}
	}
	return errors.Join(errs...)
}

// unmapped turns IPv4 addresses in IPv6 form into what they are.
func unmapped(addresses []netip.Prefix) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(addresses))
	for _, a := range addresses {
		if a.Addr().Is4In6() {
			a = netip.PrefixFrom(a.Addr().Unmap(), a.Bits()-96)
		}
		list = append(list, a)
	}
	return list
}
