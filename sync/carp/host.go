package carp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// ErrStopped is returned when Run has ended.
var ErrStopped = errors.New("carp has stopped")

const (
	reportsWaiting     = 256
	transitionsWaiting = 64
)

// Host is this firewall's part in CARP: all its carp interfaces. Its methods may be
// called by any goroutine; those that return an error wait for Run.
type Host struct {
	system      System
	log         *slog.Logger
	ask         chan func()
	done        chan struct{}
	mail        mailbox
	reports     chan report
	alone       atomic.Bool   // as PeersSilent was told
	opening     chan struct{} // held while the System opens a device
	working     sync.WaitGroup
	transitions chan Transition

	// Owned by Run.
	options Options
	now     time.Time // read once a turn
	vhids   []*vhid   // by name
	devices map[string]*device
	demoted demotions
	dirty   bool // what demoted is made of has changed
	counts  counts
	silence silence
	warned  map[string]bool // carpdevs with VRRP
	ending  bool
}

// New returns a Host without interfaces; Run starts it.
func New(system System, log *slog.Logger) *Host {
	return &Host{
		system: system, log: log,
		ask: make(chan func(), 16), done: make(chan struct{}), mail: mailbox{full: make(chan struct{}, 1)},
		reports: make(chan report, reportsWaiting), opening: make(chan struct{}, 1),
		transitions: make(chan Transition, transitionsWaiting),
		options:     DefaultOptions(), devices: map[string]*device{}, demoted: demotions{}, warned: map[string]bool{},
	}
}

