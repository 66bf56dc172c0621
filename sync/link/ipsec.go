package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	mdsocket "github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// IPsecOnly is OpenBSD's interface of what went through IPsec. Linux has none; unless somebody
// made one of this name (an xfrm interface), as a syncdev it stands for: wherever the syncpeer is
// routed to, by IPsec and by nothing else.
const IPsecOnly = "enc0"

// WaitingForIPsec is Status.Reason where there are no security associations.
const WaitingForIPsec = "waiting for ipsec"

// checkIPsec refuses what a syncdev that is no interface cannot do.
func (c Config) checkIPsec() error {
	switch peer := c.Peer(); {
	case peer.IsMulticast():
		return fmt.Errorf("syncdev %s: needs a syncpeer", c.Syncdev)
	case linkLocal(peer):
		return fmt.Errorf("syncpeer %v: a link-local address needs an interface, and %s is none", peer, c.Syncdev)
	}
	return nil
}

// refreshIPsec is refresh without an interface. It asks each second: nobody tells of SAs that
// come and go.
func (l *Link) refreshIPsec(ctx context.Context, c Config, s *Status) (again bool) {
	s.Reason = l.bringUpIPsec(ctx, c, s)
	l.offer(s)
	return true
}

func (l *Link) bringUpIPsec(ctx context.Context, c Config, s *Status) (reason string) {
	if err := c.checkIPsec(); err != nil { // an interface was here when it was configured
		l.closeSocket()
		return err.Error()
	}
	path, found, err := ipsec.FindPath(l.netNS, c.Peer())
	if err != nil {
		return "ipsec: " + err.Error()
	}
	if l.open != nil && (l.open.path == nil || *l.open.path != path) {
		l.closeSocket()
	}
	if l.open == nil { // without SAs too: it counts what comes in clear
		if err := l.openSocket(ctx, c, ifwatch.Interface{}, &path); err != nil {
			return "socket: " + err.Error()
		}
	}
	s.ReceiveBuffer = l.open.rcvbuf
	if !found {
		return WaitingForIPsec
	}
	if s.Addr, s.MTU, err = l.route(c.Peer(), path); err != nil {
		return "ipsec: " + err.Error()
	}
	return ""
}

// route asks the kernel, by a socket that sends nothing, from where packets go to peer and how
// large they may be.
func (l *Link) route(peer netip.Addr, path ipsec.Path) (src netip.Addr, mtu int, err error) {
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: peer.Unmap().As4()}
	if peer.Is6() {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		to = &unix.SockaddrInet6{Addr: peer.As16()}
	}
	conn, err := mdsocket.Socket(family, unix.SOCK_RAW, Protocol, "pfsync", &mdsocket.Config{NetNS: l.netNS})
	if err != nil {
		return src, 0, err
	}
	defer conn.Close()
	if err := requireIPsec(conn, path, peer.Is6()); err != nil {
		return src, 0, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return src, 0, err
	}
	// Not by the library: it would wait where the kernel waits for an SA.
	cerr := raw.Control(func(fd uintptr) { err = unix.Connect(int(fd), to) })
	if err = errors.Join(cerr, err); err != nil {
		return src, 0, fmt.Errorf("no way to %v: %w", peer, err)
	}
	if mtu, err = conn.GetsockoptInt(level, option); err != nil {
		return src, 0, err
	}
	name, err := conn.Getsockname()
	if err != nil {
		return src, 0, err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		src = netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		src = netip.AddrFrom16(a.Addr)
	}
	return src, mtu, nil
}

// requireIPsec has the kernel send and take nothing but what goes along path.
func requireIPsec(conn *mdsocket.Conn, path ipsec.Path, ipv6 bool) error {
	const ipXfrmPolicy, ipv6XfrmPolicy = 17, 35 // linux/in.h, in6.h
	level, option := unix.IPPROTO_IP, ipXfrmPolicy
	if ipv6 {
		level, option = unix.IPPROTO_IPV6, ipv6XfrmPolicy
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for _, policy := range path.Policies(ipv6) {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), level, option, string(policy)) })
		if err = errors.Join(cerr, err); err != nil {
			return fmt.Errorf("IPsec policy: %w", err)
		}
	}
	return nil
}
