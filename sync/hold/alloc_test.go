package hold_test

import (
	"encoding/binary"
	"net"
	"testing"
)

// newcomer sends first packets of UDP flows, a new flow each.
type newcomer struct {
	*router
	conn     net.Conn
	datagram []byte
	ids      []uint32
}

func newNewcomer(t testing.TB) *newcomer {
	n := &newcomer{router: newRouter(t, true), datagram: make([]byte, 12), ids: make([]uint32, 1)}
	n.arm()
	listen(t, n.server, ":5000") // no ICMP comes back
	binary.BigEndian.PutUint16(n.datagram[2:], 5000)
	binary.BigEndian.PutUint16(n.datagram[4:], uint16(len(n.datagram)))
	err := n.client.Do(func() (err error) { n.conn, err = net.Dial("ip4:udp", "10.2.0.2"); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.conn.Close() })
	return n
}

// pass has one packet held and let go.
func (n *newcomer) pass() {
	binary.BigEndian.PutUint16(n.datagram, binary.BigEndian.Uint16(n.datagram)+1)
	if _, err := n.conn.Write(n.datagram); err != nil {
		n.t.Fatal(err)
	}
	b := <-n.holder.Packets()
	n.ids[0] = b.Items[0].ID
	b.Free()
	n.holder.Release(n.ids)
}

// From the kernel and back nothing is allocated per packet.
func TestHoldingAllocatesNothing(t *testing.T) {
	n := newNewcomer(t)
	for range 100 {
		n.pass()
	}
	// Once a second the rules' counters are read.
	if got := testing.AllocsPerRun(500, n.pass); got > 1 {
		t.Errorf("%v allocations for a packet", got)
	}
}

// BenchmarkHold is the way of a packet from the client into the queue and out of it.
func BenchmarkHold(b *testing.B) {
	n := newNewcomer(b)
	b.ReportAllocs()
	for b.Loop() {
		n.pass()
	}
}
