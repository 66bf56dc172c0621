package traffic

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"github.com/pfsync-linux/pfsync/test/lab"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// icmpv4 is ICMP's protocol number, for icmp.ParseMessage.
const icmpv4 = 1

// pings is the raw socket that all ICMP flows share, and who waits for which id.
type pings struct {
	conn *icmp.PacketConn

	mu    sync.Mutex
	flows map[int]*flow // by echo id
}

// startICMP starts an echo flow from the namespace that it is called in.
func (t *Traffic) startICMP(f *flow) error {
	if t.pings == nil {
		conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			return err
		}
		t.keep(conn)
		t.pings = &pings{conn: conn, flows: map[int]*flow{}}
		t.wg.Go(t.pings.receive)
	}
	// Ids are the flow's own in its namespace; 1 and more, as ping's are.
	id := int(f.id) + 1
	t.pings.mu.Lock()
	t.pings.flows[id] = f
	t.pings.mu.Unlock()
	t.wg.Go(func() {
		if err := t.ping(t.pings.conn, f, id); err != nil {
			t.failUnlessStopped(f, err)
		}
	})
	return nil
}

func (t *Traffic) ping(c *icmp.PacketConn, f *flow, id int) error {
	data := make([]byte, 56) // as ping's
	to := &net.IPAddr{IP: net.ParseIP(lab.ServerAddr)}
	for n := 0; ; n++ {
		fill(data, f.id, uint64(n))
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: n & 0xffff, Data: data}}
		b, err := m.Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(b, to); err != nil {
			return err
		}
		if !t.pause(interval) {
			return nil
		}
	}
}

// receive hands each reply to its flow, until the socket is closed.
func (p *pings) receive() {
	b, scratch := make([]byte, 1500), make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(b)
		if err != nil {
			return
		}
		m, err := icmp.ParseMessage(icmpv4, b[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		reply, ok := m.Body.(*icmp.Echo)
		if !ok {
			continue
		}
		p.mu.Lock()
		f := p.flows[reply.ID]
		p.mu.Unlock()
		if f == nil {
			continue // somebody else's ping
		}
		if err := p.checkReply(f, reply, scratch); err != nil {
			f.fail(err)
			continue
		}
		f.progressed()
	}
}

func (p *pings) checkReply(f *flow, reply *icmp.Echo, scratch []byte) error {
	if len(reply.Data) < headerLen {
		return fmt.Errorf("reply %d: %d bytes of data", reply.Seq, len(reply.Data))
	}
	return check(reply.Data, scratch, f.id, binary.BigEndian.Uint64(reply.Data[8:]))
}
