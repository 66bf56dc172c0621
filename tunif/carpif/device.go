package carpif

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// alias marks an interface as ours, for the daemon after this one.
const alias = "carp interface of pfsyncd"

const queuedEvents = 256

// Device is one carpN, Linux's carp.Device. All its methods may be called by any
// goroutine, and Send waits for none of the others.
type Device struct {
	system *System
	parent *parent
	name   string
	mac    net.HardwareAddr
	closed bool // guarded by system.mu
	events chan carp.Event
	way    atomic.Pointer[way]

	// Guarded by parent.mu.
	index   int // 0: not there
	up      bool
	served  []netip.Prefix // nil: as good as unknown
	speaks6 bool           // IPv6 is switched on

	// Guarded by parent.hearing.
	told  bool
	known carp.Link
}

// Events is carp.Device's. A packet for which there is no room is dropped and counted;
// of the carpdev's conditions the last one always gets through.
func (d *Device) Events() <-chan carp.Event { return d.events }

// Close is carp.Device's. The carpdev gets its sysctls back with the last one on it.
func (d *Device) Close() error { return d.system.close(d) }

// make makes the interface, down and without addresses. What a daemon before has left
// is removed first: it may be anything but that.
func (d *Device) make(carpdev ifwatch.Interface) error {
	if carpdev.Name == d.name {
		return fmt.Errorf("%s: cannot be its own carpdev", d.name)
	}
	if err := d.clear(); err != nil {
		return err
	}
	if err := d.parent.netlink.one(newMacvlan(d.name, carpdev.Index, d.mac)); err != nil {
		return d.makeError(carpdev, err)
	}
	i, err := d.parent.query.ByName(d.name)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.index, d.up, d.served, d.speaks6 = i.Index, false, nil, false
	if err := d.parent.netlink.one(setAlias(d.index, alias)); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", d.name, err), d.unmake())
	}
	for _, s := range carpSettings {
		if _, err := d.system.sysctls.apply(d.name, s); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", d.name, err), d.unmake())
		}
	}
	d.system.counters.made.Add(1)
	return nil
}

// clear removes an interface of ours that has the name. One of somebody else stays.
func (d *Device) clear() error {
	l, err := d.parent.query.Handle().LinkByName(d.name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	if l.Type() != "macvlan" || l.Attrs().Alias != alias {
		return fmt.Errorf("%s: an interface of this name exists (%s) and is not pfsyncd's; delete or rename it first", d.name, l.Type())
	}
	if err := d.parent.query.Handle().LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s: removing what was left over: %w", d.name, err)
	}
	return nil
}

// makeError names the remedy.
func (d *Device) makeError(carpdev ifwatch.Interface, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		if master := d.parent.masterOf(carpdev.Index); master != "" {
			return fmt.Errorf("%s: carpdev %s: is a port of %s; use %[3]s as the carpdev: %w", d.name, carpdev.Name, master, err)
		}
		return fmt.Errorf("%s: carpdev %s: something else receives all its packets (bridge, bond, ipvlan); use that as the carpdev: %w", d.name, carpdev.Name, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: carpdev %s: is not an Ethernet interface: %w", d.name, carpdev.Name, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s: the kernel has no macvlan; load the module (modprobe macvlan): %w", d.name, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: needs CAP_NET_ADMIN: %w", d.name, err)
	}
	return fmt.Errorf("%s: macvlan on carpdev %s: %w", d.name, carpdev.Name, err)
}

// masterOf is the name of the bridge, bond or team that has the interface as a port.
func (p *parent) masterOf(index int) string {
	l, err := p.query.Handle().LinkByIndex(index)
	if err != nil || l.Attrs().MasterIndex == 0 {
		return ""
	}
	master, err := p.query.Handle().LinkByIndex(l.Attrs().MasterIndex)
	if err != nil {
		return ""
	}
	return master.Attrs().Name
}

// unmake removes the interface, and the addresses with it.
func (d *Device) unmake() error {
	if d.index == 0 {
		return nil
	}
	l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: d.index}}
	d.index, d.up, d.served = 0, false, nil
	if err := d.parent.query.Handle().LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s: removing it: %w", d.name, err)
	}
	return nil
}

// verify forgets the interface unless it is still the one that was made.
func (d *Device) verify() {
	if d.index == 0 {
		return
	}
	l, err := d.parent.query.Handle().LinkByIndex(d.index)
	if err == nil && l.Attrs().Name == d.name && bytes.Equal(l.Attrs().HardwareAddr, d.mac) && l.Attrs().ParentIndex == d.parent.index {
		return
	}
	d.index, d.up, d.served = 0, false, nil
}

// way is how frames leave.
type way struct {
	index  int // of the interface, for what only a master sends
	advert int // of what an advert goes through
	own    map[carp.Family]netip.Addr
	err    error // there is none
}

// publish has the next frame go the way that is right now.
func (d *Device) publish() {
	w := &way{index: d.index, advert: d.index, own: maps.Clone(d.parent.own)}
	if d.index == 0 {
		w.err = d.missing()
	} else if !d.up {
		w.advert = d.parent.index
	}
	d.way.Store(w)
}

// missing tells why there is no interface.
func (d *Device) missing() error {
	if !d.parent.link.Exists {
		return fmt.Errorf("%s: carpdev %s: %w", d.name, d.parent.name, ifwatch.ErrNoInterface)
	}
	return fmt.Errorf("%s: %w; it is being made anew", d.name, ifwatch.ErrNoInterface)
}

func (d *Device) tellLink(l carp.Link) {
	d.parent.hearing.Lock()
	defer d.parent.hearing.Unlock()
	k := d.known
	if d.told && k.Exists == l.Exists && k.Up == l.Up && k.Runs == l.Runs && bytes.Equal(k.MAC, l.MAC) {
		return
	}
	d.told, d.known = true, l
	d.tell(carp.Event{Link: &l})
}

// tell never waits. parent.hearing is held.
func (d *Device) tell(e carp.Event) {
	for {
		select {
		case d.events <- e:
			return
		default:
		}
		if e.Packet != nil {
			d.system.counters.eventDrops.Add(1)
			return
		}
		select { // make room
		case old := <-d.events:
			if old.Packet != nil {
				d.system.counters.eventDrops.Add(1)
			}
		default:
		}
	}
}
