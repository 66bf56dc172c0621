package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"
	"unsafe"

	mdsocket "github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/link/ifwatch"
)

// socket is one raw socket, bound to one interface, or to IPsec, for its whole life.
type socket struct {
	conn   *mdsocket.Conn
	raw    syscall.RawConn
	config Config
	index  int         // 0: not bound to one
	path   *ipsec.Path // nil: what comes by the interface is taken
	rcvbuf int
	dst    sockaddr

	stop context.CancelFunc // tells the reader to end
	done chan struct{}      // closed when it has
}

// openSocket opens a socket on i, or along path, and starts its reader.
func (l *Link) openSocket(ctx context.Context, c Config, i ifwatch.Interface, path *ipsec.Path) error {
	family := unix.AF_INET
	if c.Peer().Is6() {
		family = unix.AF_INET6
	}
	conn, err := mdsocket.Socket(family, unix.SOCK_RAW, Protocol, "pfsync", &mdsocket.Config{NetNS: l.netNS})
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; needs CAP_NET_RAW", err)
	}
	if err != nil {
		return err
	}
	s := &socket{conn: conn, config: c, index: i.Index, path: path, done: make(chan struct{})}
	if err := s.setUp(l.buffer); err != nil {
		conn.Close()
		return err
	}
	if want := 2 * l.buffer; s.rcvbuf < want {
		l.log.Warn("small receive buffer on the sync link: bursts will be lost; needs CAP_NET_ADMIN or net.core.rmem_max",
			"syncdev", c.Syncdev, "rcvbuf", s.rcvbuf, "wanted", want)
	}
	if l.opened == c {
		l.counters.reopened.Add(1)
	}
	l.opened = c
	l.mu.Lock()
	l.open = s
	l.mu.Unlock()

	ctx, s.stop = context.WithCancel(ctx)
	select {
	case <-l.broken: // said of an earlier socket
	default:
	}
	go func() {
		defer close(s.done)
		if err := l.read(ctx, s, max(i.MTU, minBuffer)); err != nil && ctx.Err() == nil {
			l.broken <- err
		}
	}()
	return nil
}

// closeSocket ends the reader and waits for it. What it has delivered stays.
func (l *Link) closeSocket() {
	s := l.open
	if s == nil {
		return
	}
	l.out.Store(nil)
	s.stop()
	l.mu.Lock()
	closed := &l.counters.closedDrops
	if s.path != nil {
		closed = &l.counters.closedClear
	}
	closed.Add(uint64(s.drops()))
	l.open = nil
	l.mu.Unlock()
	s.conn.Close()
	<-s.done
}

type option struct {
	name       string
	level, opt int
	value      int
}

// options are those of the peer's family.
func (s *socket) options() []option {
	all := []option{
		// By index: a name could be another interface's by now.
		{"SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, s.index},
	}
	if s.config.Peer().Is6() {
		const autoFlowLabel = 70 // IPV6_AUTOFLOWLABEL, linux/in6.h
		return append(all, []option{
			{"IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
			{"IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, TTL},
			{"IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, TTL},
			{"IPV6_AUTOFLOWLABEL", unix.IPPROTO_IPV6, autoFlowLabel, 0}, // pfsync0 shows none
			// No fragments, and no host can talk us into smaller packets: there is no router between.
			{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_INTERFACE},
			{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		}...)
	}
	return append(all, []option{
		{"IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0}, // only the group joined here
		{"IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
		{"IP_MULTICAST_TTL", unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, TTL},
		{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, TTL},
		{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, tosLowDelay},
		{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO},
	}...)
}

// setUp makes the socket one of this interface and of pfsync.
func (s *socket) setUp(buffer int) error {
	var err error
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return err
	}
	if s.path != nil {
		if err := requireIPsec(s.conn, *s.path, s.config.Peer().Is6()); err != nil {
			return err
		}
	}
	for _, o := range s.options() {
		if err := s.conn.SetsockoptInt(o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("%s %d: %w", o.name, o.value, err)
		}
	}
	for _, b := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if s.conn.SetsockoptInt(unix.SOL_SOCKET, b[0], buffer) == nil {
			continue // else without CAP_NET_ADMIN: up to the limit for all
		}
		if err := s.conn.SetsockoptInt(unix.SOL_SOCKET, b[1], buffer); err != nil {
			return fmt.Errorf("socket buffer of %d bytes: %w", buffer, err)
		}
	}
	if s.rcvbuf, err = s.conn.GetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
		return fmt.Errorf("SO_RCVBUF: %w", err)
	}
	peer := s.config.Peer()
	s.dst.set(peer, s.index)
	if peer.IsMulticast() {
		if err := s.join(); err != nil {
			return err
		}
	}
	return s.discardQueue()
}

// join makes the socket a member of the group, on its interface.
func (s *socket) join() error {
	group := s.config.Peer()
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		if group.Is6() {
			err = join6(int(fd), group, s.index)
		} else {
			err = join4(int(fd), group, s.index)
		}
	})
	return errors.Join(cerr, err)
}

func join4(fd int, group netip.Addr, index int) error {
	m := unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &m); err != nil {
		return fmt.Errorf("IP_MULTICAST_IF: %w", err)
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("joining %v: %w", group, err)
	}
	return nil
}

func join6(fd int, group netip.Addr, index int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
		return fmt.Errorf("IPV6_MULTICAST_IF: %w", err)
	}
	m := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &m); err != nil {
		return fmt.Errorf("joining %v: %w", group, err)
	}
	return nil
}

// discardQueue throws away what came in before the socket was bound to the
// interface, or to IPsec: it may be from elsewhere.
func (s *socket) discardQueue() error {
	var b [1]byte
	return s.raw.Control(func(fd uintptr) {
		for {
			if _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
				return
			}
		}
	})
}

// drops is how many packets the kernel lost because this socket's queue was full, or because
// its policy did not let them pass.
// SO_MEMINFO tells it exactly; SO_RXQ_OVFL only with the next packet that gets through.
func (s *socket) drops() uint32 {
	const (
		skMeminfoDrops = 8 // linux/sock_diag.h
		skMeminfoVars  = 9
	)
	var info [skMeminfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	s.raw.Control(func(fd uintptr) {
		unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return info[skMeminfoDrops]
}
