package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// Numbers of linux/netfilter/nfnetlink_queue.h.
const (
	subsystem  = unix.NFNL_SUBSYS_QUEUE << 8
	msgPacket  = subsystem
	msgVerdict = subsystem | 1
	msgConfig  = subsystem | 2
	msgBatch   = subsystem | 3

	cfgCommand, cfgParams, cfgMaxLen, cfgMask, cfgFlags = 1, 2, 3, 4, 5
	commandBind, commandUnbind                          = 1, 2
	copyPacket                                          = 2
	flagFailOpen, flagConntrack, flagGSO                = 1, 2, 4

	attrPacket, attrVerdict, attrPayload, attrCT = 1, 2, 10, 11

	accept = 1 // NF_ACCEPT
)

const (
	copied     = 128 // bytes of a packet: its headers
	readMost   = 64  // packets in a batch
	readBuffer = 1 << 20
	datagram   = 4 << 10
	queueFirst = 24240 // the first that is free of
	queueTries = 16
)

// queue is an NFQUEUE. Reads are for one goroutine, verdicts for another.
type queue struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	num  uint16
	glue bool // packets come with their connection
	seq  uint32

	buf   []byte
	n     int
	errno error
	read  func(fd uintptr) bool // these are made once: a closure per read would be garbage
	peek  func(fd uintptr)
	last  uint32 // id of the packet read last

	out     []byte
	outErr  error
	written func(fd uintptr) bool
}

// openQueue binds a queue that nobody has.
func openQueue(ns int) (*queue, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("nfqueue: %w", err)
	}
	q := &queue{conn: c, buf: make([]byte, datagram)}
	q.read, q.written = q.readOnce, q.writeOnce
	q.peek = func(fd uintptr) { q.readOnce(fd) }
	if err := q.open(); err != nil {
		c.Close()
		return nil, fmt.Errorf("nfqueue: %w", err)
	}
	return q, nil
}

func (q *queue) open() (err error) {
	if q.raw, err = q.conn.SyscallConn(); err != nil {
		return err
	}
	if err := q.conn.SetReadBuffer(readBuffer); err != nil {
		return err
	}
	// What does not fit into the buffer is not lost: the kernel lets the packet go on.
	if err := q.conn.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	for q.num = queueFirst; ; q.num++ {
		err = q.config(func(b []byte) []byte { return nfattr.Append(b, cfgCommand, []byte{commandBind, 0, 0, 0}) })
		if err == nil {
			break
		}
		if q.num == queueFirst+queueTries || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("kernel has no nfnetlink_queue: %w", err)
			}
			return fmt.Errorf("queue %d: %w", q.num, err)
		}
	}
	err = q.config(func(b []byte) []byte {
		b = nfattr.Append(b, cfgParams, []byte{0, 0, 0, copied, copyPacket})
		b = nfattr.AppendUint32(b, cfgMaxLen, Limit)
		b = nfattr.AppendUint32(b, cfgFlags, flagFailOpen|flagGSO)
		return nfattr.AppendUint32(b, cfgMask, flagFailOpen|flagGSO)
	})
	if err != nil {
		return fmt.Errorf("queue %d: %w", q.num, err)
	}
	q.glue = q.config(func(b []byte) []byte {
		b = nfattr.AppendUint32(b, cfgFlags, flagConntrack)
		return nfattr.AppendUint32(b, cfgMask, flagConntrack)
	}) == nil
	return nil
}

