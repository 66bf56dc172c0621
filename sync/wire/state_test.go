package wire_test

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// testState has every field set.
func testState() pfstate.State {
	s := pfstate.Default()
	s.ID = pfstate.ID{State: 0x6b0174a500000001, Creator: 0xa1a1a1a1}
	s.SetTuples(
		pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: 40000, DstPort: 8080},
		pfstate.Tuple{Src: netip.MustParseAddr("10.2.0.2"), Dst: netip.MustParseAddr("10.2.0.1"), SrcPort: 8080, DstPort: 61000}, 7)
	s.Src = pfstate.Peer{SeqLo: 1, SeqHi: 2, SeqDiff: 3, MaxWin: 4, MSS: 5, State: pfstate.TCPEstablished, WScale: 0x87,
		Scrub: pfstate.Scrub{Flags: 1, TTL: 64, Valid: true, TSMod: 6}}
	s.Dst = pfstate.Peer{SeqLo: 7, SeqHi: 8, SeqDiff: 9, MaxWin: 10, MSS: 11, State: pfstate.TCPFinWait2, WScale: 0x82}
	s.Creation, s.Expire = 12*time.Second, 13*time.Second
	s.Packets, s.Bytes = [2]uint64{1 << 40, 14}, [2]uint64{15, 1 << 41}
	s.Route = pfstate.Route{Kind: 1, Addr: netip.MustParseAddr("10.2.0.254")}
	s.RTable = [2]int32{-1, 3}
	s.Rule, s.Anchor, s.NATRule = 16, 17, 18
	s.IfName = pfstate.NewIfName("sis0")
	s.Flags = pfstate.FlagSloppy | pfstate.FlagAck
	s.MaxMSS, s.Proto, s.Timeout = 1400, pfstate.ProtoTCP, pfstate.TCPEstablishedTimeout
	s.Log, s.SyncFlags, s.Updates, s.MinTTL, s.SetTOS, s.SetPrio = 1, 4, 19, 64, 16, [2]uint8{3, 5}
	return s
}

