package wire_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

func TestDialectsHaveTheNamesOfIfconfig(t *testing.T) {
	for _, d := range []wire.Dialect{wire.OpenBSD6, wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500} {
		if got, err := wire.ParseDialect(d.String()); err != nil || got != d {
			t.Errorf("%v is %v: %v", d, got, err)
		}
	}
	if _, err := wire.ParseDialect("1600"); err == nil || err.Error() != "1600: not one of openbsd, 1301, 1400, 1500" {
		t.Errorf("1600: %v", err)
	}
}

// The numbers of each system; section 2.1 of the protocol's description.
func TestNumbersOfVersion5(t *testing.T) {
	h := wire.Header{Version: wire.VersionFreeBSD}
	for number := range 256 {
		b := append([]byte{uint8(number), 0, 0, 1}, make([]byte, 400)...)
		s, _, err := h.NextSection(b)
		switch number {
		case 8, 9:
			if !errors.Is(err, wire.ErrAction) {
				t.Errorf("number %d: %v, want %v", number, err, wire.ErrAction)
			}
		case 12:
			if err != nil || !s.End() {
				t.Errorf("EOF: %+v, %v", s, err)
			}
		default:
			if number > 16 {
				if !errors.Is(err, wire.ErrAction) || s.Action.Known() {
					t.Errorf("number %d: %v, want %v", number, err, wire.ErrAction)
				}
				continue
			}
			if err != nil || s.Skipped() || s.Number() != uint8(number) || len(s.Message(0)) != s.Size {
				t.Errorf("number %d: %+v, %v", number, s, err)
			}
		}
	}
	for number, want := range map[uint8]string{1: "INS ST 1301", 3: "UPD ST 1301", 6: "DEL ST 1301", 13: "INS ST 1400", 16: "UPD ST 1500", 7: "DEL ST COMP"} {
		if s, _, _ := h.NextSection(append([]byte{number, 0, 0, 1}, make([]byte, 400)...)); s.Name() != want {
			t.Errorf("number %d is %s, want %s", number, s.Name(), want)
		}
	}
}

// OpenBSD and FreeBSD 13 refuse messages with the timeouts of SCTP.
func TestTimeoutsOfSCTPAreSaidOnlyWhereTheyAreKnown(t *testing.T) {
	s := testState()
	s.Proto = pfstate.ProtoSCTP
	for d, want := range map[wire.Dialect]pfstate.Timeout{
		wire.OpenBSD6: pfstate.OtherMultiple, wire.FreeBSD1301: pfstate.OtherMultiple,
		wire.FreeBSD1400: pfstate.SCTPEstablished, wire.FreeBSD1500: pfstate.SCTPEstablished,
	} {
		s.Timeout = pfstate.SCTPEstablished
		var got pfstate.State
		if err := wire.ParseState(d, wire.AppendState(d, nil, &s), &got); err != nil || got.Timeout != want {
			t.Errorf("%v: %v, want %v: %v", d, got.Timeout, want, err)
		}
		u, err := wire.ParseUpdC(d, (&wire.UpdC{ID: s.ID, Timeout: s.Timeout}).Append(d, nil))
		if err != nil || u.Timeout != want {
			t.Errorf("%v: update: %v, want %v: %v", d, u.Timeout, want, err)
		}
	}
}

// What a firewall without pf says of a state to FreeBSD (the last section but one of the description).
func TestStatesWithoutAPFInFreeBSDsFormats(t *testing.T) {
	s := pfstate.Default()
	s.ID, s.Proto = pfstate.ID{State: 1, Creator: 2}, pfstate.ProtoUDP
	tuple := pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: 1000, DstPort: 53}
	s.SetTuples(tuple, tuple.Reversed(), 0)
	m := wire.AppendState(wire.FreeBSD1500, nil, &s)
	var x wire.Message
	if err := wire.FreeBSD1500.Parse(wire.ActIns, m, &x); err != nil {
		t.Fatal(err)
	}
	if x.State != s {
		t.Errorf("%+v\nwant %+v", x.State, s)
	}
	// FreeBSD 15 looks for the original interface too, unless it is "all".
	if want := (wire.FreeBSD{OrigIf: pfstate.AnyInterface}); x.FreeBSD != want {
		t.Errorf("%+v, want %+v", x.FreeBSD, want)
	}
	s.IfName = pfstate.IfName{}
	for i := range s.IfName {
		s.IfName[i] = 'x'
	}
	if m = wire.AppendState(wire.FreeBSD1500, nil, &s); m[8+15] != 0 {
		t.Error("the interface's name has no end")
	}
}
