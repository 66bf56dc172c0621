package lab

import (
	"container/list"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Faults is what a cable does to the frames of one direction. The zero value is a
// good cable. Each frame's fate is drawn anew.
type Faults struct {
	Loss      float64       // share of the frames that vanish, 0 to 1
	Duplicate float64       // share of the others that come twice
	Reorder   float64       // share of what then comes that is held for Hold: what is behind overtakes it
	Hold      time.Duration // of the reordered ones, beyond Delay
	Delay     time.Duration // of every frame
}

// Cable is a sync link with a middle where a relay carries each frame, and may fail
// to. It is a switch rather than a wire: what befalls one end is no change of the
// other's carrier. Its methods may be called by many goroutines.
type Cable struct {
	ns       *NS
	ends     [2]*os.File // packet sockets at the ports of fwA and fwB
	toA, toB *way
	wg       sync.WaitGroup
}

// CableCount counts the frames of one direction.
type CableCount struct {
	In, Out                uint64 // that came, and that were sent on
	Lost, Duplicated, Held uint64
	Overflow               uint64 // lost by the relay itself, which was too slow: none, or the lab lies
}

// way is one direction of a cable.
type way struct {
	from, to *os.File
	wg       *sync.WaitGroup

	mu     sync.Mutex
	faults Faults
	random *rand.Rand

	delayed, held *lane

	in, out, lost, duplicated, heldBack, overflow atomic.Uint64
}

// newCable starts the relay between the ports fwA and fwB of ns.
func newCable(ns *NS, seed uint64, ports ...string) (*Cable, error) {
	c := &Cable{ns: ns}
	for i, port := range ports {
		if err := ns.Do(func() (err error) { c.ends[i], err = openPort(port); return err }); err != nil {
			c.close()
			return nil, fmt.Errorf("%s: port %s: %w", ns.Name, port, err)
		}
	}
	c.toB = &way{from: c.ends[0], to: c.ends[1], wg: &c.wg, random: rand.New(rand.NewPCG(seed, 1))}
	c.toA = &way{from: c.ends[1], to: c.ends[0], wg: &c.wg, random: rand.New(rand.NewPCG(seed, 2))}
	for _, w := range []*way{c.toA, c.toB} {
		w.delayed, w.held = newLane(w.write), newLane(w.write)
		c.wg.Go(w.run)
		c.wg.Go(w.delayed.run)
		c.wg.Go(w.held.run)
	}
	return c, nil
}

// Disturb sets the faults towards fwA and fwB from now on.
func (c *Cable) Disturb(toA, toB Faults) {
	c.toA.set(toA)
	c.toB.set(toB)
}

// Heal ends all faults; frames that are held still come.
func (c *Cable) Heal() { c.Disturb(Faults{}, Faults{}) }

// Unplug takes the carrier from both ends.
func (c *Cable) Unplug() error {
	return errors.Join(c.ns.linkDown("fwA"), c.ns.linkDown("fwB"))
}

// Plug brings the carrier back; the kernels at the ends say so a little later.
func (c *Cable) Plug() error {
	return errors.Join(c.ns.linkUp("fwA"), c.ns.linkUp("fwB"))
}

// Counts returns what has become of the frames towards fwA and fwB so far.
func (c *Cable) Counts() (toA, toB CableCount) { return c.toA.count(), c.toB.count() }

func (c *Cable) close() {
	for _, f := range c.ends {
		if f != nil {
			f.Close()
		}
	}
	for _, w := range []*way{c.toA, c.toB} {
		if w != nil {
			w.delayed.close()
			w.held.close()
		}
	}
	c.wg.Wait()
}

// vnetHeader precedes each frame: with it the kernel keeps a checksum that is yet to
// be filled in, and a frame yet to be cut, as they are.
const vnetHeader = 10

// maxFrame is the largest frame: an IP packet that the sender left to be cut.
const maxFrame = vnetHeader + 1<<16 + 64

// openPort opens a packet socket at an interface of the namespace that it is called in.
func openPort(name string) (*os.File, error) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	const burst = 32 << 20 // tens of thousands of packets
	ifreq, err := unix.NewIfreq(name)
	if err == nil {
		err = errors.Join(
			unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, burst),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: int(ifreq.Uint32())})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (w *way) set(f Faults) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = f
}

// run carries frames until the socket is closed.
func (w *way) run() {
	frame := make([]byte, maxFrame)
	for {
		n, err := w.from.Read(frame)
		if errors.Is(err, unix.ENETDOWN) {
			continue // said once when the port goes down
		}
		if err != nil {
			return
		}
		w.carry(frame[:n])
	}
}

func (w *way) carry(frame []byte) {
	defer w.in.Add(1)
	w.mu.Lock()
	f := w.faults
	draw := func(share float64) bool { return share > 0 && w.random.Float64() < share }
	lost, copies := draw(f.Loss), 1
	if draw(f.Duplicate) {
		copies = 2
	}
	held := [2]bool{draw(f.Reorder), draw(f.Reorder)}
	w.mu.Unlock()
	if lost {
		w.lost.Add(1)
		return
	}
	w.duplicated.Add(uint64(copies - 1))
	for i := range copies {
		switch {
		case held[i]:
			w.heldBack.Add(1)
			w.held.add(frame, f.Delay+f.Hold)
		case f.Delay > 0:
			w.delayed.add(frame, f.Delay)
		default:
			w.write(frame)
		}
	}
}

func (w *way) write(frame []byte) {
	_, err := w.to.Write(frame)
	switch {
	case err == nil:
		w.out.Add(1)
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, os.ErrClosed):
		w.lost.Add(1) // the far end is unplugged
	default:
		w.overflow.Add(1)
	}
}

func (w *way) count() CableCount {
	var dropped uint32
	if raw, err := w.from.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			// Reading resets the kernel's figure.
			if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				dropped = s.Drops
			}
		})
	}
	return CableCount{
		In: w.in.Load(), Out: w.out.Load(),
		Lost: w.lost.Load(), Duplicated: w.duplicated.Load(), Held: w.heldBack.Load(),
		Overflow: w.overflow.Add(uint64(dropped)),
	}
}

// lane holds frames and lets them go in their order, none before it is due.
type lane struct {
	write func([]byte)
	wake  chan struct{}

	mu     sync.Mutex
	frames *list.List
	closed bool
}

type late struct {
	due   time.Time
	frame []byte
}

func newLane(write func([]byte)) *lane {
	return &lane{write: write, wake: make(chan struct{}, 1), frames: list.New()}
}

func (l *lane) add(frame []byte, by time.Duration) {
	l.mu.Lock()
	l.frames.PushBack(late{time.Now().Add(by), append([]byte(nil), frame...)})
	l.mu.Unlock()
	l.ring()
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ring()
}

func (l *lane) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		first, closed := l.frames.Front(), l.closed
		l.mu.Unlock()
		if closed {
			return
		}
		wait := time.Hour // until woken
		if first != nil {
			wait = time.Until(first.Value.(late).due)
		}
		if wait <= 0 {
			l.write(first.Value.(late).frame)
			l.mu.Lock()
			l.frames.Remove(first)
			l.mu.Unlock()
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		}
	}
}
