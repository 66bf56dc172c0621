// Package tuniftest is a pseudo-interface in memory, for tests of what shows packets
// on one. It has the methods of tunif.Device, and nothing but channels.
package tuniftest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/tunif"
)

// room is how many written packets may wait for Written's reader; then the device is full.
const room = 4096

// Device behaves as a tunif.Device that has just been opened: down, with an MTU of 1500.
type Device struct {
	written  chan []byte
	statuses chan tunif.Status
	done     chan struct{} // closed by Close

	mu       sync.Mutex
	status   tunif.Status
	closed   bool
	counters [8]uint64
}

// Indexes of counters, in the order of tunif.Device.Counters.
const (
	shown = iota
	shownBytes
	down
	full
	gone
	_
	discarded
	discardedBytes
)

// Open makes a device.
func Open(name string) *Device {
	return &Device{
		written:  make(chan []byte, room),
		statuses: make(chan tunif.Status, 1),
		done:     make(chan struct{}),
		status:   tunif.Status{Name: name, Index: 1, MTU: 1500},
	}
}

// Written delivers copies of the packets shown, as tcpdump would see them.
func (d *Device) Written() <-chan []byte { return d.written }

// FromHost pretends that the host routes packet into the device, which discards it.
func (d *Device) FromHost(packet []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counters[discarded]++
	d.counters[discardedBytes] += uint64(len(packet))
}

// Change changes the status as another program would, to Gone as well.
func (d *Device) Change(f func(*tunif.Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.change(f)
}

// change is Change with d.mu held.
func (d *Device) change(f func(*tunif.Status)) {
	s := d.status
	f(&s)
	s.Up = s.Up && !s.Gone
	if s == d.status {
		return
	}
	d.status = s
	select {
	case <-d.statuses:
	default:
	}
	d.statuses <- s
}

// Run waits until ctx ends or the device is closed.
func (d *Device) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-d.done:
	}
	return nil
}

// Write is tunif.Device's, with the same errors and counters.
func (d *Device) Write(packet []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		d.counters[gone]++
		return os.ErrClosed
	case d.status.Gone:
		d.counters[gone]++
		return tunif.ErrGone
	case !d.status.Up:
		d.counters[down]++
		return tunif.ErrDown
	}
	select {
	case d.written <- slices.Clone(packet):
		d.counters[shown]++
		d.counters[shownBytes] += uint64(len(packet))
		return nil
	default:
		d.counters[full]++
		return tunif.ErrFull
	}
}

// SetUp is tunif.Device's.
func (d *Device) SetUp(up bool) error {
	return d.set("up", func(s *tunif.Status) { s.Up = up })
}

// SetMTU is tunif.Device's.
func (d *Device) SetMTU(mtu int) error {
	if err := tunif.CheckMTU(mtu); err != nil {
		return fmt.Errorf("%s: %w", d.Status().Name, err)
	}
	return d.set("mtu", func(s *tunif.Status) { s.MTU = mtu })
}

func (d *Device) set(what string, f func(*tunif.Status)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return fmt.Errorf("%s: %s: %w", d.status.Name, what, os.ErrClosed)
	case d.status.Gone:
		return fmt.Errorf("%s: %s: %w", d.status.Name, what, tunif.ErrGone)
	}
	d.change(f)
	return nil
}

// Status is tunif.Device's.
func (d *Device) Status() tunif.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// Events is tunif.Device's.
func (d *Device) Events() <-chan tunif.Status { return d.statuses }

// Counters are named as tunif.Device's.
func (d *Device) Counters() []pfstate.Counter {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := new(tunif.Device).Counters()
	for i := range list {
		list[i].Value = d.counters[i]
	}
	return list
}

// Close is tunif.Device's.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.done)
	}
	return nil
}
