package carptest

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// device is a carp interface.
type device struct {
	system *System
	name   string
	port   *port
	mac    net.HardwareAddr
	events chan carp.Event

	// Guarded by the LAN's mutex.
	serving map[netip.Addr]time.Time // until when
	gone    bool                     // with its port
	closed  bool
}

var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.MustParseAddr("ff02::12")
)

// Serve is carp.Device's.
func (d *device) Serve(addresses []netip.Prefix, lifetime time.Duration) error {
	return d.call(Call{Op: Serve, Addresses: slices.Clone(addresses), Lifetime: lifetime}, func() error {
		if d.gone {
			return ErrDown
		}
		d.serving = map[netip.Addr]time.Time{}
		for _, p := range addresses {
			d.serving[p.Addr()] = time.Now().Add(lifetime)
		}
		return nil
	})
}

// Announce is carp.Device's.
func (d *device) Announce(addresses []netip.Prefix) error {
	return d.call(Call{Op: Announce, Addresses: slices.Clone(addresses)}, d.usable)
}

// Withdraw is carp.Device's.
func (d *device) Withdraw() error {
	return d.call(Call{Op: Withdraw}, func() error {
		d.serving = nil
		return nil
	})
}

// Send is carp.Device's.
func (d *device) Send(advert []byte, family carp.Family, peer, source netip.Addr) error {
	return d.call(Call{Op: Send, Family: family, Advert: slices.Clone(advert)}, func() error {
		if err := d.usable(); err != nil {
			return err
		}
		p := carp.Packet{Family: family, Src: source, Dst: peer, TTL: 255, Payload: slices.Clone(advert)}
		for _, a := range d.port.addrs {
			if a.Is4() == (family == carp.Inet) {
				p.Src = a
				break
			}
		}
		switch {
		case peer.IsValid():
		case family == carp.Inet:
			p.Dst = group4
		default:
			p.Dst = group6
		}
		d.system.lan.transmit(d.system, d.port, p)
		return nil
	})
}

// Events is carp.Device's.
func (d *device) Events() <-chan carp.Event { return d.events }

// Close is carp.Device's.
func (d *device) Close() error {
	err := d.call(Call{Op: Close}, func() error {
		d.serving = nil
		if d.system.devices[d.name] == d {
			delete(d.system.devices, d.name)
		}
		return nil
	})
	d.system.lan.mu.Lock()
	defer d.system.lan.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.events)
	}
	return err
}

// usable tells what is wrong with the port.
func (d *device) usable() error {
	if d.gone || !d.port.link.Usable() {
		return ErrDown
	}
	return nil
}

// call does what c says unless it is refused, or has no effect any more.
func (d *device) call(c Call, effect func() error) error {
	c.Device, c.Port = d.name, d.port.name
	if err := d.system.ask(c); err != nil {
		return err
	}
	d.system.lan.mu.Lock()
	defer d.system.lan.mu.Unlock()
	if d.system.dead || d.system.frozen || d.closed || d.system.devices[d.name] != d {
		return nil
	}
	return effect()
}

// tell sends an event, or drops it if the Host does not keep up. The LAN's mutex is held.
func (d *device) tell(e carp.Event) {
	if d.closed {
		return
	}
	select {
	case d.events <- e:
	default:
		d.system.dropped++
	}
}
