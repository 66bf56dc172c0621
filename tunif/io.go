package tunif

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// Errors of Write.
var (
	// ErrDown: the device is down, nobody can see the packet.
	ErrDown = errors.New("interface is down")
	// ErrFull: the kernel has no room at the moment.
	ErrFull = errors.New("interface queue is full")
	// ErrGone: the device was deleted by another program; only Close helps.
	ErrGone = errors.New("interface was deleted by another program")
)

type counters struct {
	written, writtenBytes     atomic.Uint64
	down, full, gone, other   atomic.Uint64
	discarded, discardedBytes atomic.Uint64
}

// Counters are the counters since Open, in a fixed order.
func (d *Device) Counters() []pfstate.Counter {
	c := &d.counters
	return []pfstate.Counter{
		{Name: "tun_written", Help: "packets shown on the interface", Value: c.written.Load()},
		{Name: "tun_written_bytes", Help: "bytes shown on the interface", Value: c.writtenBytes.Load()},
		{Name: "tun_write_down", Help: "packets not shown because the interface was down", Value: c.down.Load()},
		{Name: "tun_write_full", Help: "packets not shown because the interface queue was full", Value: c.full.Load()},
		{Name: "tun_write_gone", Help: "packets not shown because the interface was deleted", Value: c.gone.Load()},
		{Name: "tun_write_errors", Help: "packets not shown for other errors", Value: c.other.Load()},
		{Name: "tun_discarded", Help: "packets that the host sent into the interface, discarded", Value: c.discarded.Load()},
		{Name: "tun_discarded_bytes", Help: "bytes that the host sent into the interface, discarded", Value: c.discardedBytes.Load()},
	}
}

// writer holds what write(2) needs, so that Write allocates nothing.
type writer struct {
	packet []byte
	err    error
	call   func(fd uintptr)
}

func (w *writer) writeOnce(fd uintptr) {
	for {
		if _, w.err = unix.Write(int(fd), w.packet); w.err != unix.EINTR {
			return
		}
	}
}

// Write shows one whole IP packet on the device. It never waits, and keeps nothing of
// packet. The error is ErrDown, ErrFull, ErrGone or another one; all are counted.
func (d *Device) Write(packet []byte) error {
	d.write.Lock()
	defer d.write.Unlock()
	d.out.packet = packet
	cerr := d.raw.Control(d.out.call)
	d.out.packet = nil
	if cerr != nil { // closed
		d.counters.gone.Add(1)
		return os.ErrClosed
	}
	switch d.out.err {
	case nil:
		d.counters.written.Add(1)
		d.counters.writtenBytes.Add(uint64(len(packet)))
		return nil
	case unix.EIO:
		d.counters.down.Add(1)
		return ErrDown
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		d.counters.full.Add(1)
		return ErrFull
	case unix.EBADFD:
		d.counters.gone.Add(1)
		return ErrGone
	}
	d.counters.other.Add(1)
	return fmt.Errorf("%s: write: %w", d.Status().Name, d.out.err)
}

// Run discards what the kernel sends into the device and follows what others do to it,
// until ctx ends or the device is closed.
func (d *Device) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	drained := make(chan error, 1)
	watched := make(chan error, 1)
	changes := make(chan ifwatch.Event, 64)
	go func() { drained <- d.drain(ctx) }()
	go func() { watched <- d.events.Run(ctx, changes); cancel() }()
	d.follow(ctx, changes)
	cancel()
	err := errors.Join(<-drained, <-watched)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// drain reads until ctx ends or there is nothing to read from any more.
func (d *Device) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { d.file.SetReadDeadline(time.Unix(1, 0)) })()
	b := make([]byte, maxMTU)
	for ctx.Err() == nil {
		n, err := d.file.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // of this Run or of an earlier one
			if err := d.file.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
			continue
		case err != nil && (errors.Is(err, unix.EBADFD) || d.gone()): // deleted: follow tells
			return nil
		case err != nil:
			return err
		}
		d.counters.discarded.Add(1)
		d.counters.discardedBytes.Add(uint64(n))
	}
	return nil
}

// gone asks whether the device has been deleted: a read may fail in several ways then.
func (d *Device) gone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.look()
	}
	return d.status.Gone
}

func (d *Device) follow(ctx context.Context, changes <-chan ifwatch.Event) {
	for {
		d.mu.Lock()
		index := d.status.Index
		if !d.closed {
			d.look()
		}
		d.mu.Unlock()
		for concerned := false; !concerned; {
			select {
			case e := <-changes:
				concerned = e.Index == index || e.Index == 0
			case <-ctx.Done():
				return
			}
		}
	}
}
