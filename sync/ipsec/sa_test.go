package ipsec

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
)

// message is the body of an XFRM_MSG_NEWAE, from the layouts of linux/xfrm.h.
func message(t *testing.T, dst string, family uint16, flags uint32, attrs map[uint16][]uint32) []byte {
	t.Helper()
	ne := binary.NativeEndian
	b := make([]byte, 48)
	copy(b, netip.MustParseAddr(dst).AsSlice())
	copy(b[16:], []byte{0xde, 0xad, 0xbe, 0xef})
	ne.PutUint16(b[20:], family)
	b[22] = 50
	ne.PutUint32(b[40:], flags)
	for _, kind := range []uint16{9, 10, 23} {
		words, ok := attrs[kind]
		if !ok {
			continue
		}
		b = ne.AppendUint16(b, uint16(4+4*len(words)))
		b = ne.AppendUint16(b, kind)
		for _, w := range words {
			b = ne.AppendUint32(b, w)
		}
	}
	return b
}

// lifetime is struct xfrm_lifetime_cur as words of a little-endian machine.
func lifetime(bytes uint32) []uint32 { return []uint32{bytes, 0, 7, 0, 1, 0, 1, 0} }

func TestParseEvent(t *testing.T) {
	for _, c := range []struct {
		name      string
		b         []byte
		want      SA
		out, used bool
	}{
		{"out", message(t, "192.0.2.1", 2, 16, map[uint16][]uint32{9: lifetime(9000), 10: {77, 0, 0}}),
			SA{0xdeadbeef, netip.MustParseAddr("192.0.2.1"), 50, 77, 9000}, true, true},
		{"in, by the timer", message(t, "2001:db8::1", 10, 32, map[uint16][]uint32{9: lifetime(10), 10: {0, 5, 31}}),
			SA{0xdeadbeef, netip.MustParseAddr("2001:db8::1"), 50, 5, 10}, false, true},
		{"long numbers", message(t, "192.0.2.1", 2, 16, map[uint16][]uint32{9: lifetime(1), 23: {2, 3, 0, 1, 0, 64, 0, 0}}),
			SA{0xdeadbeef, netip.MustParseAddr("192.0.2.1"), 50, 1<<32 + 3, 1}, true, true},
		{"written by somebody", message(t, "192.0.2.1", 2, 64, map[uint16][]uint32{10: {1, 2, 0}}),
			SA{0xdeadbeef, netip.MustParseAddr("192.0.2.1"), 50, 2, 0}, false, false},
	} {
		e, err := parseEvent(c.b)
		if err != nil || e.sa != c.want || e.out != c.out || e.used != c.used {
			t.Errorf("%s: %+v, out %v, used %v, error %v", c.name, e.sa, e.out, e.used, err)
		}
		for n := range len(c.b) {
			parseEvent(c.b[:n]) // must not panic
		}
	}
	if _, err := parseEvent(message(t, "192.0.2.1", 7, 16, nil)); err == nil {
		t.Error("a strange address family is taken")
	}
}

// What is written back is the same SA, with the numbers given and nothing left to replay.
func TestWritingCounters(t *testing.T) {
	for _, c := range []struct {
		kind         uint16
		before, want []uint32
	}{
		{10, []uint32{3, 0, 0}, []uint32{9, 9, 1<<32 - 1}},
		{23, []uint32{2, 3, 0, 0, 0, 64, 5, 0}, []uint32{2, 9, 9, 6, 6, 64, 1<<32 - 1, 1<<32 - 1}},
	} {
		e, err := parseEvent(message(t, "192.0.2.1", 2, 6, map[uint16][]uint32{9: lifetime(8), c.kind: c.before}))
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.with(SA{Replay: 6<<32 | 9, Bytes: 500})
		if err != nil {
			t.Fatal(err)
		}
		attrs, err := netlink.NewAttributeDecoder(b[48:])
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint16][]uint32{}
		for attrs.Next() {
			v := attrs.Bytes()
			for ; len(v) >= 4; v = v[4:] {
				seen[attrs.Type()] = append(seen[attrs.Type()], binary.NativeEndian.Uint32(v))
			}
		}
		if got := seen[c.kind]; len(seen) != 2 || !slices.Equal(got, c.want) || !slices.Equal(seen[9], lifetime(500)) {
			t.Errorf("attributes %v", seen)
		}
		if back, err := parseEvent(b); err != nil || back.sa.key() != e.sa.key() {
			t.Errorf("written to %+v, error %v", back.sa, err)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(make([]byte, 48))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEvent(b); err == nil && (e.esn != nil || e.replay != nil) {
			if _, err := e.with(e.sa); err != nil {
				t.Error(err)
			}
		}
	})
}
