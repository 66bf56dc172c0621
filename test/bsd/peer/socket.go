package peer

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
)

// Socket is a BSD's end of a real sync link: packets of protocol 240 of one interface.
type Socket struct {
	conn *ipv4.PacketConn
	at   *net.Interface
	to   net.IPAddr
	done chan struct{}
}

// Open opens a socket on an interface, in the namespace in which do runs functions. Its
// packets go to a multicast group, or to one host.
func Open(do func(func() error) error, ifName string, to netip.Addr) (*Socket, error) {
	s := &Socket{to: net.IPAddr{IP: to.AsSlice()}, done: make(chan struct{})}
	err := do(func() (err error) {
		if s.at, err = net.InterfaceByName(ifName); err != nil {
			return err
		}
		c, err := net.ListenPacket("ip4:240", "0.0.0.0")
		if err != nil {
			return err
		}
		s.conn = ipv4.NewPacketConn(c)
		return s.setUp(to)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ifName, err)
	}
	return s, nil
}

func (s *Socket) setUp(to netip.Addr) error {
	for _, set := range []func() error{
		func() error { return s.conn.SetTTL(255) },
		func() error { return s.conn.SetMulticastTTL(255) },
		func() error { return s.conn.SetMulticastLoopback(false) },
		func() error { return s.conn.SetMulticastInterface(s.at) },
		func() error { return s.conn.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface, true) },
		func() error {
			if !to.IsMulticast() {
				return nil
			}
			return s.conn.JoinGroup(s.at, &s.to)
		},
	} {
		if err := set(); err != nil {
			return err
		}
	}
	return nil
}

// SetTTL is for packets that are not as they should be.
func (s *Socket) SetTTL(ttl int) error {
	if s.to.IP.IsMulticast() {
		return s.conn.SetMulticastTTL(ttl)
	}
	return s.conn.SetTTL(ttl)
}

// Send sends a packet.
func (s *Socket) Send(p []byte) error {
	_, err := s.conn.WriteTo(p, nil, &s.to)
	return err
}

// Serve hands what comes in on the interface to b until Close.
func (s *Socket) Serve(b *Box) {
	defer close(s.done)
	buf := make([]byte, 1<<16)
	for {
		n, control, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		if control != nil && control.IfIndex == s.at.Index {
			b.Hear(byte(control.TTL), append([]byte(nil), buf[:n]...))
		}
	}
}

// Close ends Serve.
func (s *Socket) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}
