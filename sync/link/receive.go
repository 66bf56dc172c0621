package link

import (
	"context"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	batchSize = 32    // packets for one recvmmsg; the kernel had 8 to 10 ready at full rate
	minBuffer = 2048  // bytes for a payload to start with
	maxPacket = 65535 // of IPv4
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// receiver reads batches from one socket. The kernel scatters each packet over
// three buffers: its header, the item's payload, and the excess of a packet that
// is larger than the payload's memory.
type receiver struct {
	socket *socket
	room   int // bytes of a new payload buffer
	msgs   [batchSize]mmsghdr
	iovs   [batchSize][3]unix.Iovec
	hdrs   [batchSize][HeaderLen]byte
	excess [batchSize][]byte

	n     int // answer of the last call
	errno unix.Errno
}

// read delivers what arrives on s until ctx ends or the socket fails.
func (l *Link) read(ctx context.Context, s *socket, room int) error {
	r := newReceiver(s, room)
	call := r.recvmmsg // once: it would be allocated at each turn
	for {
		batch := l.batches.Take()
		r.prepare(batch)
		if err := s.raw.Read(call); err != nil {
			return err
		}
		if r.errno != 0 {
			return os.NewSyscallError("recvmmsg", r.errno)
		}
		l.account(r.collect(batch))
		select {
		case l.received <- batch:
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Link) account(packets, bytes, malformed int) {
	l.counters.received.Add(uint64(packets))
	l.counters.receivedBytes.Add(uint64(bytes))
	l.counters.malformed.Add(uint64(malformed))
}

func newReceiver(s *socket, room int) *receiver {
	r := &receiver{socket: s, room: room}
	excess := make([]byte, batchSize*maxPacket) // touched, and so backed by memory, only by huge packets
	for i := range r.msgs {
		r.excess[i] = excess[i*maxPacket:][:maxPacket]
		r.iovs[i][0].Base = &r.hdrs[i][0]
		r.iovs[i][0].SetLen(HeaderLen)
		r.iovs[i][2].Base = &r.excess[i][0]
		r.iovs[i][2].SetLen(maxPacket)
		r.msgs[i].hdr.Iov = &r.iovs[i][0]
		r.msgs[i].hdr.SetIovlen(3)
	}
	return r
}

// prepare gives batch its items, each with memory, and points the kernel to it.
func (r *receiver) prepare(batch *pfstate.Batch[Packet]) {
	if cap(batch.Items) < batchSize {
		batch.Items = make([]Packet, batchSize)
	}
	batch.Items = batch.Items[:batchSize]
	for i := range batch.Items {
		p := &batch.Items[i]
		if cap(p.Payload) < r.room {
			p.Payload = make([]byte, r.room)
		}
		p.Payload = p.Payload[:cap(p.Payload)]
		r.iovs[i][1].Base = &p.Payload[0]
		r.iovs[i][1].SetLen(len(p.Payload))
	}
}

// recvmmsg is called by the poller: false means wait until there is something.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// collect turns what the kernel wrote into packets. Those that are no whole IPv4
// packet are dropped and counted.
func (r *receiver) collect(batch *pfstate.Batch[Packet]) (packets, bytes, malformed int) {
	items := batch.Items
	kept := 0
	for i := range r.n {
		m := &r.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 || !r.fill(&items[i], i, int(m.n)) {
			malformed++
			continue
		}
		items[kept], items[i] = items[i], items[kept] // both keep their memory
		kept++
		bytes += int(m.n)
	}
	batch.Items = items[:kept]
	return kept, bytes, malformed
}

// fill sets p from the i-th message, of size bytes with its header.
func (r *receiver) fill(p *Packet, i, size int) bool {
	h := &r.hdrs[i]
	options := int(h[0]&0x0f)*4 - HeaderLen
	if size < HeaderLen || h[0]>>4 != 4 || options < 0 || options > size-HeaderLen {
		return false
	}
	body := size - HeaderLen // the options, if any, and the payload
	if room := len(p.Payload); body > room {
		whole := make([]byte, body)
		copy(whole[copy(whole, p.Payload):], r.excess[i])
		p.Payload = whole
	}
	if options > 0 {
		copy(p.Payload, p.Payload[options:body])
	}
	p.Payload = p.Payload[:body-options]
	p.TTL = h[8]
	p.Src = netip.AddrFrom4([4]byte(h[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(h[16:20]))
	return true
}
