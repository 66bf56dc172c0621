package linktest_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
)

var (
	addrA = netip.MustParseAddr("192.0.2.1")
	addrB = netip.MustParseAddr("192.0.2.2")
	addrC = netip.MustParseAddr("192.0.2.3")
)

// A linktest.Port can stand for a link.Link.
type linkMethods interface {
	Send([][]byte) (int, error)
	Received() <-chan *pfstate.Batch[link.Packet]
	Statuses() <-chan link.Status
	Status() link.Status
	Configure(link.Config) error
}

var (
	_ linkMethods = (*link.Link)(nil)
	_ linkMethods = (*linktest.Port)(nil)
)

// lab is a hub with three ports, in a bubble.
type lab struct {
	hub     *linktest.Hub
	a, b, c *linktest.Port
}

func inBubble(t *testing.T, seed uint64, f func(t *testing.T, l lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := linktest.NewHub(seed)
		l := lab{h, h.Port(addrA), h.Port(addrB), h.Port(addrC)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go h.Run(ctx)
		f(t, l)
	})
}

// heard is all that has arrived at p by now.
func heard(p *linktest.Port) []string {
	synctest.Wait()
	var got []string
	for {
		select {
		case b := <-p.Received():
			for _, packet := range b.Items {
				got = append(got, fmt.Sprintf("%s %v>%v", packet.Payload, packet.Src, packet.Dst))
			}
			b.Free()
			synctest.Wait()
		default:
			return got
		}
	}
}

func send(t *testing.T, p *linktest.Port, payloads ...string) {
	t.Helper()
	for _, s := range payloads {
		if n, err := p.Send([][]byte{[]byte(s)}); n != 1 || err != nil {
			t.Fatalf("Send: %d, %v", n, err)
		}
	}
}

func want(t *testing.T, p *linktest.Port, packets ...string) {
	t.Helper()
	if diff := cmp.Diff(packets, heard(p)); diff != "" {
		t.Errorf("%v heard (-want +got):\n%s", p.Status().Addr, diff)
	}
}

func TestEveryoneButTheSenderHears(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		send(t, l.a, "one", "two")
		want(t, l.a)
		want(t, l.b, "one 192.0.2.1>224.0.0.240", "two 192.0.2.1>224.0.0.240")
		want(t, l.c, "one 192.0.2.1>224.0.0.240", "two 192.0.2.1>224.0.0.240")
	})
}

func TestUnicastPeer(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		if err := l.a.Configure(link.Config{Syncdev: "sis2", Syncpeer: addrC}); err != nil {
			t.Fatal(err)
		}
		send(t, l.a, "secret")
		want(t, l.b)
		want(t, l.c, "secret 192.0.2.1>192.0.2.3")
	})
}

func TestDelayAndJitter(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		l.hub.Set(linktest.Conditions{Delay: time.Second})
		send(t, l.a, "slow")
		time.Sleep(time.Second - time.Nanosecond)
		want(t, l.b)
		time.Sleep(time.Nanosecond)
		want(t, l.b, "slow 192.0.2.1>224.0.0.240")
	})
}

func TestReorder(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		l.hub.Set(linktest.Conditions{Reorder: 1})
		send(t, l.a, "first")
		l.hub.Set(linktest.Conditions{})
		send(t, l.a, "second")
		time.Sleep(10 * time.Millisecond)
		want(t, l.b, "second 192.0.2.1>224.0.0.240", "first 192.0.2.1>224.0.0.240")
		if c := l.hub.Counters(); c.Reordered != 2 { // at b and at c
			t.Errorf("%+v", c)
		}
	})
}

// luck sends 1000 packets under bad conditions and returns what b and c heard.
func luck(t *testing.T, seed uint64) (b, c []string, counters linktest.Counters) {
	inBubble(t, seed, func(t *testing.T, l lab) {
		l.hub.Set(linktest.Conditions{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Delay: time.Millisecond, Jitter: time.Millisecond})
		for i := range 1000 {
			send(t, l.a, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		b, c, counters = heard(l.b), heard(l.c), l.hub.Counters()
	})
	return b, c, counters
}

func TestSameSeedSameLuck(t *testing.T) {
	b1, c1, counters := luck(t, 7)
	b2, c2, again := luck(t, 7)
	if diff := cmp.Diff(b1, b2) + cmp.Diff(c1, c2) + cmp.Diff(counters, again); diff != "" {
		t.Errorf("two runs with one seed differ:\n%s", diff)
	}
	if b3, _, _ := luck(t, 8); cmp.Equal(b1, b3) {
		t.Error("another seed changes nothing")
	}
	if cmp.Equal(b1, c1) {
		t.Error("all receivers lose the same packets")
	}
	if counters.Sent != 1000 || counters.Delivered != uint64(len(b1)+len(c1)) ||
		counters.Delivered != 2*counters.Sent-counters.Lost+counters.Duplicated {
		t.Errorf("counters do not add up: %+v, heard %d and %d", counters, len(b1), len(c1))
	}
	for name, n := range map[string]uint64{"lost": counters.Lost / 2, "doubled": counters.Duplicated, "reordered": counters.Reordered} {
		if n < 100 || n > 300 {
			t.Errorf("%d of 2000 packets %s", n, name)
		}
	}
}

func TestPartition(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		l.hub.Partition([]*linktest.Port{l.a}, []*linktest.Port{l.b, l.c})
		send(t, l.a, "a")
		send(t, l.b, "b")
		want(t, l.a)
		want(t, l.b)
		want(t, l.c, "b 192.0.2.2>224.0.0.240")
		l.hub.Partition()
		send(t, l.a, "healed")
		want(t, l.b, "healed 192.0.2.1>224.0.0.240")
		if c := l.hub.Counters(); c.Partitioned != 3 {
			t.Errorf("%+v", c)
		}
	})
}

