// Package carptest is what a carp.Host runs on, in memory: the interfaces of several
// firewalls and the networks between them. Packets can be lost and delayed, firewalls
// cut off from one another, links pulled, calls made slow or refused.
//
//	lan := carptest.NewLAN()
//	sys := lan.System("fwA", carptest.Ports{"sis0": {netip.MustParseAddr("10.0.0.254")}})
//	host := carp.New(sys, log)
//
// Ports of the same name are on the same network. There are only channels and timers,
// so it works in a testing/synctest bubble.
package carptest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// LAN is the networks and the firewalls on them. Its methods may be called by any
// goroutine.
type LAN struct {
	mu      sync.Mutex
	random  *rand.Rand
	systems []*System
	loss    float64
	delay   time.Duration
	jitter  time.Duration
	tap     func(Frame)
}

// Frame is a packet as a Tap sees it.
type Frame struct {
	At     time.Time
	From   string // name of the System
	Port   string
	Packet carp.Packet
	Lost   int // of its receivers did not get it, through Loss
}

// NewLAN makes networks that lose and delay nothing. It always draws the same fate.
func NewLAN() *LAN { return &LAN{random: rand.New(rand.NewPCG(1, 2))} }

// Ports are a firewall's carpdevs by name, with their addresses in order.
type Ports map[string][]netip.Addr

// System plugs a firewall in, its ports up.
func (l *LAN) System(name string, ports Ports) *System {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &System{Name: name, lan: l, ports: map[string]*port{}, devices: map[string]*device{}}
	for _, p := range sortedKeys(ports) {
		mac := net.HardwareAddr{0x02, 0, 0, 0, byte(len(l.systems) + 1), byte(len(s.ports) + 1)}
		s.ports[p] = &port{name: p, addrs: slices.Clone(ports[p]), link: carp.Link{Exists: true, Up: true, Runs: true, MAC: mac}}
	}
	l.systems = append(l.systems, s)
	return s
}

// Loss is the odds, 0 to 1, that a receiver does not get a packet sent from now on.
func (l *LAN) Loss(odds float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loss = odds
}

// Delay makes packets sent from now on take delay, and up to jitter more.
func (l *LAN) Delay(delay, jitter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.jitter = delay, jitter
}

// Partition cuts the networks between groups. Who is in none is in one with the
// others that are in none: Partition() heals.
func (l *LAN) Partition(groups ...[]*System) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.systems {
		s.group = 0
	}
	for i, g := range groups {
		for _, s := range g {
			s.group = i + 1
		}
	}
}

// Tap calls f with every packet sent, lost or not. f must not call the LAN.
func (l *LAN) Tap(f func(Frame)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tap = f
}

// Holders are the names of those that have the address now, in the order they were
// plugged in: more than one and clients see two answers.
func (l *LAN) Holders(addr netip.Addr) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for _, s := range l.systems {
		if s.has(addr) {
			names = append(names, s.Name)
		}
	}
	return names
}

// transmit hands the packet to everyone who can hear it. l.mu is held.
func (l *LAN) transmit(from *System, at *port, p carp.Packet) {
	lost := 0
	for _, s := range l.systems {
		to := s.ports[at.name]
		if s == from || s.group != from.group || to == nil {
			continue
		}
		if !p.Dst.IsMulticast() && !slices.Contains(to.addrs, p.Dst) {
			continue
		}
		if l.loss > 0 && l.random.Float64() < l.loss {
			lost++
			continue
		}
		own := p
		own.Payload = slices.Clone(p.Payload)
		wait := l.delay
		if l.jitter > 0 {
			wait += time.Duration(l.random.Int64N(int64(l.jitter)))
		}
		if wait == 0 {
			s.deliver(to, own)
			continue
		}
		time.AfterFunc(wait, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			s.deliver(to, own)
		})
	}
	if l.tap != nil {
		l.tap(Frame{At: time.Now(), From: from.Name, Port: at.name, Packet: p, Lost: lost})
	}
}
