package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	noCksum = "00000000000000000000000000000000"
	idA     = "0000000000000101c0ffee01"
	idB     = "0000000000000202c0ffee01"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name, packet string
		err          error
		text         string
		rest         string
		trailer      string
	}{
		{name: "bare header", packet: "06000014" + noCksum},
		{name: "pad and checksum are not looked at", packet: "06ff0014" + "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"},
		{name: "section", packet: "06000018" + noCksum + "01020304", rest: "01020304"},
		{name: "cut to length", packet: "06000018" + noCksum + "01020304" + "aabb", rest: "01020304", trailer: "aabb"},
		{name: "empty", packet: "", err: wire.ErrShort, text: "header: too short: 0 of 20 bytes"},
		{name: "19 bytes", packet: "050000" + noCksum, err: wire.ErrShort, text: "header: too short: 19 of 20 bytes"},
		{name: "FreeBSD", packet: "05000014" + noCksum},
		{name: "NetBSD", packet: "04000014" + noCksum, err: wire.ErrVersion,
			text: "header: version not supported: 4 instead of 6 or 5"},
		{name: "version before length", packet: "07000000" + noCksum, err: wire.ErrVersion,
			text: "header: version not supported: 7 instead of 6 or 5"},
		{name: "length less than header", packet: "06000013" + noCksum, err: wire.ErrLength,
			text: "header: length does not fit: says 19 bytes, packet has 20"},
		{name: "length more than packet", packet: "06000015" + noCksum, err: wire.ErrLength,
			text: "header: length does not fit: says 21 bytes, packet has 20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.packet)
			h, rest, err := wire.ParseHeader(b)
			if !errors.Is(err, c.err) || (err != nil && err.Error() != c.text) {
				t.Fatalf("error %v, want %v %q", err, c.err, c.text)
			}
			if got := hex.EncodeToString(rest); got != c.rest {
				t.Errorf("rest %s, want %s", got, c.rest)
			}
			if got := hex.EncodeToString(wire.Behind(b)); got != c.trailer {
				t.Errorf("trailer %s, want %s", got, c.trailer)
			}
			if len(b) >= wire.HeaderLen && h.Version != b[0] {
				t.Errorf("version %d, packet has %d: not set with the error", h.Version, b[0])
			}
		})
	}
}

