package wire_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// parseAll reads every message of a packet.
func parseAll(b []byte, x *wire.Message) (n int, err error) {
	h, rest, err := wire.ParseHeader(b)
	if err != nil {
		return 0, err
	}
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			return n, err
		}
		for i := range s.Count {
			if err := s.Dialect.Parse(s.Action, s.Message(i), x); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// full writes one packet with every kind of message.
func full(w *wire.Writer, x *wire.Message) []byte {
	w.Reset(1480)
	x.TDB.Replay = 7
	w.ID(wire.ActInsAck, x.State.ID)
	w.UpdC(&x.UpdC)
	w.ID(wire.ActDelC, x.State.ID)
	w.ID(wire.ActUpdReq, x.State.ID)
	w.State(wire.ActIns, &x.State)
	w.State(wire.ActUpd, &x.State)
	w.State(wire.ActDel, &x.State)
	w.Clr(x.Clr)
	w.Bus(x.Bus)
	w.TDB(&x.TDB)
	x.Action = wire.ActOldTDB
	w.Message(x)
	return w.Finish()
}

func testMessage() *wire.Message {
	s := testState()
	return &wire.Message{
		State: s, UpdC: wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout},
		Clr: wire.Clr{Creator: 1}, Bus: wire.Bus{Creator: 1, Status: wire.BusStart},
	}
}

func TestParsingAndAppendingAllocateNothing(t *testing.T) {
	for d, messages := range map[wire.Dialect]int{
		wire.OpenBSD6: 11, wire.FreeBSD1301: 11, wire.FreeBSD1400: 10, wire.FreeBSD1500: 10, // no DEL since
	} {
		w := wire.Writer{Dialect: d}
		x := testMessage()
		packet := full(&w, x)
		if n := testing.AllocsPerRun(100, func() { packet = full(&w, x) }); n != 0 {
			t.Errorf("%v: writing allocates %v times", d, n)
		}
		var y wire.Message
		count := 0
		n := testing.AllocsPerRun(100, func() {
			var err error
			if count, err = parseAll(packet, &y); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 || count != messages {
			t.Errorf("%v: parsing %d messages of %d allocates %v times", d, count, messages, n)
		}
	}
}

func BenchmarkParseState(b *testing.B) {
	s := testState()
	m := wire.AppendState(wire.OpenBSD6, nil, &s)
	b.ReportAllocs()
	b.SetBytes(wire.StateLen)
	for b.Loop() {
		if err := wire.ParseState(wire.OpenBSD6, m, &s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendState(b *testing.B) {
	s := testState()
	buf := make([]byte, 0, wire.StateLen)
	b.ReportAllocs()
	b.SetBytes(wire.StateLen)
	for b.Loop() {
		buf = wire.AppendState(wire.OpenBSD6, buf[:0], &s)
	}
}

// A full packet at MTU 1500, the ones that a busy firewall sends.
func BenchmarkPacket(b *testing.B) {
	s := testState()
	u := testMessage().UpdC
	for _, c := range []struct {
		name string
		add  func(*wire.Writer) bool
	}{
		{"5INS", func(w *wire.Writer) bool { return w.State(wire.ActIns, &s) }},
		{"17UPD_C", func(w *wire.Writer) bool { return w.UpdC(&u) }},
		{"121DEL_C", func(w *wire.Writer) bool { return w.ID(wire.ActDelC, pfstate.ID{State: 1, Creator: 2}) }},
	} {
		var w wire.Writer
		write := func() []byte {
			w.Reset(1480)
			for c.add(&w) {
			}
			return w.Finish()
		}
		b.Run("write/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(int64(len(write())))
			}
		})
		packet := write()
		b.Run("parse/"+c.name, func(b *testing.B) {
			var x wire.Message
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			for b.Loop() {
				if _, err := parseAll(packet, &x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
