package wire_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// reencode decodes a packet and writes it again, message by message.
func reencode(w *wire.Writer, b []byte) ([]byte, error) {
	h, rest, err := wire.ParseHeader(b)
	if err != nil {
		return nil, err
	}
	w.Cksum, w.EOF = h.Cksum, false
	w.Dialect = wire.OpenBSD6
	if h.Version == wire.VersionFreeBSD {
		w.Dialect = wire.FreeBSD1500
	}
	w.Reset(wire.MaxLen)
	var x wire.Message
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			return nil, err
		}
		if s.End() {
			w.EOF = true
			break
		}
		for i := range s.Count {
			if s.Skipped() {
				break
			}
			w.Dialect = s.Dialect // of the states; small messages are alike
			if err := s.Dialect.Parse(s.Action, s.Message(i), &x); err != nil {
				return nil, err
			}
			w.Message(&x)
		}
	}
	return w.Finish(), nil
}

func TestCapturesEncodeBackByteForByte(t *testing.T) {
	var w wire.Writer
	for _, f := range corpus.AllFrames(t) {
		want := f.Payload()
		got, err := reencode(&w, want)
		if err != nil {
			t.Errorf("%s frame %d: %v", f.File, f.N, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s frame %d (-want +got):\n%s", f.File, f.N, cmp.Diff(want, got))
		}
	}
}

func TestVectorsEncodeBackByteForByte(t *testing.T) {
	var w wire.Writer
	eachVector(t, func(t *testing.T, d wire.Dialect, v corpus.Vector) {
		want := v.Bytes(t)
		var got []byte
		var err error
		if v.Kind == "frame" {
			got, err = reencode(&w, want)
		} else {
			var x wire.Message
			err = d.Parse(sectionOf(t, d, v).Action, want, &x)
			got = d.Append(nil, &x)
		}
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("-want +got:\n%s", cmp.Diff(want, got))
		}
	})
}

// What a packet means does not change by decoding and encoding, whatever it is.
func FuzzPacket(f *testing.F) {
	for _, frame := range corpus.AllFrames(f) {
		f.Add(frame.Payload())
	}
	for _, c := range vectorDialects {
		for _, v := range corpus.Vectors(f, c.name) {
			if v.Kind == "frame" {
				f.Add(v.Bytes(f))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wire.Behind(b)
		var w wire.Writer
		once, err := reencode(&w, b)
		if err != nil {
			return
		}
		once = bytes.Clone(once)
		twice, err := reencode(&w, once)
		if err != nil {
			t.Fatalf("own packet refused: %v", err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("not stable (-once +twice):\n%s", cmp.Diff(once, twice))
		}
	})
}

func FuzzState(f *testing.F) {
	for _, c := range vectorDialects {
		for _, v := range corpus.Vectors(f, c.name) {
			if v.Kind == "message" {
				f.Add(v.Bytes(f))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range vectorDialects {
			var x, again wire.Message
			if c.dialect.Parse(wire.ActIns, b, &x) != nil {
				continue
			}
			m := c.dialect.Append(nil, &x)
			if len(m) != c.dialect.StateLen() {
				t.Fatalf("%v: %d bytes", c.dialect, len(m))
			}
			if err := c.dialect.Parse(wire.ActIns, m, &again); err != nil {
				t.Fatalf("%v: own state refused: %v", c.dialect, err)
			}
			if x != again {
				t.Fatalf("%v: not stable (-once +twice):\n%s", c.dialect, cmp.Diff(x, again, cmp.Comparer(sameAddr)))
			}
			// In any other dialect it is a state that can be read, of the same connection.
			for _, o := range vectorDialects {
				var s pfstate.State
				if err := wire.ParseState(o.dialect, wire.AppendState(o.dialect, nil, &x.State), &s); err != nil {
					t.Fatalf("%v written as %v is refused: %v", c.dialect, o.dialect, err)
				}
				if s.ID != x.State.ID || s.Wire.Port != x.State.Wire.Port || s.Direction != x.State.Direction {
					t.Fatalf("%v written as %v is another state: %v, %v", c.dialect, o.dialect, &x.State, &s)
				}
			}
		}
	})
}
