package tuniftest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/tunif"
	"github.com/pfsync-linux/pfsync/tunif/tuniftest"
)

// A tuniftest.Device can stand for a tunif.Device.
type device interface {
	Run(context.Context) error
	Write([]byte) error
	SetUp(bool) error
	SetMTU(int) error
	Status() tunif.Status
	Events() <-chan tunif.Status
	Counters() []pfstate.Counter
	Close() error
}

var (
	_ device = (*tunif.Device)(nil)
	_ device = (*tuniftest.Device)(nil)
)

func counters(d *tuniftest.Device) map[string]uint64 {
	m := map[string]uint64{}
	for _, c := range d.Counters() {
		if c.Value != 0 {
			m[c.Name] = c.Value
		}
	}
	return m
}

func TestBehavesAsADevice(t *testing.T) {
	d := tuniftest.Open("pfsync0")
	packet := []byte{0x45, 1, 2}
	if err := d.Write(packet); err != tunif.ErrDown {
		t.Errorf("Write while down: %v", err)
	}
	if err := d.SetUp(true); err != nil {
		t.Fatal(err)
	}
	if err := d.SetMTU(1400); err != nil {
		t.Fatal(err)
	}
	want := tunif.Status{Name: "pfsync0", Index: 1, Up: true, MTU: 1400}
	if got := <-d.Events(); got != want || d.Status() != want {
		t.Errorf("event %+v, status %+v, want %+v", got, d.Status(), want)
	}
	if err := d.SetMTU(67); err == nil || err.Error() != "pfsync0: mtu 67: must be from 68 to 65535" {
		t.Errorf("%v", err)
	}
	if err := d.Write(packet); err != nil {
		t.Fatal(err)
	}
	packet[2] = 9
	if got := <-d.Written(); got[2] != 2 {
		t.Error("the packet shown is not a copy")
	}
	d.FromHost(packet)

	d.Change(func(s *tunif.Status) { s.Gone = true })
	if got := <-d.Events(); !got.Gone || got.Up {
		t.Errorf("%+v", got)
	}
	if err := d.Write(packet); err != tunif.ErrGone {
		t.Errorf("Write when gone: %v", err)
	}
	if err := d.SetUp(true); !errors.Is(err, tunif.ErrGone) {
		t.Errorf("SetUp when gone: %v", err)
	}
	wantCounters := map[string]uint64{
		"tun_written": 1, "tun_written_bytes": 3, "tun_write_down": 1, "tun_write_gone": 1,
		"tun_discarded": 1, "tun_discarded_bytes": 3,
	}
	if diff := cmp.Diff(wantCounters, counters(d)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestWriteNeverWaits(t *testing.T) {
	d := tuniftest.Open("pfsync0")
	if err := d.SetUp(true); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil; n++ {
		err = d.Write([]byte{0x45})
	}
	if err != tunif.ErrFull || n != 4097 || counters(d)["tun_write_full"] != 1 {
		t.Errorf("write %d: %v", n, err)
	}
}

func TestCloseEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := tuniftest.Open("pfsync0")
		ended := make(chan error, 1)
		go func() { ended <- d.Run(t.Context()) }()
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("Run ended by itself")
		}
		for range 2 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := d.Write([]byte{0x45}); err != os.ErrClosed {
			t.Errorf("Write after Close: %v", err)
		}
		if err := d.SetUp(true); !errors.Is(err, os.ErrClosed) {
			t.Errorf("SetUp after Close: %v", err)
		}
	})
}

func Example() {
	d := tuniftest.Open("pfsync0")
	d.SetUp(true)
	d.Write([]byte{0x45, 0x10})
	fmt.Printf("% x\n", <-d.Written())
	// Output: 45 10
}
