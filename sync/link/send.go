package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors of Send.
var (
	// ErrDown: the link is not up; Status tells why.
	ErrDown = errors.New("sync link is down")
	// ErrFull: the send queue is full; the rest may be tried again later.
	ErrFull = errors.New("send queue of the sync link is full")
	// ErrTooBig: the packet exceeds the interface's MTU; those behind it were not tried.
	ErrTooBig = errors.New("packet exceeds the sync link's mtu")
	// ErrRefused: a rule of this host's firewall refused the packet.
	ErrRefused = errors.New("local firewall rule refuses output of protocol 240 on the sync link")
)

// outlet is a socket to send by, as long as the link stays up with the same address.
type outlet struct {
	*socket
	headerLen int    // of the IP header
	control   []byte // for each packet: IPV6_PKTINFO, its source. IPv4 has none: the kernel chooses what Status says
}

func (s *socket) outlet(src netip.Addr) *outlet {
	o := &outlet{socket: s, headerLen: HeaderLen(src)}
	if !src.Is6() {
		return o
	}
	// Not the kernel's choice, which may be an address that goes after some hours: the peer may
	// listen to one address alone.
	o.control = make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&o.control[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&o.control[unix.CmsgLen(0)]))
	*info = unix.Inet6Pktinfo{Addr: src.As16(), Ifindex: uint32(s.index)}
	return o
}

// sockaddr is a struct sockaddr_in or sockaddr_in6.
type sockaddr struct {
	b   unix.RawSockaddrInet6 // the larger one
	len uint32
}

func (s *sockaddr) set(a netip.Addr, index int) {
	if a.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.b)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
		s.len = unix.SizeofSockaddrInet4
		return
	}
	s.b = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16()}
	if linkLocal(a) {
		s.b.Scope_id = uint32(index)
	}
	s.len = unix.SizeofSockaddrInet6
}

const sendSize = 64 // packets for one sendmmsg

// sender holds what sendmmsg needs, so that Send allocates nothing.
type sender struct {
	msgs  [sendSize]mmsghdr
	iovs  [sendSize]unix.Iovec
	count int
	call  func(fd uintptr)

	n     int // answer of the last call
	errno unix.Errno
}

func (t *sender) init() {
	for i := range t.msgs {
		t.msgs[i].hdr.Iov = &t.iovs[i]
		t.msgs[i].hdr.SetIovlen(1)
	}
	t.call = t.sendmmsg
}

// Send sends payloads, each as one packet, in order, and never waits. When sent is less
// than their number, err tells why payloads[sent] could not be sent; it and
// those behind it were not. The payloads are free again when Send returns.
func (l *Link) Send(payloads [][]byte) (sent int, err error) {
	s := l.out.Load()
	if s == nil {
		return l.unsent(0, len(payloads), unix.ENETDOWN)
	}
	t := &l.tx
	bytes := 0
	for sent < len(payloads) {
		t.prepare(s, payloads[sent:])
		if s.raw.Control(t.call) != nil { // closed meanwhile
			t.n, t.errno = 0, unix.ENETDOWN
		}
		if t.errno != 0 {
			break
		}
		for _, p := range payloads[sent : sent+t.n] {
			bytes += s.headerLen + len(p)
		}
		sent += t.n
	}
	l.counters.sent.Add(uint64(sent))
	l.counters.sentBytes.Add(uint64(bytes))
	if sent == len(payloads) {
		return sent, nil
	}
	return l.unsent(sent, len(payloads)-sent, t.errno)
}

// unsent counts the packets that were not sent and names the reason.
func (l *Link) unsent(sent, rest int, errno unix.Errno) (int, error) {
	c := &l.counters
	n := uint64(rest)
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		c.sendFull.Add(n)
		return sent, ErrFull
	case unix.EMSGSIZE:
		c.sendTooBig.Add(1)
		return sent, ErrTooBig
	case unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV, unix.ENXIO:
		c.sendDown.Add(n)
		return sent, ErrDown
	case unix.EPERM:
		c.sendRefused.Add(n)
		return sent, ErrRefused
	}
	c.sendOther.Add(n)
	return sent, fmt.Errorf("sync link: %w", os.NewSyscallError("sendmmsg", errno))
}

func (t *sender) prepare(s *outlet, payloads [][]byte) {
	t.count = min(len(payloads), sendSize)
	for i, p := range payloads[:t.count] {
		t.iovs[i].Base = unsafe.SliceData(p)
		t.iovs[i].SetLen(len(p))
		h := &t.msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.dst.b)), s.dst.len
		h.Control = unsafe.SliceData(s.control)
		h.SetControllen(len(s.control))
	}
}

func (t *sender) sendmmsg(fd uintptr) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&t.msgs[0])), uintptr(t.count), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			t.n, t.errno = int(n), errno
			return
		}
	}
}
