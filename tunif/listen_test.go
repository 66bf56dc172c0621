package tunif_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// A capture on the device, or on all, is noticed, one on another interface is not.
func TestListenedTellsWhetherAnybodyCaptures(t *testing.T) {
	ns := labtest.NewNS(t)
	d := newDevice(t, ns)
	setUp(t, d)
	is := func(want bool, when string) {
		t.Helper()
		time.Sleep(60 * time.Millisecond) // the answer before is believed that long
		if d.Listened() != want {
			t.Errorf("%s: listened %v, want %v", when, !want, want)
		}
	}
	capture := func(proto uint16, index int) (end func()) {
		t.Helper()
		fd := -1
		err := ns.Do(func() (err error) {
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: index})
		})
		if err != nil {
			t.Fatal(err)
		}
		return func() { unix.Close(fd) }
	}
	index := d.Status().Index
	is(false, "nobody")
	for name, c := range map[string]struct {
		proto uint16
		index int
		want  bool
	}{
		"pfsync0":           {unix.ETH_P_ALL, index, true},
		"pfsync0, IP":       {unix.ETH_P_IP, index, true},
		"all":               {unix.ETH_P_ALL, 0, true},
		"another interface": {unix.ETH_P_ALL, 1, false},
		"another protocol":  {unix.ETH_P_LLDP, index, false},
	} {
		end := capture(c.proto, c.index)
		is(c.want, name)
		end()
		is(false, "after "+name)
	}
	var ends []func()
	for range 100 { // longer than one read
		ends = append(ends, capture(unix.ETH_P_ALL, 1))
	}
	is(false, "a hundred on another interface")
	end := capture(unix.ETH_P_ALL, index)
	is(true, "and one here")
	end()
	for _, end := range ends {
		end()
	}
	if n := testing.AllocsPerRun(10, func() { time.Sleep(51 * time.Millisecond); d.Listened() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkListened(b *testing.B) {
	d := newDevice(b, labtest.NewNS(b))
	b.ReportAllocs()
	for b.Loop() {
		d.Listened()
	}
}
