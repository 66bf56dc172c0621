package nfattr_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"

	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// sample is written by the encoder under test; the same is written by mdlayher's.
func sample(b []byte) []byte {
	b, outer := nfattr.Begin(b, 1)
	b = nfattr.AppendUint8(b, 2, 0xab)
	b = nfattr.AppendUint16(b, 3, 0x1234)
	b, inner := nfattr.Begin(b, 4)
	b = nfattr.AppendUint32(b, 5, 0xdeadbeef)
	b = nfattr.End(b, inner)
	b = nfattr.End(b, outer)
	b = nfattr.AppendUint64(b, 6, 0x0102030405060708)
	return nfattr.Append(b, 7, []byte("hello"))
}

func TestAppendsWhatOthersAppend(t *testing.T) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(1, func(e *netlink.AttributeEncoder) error {
		e.Uint8(2, 0xab)
		e.Uint16(3, 0x1234)
		e.Nested(4, func(e *netlink.AttributeEncoder) error {
			e.Uint32(5, 0xdeadbeef)
			return nil
		})
		return nil
	})
	e.Uint64(6, 0x0102030405060708)
	e.Bytes(7, []byte("hello"))
	want, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, sample(nil)); diff != "" {
		t.Errorf("bytes differ (-mdlayher +nfattr):\n%s", diff)
	}
}

func TestWalkReadsWhatWasAppended(t *testing.T) {
	type seen struct {
		Type  uint16
		Value uint64
	}
	var got []seen
	w := nfattr.NewWalk(sample(nil))
	for w.Next() {
		switch w.Type {
		case 1:
			in := nfattr.NewWalk(w.Data)
			for in.Next() {
				switch in.Type {
				case 2:
					got = append(got, seen{2, uint64(in.Uint8())})
				case 3:
					got = append(got, seen{3, uint64(in.Uint16())})
				case 4:
					deep := nfattr.NewWalk(in.Data)
					for deep.Next() {
						got = append(got, seen{deep.Type, uint64(deep.Uint32())})
					}
				}
			}
			if in.Err() != nil {
				t.Error(in.Err())
			}
		case 6:
			got = append(got, seen{6, w.Uint64()})
		case 7:
			got = append(got, seen{7, uint64(len(w.Data))})
		}
	}
	if w.Err() != nil {
		t.Error(w.Err())
	}
	want := []seen{{2, 0xab}, {3, 0x1234}, {5, 0xdeadbeef}, {6, 0x0102030405060708}, {7, 5}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBadLengthsEndTheWalk(t *testing.T) {
	whole := nfattr.AppendUint32(nil, 1, 7)
	for name, b := range map[string][]byte{
		"cut":          whole[:len(whole)-1],
		"header alone": {9, 0, 1, 0},
		"too short":    {3, 0, 1, 0},
		"tail":         append(bytes.Clone(whole), 1),
	} {
		w := nfattr.NewWalk(b)
		for w.Next() {
		}
		if !errors.Is(w.Err(), nfattr.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, w.Err())
		}
	}
}

func TestWrongSizeOfIntegerIsAnError(t *testing.T) {
	read := map[string]func(*nfattr.Walk){
		"uint8":  func(w *nfattr.Walk) { w.Uint8() },
		"uint16": func(w *nfattr.Walk) { w.Uint16() },
		"uint32": func(w *nfattr.Walk) { w.Uint32() },
		"uint64": func(w *nfattr.Walk) { w.Uint64() },
	}
	for name, f := range read {
		w := nfattr.NewWalk(nfattr.Append(nil, 1, []byte{1, 2, 3}))
		w.Next()
		f(&w)
		if !errors.Is(w.Err(), nfattr.ErrMalformed) {
			t.Errorf("%s of three bytes: %v, want ErrMalformed", name, w.Err())
		}
	}
}

func TestMessages(t *testing.T) {
	h := nfattr.Header{Type: 0x0100, Flags: 0x0401, Seq: 7, Port: 9}
	b, mark := nfattr.BeginMessage(nil, h, 2)
	b = nfattr.AppendUint32(b, 1, 42)
	b = nfattr.EndMessage(b, mark)
	nfattr.AddFlags(b, mark, 4)
	b = append(b, 'x')

	got, payload, rest, err := nfattr.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	h.Len, h.Flags = 28, 0x0405
	if diff := cmp.Diff(h, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if len(payload) != 12 || payload[0] != 2 || string(rest) != "x" {
		t.Errorf("payload %x, rest %q", payload, rest)
	}
	for _, bad := range [][]byte{nil, b[:15], b[:27], make([]byte, 16)} {
		if _, _, _, err := nfattr.ParseMessage(bad); !errors.Is(err, nfattr.ErrMalformed) {
			t.Errorf("%d bytes: %v, want ErrMalformed", len(bad), err)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	buf := make([]byte, 0, 256)
	var sum uint64
	allocs := testing.AllocsPerRun(100, func() {
		b := sample(buf[:0])
		w := nfattr.NewWalk(b)
		for w.Next() {
			if w.Type == 6 {
				sum += w.Uint64()
			}
		}
	})
	if allocs != 0 || sum == 0 {
		t.Errorf("%v allocations, sum %d", allocs, sum)
	}
}

// captured are datagrams of a kernel, which the package above keeps.
func captured(f *testing.F) (list [][]byte) {
	f.Helper()
	for _, name := range []string{"events.hex", "dump.hex", "answers.hex"} {
		text, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		for _, line := range strings.Fields(string(text)) {
			b, err := hex.DecodeString(line)
			if err != nil || len(b) < nfattr.HeaderLen+nfattr.FamilyLen {
				f.Fatalf("%s: %d bytes, %v", name, len(b), err)
			}
			list = append(list, b)
		}
	}
	return list
}

// FuzzWalk: no input makes the walk panic, leave its bytes or go on for ever; what
// it reads without an error appends back to the same attributes.
func FuzzWalk(f *testing.F) {
	for _, m := range captured(f) {
		f.Add(m[nfattr.HeaderLen+nfattr.FamilyLen:])
	}
	f.Add(sample(nil))
	f.Add([]byte{5, 0, 1, 0, 0xff, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var out []byte
		total := 0
		w := nfattr.NewWalk(in)
		for w.Next() {
			total += 4 + len(w.Data)
			out = nfattr.Append(out, w.Type, w.Data)
		}
		if total > len(in) {
			t.Fatalf("%d bytes read of %d", total, len(in))
		}
		if w.Err() != nil {
			return
		}
		again, first := nfattr.NewWalk(out), nfattr.NewWalk(in)
		for first.Next() {
			if !again.Next() || again.Type != first.Type || !bytes.Equal(again.Data, first.Data) {
				t.Fatalf("type %d data %x came back as type %d data %x", first.Type, first.Data, again.Type, again.Data)
			}
		}
		if again.Next() {
			t.Fatal("more came back than went in")
		}
	})
}

// FuzzMessage: no datagram makes the parser panic, stand still or leave its bytes.
func FuzzMessage(f *testing.F) {
	b, mark := nfattr.BeginMessage(nil, nfattr.Header{Type: 256}, 10)
	f.Add(nfattr.EndMessage(sample(b), mark))
	for _, m := range captured(f) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for rest := in; len(rest) > 0; {
			_, payload, next, err := nfattr.ParseMessage(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) || len(payload)+nfattr.HeaderLen > len(rest) {
				t.Fatalf("%d bytes: payload %d, next %d", len(rest), len(payload), len(next))
			}
			rest = next
		}
	})
}
