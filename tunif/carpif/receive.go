package carpif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	mdsocket "github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

const (
	receiveBuffer = 1 << 20 // thousands of adverts: a flood fills it, two hosts never do
	maxPacket     = 65535
)

// receiver hears protocol 112 of one family on one carpdev.
type receiver struct {
	conn   *mdsocket.Conn
	family carp.Family
	stop   context.CancelFunc
}

// openReceivers opens those that are missing. p.mu is held.
func (p *parent) openReceivers() error {
	for _, family := range []carp.Family{carp.Inet, carp.Inet6} {
		if slices.ContainsFunc(p.receivers, func(r *receiver) bool { return r.family == family }) {
			continue
		}
		r, err := p.openReceiver(family)
		if family == carp.Inet6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENODEV)) {
			continue // no IPv6 in this kernel, or on this interface
		}
		if err != nil {
			return fmt.Errorf("carpdev %s: %w", p.name, err)
		}
		p.receivers = append(p.receivers, r)
	}
	return nil
}

func (p *parent) openReceiver(family carp.Family) (*receiver, error) {
	domain := unix.AF_INET
	if family == carp.Inet6 {
		domain = unix.AF_INET6
	}
	conn, err := openSocket(domain, protocol, p.system.netNS)
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: conn, family: family}
	if err := r.setUp(p.index); err != nil {
		conn.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	p.readers.Go(func() { p.read(ctx, r) })
	return r, nil
}

// closeReceivers ends the readers, without waiting for them. p.mu is held.
func (p *parent) closeReceivers() {
	for _, r := range p.receivers {
		p.system.counters.closedDrops.Add(uint64(r.drops()))
		r.stop()
		r.conn.Close()
	}
	p.receivers = nil
}

// setUp makes the socket hear the carpdev, and nothing else. By index: a name could be
// another interface's by now.
func (r *receiver) setUp(index int) error {
	type option struct {
		name       string
		level, opt int
		value      int
	}
	options := []option{{"SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index}}
	if r.family == carp.Inet {
		options = append(options, option{"IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0})
	} else {
		options = append(options,
			option{"IPV6_MULTICAST_ALL", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0},
			option{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			option{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	}
	for _, o := range options {
		if err := r.conn.SetsockoptInt(o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("%s %d: %w", o.name, o.value, err)
		}
	}
	if r.conn.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil { // without CAP_NET_ADMIN
		if err := r.conn.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return fmt.Errorf("socket buffer of %d bytes: %w", receiveBuffer, err)
		}
	}
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return err
	}
	var joined error
	err = raw.Control(func(fd uintptr) {
		if r.family == carp.Inet {
			joined = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(index)})
		} else {
			joined = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(index)})
		}
		// What came before it was bound may be from another interface.
		for b := [1]byte{}; ; {
			if _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
				break
			}
		}
	})
	if joined != nil {
		joined = fmt.Errorf("joining the group: %w", joined)
	}
	return errors.Join(err, joined)
}

// read tells what arrives to all devices of p, until ctx ends.
func (p *parent) read(ctx context.Context, r *receiver) {
	b, oob := make([]byte, maxPacket), make([]byte, 128)
	for {
		n, oobn, flags, from, err := r.conn.Recvmsg(ctx, b, oob, 0)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.system.counters.readErrors.Add(1)
			p.system.log.Warn("adverts are not heard; trying again", "carpdev", p.name, "err", err)
			select {
			case p.broken <- struct{}{}:
			default:
			}
			return
		}
		packet, ok := parseIPv4(b[:n])
		if r.family == carp.Inet6 {
			packet, ok = parseIPv6(b[:n], oob[:oobn], from)
		}
		if !ok || flags&unix.MSG_TRUNC != 0 {
			p.system.counters.malformed.Add(1)
			continue
		}
		p.system.counters.received.Add(1)
		p.deliver(ctx, packet)
	}
}

func (p *parent) deliver(ctx context.Context, packet carp.Packet) {
	p.hearing.Lock()
	defer p.hearing.Unlock()
	if ctx.Err() != nil {
		return // the carpdev has gone since
	}
	for _, d := range p.hearers {
		copied := packet
		copied.Payload = slices.Clone(packet.Payload)
		d.tell(carp.Event{Packet: &copied})
	}
}

// parseIPv4 reads a packet as raw(7) delivers it. The payload shares b's memory.
func parseIPv4(b []byte) (p carp.Packet, ok bool) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return p, false
	}
	header, length := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Header || length < header || length > len(b) {
		return p, false
	}
	return carp.Packet{
		Family:  carp.Inet,
		Src:     netip.AddrFrom4([4]byte(b[12:16])),
		Dst:     netip.AddrFrom4([4]byte(b[16:20])),
		TTL:     int(b[8]),
		Payload: b[header:length],
	}, true
}

// parseIPv6 puts together what raw(7) delivers beside each other.
func parseIPv6(b, oob []byte, from unix.Sockaddr) (p carp.Packet, ok bool) {
	src, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return p, false
	}
	p = carp.Packet{Family: carp.Inet6, Src: netip.AddrFrom16(src.Addr), TTL: -1, Payload: b}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return p, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			p.TTL = int(binary.NativeEndian.Uint32(m.Data))
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			p.Dst = netip.AddrFrom16([16]byte(m.Data))
		}
	}
	return p, p.TTL >= 0 && p.Dst.IsValid()
}

// drops is how many packets the kernel lost because this socket's queue was full.
func (r *receiver) drops() uint32 {
	const (
		skMeminfoDrops = 8 // linux/sock_diag.h
		skMeminfoVars  = 9
	)
	var info [skMeminfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return info[skMeminfoDrops]
}

func (p *parent) receiveDrops() (drops uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.receivers {
		drops += uint64(r.drops())
	}
	return drops
}
