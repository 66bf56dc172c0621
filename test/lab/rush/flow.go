package rush

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Flow is the original tuple of a connection. ICMP has its id as source port, its type
// and code as destination port. It holds no pointer, for tables of millions.
type Flow struct {
	src, dst     [16]byte // IPv4 in the first four
	sport, dport uint16
	zone         uint16
	proto        uint8
	six          bool
}

const (
	perAddress = 60000 // connections from one source address
	firstPort  = 1024
	service    = 443
)

// TCP is the n-th TCP connection from 198.18.0.0/16 to 198.19.0.1.
func TCP(n int) Flow { return flow(n, unix.IPPROTO_TCP) }

// UDP is the n-th UDP exchange between the same.
func UDP(n int) Flow { return flow(n, unix.IPPROTO_UDP) }

func flow(n int, proto uint8) Flow {
	f := Flow{proto: proto, sport: uint16(firstPort + n%perAddress), dport: service}
	binary.BigEndian.PutUint32(f.src[:], 198<<24|18<<16|uint32(n/perAddress+1))
	f.dst = [16]byte{198, 19, 0, 1}
	return f
}

// icmp is the n-th echo request.
func icmp(n int) Flow {
	f := flow(n, unix.IPPROTO_ICMP)
	f.dport = 8 << 8
	return f
}

// over6 is the same over IPv6.
func (f Flow) over6() Flow {
	in := func(a [16]byte) (six [16]byte) {
		copy(six[:], []byte{0x20, 0x01, 0x0d, 0xb8, 0, a[1]})
		copy(six[12:], a[:4])
		return six
	}
	f.src, f.dst, f.six = in(f.src), in(f.dst), true
	if f.proto == unix.IPPROTO_ICMP {
		f.proto, f.dport = unix.IPPROTO_ICMPV6, 128<<8
	}
	return f
}

func (f Flow) inZone(zone uint16) Flow {
	f.zone = zone
	return f
}

// reply is the tuple of the answers, without translation.
func (f Flow) reply() Flow {
	r := f
	r.src, r.dst = f.dst, f.src
	switch f.proto {
	case unix.IPPROTO_ICMP:
		r.dport = 0
	case unix.IPPROTO_ICMPV6:
		r.dport = 129 << 8
	default:
		r.sport, r.dport = f.dport, f.sport
	}
	return r
}

// ours tells whether this package may have made it.
func (f *Flow) ours() bool {
	if f.six {
		return f.src[0] == 0x20 && f.src[1] == 0x01 && f.src[2] == 0x0d && f.src[3] == 0xb8 && f.src[4] == 0 && f.src[5]|1 == 19
	}
	return f.src[0] == 198 && f.src[1]|1 == 19
}

func (f *Flow) family() uint8 {
	if f.six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
