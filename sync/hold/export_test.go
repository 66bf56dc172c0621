package hold

import "github.com/pfsync-linux/pfsync/pfstate"

// OpenCommon is Open on a kernel whose tables have no owners.
func OpenCommon(c Config) (*Holder, error) {
	c.common = true
	return Open(c)
}

// ParsePacket reads the headers of an IP packet.
func ParsePacket(b []byte) (p Packet) {
	p.parse(b)
	return p
}

// ParseQueue appends the packets in a datagram of a queue to b.
func ParseQueue(b *pfstate.Batch[Packet], datagram []byte) { new(queue).parse(b, datagram) }
