package carptest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// Op is a call of a System or of a Device.
type Op string

const (
	Open     Op = "open"
	Serve    Op = "serve"
	Announce Op = "announce"
	Withdraw Op = "withdraw"
	Send     Op = "send"
	Close    Op = "close"
)

// Call is one call, as Hook and Calls see it.
type Call struct {
	At        time.Time
	Op        Op
	Device    string // carp0
	Port      string // its carpdev
	Addresses []netip.Prefix
	Lifetime  time.Duration
	Family    carp.Family
	Advert    []byte
	Err       error // what Hook or the condition of the port made of it
}

// System is one firewall: a carp.System. Its methods may be called by any goroutine.
type System struct {
	Name string

	lan     *LAN // whose mutex guards what follows
	group   int
	dead    bool // no power
	frozen  bool // the daemon is gone, the kernel goes on
	ports   map[string]*port
	devices map[string]*device
	hook    func(Call) error
	calls   []Call
	dropped int
}

var _ carp.System = (*System)(nil)

// port is a carpdev.
type port struct {
	name  string
	addrs []netip.Addr
	link  carp.Link
}

// ErrDown is what a call on a port that is down gets.
var ErrDown = errors.New("network is down")

// Hook calls f before each call takes effect, by the goroutine that makes the call: f
// may sleep to make it slow, or refuse it with an error. nil takes the hook away.
func (s *System) Hook(f func(Call) error) {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.hook = f
}

// Refuse is a Hook that refuses calls of the ops named with err.
func Refuse(err error, ops ...Op) func(Call) error {
	return func(c Call) error {
		if slices.Contains(ops, c.Op) {
			return err
		}
		return nil
	}
}

// Calls are all calls so far of the ops named, or of any.
func (s *System) Calls(ops ...Op) []Call {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.calls), func(c Call) bool {
		return len(ops) > 0 && !slices.Contains(ops, c.Op)
	})
}

// SetLink changes the condition of a port; its MAC stays if l has none. A port that
// does not exist takes its carp interfaces with it, as the kernel does; they are made
// anew when it is back.
func (s *System) SetLink(name string, l carp.Link) {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	p := s.ports[name]
	if l.MAC == nil {
		l.MAC = p.link.MAC
	}
	p.link = l
	for _, d := range s.devices {
		if d.port != p {
			continue
		}
		if d.gone = !l.Exists; d.gone {
			d.serving = nil
		}
		d.tell(carp.Event{Link: &l})
	}
}

// Pull takes the cable out of a port, Plug puts it in.
func (s *System) Pull(name string) { s.SetLink(name, carp.Link{Exists: true, Up: true}) }

// Plug is the opposite of Pull, and of any other SetLink.
func (s *System) Plug(name string) {
	s.SetLink(name, carp.Link{Exists: true, Up: true, Runs: true})
}

// PowerOff is a power cut: nothing is sent or heard, and no address is there any more.
// End the Host then; its calls have no effect.
func (s *System) PowerOff() {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.dead = true
}

// KillDaemon is a kill -9: what the Host calls has no effect any more, and the kernel
// keeps the addresses for as long as it was told.
func (s *System) KillDaemon() {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.frozen = true
}

// Restart is a boot after PowerOff or KillDaemon: no interface is left. Run a new Host.
func (s *System) Restart() {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.devices = map[string]*device{}
	s.dead, s.frozen = false, false
}

// Inject lets a port receive p, whatever it is.
func (s *System) Inject(name string, p carp.Packet) {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.deliver(s.ports[name], p)
}

// Dropped counts packets that a device could not take because its Events were full.
func (s *System) Dropped() int {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	return s.dropped
}

// Has tells whether the address is there now: its interface up, its lifetime not over.
func (s *System) Has(addr netip.Addr) bool {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	return s.has(addr)
}

func (s *System) has(addr netip.Addr) bool {
	if s.dead {
		return false
	}
	for _, d := range s.devices {
		if until, ok := d.serving[addr]; ok && time.Now().Before(until) {
			return true
		}
	}
	return false
}

// Devices are the names of the interfaces that exist.
func (s *System) Devices() []string {
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	return sortedKeys(s.devices)
}

// Open is carp.System's. As on Linux, a carpdev that does not exist is no error.
func (s *System) Open(name, carpdev string, mac net.HardwareAddr) (carp.Device, error) {
	if err := s.ask(Call{Op: Open, Device: name, Port: carpdev}); err != nil {
		return nil, err
	}
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	p := s.ports[carpdev]
	if p == nil {
		p = &port{name: carpdev}
		s.ports[carpdev] = p
	}
	if old := s.devices[name]; old != nil && !s.dead && !s.frozen {
		return nil, fmt.Errorf("%s: exists already", name)
	}
	d := &device{system: s, name: name, port: p, mac: slices.Clone(mac), events: make(chan carp.Event, 64), gone: !p.link.Exists}
	s.devices[name] = d
	link := p.link
	d.tell(carp.Event{Link: &link})
	return d, nil
}

// ask calls the hook and remembers the call.
func (s *System) ask(c Call) error {
	c.At = time.Now()
	s.lan.mu.Lock()
	hook := s.hook
	s.lan.mu.Unlock()
	if hook != nil {
		c.Err = hook(c)
	}
	s.lan.mu.Lock()
	defer s.lan.mu.Unlock()
	s.calls = append(s.calls, c)
	return c.Err
}

// deliver hands p to the devices on port. lan.mu is held.
func (s *System) deliver(to *port, p carp.Packet) {
	if s.dead || s.frozen || !to.link.Usable() {
		return
	}
	for _, name := range sortedKeys(s.devices) {
		if d := s.devices[name]; d.port == to {
			own := p
			own.Payload = slices.Clone(p.Payload)
			d.tell(carp.Event{Packet: &own})
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