// Run works until ctx ends. Then masters bow out, addresses are withdrawn and the
// interfaces removed. It is called once.
func (h *Host) Run(ctx context.Context) error {
	defer close(h.transitions)
	defer close(h.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := ctx.Done()
	for !h.ending || len(h.vhids)+len(h.devices) > 0 {
		h.turn()
		timer.Reset(h.rest())
		select {
		case <-stop:
			stop = nil
			h.tick()
			h.ending = true
			h.settleAll()
		case r := <-h.reports:
			h.tick()
			h.handle(r)
		case f := <-h.ask:
			h.tick()
			h.takeShares() // who sets one and then asks sees it
			f()
		case <-h.mail.full:
			h.tick()
			h.takeShares()
			h.silence.hear(h.alone.Load(), h.now)
		case <-timer.C:
			h.tick()
			h.advertise()
			h.drain()
			h.expire()
		}
	}
	h.working.Wait()
	return nil
}

func (h *Host) takeShares() {
	h.mail.take(func(k shareKey, count int) {
		h.setShare(k.group, k.reason, count)
		h.dirty = true
	})
}

func (h *Host) tick() { h.now = time.Now() }

// turn sends what the last event has made due.
func (h *Host) turn() {
	h.tick()
	if h.dirty {
		h.redemote()
	}
	h.advertise()
}

// drain handles what has been received before a master is said to be silent.
func (h *Host) drain() {
	for range 4 * reportsWaiting {
		select {
		case r := <-h.reports:
			h.handle(r)
		default:
			h.tick()
			return
		}
	}
}

// do runs f in the goroutine of Run and waits for it.
func (h *Host) do(f func()) error {
	select {
	case <-h.done:
		return ErrStopped // ask may have room still
	default:
	}
	ran := make(chan struct{})
	select {
	case h.ask <- func() { defer close(ran); f() }:
	case <-h.done:
		return ErrStopped
	}
	select {
	case <-ran:
		return nil
	case <-h.done:
		return ErrStopped
	}
}

// change is do with an error.
func (h *Host) change(f func() error) error {
	var err error
	if stopped := h.do(func() { err = f() }); stopped != nil {
		return stopped
	}
	return err
}

// find returns the interface of that name, nil if there is none.
func (h *Host) find(name string) *vhid {
	for _, v := range h.vhids {
		if v.cfg.Name == name && v.removed == nil {
			return v
		}
	}
	return nil
}

func noSuch(name string) error { return fmt.Errorf("%s: no such interface", name) }

func (h *Host) settleAll() {
	for _, v := range slices.Clone(h.vhids) {
		h.settle(v)
	}
}

// Configure makes the interface or changes it. What does not fit is refused and
// nothing is changed: a vhid that the carpdev has already, an address of another vhid.
// What is wrong with the carpdev is in Status: it may be mended later.
func (h *Host) Configure(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	c = c.clone()
	return h.change(func() error {
		v := h.find(c.Name)
		for _, other := range h.vhids {
			if other == v || other.removed != nil {
				continue
			}
			if err := c.conflict(other.cfg); err != nil {
				return err
			}
		}
		if h.ending {
			return ErrStopped
		}
		if len(c.Pass) > PassLen && (v == nil || v.cfg.Pass != c.Pass) {
			h.log.Warn("carp pass is too long: what is behind its 19th byte does not count", "carp", c.Name)
		}
		switch {
		case v == nil:
			v = newVHID(c, h.now)
			h.vhids = append(h.vhids, v)
			slices.SortStableFunc(h.vhids, func(a, b *vhid) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
			h.dirty = true
		case !reflect.DeepEqual(v.cfg, c):
			h.configure(v, c)
		}
		h.settle(v)
		return nil
	})
}

// Remove bows out and removes the interface. It returns when that is gone.
func (h *Host) Remove(name string) error {
	gone := make(chan struct{})
	err := h.change(func() error {
		v := h.find(name)
		if v == nil {
			return noSuch(name)
		}
		v.removed, h.dirty = gone, true
		h.settle(v)
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-gone:
	case <-h.done:
	}
	return nil
}

// Force is ifconfig's state keyword: it takes effect unless the state is Init, and
// the next advert or timer may undo it.
func (h *Host) Force(name string, s State) error {
	return h.change(func() error {
		v := h.find(name)
		if v == nil {
			return noSuch(name)
		}
		if v.state != Init && s != Init {
			h.become(v, s, "forced")
			h.settle(v)
		}
		return nil
	})
}

// SetOptions takes effect at once.
func (h *Host) SetOptions(o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	return h.change(func() error {
		h.options, h.dirty = o, true
		h.settleAll()
		return nil
	})
}

// Demote adds n, which may be negative, to what the operator has set for group.
// Masters of the group advertise at once.
func (h *Host) Demote(group string, n int) error {
	return h.change(func() error {
		h.setShare(group, operatorReason, h.demoted.share(group, operatorReason)+n)
		h.dirty = true
		return nil
	})
}

// SetShare makes count the part of reason in group's demotion: 0 takes it away. It
// never blocks, and the last value counts; it may be called before Run.
func (h *Host) SetShare(group, reason string, count int) {
	h.mail.put(shareKey{group, reason}, count)
}

// PeersSilent tells whether the peers of pfsync, heard until a moment ago, have fallen
// silent: then a master need not miss three adverts to be dead. It never blocks.
func (h *Host) PeersSilent(silent bool) {
	h.alone.Store(silent)
	h.mail.wake()
}

// Status returns all interfaces, in the order of their names.
func (h *Host) Status() ([]Status, error) {
	var all []Status
	err := h.do(func() {
		for _, v := range h.vhids {
			if v.removed != nil {
				continue
			}
			s := Status{
				Config: v.cfg.clone(), State: v.state, Since: v.since, Demotion: h.demotion(v),
				Master: v.master, Why: v.why, Changes: v.changes,
			}
			if v.serveErr != nil {
				s.Why = v.serveErr.Error()
			}
			all = append(all, s)
		}
	})
	return all, err
}

// Groups returns the groups that have carp interfaces or a demotion.
func (h *Host) Groups() ([]Group, error) {
	var all []Group
	err := h.do(func() {
		names := map[string]bool{}
		for g := range h.demoted {
			names[g] = true
		}
		for _, v := range h.vhids {
			for _, g := range v.cfg.groups() {
				names[g] = true
			}
		}
		for _, g := range slices.Sorted(maps.Keys(names)) {
			all = append(all, Group{Name: g, Demotion: h.demoted.sum(g), Shares: slices.Clone(h.demoted[g])})
		}
	})
	return all, err
}

// Counters are those of netstat -s -p carp, and ours.
func (h *Host) Counters() ([]pfstate.Counter, error) {
	var all []pfstate.Counter
	err := h.do(func() { all = h.counts.list() })
	return all, err
}

// Transitions tells every change of state, and is closed when Run ends. Who does not
// read loses the oldest, counted.
func (h *Host) Transitions() <-chan Transition { return h.transitions }

func (h *Host) tell(t Transition) {
	for {
		select {
		case h.transitions <- t:
			return
		default:
		}
		select {
		case <-h.transitions:
			h.counts[transitionsLost]++
		default:
		}
	}
}

// logAt logs what net.inet.carp.log, a syslog level, lets through.
func (h *Host) logAt(syslog int, level slog.Level, msg string, args ...any) {
	if h.options.Log >= syslog {
		h.log.Log(context.Background(), level, msg, args...)
	}
}
