package auth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/auth"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const codeLen = wire.AttrLen + wire.AuthLen

// testKey is the key of 32 bytes that all differ, from first on.
func testKey(first byte) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = first + byte(i)
	}
	return k
}

// keyring has been given keys one after the other.
func keyring(keys ...[]byte) *auth.Keyring {
	r := new(auth.Keyring)
	for _, k := range keys {
		r.Set(k)
	}
	return r
}

// packet is a bare header and a trailer with a hello, with room for codes.
func packet() []byte {
	w := wire.BeginTrailer(append(make([]byte, 0, 1500), bareHeader()...), 0, 0x0102030405060708, 9)
	w.Hello(wire.Hello{Creator: 0xc0ffee01})
	return w.End()
}

func bareHeader() []byte { return wire.Header{Version: wire.Version, Len: wire.HeaderLen}.Append(nil) }

// macOf is HMAC-SHA-256 as RFC 2104 writes it down, for keys of up to 64 bytes.
func macOf(key, text []byte) []byte {
	pad := func(with byte) []byte {
		p := bytes.Repeat([]byte{with}, 64)
		for i, b := range key {
			p[i] ^= b
		}
		return p
	}
	inner := sha256.Sum256(append(pad(0x36), text...))
	outer := sha256.Sum256(append(pad(0x5c), inner[:]...))
	return outer[:]
}

// Made with Python's hmac module.
const vector = "060000140000000000000000000000000000000070664c780100003c0102030405060708000000000000000901" +
	"00000cc0ffee01000000000d00001832c182a21ccf628cfb2228e6425de8a9a5116422"

