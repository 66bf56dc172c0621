package carpif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

const retryAfter = time.Second

// parent is a carpdev and what the carp interfaces on it share: the sockets that hear
// adverts, its sysctls and the watch on it. It is known by its name.
type parent struct {
	system  *System
	name    string
	events  *ifwatch.Events
	query   *ifwatch.Query
	stop    context.CancelFunc // ends the watch
	watch   sync.WaitGroup
	readers sync.WaitGroup
	broken  chan struct{} // a receiver gave up

	// Nobody waits in the kernel who holds this: packets are told at once.
	hearing sync.Mutex
	hearers []*Device

	mu        sync.Mutex
	netlink   rtnetlink
	devices   []*Device
	index     int // 0: not there, or not ready
	link      carp.Link
	receivers []*receiver
	replaced  []replaced
	own       map[carp.Family]netip.Addr // what adverts are sent from
	complaint string                     // the last one logged
}

// replaced is a sysctl of the carpdev that was another one before.
type replaced struct {
	setting
	old int
}

// openParent starts to watch a carpdev.
func (s *System) openParent(name string) (*parent, error) {
	p := &parent{
		system: s, name: name,
		netlink: rtnetlink{netNS: s.netNS},
		broken:  make(chan struct{}, 1),
		own:     map[carp.Family]netip.Addr{},
	}
	var err error
	if p.events, err = ifwatch.Subscribe(s.netNS, ifwatch.IPv6); err != nil {
		return nil, err
	}
	if p.query, err = ifwatch.OpenQuery(s.netNS); err != nil {
		p.events.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	changes := make(chan ifwatch.Event, 64)
	p.watch.Go(func() {
		if err := p.events.Run(ctx, changes); err != nil {
			s.log.Error("changes of the carpdev are not seen any more; restart pfsyncd", "carpdev", name, "err", err)
		}
	})
	p.watch.Go(func() { p.follow(ctx, changes) })
	return p, nil
}

// close ends the watch and gives the carpdev its sysctls back.
func (p *parent) close() error {
	p.stop()
	p.watch.Wait()
	p.mu.Lock()
	p.closeReceivers()
	err := p.restore()
	p.mu.Unlock()
	p.readers.Wait()
	p.netlink.close()
	p.query.Close()
	return errors.Join(err, p.events.Close())
}

func (p *parent) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.devices) == 0
}

// add makes d's interface, if the carpdev is there, and tells it how the carpdev is.
func (p *parent) add(d *Device) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices = append(p.devices, d)
	if err := p.look(); err != nil && d.index == 0 { // else it is another one's
		p.devices = without(p.devices, d)
		return err
	}
	p.hearing.Lock()
	p.hearers = append(p.hearers, d)
	p.hearing.Unlock()
	return nil
}

func without(list []*Device, d *Device) []*Device {
	return slices.DeleteFunc(list, func(other *Device) bool { return other == d })
}

func (p *parent) remove(d *Device) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices = without(p.devices, d)
	p.hearing.Lock()
	p.hearers = without(p.hearers, d)
	close(d.events)
	p.hearing.Unlock()
	defer d.publish()
	return d.unmake()
}

// follow looks at the carpdev whenever something about it may have changed.
func (p *parent) follow(ctx context.Context, changes <-chan ifwatch.Event) {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for ctx.Err() == nil {
		look := true
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		case <-p.broken:
			p.mu.Lock()
			p.closeReceivers()
			p.mu.Unlock()
			retry.Reset(retryAfter) // not at once: it may break again
			look = false
		case e := <-changes:
			look = p.concerns(e)
			for range len(changes) {
				look = p.concerns(<-changes) || look
			}
		}
		if look && !p.refresh() {
			retry.Reset(retryAfter)
		}
	}
}

// concerns tells whether e may change what look finds. An interface that was removed is
// forgotten at once: its successor may have the same index.
func (p *parent) concerns(e ifwatch.Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Index == 0: // events were lost: anything may have been made anew
		p.closeReceivers()
		for _, d := range p.devices {
			d.verify()
		}
		return true
	case e.Index == p.index && e.Gone:
		p.forget()
		return true
	case e.Index == p.index || p.index == 0:
		return true
	case !e.Gone:
		return false
	}
	for _, d := range p.devices {
		if d.index == e.Index { // somebody deleted carpN
			d.index, d.up, d.served = 0, false, nil
			d.publish()
			return true
		}
	}
	return false
}

