package rush

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Packets sends real packets through a firewall, from its lab's client to its server and back.
type Packets struct {
	client, server *port
}

// port sends frames by an interface.
type port struct {
	fd       int
	from, to net.HardwareAddr
}

// NewPackets readies firewall f to forward, and the hosts to send. The lab's own rules must let
// the flows pass: new ones from inside.
func NewPackets(ctx context.Context, l *lab.Lab, f *lab.Firewall) (*Packets, error) {
	for _, route := range [][]string{
		{"198.18.0.0/16", "via", lab.ClientAddr, "dev", lab.Inside},
		{"198.19.0.0/16", "via", lab.ServerAddr, "dev", lab.Outside},
	} {
		if _, err := f.Run(ctx, "ip", append([]string{"route", "replace"}, route...)...); err != nil {
			return nil, err
		}
	}
	p := &Packets{}
	for _, end := range []struct {
		port **port
		host *lab.NS
		link string
		addr string
	}{{&p.client, l.Client, lab.Inside, lab.ClientAddr}, {&p.server, l.Server, lab.Outside, lab.ServerAddr}} {
		to, err := hardware(f.NS, end.link)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		if *end.port, err = openPort(end.host, to); err != nil {
			return nil, errors.Join(err, p.Close())
		}
		// Nobody is asked who has the address while the load runs.
		if _, err := f.Run(ctx, "ip", "neighbour", "replace", end.addr, "lladdr", (*end.port).from.String(), "dev", end.link, "nud", "permanent"); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// Close closes the sockets.
func (p *Packets) Close() error {
	var errs []error
	for _, e := range []*port{p.client, p.server} {
		if e != nil {
			errs = append(errs, unix.Close(e.fd))
		}
	}
	return errors.Join(errs...)
}

func hardware(ns *lab.NS, link string) (addr net.HardwareAddr, err error) {
	err = ns.Do(func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", ns.Name, link, err)
		}
		addr = i.HardwareAddr
		return nil
	})
	return addr, err
}

// hostLink is the interface of the lab's client and server.
const hostLink = "eth0"

func openPort(host *lab.NS, to net.HardwareAddr) (*port, error) {
	from, err := hardware(host, hostLink)
	if err != nil {
		return nil, err
	}
	p := &port{from: from, to: to}
	err = host.Do(func() (err error) {
		i, err := net.InterfaceByName(hostLink)
		if err != nil {
			return err
		}
		// Protocol 0: it only sends.
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Ifindex: i.Index}),
		)
		if err != nil {
			unix.Close(p.fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: packet socket: %w", host.Name, err)
	}
	return p, nil
}

// packetStages are the moments of a connection in Play.
var packetStages = []time.Duration{
	0, 3 * time.Millisecond, 6 * time.Millisecond, 500 * time.Millisecond, 503 * time.Millisecond, 506 * time.Millisecond,
}

// flags of TCP
const (
	fin = 1
	syn = 2
	ack = 16
)

// Play has two TCP connections begin for each UDP exchange of one packet each way. Each
// fifth TCP connection stays open, the others close and are in TIME_WAIT when it returns.
func (p *Packets) Play(ctx context.Context, l Load) (Made, error) {
	var refused uint64
	var last error
	m, err := l.play(ctx, packetStages, func(stage, n int) error {
		if err := p.emit(stage, n); err != nil {
			refused++
			last = err
		}
		return nil
	}, func() error { return nil })
	m.Refused, m.Why = refused, last
	return m, err
}

func (p *Packets) emit(stage, n int) error {
	if n%3 == 2 {
		f := UDP(n)
		switch stage {
		case 0:
			return p.client.send(f, 0, 0, 0)
		case 1:
			return p.server.send(f.reply(), 0, 0, 0)
		}
		return nil
	}
	f := TCP(n)
	if stage >= 3 && n%5 == 0 {
		return nil
	}
	switch stage {
	case 0:
		return p.client.send(f, 1000, 0, syn)
	case 1:
		return p.server.send(f.reply(), 5000, 1001, syn|ack)
	case 2:
		return p.client.send(f, 1001, 5001, ack)
	case 3:
		return p.client.send(f, 1001, 5001, fin|ack)
	case 4:
		return p.server.send(f.reply(), 5001, 1002, fin|ack)
	default:
		return p.client.send(f, 1002, 5002, ack)
	}
}

// The lengths of headers.
const (
	ethernet = 14
	ipv4     = 20
	tcp      = 20
	udp      = 8
)

// send sends one packet without options; a UDP one has four bytes of data.
func (p *port) send(f Flow, seq, acked uint32, flags byte) error {
	var frame [ethernet + ipv4 + tcp]byte
	copy(frame[0:], p.to)
	copy(frame[6:], p.from)
	binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
	ip, rest := frame[ethernet:ethernet+ipv4], frame[ethernet+ipv4:]
	if f.proto == unix.IPPROTO_UDP {
		rest = rest[:udp+4]
	}
	ip[0], ip[8], ip[9] = 0x45, 64, f.proto
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4+len(rest)))
	binary.BigEndian.PutUint16(ip[6:], 0x4000) // do not fragment
	copy(ip[12:], f.src[:4])
	copy(ip[16:], f.dst[:4])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip, 0))
	binary.BigEndian.PutUint16(rest, f.sport)
	binary.BigEndian.PutUint16(rest[2:], f.dport)
	sum := 16
	if f.proto == unix.IPPROTO_UDP {
		sum = 6
		binary.BigEndian.PutUint16(rest[4:], uint16(len(rest)))
	} else {
		binary.BigEndian.PutUint32(rest[4:], seq)
		binary.BigEndian.PutUint32(rest[8:], acked)
		rest[12], rest[13] = tcp/4<<4, flags
		binary.BigEndian.PutUint16(rest[14:], 0xffff)
	}
	pseudo := add(ip[12:20], uint32(f.proto)+uint32(len(rest)))
	binary.BigEndian.PutUint16(rest[sum:], checksum(rest, pseudo))
	return unix.Send(p.fd, frame[:ethernet+ipv4+len(rest)], 0)
}

// add adds the words of b, of which there is an even number of bytes, to a sum.
func add(b []byte, sum uint32) uint32 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum
}

// checksum is RFC 1071's.
func checksum(b []byte, sum uint32) uint16 {
	for sum = add(b, sum); sum > 0xffff; {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