func TestSealIsAsDocumented(t *testing.T) {
	got := keyring(testKey(0)).Seal(packet())
	if diff := cmp.Diff(vector, hex.EncodeToString(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	old, current := testKey(0), bytes.Repeat([]byte{7}, 16)
	want := packet()
	binary.BigEndian.PutUint16(want[wire.HeaderLen+6:], uint16(len(want)-wire.HeaderLen+2*codeLen))
	for _, k := range [][]byte{old, current} {
		want = append(want, byte(wire.AttrAuth), 0, 0, codeLen)
		want = append(want, macOf(k, []byte("pfsync key hint"))[:4]...)
		want = append(want, macOf(k, want)[:16]...)
	}
	got = keyring(old, current).Seal(packet())
	if diff := cmp.Diff(hex.EncodeToString(want), hex.EncodeToString(got)); diff != "" {
		t.Errorf("two keys: -want +got:\n%s", diff)
	}
	if _, err := wire.ParseTrailer(wire.Behind(got)); err != nil {
		t.Error(err)
	}
}

func TestWithoutAKeyNothingChanges(t *testing.T) {
	var r auth.Keyring
	if got := r.Seal(packet()); !bytes.Equal(got, packet()) || r.On() || r.Changing() || r.Overhead() != 0 {
		t.Errorf("sealed % x", got)
	}
	for _, p := range [][]byte{packet(), bareHeader(), nil, keyring(testKey(1)).Seal(packet())} {
		if v, err := r.Open(p); v != auth.Unchecked || err != nil {
			t.Errorf("% x: %v, %v", p, v, err)
		}
	}
}

// A pair's key is changed on one firewall and then on the other: none refuses the other's packets.
func TestChangeOfKeyHasNoGap(t *testing.T) {
	oldKey, newKey := testKey(1), testKey(2)
	retired := keyring(oldKey, newKey)
	retired.Retire()
	rings := map[string]*auth.Keyring{
		"old": keyring(oldKey), "both": keyring(oldKey, newKey), "new": keyring(newKey), "retired": retired,
		"back": keyring(oldKey, newKey, oldKey), "other": keyring(testKey(3)),
	}
	for _, c := range []struct {
		from, to string
		verdict  auth.Verdict
		err      error
	}{
		{"old", "old", auth.Current, nil},
		{"old", "both", auth.Previous, nil},
		{"old", "back", auth.Current, nil},
		{"old", "new", 0, auth.ErrInvalid},
		{"old", "retired", 0, auth.ErrInvalid},
		{"both", "old", auth.Current, nil},
		{"both", "both", auth.Current, nil},
		{"both", "new", auth.Current, nil},
		{"both", "retired", auth.Current, nil},
		{"back", "both", auth.Current, nil},
		{"new", "old", 0, auth.ErrInvalid},
		{"new", "both", auth.Current, nil},
		{"new", "back", auth.Previous, nil},
		{"new", "new", auth.Current, nil},
		{"retired", "both", auth.Current, nil},
		{"retired", "new", auth.Current, nil},
		{"other", "both", 0, auth.ErrInvalid},
	} {
		v, err := rings[c.to].Open(rings[c.from].Seal(packet()))
		if v != c.verdict || !errors.Is(err, c.err) {
			t.Errorf("from %s to %s: %v, %v; want %v, %v", c.from, c.to, v, err, c.verdict, c.err)
		}
	}
}

func TestKeyring(t *testing.T) {
	r := new(auth.Keyring)
	step := func(what string, on, changing bool, overhead int) {
		t.Helper()
		if r.On() != on || r.Changing() != changing || r.Overhead() != overhead {
			t.Errorf("%s: on %t, changing %t, overhead %d", what, r.On(), r.Changing(), r.Overhead())
		}
		if got := len(r.Seal(packet())) - len(packet()); got != overhead {
			t.Errorf("%s: %d bytes appended, overhead %d", what, got, overhead)
		}
	}
	k := testKey(1)
	r.Set(k)
	clear(k) // is not kept
	step("first key", true, false, 24)
	r.Set(testKey(1))
	step("the same again", true, false, 24)
	r.Set(testKey(2))
	step("another", true, true, 48)
	r.Set(testKey(2))
	step("the same again", true, true, 48)
	r.Set(testKey(3))
	step("a third", true, true, 48)
	if _, err := r.Open(keyring(testKey(1)).Seal(packet())); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("the key before the previous one: %v", err)
	}
	r.Retire()
	step("retired", true, false, 24)
	r.Clear()
	step("cleared", false, false, 0)
}

func TestEveryAlteredByteIsRefused(t *testing.T) {
	r := keyring(testKey(1))
	sealed := r.Seal(packet())
	for i := range sealed {
		for _, flip := range []byte{1, 0x80, 0xff} {
			p := bytes.Clone(sealed)
			p[i] ^= flip
			if v, err := r.Open(p); err == nil {
				t.Errorf("byte %d xor %#x: %v", i, flip, v)
			}
		}
	}
	for n := range sealed {
		if _, err := r.Open(sealed[:n]); err == nil {
			t.Errorf("%d bytes of %d are taken", n, len(sealed))
		}
	}
	if _, err := r.Open(append(bytes.Clone(sealed), 0)); err == nil {
		t.Error("a byte more is taken")
	}
}

// While a key is changed a peer looks at its own code alone; all else is still covered.
func TestEveryAlteredByteIsRefusedWhileChanging(t *testing.T) {
	sealed := keyring(testKey(1), testKey(2)).Seal(packet())
	codes := len(sealed) - 2*codeLen
	for name, c := range map[string]struct {
		ring    *auth.Keyring
		ignored int // bytes at the end
	}{
		"has the old key": {keyring(testKey(1)), codeLen},
		"has the new key": {keyring(testKey(2)), 0},
	} {
		for i := range sealed {
			p := bytes.Clone(sealed)
			p[i] ^= 0x40
			_, err := c.ring.Open(p)
			isHead := i >= codes+codeLen && i < codes+codeLen+wire.AttrLen && i != codes+codeLen+1 // type and length must be right
			if taken := i >= len(sealed)-c.ignored && !isHead; taken != (err == nil) {
				t.Errorf("%s: byte %d: %v", name, i, err)
			}
		}
	}
}

func TestWhatIsNoCodeOrNotLast(t *testing.T) {
	r := keyring(testKey(1))
	sealed := r.Seal(packet())
	code := sealed[len(sealed)-codeLen:]
	// with appends to the trailer and, as an attacker would, sets its length.
	with := func(p []byte, attrs ...[]byte) []byte {
		p = bytes.Clone(p)
		for _, a := range attrs {
			p = append(p, a...)
		}
		binary.BigEndian.PutUint16(p[wire.HeaderLen+6:], uint16(len(p)-wire.HeaderLen))
		return p
	}
	// signed makes the code right for whatever precedes it.
	signed := func(p []byte) []byte {
		at := len(p) - wire.MACLen
		return append(p[:at], macOf(testKey(1), p[:at])[:wire.MACLen]...)
	}
	hello := []byte{byte(wire.AttrHello), 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0}
	long := append(bytes.Clone(code), 0, 0, 0, 0)
	long[3] = codeLen + 4
	for _, c := range []struct {
		name   string
		packet []byte
		want   error
	}{
		{"nothing", nil, auth.ErrMissing},
		{"a BSD's", bareHeader(), auth.ErrMissing},
		{"another trailer", append(bareHeader(), "whatever it may be"...), auth.ErrMissing},
		{"no code", packet(), auth.ErrMissing},
		{"no attributes", with(bareHeader(), packet()[wire.HeaderLen:wire.HeaderLen+wire.TrailerLen]), auth.ErrMissing},
		{"its own code, made right", signed(with(packet(), code)), nil},
		{"an attribute behind it", with(sealed, hello), auth.ErrInvalid},
		{"code, attribute, code", signed(with(sealed, hello, code)), auth.ErrInvalid},
		{"two codes of one key", signed(with(sealed, code)), nil},
		{"three codes", signed(with(sealed, code, code)), auth.ErrInvalid},
		{"a longer code", signed(with(packet(), long)), auth.ErrInvalid},
		{"half an attribute", with(packet(), hello[:3]), auth.ErrInvalid},
		{"another version", func() []byte { p := bytes.Clone(sealed); p[wire.HeaderLen+4]++; return signed(p) }(), auth.ErrInvalid},
	} {
		if _, err := r.Open(c.packet); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if got := r.Seal(bareHeader()); !bytes.Equal(got, bareHeader()) {
		t.Errorf("without a trailer sealed as % x", got)
	}
}

func TestSealAndOpenAllocateNothing(t *testing.T) {
	r, stranger := keyring(testKey(1), testKey(2)), keyring(testKey(3)).Seal(packet())
	p := packet()
	length := len(p)
	if n := testing.AllocsPerRun(100, func() {
		binary.BigEndian.PutUint16(p[wire.HeaderLen+6:], uint16(length-wire.HeaderLen))
		sealed := r.Seal(p[:length])
		if _, err := r.Open(sealed); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Open(p[:wire.HeaderLen]); !errors.Is(err, auth.ErrMissing) {
			t.Fatal(err)
		}
		if _, err := r.Open(stranger); !errors.Is(err, auth.ErrInvalid) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzOpen(f *testing.F) {
	vectorBytes, err := hex.DecodeString(vector)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(vectorBytes)
	f.Add(packet())
	f.Add(keyring(testKey(1), testKey(2)).Seal(packet()))
	f.Fuzz(func(t *testing.T, p []byte) {
		r := keyring([]byte("nobody has told the fuzzer of it"), testKey(8))
		before := bytes.Clone(p)
		if v, err := r.Open(p); err == nil {
			t.Fatalf("forged: %v", v)
		}
		if !bytes.Equal(before, p) {
			t.Fatal("Open has changed the packet")
		}
		trailer, err := wire.ParseTrailer(wire.Behind(p))
		if err != nil || len(trailer.Attrs) > 1<<15 {
			return
		}
		for rest := trailer.Attrs; len(rest) > 0; {
			var typ wire.AttrType
			if typ, _, rest, err = wire.NextAttr(rest); err != nil || typ == wire.AttrAuth {
				return
			}
		}
		sealed := r.Seal(before)
		if v, err := r.Open(sealed); v != auth.Current || err != nil {
			t.Fatalf("own packet: %v, %v", v, err)
		}
		if !bytes.Equal(sealed[:wire.HeaderLen], p[:wire.HeaderLen]) {
			t.Fatal("Seal has changed the header")
		}
	})
}

func benchmark(b *testing.B, size int, open bool) {
	r := keyring(testKey(1))
	// The attribute is of no type known; it fills the packet up.
	fill := size - wire.HeaderLen - wire.TrailerLen - codeLen
	w := wire.BeginTrailer(append(make([]byte, 0, size), bareHeader()...), 0, 1, 1)
	p := append(w.End(), make([]byte, fill)...)
	at := wire.HeaderLen + wire.TrailerLen
	p[at] = 200
	binary.BigEndian.PutUint16(p[at+2:], uint16(fill))
	length := uint16(len(p) - wire.HeaderLen)
	binary.BigEndian.PutUint16(p[wire.HeaderLen+6:], length)
	if open {
		p = r.Seal(p)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if !open {
			binary.BigEndian.PutUint16(p[wire.HeaderLen+6:], length)
			r.Seal(p)
		} else if v, err := r.Open(p); v != auth.Current || err != nil {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkSeal1400(b *testing.B) { benchmark(b, 1400, false) }
func BenchmarkSeal100(b *testing.B)  { benchmark(b, 100, false) }
func BenchmarkOpen1400(b *testing.B) { benchmark(b, 1400, true) }
func BenchmarkOpen100(b *testing.B)  { benchmark(b, 100, true) }