// refresh is look for whom nobody waits: it reports whether all is well.
func (p *parent) refresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.look()
	if err == nil {
		p.complaint = ""
		return true
	}
	if text := err.Error(); text != p.complaint {
		p.complaint = text
		p.system.log.Error("carp interfaces cannot be used", "carpdev", p.name, "err", err)
	}
	return false
}

// look brings interfaces and sockets in line with the carpdev, and tells the devices
// how it is. p.mu is held, here and below.
func (p *parent) look() error {
	i, err := p.query.ByName(p.name)
	if errors.Is(err, ifwatch.ErrNoInterface) {
		p.forget()
		p.link = carp.Link{}
		p.tell()
		return nil
	}
	if err != nil {
		return fmt.Errorf("carpdev %s: %w", p.name, err)
	}
	if p.index != i.Index {
		p.forget()
	}
	p.link = carp.Link{Exists: true, Up: i.Up, Runs: i.Running, MAC: i.MAC}
	err = p.equip(i)
	p.tell()
	return err
}

// equip gives the carpdev all that is missing on it.
func (p *parent) equip(i ifwatch.Interface) error {
	if i.Loopback {
		return fmt.Errorf("carpdev %s: is a loopback interface", p.name)
	}
	if p.index == 0 {
		if err := p.prepare(); err != nil {
			return err
		}
		p.index = i.Index
	}
	if err := p.openReceivers(); err != nil {
		return err
	}
	if err := p.learnAddresses(i); err != nil {
		return err
	}
	var errs []error
	for _, d := range p.devices {
		if d.index == 0 {
			errs = append(errs, d.make(i))
		}
	}
	return errors.Join(errs...)
}

// forget is for a carpdev that is gone. Its carp interfaces went with it, unless it was
// but renamed.
func (p *parent) forget() {
	p.closeReceivers()
	clear(p.own)
	p.index, p.replaced = 0, nil
	for _, d := range p.devices {
		if err := d.unmake(); err != nil {
			p.system.log.Warn("carp interface left behind", "interface", d.name, "err", err)
		}
	}
}

// prepare sets the carpdev's sysctls and remembers what they were.
func (p *parent) prepare() error {
	for _, s := range parentSettings {
		old, err := p.system.sysctls.apply(p.name, s)
		if err != nil {
			return err
		}
		if old < s.value {
			p.replaced = append(p.replaced, replaced{s, old})
		}
	}
	return nil
}

// restore gives the carpdev its sysctls back, unless somebody has changed them since.
func (p *parent) restore() error {
	if p.index == 0 {
		return nil
	}
	var errs []error
	for _, r := range p.replaced {
		now, err := p.system.sysctls.value(p.name, r.setting)
		if err == nil && now == r.value {
			r.value, r.atLeast = r.old, false
			_, err = p.system.sysctls.apply(p.name, r.setting)
		}
		errs = append(errs, err)
	}
	p.replaced = nil
	return errors.Join(errs...)
}

// learnAddresses finds what adverts are sent from: the first address of the carpdev; of
// IPv6 a link-local one if there is any, as in OpenBSD, whose first one that is.
func (p *parent) learnAddresses(i ifwatch.Interface) error {
	v6, err := p.query.IPv6(i.Index)
	if err != nil {
		return fmt.Errorf("carpdev %s: %w", p.name, err)
	}
	clear(p.own)
	for family, list := range map[carp.Family][]ifwatch.Address{carp.Inet: i.IPv4, carp.Inet6: v6} {
		for _, a := range list {
			addr := a.Prefix.Addr()
			if now, known := p.own[family]; a.HostScope || known && (now.IsLinkLocalUnicast() || family == carp.Inet || !addr.IsLinkLocalUnicast()) {
				continue
			}
			p.own[family] = addr
		}
	}
	return nil
}

// tell tells each device how the carpdev is, if that is new to it.
func (p *parent) tell() {
	for _, d := range p.devices {
		d.publish()
		l := p.link
		l.Runs = l.Runs && d.index != 0 // it is no use yet
		d.tellLink(l)
	}
}
