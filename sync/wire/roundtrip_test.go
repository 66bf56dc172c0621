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
	_, rest, err := wire.ParseHeader(b)
	if err != nil {
		return nil, err
	}
	w.Reset(wire.MaxLen)
	var x wire.Message
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = wire.NextSection(rest); err != nil {
			return nil, err
		}
		for i := range s.Count {
			if s.Skipped() {
				break
			}
			if err := wire.OpenBSD6.Parse(s.Action, s.Message(i), &x); err != nil {
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
	for _, v := range corpus.Vectors(t, "openbsd6") {
		want := v.Bytes(t)
		var got []byte
		var err error
		if v.Kind == "frame" {
			got, err = reencode(&w, want)
		} else {
			var x wire.Message
			err = wire.OpenBSD6.Parse(wire.Action(v.Action), want, &x)
			got = wire.OpenBSD6.Append(nil, &x)
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s (-want +got):\n%s", v.Name, cmp.Diff(want, got))
		}
	}
}

// What a packet means does not change by decoding and encoding, whatever it is.
func FuzzPacket(f *testing.F) {
	for _, frame := range corpus.AllFrames(f) {
		f.Add(frame.Payload())
	}
	for _, v := range corpus.Vectors(f, "openbsd6") {
		if v.Kind == "frame" {
			f.Add(v.Bytes(f))
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
	for _, v := range corpus.Vectors(f, "openbsd6") {
		if v.Kind == "message" {
			f.Add(v.Bytes(f))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := pfstate.Default()
		if wire.ParseState(wire.OpenBSD6, b, &s) != nil {
			return
		}
		m := wire.AppendState(wire.OpenBSD6, nil, &s)
		if len(m) != wire.StateLen {
			t.Fatalf("%d bytes", len(m))
		}
		var again pfstate.State
		if err := wire.ParseState(wire.OpenBSD6, m, &again); err != nil {
			t.Fatalf("own state refused: %v", err)
		}
		if s != again {
			t.Fatalf("not stable (-once +twice):\n%s", cmp.Diff(s, again, cmp.Comparer(sameAddr)))
		}
	})
}