func TestStateRoundTrip(t *testing.T) {
	v6 := func(s *pfstate.State, a0, a1 string) {
		k := pfstate.Key{Addr: [2]netip.Addr{netip.MustParseAddr(a0), netip.MustParseAddr(a1)}, Port: [2]uint16{8, 4711}}
		s.Wire, s.Stack = k, k
	}
	for name, change := range map[string]func(*pfstate.State){
		"every field set": func(*pfstate.State) {},
		"IPv6": func(s *pfstate.State) {
			v6(s, "2001:db8::1", "fe80::2")
			s.Route.Addr = netip.MustParseAddr("fe80::3")
		},
		"IPv4 in IPv6":            func(s *pfstate.State) { v6(s, "::ffff:10.0.0.1", "::"); s.Route = pfstate.Route{} },
		"address families differ": func(s *pfstate.State) { w := s.Wire; v6(s, "64:ff9b::1", "64:ff9b::2"); s.Wire = w },
		"no route":                func(s *pfstate.State) { s.Route = pfstate.Route{} },
		"inbound":                 func(s *pfstate.State) { s.Direction = pfstate.In },
		"16 bytes of interface name": func(s *pfstate.State) {
			s.IfName = pfstate.IfName([]byte("\x1b]0;evil\a12345678"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := testState()
			change(&want)
			b := wire.AppendState(wire.OpenBSD6, nil, &want)
			if len(b) != wire.StateLen {
				t.Fatalf("%d bytes, want %d", len(b), wire.StateLen)
			}
			got := pfstate.Default() // what was in it must not shine through
			got.Route = pfstate.Route{Kind: 2, Addr: netip.MustParseAddr("::1")}
			got.Dst.Scrub.Valid = true
			if err := wire.ParseState(wire.OpenBSD6, b, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDurationsAreClamped(t *testing.T) {
	const most = math.MaxUint32 * time.Second
	for _, c := range []struct{ in, creation, expire time.Duration }{
		{-time.Hour, 0, 0},
		{-time.Millisecond, 0, 0},
		{0, 0, 0},
		{time.Millisecond, 0, time.Second}, // an expire of 0 would mean a new full period
		{1999 * time.Millisecond, time.Second, 2 * time.Second},
		{24 * time.Hour, 24 * time.Hour, 24 * time.Hour},
		{most, most, most},
		{most + time.Millisecond, most, most},
		{math.MaxInt64, most, most},
	} {
		s := testState()
		s.Creation, s.Expire = c.in, c.in
		var got pfstate.State
		if err := wire.ParseState(wire.OpenBSD6, wire.AppendState(wire.OpenBSD6, nil, &s), &got); err != nil {
			t.Fatal(err)
		}
		if got.Creation != c.creation || got.Expire != c.expire {
			t.Errorf("%v became creation %v, expire %v; want %v, %v", c.in, got.Creation, got.Expire, c.creation, c.expire)
		}
	}
}

func TestKeysWithoutFamilyTakeTheMessages(t *testing.T) {
	want := testState()
	b := wire.AppendState(wire.OpenBSD6, nil, &want)
	b[24+38], b[64+38] = 0, 0
	var got pfstate.State
	if err := wire.ParseState(wire.OpenBSD6, b, &got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("state (-want +got):\n%s", cmp.Diff(want, got, cmp.Comparer(sameAddr)))
	}
}

func TestBytesBehindIPv4AreNotCompared(t *testing.T) {
	want := testState()
	b := wire.AppendState(wire.OpenBSD6, nil, &want)
	for _, at := range []int{24, 40, 64, 80, 168} { // addresses
		for i := 4; i < 16; i++ {
			b[at+i] = 0xee
		}
	}
	var got pfstate.State
	if err := wire.ParseState(wire.OpenBSD6, b, &got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("state (-want +got):\n%s", cmp.Diff(want, got, cmp.Comparer(sameAddr)))
	}
}

func TestStateValuesRefused(t *testing.T) {
	for _, c := range []struct {
		offset int
		value  byte
		want   string // empty: accepted
	}{
		{255, 19, ""},
		{255, 20, "timeout: invalid value 20"},
		{104 + 24, 12, ""},
		{104 + 24, 13, "state of src: invalid value 13"},
		{136 + 24, 12, ""},
		{136 + 24, 13, "state of dst: invalid value 13"},
		{252, 0, ""},
		{252, 2, ""},
		{252, 3, "direction: invalid value 3"},
		{250, 24, ""},
		{250, 0, "address family: invalid value 0"},
		{250, 10, "address family: invalid value 10"},
		{250, 28, "address family: invalid value 28"},
		{24 + 38, 24, ""},
		{24 + 38, 0, "address family of the wire key: invalid value 0"},
		{24 + 38, 28, "address family of the wire key: invalid value 28"},
		{64 + 38, 0, "address family of the stack key: invalid value 0"},
		{64 + 38, 10, "address family of the stack key: invalid value 10"},
	} {
		s := testState()
		b := wire.AppendState(wire.OpenBSD6, nil, &s)
		b[c.offset] = c.value
		var got pfstate.State
		err := wire.ParseState(wire.OpenBSD6, b, &got)
		if c.want == "" {
			if err != nil {
				t.Errorf("byte %d = %d: %v", c.offset, c.value, err)
			}
			continue
		}
		if !errors.Is(err, wire.ErrValue) || err.Error() != c.want {
			t.Errorf("byte %d = %d: error %v, want %s", c.offset, c.value, err, c.want)
		}
		if got.ID != s.ID {
			t.Errorf("byte %d = %d: id %v, want %v", c.offset, c.value, got.ID, s.ID)
		}
	}
	s := testState()
	s.ID.Creator = 0
	err := wire.ParseState(wire.OpenBSD6, wire.AppendState(wire.OpenBSD6, nil, &s), &s)
	if want := "creatorid: invalid value 0"; !errors.Is(err, wire.ErrValue) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestUpdCValuesRefused(t *testing.T) {
	s := testState()
	u := wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout, Expire: 3 * time.Second, Flags: 9}
	got, err := wire.ParseUpdC(wire.OpenBSD6, u.Append(wire.OpenBSD6, nil))
	if err != nil || got != u {
		t.Fatalf("%+v, %v; want %+v", got, err, u)
	}
	for _, c := range []struct {
		offset int
		value  byte
		want   string
	}{
		{80, 20, "timeout: invalid value 20"},
		{8 + 24, 13, "state of src: invalid value 13"},
		{40 + 24, 13, "state of dst: invalid value 13"},
	} {
		b := u.Append(wire.OpenBSD6, nil)
		b[c.offset] = c.value
		got, err := wire.ParseUpdC(wire.OpenBSD6, b)
		if !errors.Is(err, wire.ErrValue) || err.Error() != c.want || got.ID != u.ID {
			t.Errorf("byte %d = %d: %v, error %v, want %s", c.offset, c.value, got.ID, err, c.want)
		}
	}
}

func TestTDBRoundTrip(t *testing.T) {
	for _, addr := range []string{"192.0.2.9", "2001:db8::9"} {
		a := netip.MustParseAddr(addr)
		want := wire.TDB{SPI: 1, Dst: wire.NewSockaddr(wire.OpenBSD6, a), Replay: 1 << 40, Bytes: 1 << 41, Proto: 51, Updates: 2, RDomain: 3}
		got, err := wire.ParseTDB(want.Append(nil))
		if err != nil || got != want || got.Dst.Addr(wire.OpenBSD6) != a {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		old, err := wire.ParseOldTDB(want.AppendOld(nil))
		want.Replay = math.MaxUint32 // all that 32 bits hold
		if err != nil || old != want {
			t.Errorf("old: %+v, %v; want %+v", old, err, want)
		}
	}
	if a := (wire.Sockaddr{}).Addr(wire.OpenBSD6); a.IsValid() {
		t.Errorf("address %v of no family", a)
	}
}

func TestStatesOfNoFamilyAreSentAsSuch(t *testing.T) {
	var s pfstate.State
	b := wire.AppendState(wire.OpenBSD6, nil, &s)
	if b[250] != 0 || b[24+38] != 0 || binary.BigEndian.Uint64(b[24:]) != 0 {
		t.Errorf("family %d, key %x", b[250], b[24:64])
	}
}
