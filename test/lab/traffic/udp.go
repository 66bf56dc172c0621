package traffic

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/pfsync-linux/pfsync/test/lab"
)

const datagramLen = 160

// serveStreams waits for subscribers, in the namespace that it is called in, and
// sends each a stream of datagrams. Nothing but a state lets these in to the client.
func (t *Traffic) serveStreams() error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: streamPort})
	if err != nil {
		return err
	}
	t.keep(c)
	t.wg.Go(func() {
		b := make([]byte, datagramLen)
		streams := map[netip.AddrPort]bool{}
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n != datagramLen || streams[from] {
				continue
			}
			streams[from] = true
			id := binary.BigEndian.Uint32(b[4:])
			t.wg.Go(func() { t.stream(c, from, id) })
		}
	})
	return nil
}

// serveDatagrams echoes datagrams at echoPort of the namespace that it is called in.
func (t *Traffic) serveDatagrams() error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: echoPort})
	if err != nil {
		return err
	}
	t.keep(c)
	t.wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from) // lost, if it cannot be sent
		}
	})
	return nil
}

func (t *Traffic) stream(c *net.UDPConn, to netip.AddrPort, id uint32) {
	b := make([]byte, datagramLen)
	for n := uint64(1); ; n++ {
		fill(b, id, n)
		// A datagram that cannot be sent is one that does not arrive: the client counts.
		c.WriteToUDPAddrPort(b, to)
		if !t.pause(interval) {
			return
		}
	}
}

// startUDP subscribes from the namespace that it is called in.
func (t *Traffic) startUDP(f *flow) error {
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(lab.ServerAddr), Port: streamPort})
	if err != nil {
		return err
	}
	t.keep(c)
	hello := make([]byte, datagramLen)
	fill(hello, f.id, 0)
	if _, err := c.Write(hello); err != nil {
		return err
	}
	t.wg.Go(func() {
		defer t.release(c)
		t.failUnlessStopped(f, listen(f, c))
	})
	return nil
}

// listen checks each datagram until an error; they may be lost, and one that waited for
// a neighbour's address comes behind later ones.
func listen(f *flow, c *net.UDPConn) error {
	b, scratch := make([]byte, datagramLen+1), make([]byte, datagramLen+1)
	for last := uint64(0); ; {
		size, err := c.Read(b)
		if err != nil {
			return err
		}
		if size != datagramLen {
			return fmt.Errorf("datagram of %d bytes, want %d", size, datagramLen)
		}
		n := binary.BigEndian.Uint64(b[8:])
		if err := check(b[:size], scratch, f.id, n); err != nil {
			return err
		}
		if n > last {
			last = n
			f.progressed()
		}
	}
}
