package pfstate_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
)

var (
	client  = netip.MustParseAddr("10.1.0.5")
	server  = netip.MustParseAddr("10.2.0.9")
	nat     = netip.MustParseAddr("192.0.2.1")
	allAddr = cmpopts.EquateComparable(netip.Addr{})
)

// natted is a connection whose source is translated.
func natted(d pfstate.Direction) pfstate.State {
	s := pfstate.Default()
	s.Direction, s.Proto = d, pfstate.ProtoTCP
	s.SetTuples(pfstate.Tuple{Src: client, Dst: server, SrcPort: 1000, DstPort: 80},
		pfstate.Tuple{Src: server, Dst: nat, SrcPort: 80, DstPort: 5000}, 3)
	return s
}

// TestKeysOfEitherDirection checks against pf's own layout (protocol spec, 2.5).
func TestKeysOfEitherDirection(t *testing.T) {
	out := natted(pfstate.Out)
	if diff := cmp.Diff(pfstate.Key{Addr: [2]netip.Addr{server, client}, Port: [2]uint16{80, 1000}, RDomain: 3}, out.Stack, allAddr); diff != "" {
		t.Errorf("out, stack (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pfstate.Key{Addr: [2]netip.Addr{server, nat}, Port: [2]uint16{80, 5000}, RDomain: 3}, out.Wire, allAddr); diff != "" {
		t.Errorf("out, wire (-want +got):\n%s", diff)
	}
	in := natted(pfstate.In)
	if diff := cmp.Diff(pfstate.Key{Addr: [2]netip.Addr{client, server}, Port: [2]uint16{1000, 80}, RDomain: 3}, in.Wire, allAddr); diff != "" {
		t.Errorf("in, wire (-want +got):\n%s", diff)
	}
}

func TestTuplesAndSetTuplesAreInverse(t *testing.T) {
	for _, d := range []pfstate.Direction{pfstate.In, pfstate.Out} {
		s := natted(d)
		orig, reply := s.Tuples()
		if orig.Src != client || orig.DstPort != 80 || reply.Dst != nat || reply.DstPort != 5000 {
			t.Errorf("%v: %v, %v", d, orig, reply)
		}
		if !s.Translated() {
			t.Errorf("%v: not translated", d)
		}
		s.SetTuples(orig, orig.Reversed(), 3)
		if s.Translated() {
			t.Errorf("%v: translated", d)
		}
	}
}

// TestTimeoutClasses follows pf's rules after each packet (protocol spec, 2.10).
func TestTimeoutClasses(t *testing.T) {
	for _, c := range []struct {
		proto    uint8
		src, dst pfstate.PeerState
		want     pfstate.Timeout
	}{
		{6, 2, 0, pfstate.TCPFirstPacket},
		{6, 4, 2, pfstate.TCPOpening},
		{6, 4, 4, pfstate.TCPEstablishedTimeout},
		{6, 7, 4, pfstate.TCPClosingTimeout},
		{6, 4, 9, pfstate.TCPClosingTimeout},
		{6, 9, 7, pfstate.TCPFinWaitTimeout},
		{6, 9, 9, pfstate.TCPClosedTimeout},
		{6, 10, 10, pfstate.TCPClosedTimeout},
		{17, 1, 0, pfstate.UDPFirstPacket},
		{17, 2, 1, pfstate.UDPSingle},
		{17, 2, 2, pfstate.UDPMultiple},
		{132, 1, 0, pfstate.OtherFirstPacket},
		{47, 2, 2, pfstate.OtherMultiple},
		{1, 0, 0, pfstate.ICMPFirstPacket},
		{58, 0, 0, pfstate.ICMPFirstPacket},
	} {
		if got := pfstate.TimeoutOf(c.proto, c.src, c.dst); got != c.want {
			t.Errorf("proto %d %d:%d: %v, want %v", c.proto, c.src, c.dst, got, c.want)
		}
	}
	if got := pfstate.TCPEstablishedTimeout.Default(); got != 24*time.Hour {
		t.Errorf("tcp.established %v", got)
	}
}

// TestPrintsAsPfctl compares with lines of pfctl -s states.
func TestPrintsAsPfctl(t *testing.T) {
	s := natted(pfstate.Out)
	s.Src.State, s.Dst.State = pfstate.TCPEstablished, pfstate.TCPEstablished
	if got, want := s.String(), "all tcp 192.0.2.1:5000 (10.1.0.5:1000) -> 10.2.0.9:80       ESTABLISHED:ESTABLISHED"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.IfName = pfstate.NewIfName("em0\x1b[31m")
	s.Proto = 99
	if got, want := s.String(), `em0\x1b[31m 99 192.0.2.1:5000 (10.1.0.5:1000) -> 10.2.0.9:80       4:4`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBatchesAreUsedAgain(t *testing.T) {
	stock := pfstate.NewBatches[int](1)
	a := stock.Take()
	a.Items = append(a.Items, 1, 2, 3)
	a.Free()
	b := stock.Take()
	if a != b || len(b.Items) != 0 || cap(b.Items) < 3 {
		t.Errorf("another batch, or %d items with room for %d", len(b.Items), cap(b.Items))
	}
	b.Free()
	if n := testing.AllocsPerRun(100, func() { stock.Take().Free() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
