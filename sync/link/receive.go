package link

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
)

const (
	batchSize = 32    // packets for one recvmmsg; the kernel had 8 to 10 ready at full rate
	minBuffer = 2048  // bytes for a payload to start with
	maxPacket = 65535 // of IPv4; of IPv6's payload, but for jumbograms, which no Ethernet carries
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// receiver reads batches from one socket. The kernel scatters each packet over
// three buffers: its header, the item's payload, and the excess of a packet that
// is larger than the payload's memory. Of IPv6 it gives no header: what is needed of it
// comes as the source and as control messages.
type receiver struct {
	socket  *socket
	ipv6    bool
	room    int // bytes of a new payload buffer
	msgs    [batchSize]mmsghdr
	iovs    [batchSize][3]unix.Iovec
	hdrs    [batchSize][ipv4HeaderLen]byte
	excess  [batchSize][]byte
	sources [batchSize]unix.RawSockaddrInet6
	control [batchSize][controlSpace]byte

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

// tally is what came of one call.
type tally struct{ packets, bytes, malformed, otherGroup uint64 }

func (l *Link) account(t tally) {
	l.counters.received.Add(t.packets)
	l.counters.receivedBytes.Add(t.bytes)
	l.counters.malformed.Add(t.malformed)
	l.counters.otherGroup.Add(t.otherGroup)
}

func newReceiver(s *socket, room int) *receiver {
	r := &receiver{socket: s, ipv6: s.config.Peer().Is6(), room: room}
	excess := make([]byte, batchSize*maxPacket) // touched, and so backed by memory, only by huge packets
	for i := range r.msgs {
		r.excess[i] = excess[i*maxPacket:][:maxPacket]
		r.iovs[i][0].Base = &r.hdrs[i][0]
		r.iovs[i][0].SetLen(ipv4HeaderLen)
		r.iovs[i][2].Base = &r.excess[i][0]
		r.iovs[i][2].SetLen(maxPacket)
		r.msgs[i].hdr.Iov = &r.iovs[i][0]
		r.msgs[i].hdr.SetIovlen(3)
		if r.ipv6 {
			r.msgs[i].hdr.Iov = &r.iovs[i][1]
			r.msgs[i].hdr.SetIovlen(2)
			r.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.sources[i]))
			r.msgs[i].hdr.Control = &r.control[i][0]
		}
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
		if r.ipv6 { // the kernel has written them
			r.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
			r.msgs[i].hdr.SetControllen(controlSpace)
		}
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

// collect turns what the kernel wrote into packets. Those that are no whole IP
// packet are dropped and counted, and those to groups that others on this host have joined:
// a raw socket of IPv6 gets them whatever IPV6_MULTICAST_ALL says.
func (r *receiver) collect(batch *pfstate.Batch[Packet]) (t tally) {
	items := batch.Items
	kept := 0
	for i := range r.n {
		m := &r.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 || !r.fill(&items[i], i, int(m.n)) {
			t.malformed++
			continue
		}
		if dst := items[i].Dst; r.ipv6 && dst.IsMulticast() && dst != r.socket.config.Peer() {
			t.otherGroup++
			continue
		}
		items[kept], items[i] = items[i], items[kept] // both keep their memory
		kept++
		t.bytes += uint64(m.n)
		if r.ipv6 {
			t.bytes += ipv6HeaderLen
		}
	}
	batch.Items = items[:kept]
	t.packets = uint64(kept)
	return t
}

// fill sets p from the i-th message, of size bytes.
func (r *receiver) fill(p *Packet, i, size int) bool {
	if r.ipv6 {
		return r.fill6(p, i, size)
	}
	return r.fill4(p, i, size)
}

// fill4 finds the header in front.
func (r *receiver) fill4(p *Packet, i, size int) bool {
	h := &r.hdrs[i]
	options := int(h[0]&0x0f)*4 - ipv4HeaderLen
	if size < ipv4HeaderLen || h[0]>>4 != 4 || options < 0 || options > size-ipv4HeaderLen {
		return false
	}
	body := size - ipv4HeaderLen // the options, if any, and the payload
	r.join(p, i, body)
	if options > 0 {
		copy(p.Payload, p.Payload[options:body])
	}
	p.Payload = p.Payload[:body-options]
	p.TTL = h[8]
	p.Src = netip.AddrFrom4([4]byte(h[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(h[16:20]))
	return true
}

// join makes p's payload the size bytes of the i-th message, in one piece.
func (r *receiver) join(p *Packet, i, size int) {
	if room := len(p.Payload); size > room {
		whole := make([]byte, size)
		copy(whole[copy(whole, p.Payload):], r.excess[i])
		p.Payload = whole
	}
	p.Payload = p.Payload[:size]
}

// controlSpace holds IPV6_HOPLIMIT, an int, and IPV6_PKTINFO, each behind its header.
const controlSpace = 2*(unix.SizeofCmsghdr+8) + unix.SizeofInet6Pktinfo

// fill6 finds beside the payload what was in the header. What stood between header and payload is not seen; the kernel has
// put fragments together.
func (r *receiver) fill6(p *Packet, i, size int) bool {
	h := &r.msgs[i].hdr
	if h.Flags&unix.MSG_CTRUNC != 0 || h.Namelen < unix.SizeofSockaddrInet6 {
		return false
	}
	p.TTL, p.Dst = 0, netip.Addr{}
	limited := false
	for rest := r.control[i][:h.Controllen]; len(rest) >= unix.SizeofCmsghdr; {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		n := int(c.Len)
		if n < unix.SizeofCmsghdr || n > len(rest) {
			return false
		}
		body := rest[unix.SizeofCmsghdr:n]
		switch {
		case c.Level != unix.IPPROTO_IPV6:
		case c.Type == unix.IPV6_HOPLIMIT && len(body) >= 4:
			p.TTL, limited = uint8(binary.NativeEndian.Uint32(body)), true
		case c.Type == unix.IPV6_PKTINFO && len(body) >= 16:
			p.Dst = netip.AddrFrom16([16]byte(body))
		}
		rest = rest[min(len(rest), unix.CmsgSpace(len(body))):]
	}
	r.join(p, i, size)
	p.Src = netip.AddrFrom16(r.sources[i].Addr)
	return limited && p.Dst.IsValid()
}
