package wire_test

import (
	"bytes"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

func TestWriterSharesSections(t *testing.T) {
	var w wire.Writer
	w.Reset(1480)
	if !w.Empty() {
		t.Error("not empty after Reset")
	}
	a := pfstate.ID{State: 0x101, Creator: 0xc0ffee01}
	b := pfstate.ID{State: 0x202, Creator: 0xc0ffee01}
	for i, ok := range []bool{
		w.ID(wire.ActInsAck, a), w.ID(wire.ActDelC, a), w.ID(wire.ActDelC, b),
		w.Bus(wire.Bus{Creator: 0xc0ffee01, Status: wire.BusEnd}),
		w.Clr(wire.Clr{Creator: 0xc0ffee01, IfName: pfstate.NewIfName("em0")}),
		w.ID(wire.ActDelC, b),
	} {
		if !ok {
			t.Errorf("message %d does not fit", i)
		}
	}
	want := unhex(t, "06000078"+noCksum+"02030001"+idA+"07030002"+idA+idB+
		"0a030001"+"c0ffee010000000002000000"+"00050001"+"656d3000000000000000000000000000c0ffee01"+"07030001"+idB)
	if got := w.Finish(); !bytes.Equal(got, want) {
		t.Errorf("packet\n%x, want\n%x", got, want)
	}
	if w.Empty() {
		t.Error("empty with messages")
	}
	w.Reset(1480)
	if got, want := w.Finish(), unhex(t, "06000014"+noCksum); !bytes.Equal(got, want) {
		t.Errorf("empty packet %x, want %x", got, want)
	}
}

// The counts are those of section 1.5 of the protocol's description: MTU 1500 less the IP header.
func TestWriterFillsThePacket(t *testing.T) {
	s := testState()
	for _, c := range []struct {
		name string
		add  func(*wire.Writer) bool
		want int
		len  int
	}{
		{"states", func(w *wire.Writer) bool { return w.State(wire.ActIns, &s) }, 5, 20 + 4 + 5*264},
		{"compressed updates", func(w *wire.Writer) bool { return w.UpdC(&wire.UpdC{ID: s.ID}) }, 17, 20 + 4 + 17*84},
		{"compressed deletes", func(w *wire.Writer) bool { return w.ID(wire.ActDelC, s.ID) }, 121, 20 + 4 + 121*12},
		{"SAs", func(w *wire.Writer) bool { return w.TDB(&wire.TDB{}) }, 28, 20 + 4 + 28*52},
		{"bulk status", func(w *wire.Writer) bool { return w.Bus(wire.Bus{}) }, 121, 20 + 4 + 121*12},
		{"clear", func(w *wire.Writer) bool { return w.Clr(wire.Clr{}) }, 72, 20 + 4 + 72*20},
		{"any", func(w *wire.Writer) bool { return w.Message(&wire.Message{Action: wire.ActOldTDB}) }, 30, 20 + 4 + 30*48},
	} {
		var w wire.Writer
		w.Reset(1480)
		n := 0
		for c.add(&w) {
			n++
		}
		before := bytes.Clone(w.Finish())
		if n != c.want || len(before) != c.len {
			t.Errorf("%s: %d in %d bytes, want %d in %d", c.name, n, len(before), c.want, c.len)
		}
		if c.add(&w); !bytes.Equal(before, w.Finish()) {
			t.Errorf("%s: a message that does not fit changed the packet", c.name)
		}
	}
}

func TestWriterNeedsRoomForTheSubheaderToo(t *testing.T) {
	id := pfstate.ID{State: 1, Creator: 2}
	var w wire.Writer
	w.Reset(20 + 4 + 12 + 15)
	if !w.ID(wire.ActDelC, id) || w.ID(wire.ActUpdReq, id) {
		t.Error("a second section of 16 bytes found room in 15")
	}
	if !w.ID(wire.ActDelC, id) {
		t.Error("a second message of 12 bytes found no room in 15")
	}
}

func TestWriterRefuses(t *testing.T) {
	s := testState()
	var w wire.Writer
	for name, add := range map[string]func() bool{
		"a state as an id action":  func() bool { return w.State(wire.ActDelC, &s) },
		"an id as a state action":  func() bool { return w.ID(wire.ActDel, s.ID) },
		"a message of no action":   func() bool { return w.Message(&wire.Message{Action: wire.ActEOF}) },
		"a message beyond actions": func() bool { return w.Message(&wire.Message{Action: 200}) },
	} {
		w.Reset(1480)
		if add() || !w.Empty() || len(w.Finish()) != wire.HeaderLen {
			t.Errorf("%s was taken", name)
		}
	}
	w.Reset(10)
	if w.ID(wire.ActDelC, s.ID) {
		t.Error("a message found room in 10 bytes")
	}
	var fresh wire.Writer
	if fresh.ID(wire.ActDelC, s.ID) || fresh.Finish() != nil {
		t.Error("a Writer never Reset took a message")
	}
}

func TestWriterKeepsToTheHeadersLength(t *testing.T) {
	s := testState()
	var w wire.Writer
	w.Reset(1 << 20)
	for w.State(wire.ActUpd, &s) {
	}
	b := w.Finish()
	if h, _, err := wire.ParseHeader(b); err != nil || int(h.Len) != len(b) {
		t.Errorf("%d bytes, header %+v: %v", len(b), h, err)
	}
}
