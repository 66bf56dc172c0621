package carpif

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// System is Linux's carp.System. Its methods may be called by any goroutine.
type System struct {
	log      *slog.Logger
	netNS    int
	sysctls  *sysctls
	send     *sender
	counters counters

	mu      sync.Mutex // held by Open and Close from end to end
	parents map[string]*parent
	names   map[string]bool
}

// Option changes what New makes.
type Option func(*System)

// NetNS puts everything into the network namespace of that file descriptor, which must
// stay open until Close.
func NetNS(fd int) Option { return func(s *System) { s.netNS = fd } }

// New opens what all carp interfaces share. It needs CAP_NET_RAW.
func New(log *slog.Logger, opts ...Option) (*System, error) {
	s := &System{log: log, parents: map[string]*parent{}, names: map[string]bool{}}
	for _, o := range opts {
		o(s)
	}
	var err error
	if s.sysctls, err = openSysctls(s.netNS); err != nil {
		return nil, fmt.Errorf("carp: %w", err)
	}
	if s.send, err = openSender(s.netNS); err != nil {
		s.sysctls.close()
		return nil, fmt.Errorf("carp: %w", err)
	}
	return s, nil
}

// Close frees what New opened. All devices must be closed.
func (s *System) Close() error { return errors.Join(s.send.close(), s.sysctls.close()) }

// Open is carp.System's. A carpdev that does not exist is no error: the device says so
// among its events, and comes when it comes. One that can never carry a carp interface is.
func (s *System) Open(name, carpdev string, mac net.HardwareAddr) (carp.Device, error) {
	if err := ifwatch.CheckName(name); err != nil {
		return nil, err
	}
	if err := ifwatch.CheckName(carpdev); err != nil {
		return nil, fmt.Errorf("%s: carpdev %w", name, err)
	}
	if len(mac) != 6 || mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return nil, fmt.Errorf("%s: %v: not an Ethernet address that an interface can have", name, mac)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] {
		return nil, fmt.Errorf("%s: is open already", name)
	}
	p := s.parents[carpdev]
	if p == nil {
		var err error
		if p, err = s.openParent(carpdev); err != nil {
			return nil, fmt.Errorf("%s: carpdev %s: %w", name, carpdev, err)
		}
	}
	d := &Device{
		system: s, parent: p, name: name, mac: append(net.HardwareAddr(nil), mac...),
		events: make(chan carp.Event, queuedEvents),
	}
	if err := p.add(d); err != nil {
		return nil, errors.Join(err, s.release(p))
	}
	s.parents[carpdev], s.names[name] = p, true
	return d, nil
}

// close removes d. What it shares goes with the last that shares it.
func (s *System) close(d *Device) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.closed {
		return fmt.Errorf("%s: %w", d.name, os.ErrClosed)
	}
	d.closed = true
	err := d.parent.remove(d)
	delete(s.names, d.name)
	return errors.Join(err, s.release(d.parent))
}

func (s *System) release(p *parent) error {
	if !p.idle() {
		return nil
	}
	delete(s.parents, p.name)
	return p.close()
}
