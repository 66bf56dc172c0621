package control

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Address is the control socket's: abstract (no file), so each network namespace has its own.
const Address = "@pfsyncd"

// ErrRunning is returned by Listen when another daemon has the socket.
var ErrRunning = errors.New("pfsyncd is already running in this network namespace")

// Listen opens the control socket in the caller's network namespace.
func Listen() (net.Listener, error) {
	l, err := net.Listen("unix", Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, ErrRunning
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// peerUID asks the kernel who is at the other end: who connected or, asked by
// the client, who listens.
func peerUID(c net.Conn) (uint32, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T tells no user", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("peer's credentials: %w", err)
	}
	return cred.Uid, nil
}

// maxGuests is how many connections users other than root may hold together: they could else take all
// of the daemon's file descriptors. Root has no limit, so it always gets through.
const maxGuests = 32

// guarded knows the user behind each connection and refuses too many of the guests.
type guarded struct {
	net.Listener
	guests  atomic.Int64
	refused atomic.Uint64
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		known := &conn{Conn: c, root: err == nil && uid == 0}
		if known.root {
			return known, nil
		}
		if g.guests.Add(1) <= maxGuests {
			known.leave = func() { g.guests.Add(-1) }
			return known, nil
		}
		g.guests.Add(-1)
		g.refused.Add(1)
		c.Close()
	}
}

// conn is a connection of a known user.
type conn struct {
	net.Conn
	root  bool
	leave func() // nil: not counted
	once  sync.Once
}

func (c *conn) Close() error {
	if c.leave != nil {
		c.once.Do(c.leave)
	}
	return c.Conn.Close()
}
