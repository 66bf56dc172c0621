package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Socket is a BSD's end of a real sync link: packets of protocol 240 of one interface.
type Socket struct {
	read  func([]byte) (n, ttl, ifIndex int, err error)
	write func([]byte) error
	ttl   func(int) error
	close func() error
	at    *net.Interface
	done  chan struct{}
}

// Open opens a socket on an interface, in the namespace in which do runs functions. Its
// packets go to a multicast group, or to one host.
func Open(do func(func() error) error, ifName string, to netip.Addr) (*Socket, error) {
	s := &Socket{done: make(chan struct{})}
	err := do(func() (err error) {
		if s.at, err = net.InterfaceByName(ifName); err != nil {
			return err
		}
		if to.Is6() {
			return s.open6(&net.IPAddr{IP: to.AsSlice(), Zone: ifName})
		}
		return s.open4(&net.IPAddr{IP: to.AsSlice()})
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ifName, err)
	}
	return s, nil
}

func (s *Socket) open4(to *net.IPAddr) error {
	c, err := net.ListenPacket("ip4:240", "0.0.0.0")
	if err != nil {
		return err
	}
	p := ipv4.NewPacketConn(c)
	s.close = c.Close
	s.write = func(b []byte) error { _, err := p.WriteTo(b, nil, to); return err }
	s.read = func(b []byte) (n, ttl, at int, err error) {
		n, control, _, err := p.ReadFrom(b)
		if control != nil {
			ttl, at = control.TTL, control.IfIndex
		}
		return n, ttl, at, err
	}
	s.ttl = func(ttl int) error { return errors.Join(p.SetTTL(ttl), p.SetMulticastTTL(ttl)) }
	if to.IP.IsMulticast() {
		err = p.JoinGroup(s.at, to)
	}
	return errors.Join(err, s.ttl(255), p.SetMulticastLoopback(false), p.SetMulticastInterface(s.at),
		p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagInterface, true))
}

func (s *Socket) open6(to *net.IPAddr) error {
	c, err := net.ListenPacket("ip6:240", "::")
	if err != nil {
		return err
	}
	p := ipv6.NewPacketConn(c)
	s.close = c.Close
	s.write = func(b []byte) error { _, err := p.WriteTo(b, nil, to); return err }
	s.read = func(b []byte) (n, ttl, at int, err error) {
		n, control, _, err := p.ReadFrom(b)
		if control != nil {
			ttl, at = control.HopLimit, control.IfIndex
		}
		return n, ttl, at, err
	}
	s.ttl = func(ttl int) error { return errors.Join(p.SetHopLimit(ttl), p.SetMulticastHopLimit(ttl)) }
	if to.IP.IsMulticast() {
		err = p.JoinGroup(s.at, to)
	}
	return errors.Join(err, s.ttl(255), p.SetMulticastLoopback(false), p.SetMulticastInterface(s.at),
		p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true))
}

// SetTTL is for packets that are not as they should be.
func (s *Socket) SetTTL(ttl int) error { return s.ttl(ttl) }

// Send sends a packet.
func (s *Socket) Send(p []byte) error { return s.write(p) }

// Serve hands what comes in on the interface to b until Close.
func (s *Socket) Serve(b *Box) {
	defer close(s.done)
	buf := make([]byte, 1<<16)
	for {
		n, ttl, at, err := s.read(buf)
		if err != nil {
			return // closed
		}
		if at == s.at.Index {
			b.Hear(byte(ttl), append([]byte(nil), buf[:n]...))
		}
	}
}

// Close ends Serve.
func (s *Socket) Close() error {
	err := s.close()
	<-s.done
	return err
}
