package conntrack

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is a netfilter netlink socket that is read many datagrams at a time, in
// place. It belongs to one goroutine; only interrupt may come from another.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	port uint32

	slots []slot
	n     int
	errno syscall.Errno
	read  func(fd uintptr) bool // these are made once: a closure per read would be garbage
	peek  func(fd uintptr)

	out   []byte
	write func(fd uintptr) bool
}

// slot is one element of recvmmsg's vector.
type slot struct {
	hdr unix.Msghdr
	len uint32 // with the alignment that struct mmsghdr has
}

// dial opens a socket in the namespace ns (0: the caller's) with room for n
// datagrams of size bytes per read.
func dial(ns, n, size int) (*socket, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	s := &socket{conn: c, port: c.PID(), slots: make([]slot, n)}
	if s.raw, err = c.SyscallConn(); err != nil {
		c.Close()
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	// A refusal then echoes the header alone; kernels without it are read all the same.
	_ = c.SetOption(netlink.CapAcknowledge, true)
	buf := make([]byte, n*size)
	vec := make([]unix.Iovec, n)
	for i := range s.slots {
		vec[i].Base = &buf[i*size]
		vec[i].SetLen(size)
		s.slots[i].hdr.Iov = &vec[i]
		s.slots[i].hdr.SetIovlen(1)
	}
	s.read = s.readOnce
	s.peek = func(fd uintptr) { s.readOnce(fd) }
	s.write = s.writeOnce
	return s, nil
}

// receive waits for datagrams and takes as many as there are slots; datagram has
// them until the next call. An error other than a syscall.Errno ends the socket.
func (s *socket) receive() (int, error) {
	if err := s.raw.Read(s.read); err != nil {
		return 0, err
	}
	if s.errno != 0 {
		return 0, s.errno
	}
	return s.n, nil
}

// poll is receive without waiting: 0 when there is nothing.
func (s *socket) poll() (int, error) {
	if err := s.raw.Control(s.peek); err != nil {
		return 0, err
	}
	if s.errno != 0 && s.errno != unix.EAGAIN {
		return 0, s.errno
	}
	return s.n, nil
}

// pollAll hands over all that waits. What an overflow lost is missing, which is no
// error here: the kernel tells of it once, having finished before we read.
func (s *socket) pollAll(take func(datagram []byte)) error {
	for overflowed := false; ; {
		n, err := s.poll()
		if errors.Is(err, unix.ENOBUFS) && !overflowed {
			overflowed = true
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for i := range n {
			d, _ := s.datagram(i)
			take(d)
		}
	}
}

// drain throws away what waits.
func (s *socket) drain() error { return s.pollAll(func([]byte) {}) }

// readOnce reports false when there is nothing to read.
func (s *socket) readOnce(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.slots[0])),
			uintptr(len(s.slots)), unix.MSG_DONTWAIT, 0, 0)
		s.n, s.errno = int(n), errno
		switch errno {
		case 0:
			return true
		case unix.EINTR:
		default:
			s.n = 0
			return errno != unix.EAGAIN
		}
	}
}

// datagram is the i-th datagram of the last read; cut tells that it did not fit.
func (s *socket) datagram(i int) (b []byte, cut bool) {
	sl := &s.slots[i]
	return unsafe.Slice(sl.hdr.Iov.Base, sl.len), sl.hdr.Flags&unix.MSG_TRUNC != 0
}

// send gives the kernel messages; it has carried them out when send returns.
func (s *socket) send(b []byte) error {
	s.out, s.errno = b, 0
	err := s.raw.Write(s.write)
	s.out = nil
	if err == nil && s.errno != 0 {
		err = s.errno
	}
	if err != nil {
		return fmt.Errorf("netfilter socket: send %d bytes: %w", len(b), err)
	}
	return nil
}

func (s *socket) writeOnce(fd uintptr) bool {
	for {
		_, err := unix.Write(int(fd), s.out)
		switch err {
		case nil:
			s.errno = 0
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		s.errno, _ = err.(syscall.Errno)
		return true
	}
}

// interrupt makes receive return, now and for ever.
func (s *socket) interrupt() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

func (s *socket) close() error { return s.conn.Close() }

// inNS runs f on a thread in the namespace ns, or right here when ns is 0.
func inNS(ns int, f func() error) error {
	if ns == 0 {
		return f()
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that no other
		// goroutine is ever run in the wrong namespace.
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
