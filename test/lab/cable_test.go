package lab_test

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// wire is a lab with a Cable, and packets of pfsync's protocol through it.
type wire struct {
	tb   testing.TB
	lab  *lab.Lab
	a, b *net.IPConn
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), labtest.Patience)
	defer cancel()
	w := &wire{tb: tb, lab: labtest.NewLab(ctx, tb, lab.Config{Prefix: "pfs-lab", Cable: true, Seed: 1})}
	for _, end := range []struct {
		f    *lab.Firewall
		addr string
		conn **net.IPConn
	}{{w.lab.A, "192.168.254.254", &w.a}, {w.lab.B, "192.168.254.253", &w.b}} {
		err := end.f.Do(func() (err error) {
			*end.conn, err = net.ListenIP("ip4:240", &net.IPAddr{IP: net.ParseIP(end.addr)})
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { (*end.conn).Close() })
		if err := (*end.conn).SetReadBuffer(32 << 20); err != nil {
			tb.Fatal(err)
		}
	}
	return w
}

// send sends packets numbered from first on, from fwA to fwB.
func (w *wire) send(first, n int) {
	b := make([]byte, 100)
	for i := range n {
		binary.BigEndian.PutUint32(b, uint32(first+i))
		if _, err := w.a.WriteTo(b, w.b.LocalAddr()); err != nil {
			w.tb.Fatal(err)
		}
	}
}

// receive returns the numbers that come to fwB until last has.
func (w *wire) receive(last int) (numbers []int) {
	w.tb.Helper()
	b := make([]byte, 1500)
	w.b.SetReadDeadline(time.Now().Add(labtest.Patience))
	for {
		n, _, err := w.b.ReadFrom(b) // without the IP header
		if err != nil {
			w.tb.Fatalf("after %d packets: %v", len(numbers), err)
		}
		if n != 100 {
			w.tb.Fatalf("a packet of %d bytes", n)
		}
		numbers = append(numbers, int(binary.BigEndian.Uint32(b)))
		if numbers[len(numbers)-1] == last {
			return numbers
		}
	}
}

func TestCableFaults(t *testing.T) {
	const n = 2000
	w := newWire(t)
	w.send(0, 1) // ARP
	w.receive(0)
	for _, c := range []struct {
		name                        string
		faults                      lab.Faults
		least, most                 int // packets that come
		repeated, overtaken, gaping bool
	}{
		{name: "none", least: n, most: n},
		{name: "delay", faults: lab.Faults{Delay: 20 * time.Millisecond}, least: n, most: n},
		{name: "loss", faults: lab.Faults{Loss: 0.3}, least: n * 65 / 100, most: n * 75 / 100, gaping: true},
		{name: "duplicates", faults: lab.Faults{Duplicate: 0.1}, least: n * 107 / 100, most: n * 113 / 100, repeated: true},
		{name: "reordering", faults: lab.Faults{Reorder: 0.25, Hold: 2 * time.Millisecond}, least: n, most: n, overtaken: true},
	} {
		_, before := w.lab.Cable.Counts()
		w.lab.Cable.Disturb(lab.Faults{}, c.faults)
		w.send(1, n)
		labtest.Eventually(t, "all frames at the relay", func() bool {
			_, now := w.lab.Cable.Counts()
			return now.In >= before.In+n
		})
		// The last one comes behind those that are late.
		w.lab.Cable.Disturb(lab.Faults{}, lab.Faults{Delay: c.faults.Delay + 10*c.faults.Hold})
		w.send(n+1, 1)
		got := w.receive(n + 1)
		got = got[:len(got)-1]
		if len(got) < c.least || len(got) > c.most {
			t.Errorf("%s: %d packets come, want %d to %d", c.name, len(got), c.least, c.most)
		}
		var repeated, overtaken bool
		seen := map[int]bool{}
		for i, number := range got {
			repeated = repeated || seen[number]
			overtaken = overtaken || i > 0 && number < got[i-1]
			seen[number] = true
		}
		if repeated != c.repeated || overtaken != c.overtaken || (len(seen) < n) != c.gaping {
			t.Errorf("%s: repeated %t, overtaken %t, %d of %d seen", c.name, repeated, overtaken, len(seen), n)
		}
	}
	_, to := w.lab.Cable.Counts()
	if to.Lost == 0 || to.Duplicated == 0 || to.Overflow > 0 {
		t.Errorf("counted: %+v", to)
	}
}

// One way may be dead while the other lives, and the carrier can go.
func TestCableOneWayAndUnplugged(t *testing.T) {
	w := newWire(t)
	w.send(0, 1)
	w.receive(0)
	w.lab.Cable.Disturb(lab.Faults{Loss: 1}, lab.Faults{})
	w.send(1, 1)
	w.receive(1)
	if _, err := w.b.WriteTo(make([]byte, 100), w.a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "the loss", func() bool { toA, _ := w.lab.Cable.Counts(); return toA.Lost == 1 })
	w.lab.Cable.Heal()

	if err := w.lab.Cable.Unplug(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*lab.Firewall{w.lab.A, w.lab.B} {
		if out := labtest.Run(t, f.NS, "ip -o link show sis2"); !strings.Contains(out, "NO-CARRIER") {
			t.Errorf("unplugged, but %s", out)
		}
	}
	if err := w.lab.Cable.Plug(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*lab.Firewall{w.lab.A, w.lab.B} {
		labtest.Eventually(t, "carrier at "+f.Name, func() bool {
			return strings.Contains(labtest.Run(t, f.NS, "ip -o link show sis2"), "state UP")
		})
	}
	w.send(2, 1)
	w.receive(2)
}

func BenchmarkCable(b *testing.B) {
	w := newWire(b)
	w.send(0, 1)
	w.receive(0)
	const burst = 1000
	for b.Loop() {
		w.send(1, burst)
		w.receive(burst)
	}
	b.ReportMetric(burst*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
	if _, to := w.lab.Cable.Counts(); to.Overflow > 0 {
		b.Errorf("the relay lost %d", to.Overflow)
	}
}