// config sends a request to the queue and waits for the answer. It must not be called once packets come.
func (q *queue) config(attributes func([]byte) []byte) error {
	b := attributes(q.begin(nil, msgConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK))
	m := netlink.Message{
		Header: netlink.Header{Type: msgConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   b[nfattr.HeaderLen:],
	}
	_, err := q.conn.Execute(m)
	return err
}

// begin appends the head of a message to the queue.
func (q *queue) begin(b []byte, typ, flags uint16) []byte {
	q.seq++
	b, mark := nfattr.BeginMessage(b, nfattr.Header{Type: typ, Flags: flags, Seq: q.seq}, unix.AF_UNSPEC)
	binary.BigEndian.PutUint16(b[mark+nfattr.HeaderLen+2:], q.num)
	return b
}

// receive waits for packets and appends those that are there to b.
func (q *queue) receive(b *pfstate.Batch[Packet]) error {
	if err := q.raw.Read(q.read); err != nil {
		return err
	}
	return q.take(b)
}

// take appends what has been read and what else is there.
func (q *queue) take(b *pfstate.Batch[Packet]) error {
	for {
		switch {
		case q.errno == unix.EAGAIN:
			return nil
		case q.errno != nil:
			return fmt.Errorf("nfqueue: %w", q.errno)
		}
		q.parse(b, q.buf[:q.n])
		if len(b.Items) >= readMost {
			return nil
		}
		if err := q.raw.Control(q.peek); err != nil {
			return err
		}
	}
}

// drain appends what is there.
func (q *queue) drain(b *pfstate.Batch[Packet]) error {
	if err := q.raw.Control(q.peek); err != nil {
		return err
	}
	return q.take(b)
}

// readOnce reports false when there is nothing to read.
func (q *queue) readOnce(fd uintptr) bool {
	for {
		n, err := unix.Read(int(fd), q.buf) // recvfrom makes an address each time
		q.n, q.errno = max(0, n), err
		if err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}

// parse appends the packets in a datagram.
func (q *queue) parse(b *pfstate.Batch[Packet], rest []byte) {
	for len(rest) > 0 {
		h, payload, next, err := nfattr.ParseMessage(rest)
		if err != nil {
			return
		}
		rest = next
		if h.Type != msgPacket || len(payload) < nfattr.FamilyLen {
			continue // an error: a verdict on a packet that is gone
		}
		p := extend(b)
		known := false
		w := nfattr.NewWalk(payload[nfattr.FamilyLen:])
		for w.Next() {
			switch w.Type {
			case attrPacket:
				if known = len(w.Data) >= 4; known {
					p.ID = binary.BigEndian.Uint32(w.Data)
				}
			case attrPayload:
				p.parse(w.Data)
			case attrCT:
				p.CT = append(p.CT, w.Data...)
			}
		}
		if !known {
			b.Items = b.Items[:len(b.Items)-1]
			continue
		}
		q.last = p.ID
	}
}

// extend makes room for one more packet, with the memory of its last use.
func extend(b *pfstate.Batch[Packet]) *Packet {
	n := len(b.Items)
	if n == cap(b.Items) {
		b.Items = append(b.Items, Packet{})
	}
	b.Items = b.Items[:n+1]
	p := &b.Items[n]
	*p = Packet{CT: p.CT[:0]}
	return p
}

// release lets packets go on.
func (q *queue) release(ids []uint32) error {
	q.out = q.out[:0]
	for _, id := range ids {
		q.out = q.verdict(q.out, msgVerdict, id)
	}
	return q.write()
}

// releaseAll lets all go on that have been read.
func (q *queue) releaseAll() error {
	q.out = q.verdict(q.out[:0], msgBatch, q.last)
	return q.write()
}

func (q *queue) verdict(b []byte, typ uint16, id uint32) []byte {
	mark := len(b)
	b = q.begin(b, typ, unix.NLM_F_REQUEST)
	var hdr [8]byte
	binary.BigEndian.PutUint32(hdr[:], accept)
	binary.BigEndian.PutUint32(hdr[4:], id)
	return nfattr.EndMessage(nfattr.Append(b, attrVerdict, hdr[:]), mark)
}

// write hands the kernel what is in out; it has done it when write returns.
func (q *queue) write() error {
	if err := q.raw.Write(q.written); err != nil {
		return fmt.Errorf("nfqueue: %w", err)
	}
	if q.outErr != nil {
		return fmt.Errorf("nfqueue: %w", q.outErr)
	}
	return nil
}

func (q *queue) writeOnce(fd uintptr) bool {
	for {
		_, err := unix.Write(int(fd), q.out)
		if q.outErr = err; err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}

// interrupt makes receive return, now and for ever.
func (q *queue) interrupt() { _ = q.conn.SetReadDeadline(time.Unix(1, 0)) }

func (q *queue) close() error { return q.conn.Close() }