func TestDown(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		first := <-l.b.Statuses()
		if !first.Up || first.Addr != addrB || first.MTU != 1500 {
			t.Errorf("first status: %+v", first)
		}
		l.hub.Set(linktest.Conditions{Delay: time.Second})
		send(t, l.a, "in flight")
		l.b.SetMTU(9000)
		l.b.SetUp(false)
		time.Sleep(time.Second)
		want(t, l.b)
		if c := l.hub.Counters(); c.Down != 1 || c.Delivered != 1 {
			t.Errorf("%+v", c)
		}
		if n, err := l.b.Send([][]byte{{1}}); n != 0 || err != link.ErrDown {
			t.Errorf("Send while down: %d, %v", n, err)
		}
		down := first
		down.Up, down.Reason, down.MTU = false, "no carrier", 9000
		if got := <-l.b.Statuses(); got != down {
			t.Errorf("status %+v, want the latest: %+v", got, down)
		}
		l.b.SetUp(true)
		send(t, l.b, "back")
	})
}

func TestSendRefuses(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		n, err := l.a.Send([][]byte{make([]byte, 1480), make([]byte, 1481), {1}})
		if n != 1 || err != link.ErrTooBig {
			t.Errorf("over the mtu: %d, %v", n, err)
		}
		l.a.FailSend(link.ErrFull)
		if n, err := l.a.Send([][]byte{{1}}); n != 0 || err != link.ErrFull {
			t.Errorf("full: %d, %v", n, err)
		}
		l.a.FailSend(nil)
		send(t, l.a, "again")
		if err := l.a.Configure(link.Config{Syncdev: "sis2", Syncpeer: netip.IPv6Loopback()}); err == nil {
			t.Error("a loopback address is a syncpeer")
		}
		if err := l.a.Configure(link.Config{Syncdev: "sis2", Syncpeer: link.Group6}); err != nil {
			t.Fatal(err)
		}
		if n, err := l.a.Send([][]byte{make([]byte, 1460), make([]byte, 1461)}); n != 1 || err != link.ErrTooBig {
			t.Errorf("over the mtu, by IPv6: %d, %v", n, err)
		}
		if err := l.a.Configure(link.Config{}); err != nil || l.a.Status().Up {
			t.Errorf("without a syncdev: %v, %+v", err, l.a.Status())
		}
	})
}

func TestTapSeesLostPackets(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		var seen []string
		l.hub.Tap(func(f linktest.Frame) {
			seen = append(seen, fmt.Sprintf("%s %v>%v after %d", f.Payload, f.Src, f.Dst, l.hub.Counters().Sent))
		})
		l.hub.Set(linktest.Conditions{Loss: 1})
		send(t, l.a, "x", "y")
		want(t, l.b)
		if diff := cmp.Diff([]string{"x 192.0.2.1>224.0.0.240 after 0", "y 192.0.2.1>224.0.0.240 after 1"}, seen); diff != "" {
			t.Error(diff)
		}
	})
}

func TestInjectAndLatePort(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		d := l.hub.Port(netip.MustParseAddr("192.0.2.4"))
		l.hub.Set(linktest.Conditions{Loss: 1})
		payload := []byte("forged")
		d.Inject(link.Packet{Src: addrA, Dst: addrB, TTL: 64, Payload: payload})
		payload[0] = 'F'
		b := <-d.Received()
		if p := b.Items[0]; p.TTL != 64 || string(p.Payload) != "forged" {
			t.Errorf("%+v", p)
		}
		b.Free()
	})
}

// Nothing waits for a reader that does not come.
func TestSenderNeverWaits(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, l lab) {
		for i := range 10000 {
			send(t, l.a, fmt.Sprint(i))
		}
		if got := heard(l.b); len(got) != 10000 || got[9999] != "9999 192.0.2.1>224.0.0.240" {
			t.Errorf("heard %d", len(got))
		}
	})
}

func Example() {
	hub := linktest.NewHub(1)
	a := hub.Port(netip.MustParseAddr("192.0.2.1"))
	b := hub.Port(netip.MustParseAddr("192.0.2.2"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go hub.Run(ctx)

	a.Send([][]byte{[]byte("first")})
	hub.Set(linktest.Conditions{Loss: 1})
	a.Send([][]byte{[]byte("second")})

	batch := <-b.Received()
	for _, p := range batch.Items {
		fmt.Printf("%v sent %q\n", p.Src, p.Payload)
	}
	batch.Free()
	fmt.Println("lost:", hub.Counters().Lost)
	// Output:
	// 192.0.2.1 sent "first"
	// lost: 1
}
