package tunif

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

const (
	minMTU = 68 // of IPv4, RFC 791; the kernel's own limits for TUN
	maxMTU = 65535
	qlen   = 32 // packets from the kernel that wait for Run, which discards them
)

// Device is an open TUN device. It exists until Close. All methods may be called by
// any goroutine.
type Device struct {
	log      *slog.Logger
	file     *os.File
	raw      syscall.RawConn
	query    *ifwatch.Query
	events   *ifwatch.Events
	statuses chan Status
	counters counters

	write     sync.Mutex
	out       writer
	listeners listeners

	mu     sync.Mutex
	status Status
	closed bool
}

// Status is what the kernel says of the device. Values compare with ==.
type Status struct {
	Name  string // another one after a rename
	Index int
	Up    bool
	MTU   int  // bytes
	Gone  bool // someone deleted it: close it
}

// Open makes the device, down, in the network namespace of the calling thread.
// It is an error when someone has it already, whoever that is.
func Open(name string, log *slog.Logger, opts ...Option) (*Device, error) {
	if err := ifwatch.CheckName(name); err != nil {
		return nil, err
	}
	if err := rehearse(name); err != nil {
		return nil, openError(name, err)
	}
	file, err := openTUN(name)
	if err != nil {
		return nil, err
	}
	d := &Device{log: log, file: file, statuses: make(chan Status, 1)}
	for _, o := range opts {
		o(d)
	}
	if err := d.prepare(name); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// rehearse tries whether an existing interface can be taken over, as water leaks its file
// when it cannot.
func rehearse(name string) error {
	if _, err := os.Stat(sysctlPath("ipv4", name, "forwarding")); err != nil {
		return nil // no such interface
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
}

// openTUN makes the device. All that is water's is here.
func openTUN(name string) (*os.File, error) {
	syscall.ForkLock.RLock() // water opens without O_CLOEXEC: no child may start in between
	defer syscall.ForkLock.RUnlock()
	dev, err := water.New(water.Config{
		DeviceType:             water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name},
	})
	if err != nil {
		return nil, openError(name, err)
	}
	file, ok := dev.ReadWriteCloser.(*os.File)
	if !ok {
		dev.Close()
		return nil, fmt.Errorf("%s: tun device is a %T, not a file", name, dev.ReadWriteCloser)
	}
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unix.CloseOnExec(int(fd)) })
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return file, nil
}

// openError names the remedy. An error of the open itself comes bare, one of
// TUNSETIFF as an os.SyscallError.
func openError(name string, err error) error {
	ioctl := errors.As(err, new(*os.SyscallError))
	switch {
	case ioctl && errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: in use by another process; stop the other pfsyncd first: %w", name, err)
	case ioctl && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: an interface of this name exists and is no such tun device; delete or rename it first: %w", name, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: needs CAP_NET_ADMIN: %w", name, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: /dev/net/tun: run as root, or give this user access to it: %w", name, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: no /dev/net/tun; load the tun module (modprobe tun): %w", name, err)
	}
	return fmt.Errorf("%s: tun device: %w", name, err)
}

// prepare makes a new device harmless.
func (d *Device) prepare(name string) error {
	var err error
	if d.raw, err = d.file.SyscallConn(); err != nil {
		return err
	}
	d.out.call = d.out.writeOnce
	if d.listeners.file == nil {
		if d.listeners.file, err = PacketSockets(); err != nil {
			d.log.Warn("frames are made whether anybody watches or not", "interface", name, "err", err)
			d.listeners.file = nil
		}
		d.listeners.own = err == nil
	}
	if d.events, err = ifwatch.Subscribe(0); err != nil {
		return err
	}
	if d.query, err = ifwatch.OpenQuery(0); err != nil {
		return err
	}
	i, err := d.query.ByName(name)
	if err != nil {
		return err
	}
	d.status = Status{Name: i.Name, Index: i.Index, Up: i.Up, MTU: i.MTU}
	if i.Up { // a persistent device that someone left
		if err := d.query.Handle().LinkSetDown(d.link()); err != nil {
			return fmt.Errorf("down: %w", err)
		}
		d.status.Up = false
	}
	if err := d.query.Handle().LinkSetTxQLen(d.link(), qlen); err != nil {
		return fmt.Errorf("queue length %d: %w", qlen, err)
	}
	return d.harden(name)
}

// link is the device for netlink, by its index: its name may change.
func (d *Device) link() netlink.Link {
	return &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Index: d.status.Index}}
}

// SetUp takes the device up or down.
func (d *Device) SetUp(up bool) error {
	set, word := d.query.Handle().LinkSetDown, "down"
	if up {
		set, word = d.query.Handle().LinkSetUp, "up"
	}
	return d.set(word, func(l netlink.Link) error { return set(l) })
}

// SetMTU changes the MTU, in bytes.
func (d *Device) SetMTU(mtu int) error {
	if err := CheckMTU(mtu); err != nil {
		return fmt.Errorf("%s: %w", d.Status().Name, err)
	}
	return d.set(fmt.Sprintf("mtu %d", mtu), func(l netlink.Link) error {
		return d.query.Handle().LinkSetMTU(l, mtu)
	})
}

// CheckMTU reports whether a device can have that MTU.
func CheckMTU(mtu int) error {
	if mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("mtu %d: must be from %d to %d", mtu, minMTU, maxMTU)
	}
	return nil
}

// set changes the device and its Status.
func (d *Device) set(what string, f func(netlink.Link) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("%s: %s: %w", d.status.Name, what, os.ErrClosed)
	}
	err := f(d.link())
	if errors.Is(err, unix.ENODEV) {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", d.status.Name, what, err)
	}
	d.look()
	return nil
}

// Status is the current status.
func (d *Device) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// Events delivers the status when it changed, whoever changed it. A slow reader gets
// the latest only.
func (d *Device) Events() <-chan Status { return d.statuses }

// look asks the kernel for the status. d.mu is held.
func (d *Device) look() {
	s := d.status
	i, err := d.query.ByIndex(s.Index)
	switch {
	case errors.Is(err, ifwatch.ErrNoInterface):
		s.Up, s.Gone = false, true
	case err != nil:
		d.log.Warn("interface cannot be looked up", "interface", s.Name, "err", err)
		return
	default:
		s.Name, s.Up, s.MTU = i.Name, i.Up, i.MTU
	}
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

// Close removes the device from the kernel. Run returns.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	err := d.file.Close()
	if d.listeners.own {
		err = errors.Join(err, d.listeners.file.Close())
	}
	if d.events != nil {
		err = errors.Join(err, d.events.Close())
	}
	if d.query != nil {
		d.query.Close()
	}
	return err
}