func TestHeaderAppends(t *testing.T) {
	h := wire.Header{Version: 6, Len: 0x1234, Cksum: [16]byte{1, 15: 2}}
	want := unhex(t, "ff06001234"+"01"+"0000000000000000000000000000"+"02")
	if got := h.Append([]byte{0xff}); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

var version6 = wire.Header{Version: wire.Version}

func TestNextSection(t *testing.T) {
	for _, c := range []struct {
		name, b  string
		err      error
		text     string
		action   wire.Action
		size     int
		count    int
		skipped  bool
		messages []string
		rest     string
	}{
		{name: "two ids, another section behind", b: "07030002" + idA + idB + "05030001",
			action: wire.ActDelC, size: 12, count: 2, messages: []string{idA, idB}, rest: "05030001"},
		{name: "known action without messages", b: "07030000", action: wire.ActDelC, size: 12},
		{name: "longer messages: known prefix", b: "07040002" + idA + "11111111" + idB + "22222222",
			action: wire.ActDelC, size: 16, count: 2, messages: []string{idA, idB}},
		{name: "unknown action stepped over", b: "90010002" + "11111111" + "22222222" + "ff",
			action: 0x90, size: 4, count: 2, skipped: true, rest: "ff"},
		{name: "shorter messages stepped over", b: "07020001" + "1111111111111111" + "ff",
			action: wire.ActDelC, size: 8, count: 1, skipped: true, rest: "ff"},
		{name: "old insert stepped over", b: "01010001" + "11111111", action: 1, size: 4, count: 1, skipped: true},
		{name: "no subheader", b: "070300", err: wire.ErrShort, text: "section: too short: 3 of 4 bytes"},
		{name: "unknown action without length", b: "90000001" + "11111111", err: wire.ErrAction,
			action: 0x90, count: 1, skipped: true,
			text: "section: unknown action 144: 1 messages of 0 bytes cannot be skipped"},
		{name: "unknown action without count", b: "90010000", err: wire.ErrAction, action: 0x90, size: 4, skipped: true,
			text: "section: unknown action 144: 0 messages of 4 bytes cannot be skipped"},
		{name: "first number that is unknown", b: "10000001", err: wire.ErrAction, action: wire.ActMax, count: 1, skipped: true,
			text: "section: unknown action 16: 1 messages of 0 bytes cannot be skipped"},
		{name: "FreeBSD's EOF", b: "0c000001", err: wire.ErrAction, action: wire.ActEOF, count: 1, skipped: true,
			text: "section: unknown action 12: 1 messages of 0 bytes cannot be skipped"},
		{name: "known action without length", b: "07000001" + idA, err: wire.ErrAction, action: wire.ActDelC, count: 1, skipped: true,
			text: "section: unknown action 7: 1 messages of 0 bytes cannot be skipped"},
		{name: "known action too long by a byte", b: "07030001" + idA[:22], err: wire.ErrLength,
			action: wire.ActDelC, size: 12, count: 1,
			text: "section DEL ST COMP: length does not fit: 1 messages of 12 bytes in 11 bytes"},
		{name: "unknown action too long", b: "90ffffff" + "11111111", err: wire.ErrLength,
			action: 0x90, size: 1020, count: 65535, skipped: true,
			text: "section UNKNOWN id 144: length does not fit: 65535 messages of 1020 bytes in 4 bytes"},
		{name: "count is not trusted", b: "0d42ffff", err: wire.ErrLength, action: wire.ActIns, size: 264, count: 65535,
			text: "section INS ST: length does not fit: 65535 messages of 264 bytes in 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, rest, err := version6.NextSection(unhex(t, c.b))
			if !errors.Is(err, c.err) || (err != nil && err.Error() != c.text) {
				t.Fatalf("error %v, want %v %q", err, c.err, c.text)
			}
			if errors.Is(err, wire.ErrShort) {
				return
			}
			if s.Action != c.action || s.Size != c.size || s.Count != c.count || s.Skipped() != c.skipped {
				t.Errorf("section %+v, skipped %v", s, s.Skipped())
			}
			if err != nil {
				if s.Body != nil {
					t.Errorf("body %x with an error", s.Body)
				}
				return
			}
			if got := hex.EncodeToString(rest); got != c.rest {
				t.Errorf("rest %s, want %s", got, c.rest)
			}
			for i := range s.Count {
				want := ""
				if i < len(c.messages) {
					want = c.messages[i]
				}
				if got := hex.EncodeToString(s.Message(i)); got != want {
					t.Errorf("message %d is %s, want %s", i, got, want)
				}
			}
			if s.Message(-1) != nil || s.Message(s.Count) != nil {
				t.Error("message beyond the section")
			}
		})
	}
}

func TestActionNames(t *testing.T) {
	for a, want := range map[wire.Action]string{
		wire.ActClr: "CLR ST", wire.ActInsAck: "INS ST ACK", wire.ActUpdC: "UPD ST COMP", wire.ActUpdReq: "UPD ST REQ",
		wire.ActDel: "DEL ST", wire.ActDelC: "DEL ST COMP", wire.ActBus: "BULK UPD STAT", wire.ActOldTDB: "UPD TDB OLD",
		wire.ActEOF: "EOF", wire.ActIns: "INS ST", wire.ActUpd: "UPD ST", wire.ActTDB: "UPD TDB",
		1: "INS ST OLD", 3: "UPD ST OLD", 8: "INS FR", 9: "DEL FR", wire.ActMax: "UNKNOWN id 16", 255: "UNKNOWN id 255",
	} {
		if got := a.String(); got != want {
			t.Errorf("action %d is %q, want %q", uint8(a), got, want)
		}
	}
}

func TestParseRefusesShortMessagesOfEveryAction(t *testing.T) {
	var x wire.Message
	for a := range 256 {
		act := wire.Action(a)
		if !act.Known() {
			if err := wire.OpenBSD6.Parse(act, make([]byte, 1000), &x); !errors.Is(err, wire.ErrAction) {
				t.Errorf("%v: %v, want %v", act, err, wire.ErrAction)
			}
			continue
		}
		if err := wire.OpenBSD6.Parse(act, make([]byte, wire.OpenBSD6.Size(act)-1), &x); !errors.Is(err, wire.ErrShort) {
			t.Errorf("%v: %v, want %v", act, err, wire.ErrShort)
		}
	}
	short := make([]byte, 11)
	_, e1 := wire.ParseID(short)
	_, e2 := wire.ParseUpdC(wire.OpenBSD6, short)
	_, e3 := wire.ParseClr(short)
	_, e4 := wire.ParseBus(short)
	_, e5 := wire.ParseTDB(short)
	_, e6 := wire.ParseOldTDB(short)
	e7 := wire.ParseState(wire.OpenBSD6, short, &x.State)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
		if !errors.Is(err, wire.ErrShort) {
			t.Errorf("parser %d: %v, want %v", i+1, err, wire.ErrShort)
		}
	}
}
