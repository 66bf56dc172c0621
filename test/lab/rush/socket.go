package rush

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// Table is a namespace's conntrack table. It is for one goroutine at a time.
type Table struct {
	name string
	fd   int
	in   []byte // what the kernel says
	out  []byte // what it is to be told

	refused uint64
	last    error // why the last one was refused
}

// message types of ctnetlink, linux/netfilter/nfnetlink_conntrack.h.
const (
	ctnew      = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctget      = ctnew + 1
	ctdelete   = ctnew + 2
	ctgetstats = ctnew + 5
)

const (
	readBuffer  = 128 << 10
	writeBuffer = 32 << 10 // at most so much in one send: some hundred entries
)

// Open opens a namespace's table.
func Open(ns *lab.NS) (*Table, error) {
	t := &Table{name: ns.Name, in: make([]byte, readBuffer), out: make([]byte, 0, 2*writeBuffer)}
	err := ns.Do(func() (err error) {
		t.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = errors.Join(
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20),
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptInt(t.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // errors without the message they are about
			unix.Bind(t.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		)
		if err != nil {
			unix.Close(t.fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: ctnetlink: %w", ns.Name, err)
	}
	return t, nil
}

// Close closes the socket; the table stays.
func (t *Table) Close() error { return unix.Close(t.fd) }

// Refused is how many entries the kernel did not take or change since the last call, and
// why the last of them.
func (t *Table) Refused() (n uint64, why error) {
	n, why = t.refused, t.last
	t.refused, t.last = 0, nil
	return n, why
}

// Send has the kernel carry out what was put; it has when Send returns.
func (t *Table) Send() error {
	if len(t.out) == 0 {
		return nil
	}
	err := unix.Sendto(t.fd, t.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	t.out = t.out[:0]
	if err != nil {
		return fmt.Errorf("%s: ctnetlink: %w", t.name, err)
	}
	for { // nothing but errors: no message asks for an answer
		n, _, err := unix.Recvfrom(t.fd, t.in, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err == nil {
			_, err = t.each(t.in[:n], nil)
		}
		if err != nil {
			return fmt.Errorf("%s: ctnetlink: %w", t.name, err)
		}
	}
}

// full sends when enough has been put.
func (t *Table) full() error {
	if len(t.out) < writeBuffer {
		return nil
	}
	return t.Send()
}

// each goes over the messages in b, counts the errors and hands on the others. It tells
// whether a dump is over or a request acknowledged.
func (t *Table) each(b []byte, f func(payload []byte)) (done bool, err error) {
	for len(b) > 0 {
		h, payload, rest, err := nfattr.ParseMessage(b)
		if err != nil {
			return done, err
		}
		b = rest
		switch {
		case h.Type == unix.NLMSG_DONE:
			done = true
		case h.Type == unix.NLMSG_ERROR:
			if len(payload) < 4 {
				return done, errors.New("an error without a number")
			}
			if number := -int32(binary.NativeEndian.Uint32(payload)); number != 0 {
				t.refused++
				t.last = syscall.Errno(number)
			} else {
				done = true
			}
		case f != nil && len(payload) >= nfattr.FamilyLen:
			f(payload)
		}
	}
	return done, nil
}

// ask sends one request and hands on the answers, until the last.
func (t *Table) ask(kind, flags uint16, single bool, f func(payload []byte)) error {
	b, mark := nfattr.BeginMessage(nil, nfattr.Header{Type: kind, Flags: unix.NLM_F_REQUEST | flags}, unix.AF_UNSPEC)
	before := t.refused
	if err := unix.Sendto(t.fd, nfattr.EndMessage(b, mark), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("%s: ctnetlink: %w", t.name, err)
	}
	for done := false; !done; {
		n, _, err := unix.Recvfrom(t.fd, t.in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			done, err = t.each(t.in[:n], f)
		}
		if err == nil && t.refused > before {
			t.refused, err = before, t.last
		}
		if err != nil {
			return fmt.Errorf("%s: ctnetlink: %w", t.name, err)
		}
		done = done || single
	}
	return nil
}

// Flush empties the table.
func (t *Table) Flush() error { return t.ask(ctdelete, unix.NLM_F_ACK, false, nil) }

// Count is the number of entries in the table, whoever made them.
func (t *Table) Count() (n int, err error) {
	err = t.ask(ctgetstats, 0, true, func(payload []byte) {
		w := nfattr.NewWalk(payload[nfattr.FamilyLen:])
		for w.Next() {
			if w.Type == 1 { // CTA_STATS_GLOBAL_ENTRIES
				n = int(w.Uint32())
			}
		}
	})
	return n, err
}
