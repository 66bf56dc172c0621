package engine

// Size of the ring: at 20,000 packets a second the last 200 ms and more; of full packets
// twice as many as a peer may not have heard.
const (
	ringBytes   = 3 << 20
	ringPackets = 1 << 13
)

// ring keeps the packets sent last, to send them again.
type ring struct {
	buf          []byte
	at           int
	spans        []span // by sequence number modulo ringPackets
	oldest, next uint64 // kept are oldest to next-1
}

type span struct{ at, len uint32 }

func (r *ring) span(seq uint64) *span { return &r.spans[seq%ringPackets] }

// put keeps a packet; its number is one more than the last one's.
func (r *ring) put(seq uint64, packet []byte) {
	if r.buf == nil { // memory that is not written to costs nothing
		r.buf, r.spans = make([]byte, ringBytes), make([]span, ringPackets)
	}
	if seq != r.next {
		r.oldest, r.next = seq, seq
	}
	if r.next-r.oldest == ringPackets {
		r.oldest++
	}
	if r.at+len(packet) > len(r.buf) {
		for r.oldest < r.next && int(r.span(r.oldest).at) >= r.at {
			r.oldest++
		}
		r.at = 0
	}
	end := r.at + len(packet)
	for r.oldest < r.next {
		if s := r.span(r.oldest); int(s.at) >= end || int(s.at+s.len) <= r.at {
			break
		}
		r.oldest++
	}
	copy(r.buf[r.at:], packet)
	*r.span(seq) = span{at: uint32(r.at), len: uint32(len(packet))}
	r.at, r.next = end, seq+1
}

// clear forgets all packets.
func (r *ring) clear() { r.oldest = r.next }

// get is packet seq, nil if it is not kept. It is valid until the next put.
func (r *ring) get(seq uint64) []byte {
	if seq < r.oldest || seq >= r.next {
		return nil
	}
	s := r.span(seq)
	return r.buf[s.at:][:s.len:s.len]
}
