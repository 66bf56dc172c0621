package ifwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
)

// Event says that something about an interface changed: ask again.
type Event struct {
	Index int  // 0: events were lost, anything may have changed
	Gone  bool // the interface with this index was removed or left the namespace
	Less6 bool // an IPv6 address was taken from it; if it was the last, its groups may be gone too
}

// Events is a subscription to changes of links, of IPv4 addresses and, if asked for, of others.
//
// It is one socket for its whole life, so nothing is lost between an error and a
// new subscription, and no privilege is needed after it was opened.
type Events struct{ conn *netlink.Conn }

// Groups of rtnetlink(7), as bits.
const (
	groupLink   = 1 << 0
	groupIPv4If = 1 << 4
)

// Group is something more to subscribe to.
type Group uint32

// IPv6 is changes of IPv6 addresses.
const IPv6 Group = 1 << 8

// Subscribe starts collecting events in the network namespace of that file descriptor; 0
// is the namespace of the calling thread. What is asked after it returned cannot miss a change.
func Subscribe(netNS int, more ...Group) (*Events, error) {
	groups := uint32(groupLink | groupIPv4If)
	for _, g := range more {
		groups |= uint32(g)
	}
	conn, err := netlink.Dial(syscall.NETLINK_ROUTE, &netlink.Config{Groups: groups, NetNS: netNS})
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: subscribe: %w", err)
	}
	return &Events{conn: conn}, nil
}

// Close ends the subscription.
func (e *Events) Close() error { return e.conn.Close() }

// Run sends events to out until ctx ends; then it returns nil.
func (e *Events) Run(ctx context.Context, out chan<- Event) error {
	defer context.AfterFunc(ctx, func() { e.conn.SetReadDeadline(time.Unix(1, 0)) })()
	for ctx.Err() == nil {
		msgs, err := e.conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // of this Run or of an earlier one
			if err := e.conn.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("rtnetlink: events: %w", err)
			}
			continue
		case errors.Is(err, syscall.ENOBUFS):
			if err := e.discardQueue(); err != nil {
				return fmt.Errorf("rtnetlink: events: %w", err)
			}
			msgs = []netlink.Message{{}} // becomes the event without an index
		case err != nil:
			return fmt.Errorf("rtnetlink: events: %w", err)
		}
		for _, m := range msgs {
			select {
			case out <- parseEvent(m):
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// discardQueue empties the socket after an overrun. Until it is empty the kernel drops all that
// is new, and does not tell again (NETLINK_S_CONGESTED): only who asks after that misses nothing.
func (e *Events) discardQueue() error {
	raw, err := e.conn.SyscallConn()
	if err != nil {
		return err
	}
	var b [1]byte
	return raw.Control(func(fd uintptr) {
		for {
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_DONTWAIT)
			if err == syscall.EAGAIN || err == syscall.EBADF {
				return
			}
		}
	})
}

// parseEvent reads the index, which ifinfomsg and ifaddrmsg have at the same place.
func parseEvent(m netlink.Message) Event {
	if len(m.Data) < 8 {
		return Event{}
	}
	return Event{
		Index: int(binary.NativeEndian.Uint32(m.Data[4:])),
		Gone:  m.Header.Type == syscall.RTM_DELLINK,
		Less6: m.Header.Type == syscall.RTM_DELADDR && m.Data[0] == syscall.AF_INET6,
	}
}
