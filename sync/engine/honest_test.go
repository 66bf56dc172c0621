package engine_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// TestFieldsAreHonest compares all that is said of a connection to each system with
// what a firewall without pf can say of it (the protocol's description, 7.1).
func TestFieldsAreHonest(t *testing.T) {
	v6 := pfstate.Tuple{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8:1::2"), SrcPort: 1000, DstPort: 53}
	syn := tcp(us, 1, 2, 0)
	syn.Src.WScale = pfstate.WScaleFlag | 7
	old := udp(us, 2, 2, 2)
	old.SetTuples(v6, v6.Reversed(), 0)
	old.Creation, old.Expire = time.Hour+time.Second/2, 29*time.Second        // its birth is kept to 17 ms
	old.Packets, old.Bytes = [2]uint64{10, 1 << 33}, [2]uint64{1000, 1 << 43} // nf_conntrack_acct is on
	ping := udp(us, 3, 0, 0)
	ping.Proto, ping.Timeout, ping.Expire = pfstate.ProtoICMP, pfstate.ICMPErrorReply, 10*time.Second
	orig, _ := ping.Tuples()
	orig.SrcPort, orig.DstPort = 4711, 8
	ping.SetTuples(orig, orig.Reversed(), 0)

	key := func(a0, a1 string, p0, p1 uint16) pfstate.Key {
		return pfstate.Key{Addr: [2]netip.Addr{netip.MustParseAddr(a0), netip.MustParseAddr(a1)}, Port: [2]uint16{p0, p1}}
	}
	// Literally, in pf's order: of direction out, index 0 is the responder.
	plain := pfstate.State{
		RTable: [2]int32{-1, -1}, Rule: 0xffffffff, Anchor: 0xffffffff, NATRule: 0xffffffff,
		IfName: pfstate.IfName{'a', 'l', 'l'}, Direction: pfstate.Out,
	}
	wantSyn, wantOld, wantPing := plain, plain, plain
	wantSyn.ID, wantSyn.Proto, wantSyn.Flags = pfstate.ID{State: 1, Creator: us}, 6, pfstate.FlagSloppy
	wantSyn.Wire = key("192.0.2.1", "10.0.0.1", 80, 1025)
	wantSyn.Src = pfstate.Peer{State: 2, WScale: 0x87}
	wantSyn.Dst = pfstate.Peer{SeqHi: 1, MaxWin: 1} // not seen yet
	wantSyn.Timeout, wantSyn.Expire = pfstate.TCPFirstPacket, 120*time.Second
	wantOld.ID, wantOld.Proto = pfstate.ID{State: 2, Creator: us}, 17
	wantOld.Wire = key("2001:db8:1::2", "2001:db8::1", 53, 1000)
	wantOld.Src.State, wantOld.Dst.State = 2, 2
	wantOld.Timeout, wantOld.Expire, wantOld.Creation = pfstate.UDPMultiple, 29*time.Second, time.Hour
	wantOld.Packets, wantOld.Bytes = old.Packets, old.Bytes
	wantPing.ID, wantPing.Proto = pfstate.ID{State: 3, Creator: us}, 1
	wantPing.Wire = key("192.0.2.1", "10.0.0.3", 8, 4711)
	wantPing.Timeout, wantPing.Expire = pfstate.ICMPErrorReply, 10*time.Second
	for _, s := range []*pfstate.State{&wantSyn, &wantOld, &wantPing} {
		s.Stack = s.Wire
	}

	for _, d := range []wire.Dialect{wire.OpenBSD6, wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500} {
		within(t, func(r *rig) {
			r.configure(func(s *engine.Settings) { s.Up, s.Dialect, s.DialectSet = true, d, true })
			r.answered()
			r.forget()
			r.table(created(syn), created(old), created(ping))
			var got []pfstate.State
			for _, p := range r.takeRaw() {
				h, rest, err := wire.ParseHeader(p.b)
				if err != nil || h.Cksum != [16]byte{} {
					t.Fatalf("header %+v, %v", h, err)
				}
				for len(rest) > 0 {
					var s wire.Section
					if s, rest, err = h.NextSection(rest); err != nil {
						t.Fatal(err)
					}
					for n := range s.Count {
						var x wire.Message
						if err := s.Dialect.Parse(s.Action, s.Message(n), &x); err != nil {
							t.Fatal(err)
						}
						if d == wire.FreeBSD1500 && (x.FreeBSD != wire.FreeBSD{OrigIf: pfstate.AnyInterface}) {
							t.Errorf("%+v", x.FreeBSD)
						}
						got = append(got, x.State)
					}
				}
			}
			want := []pfstate.State{wantSyn, wantOld, wantPing}
			if d == wire.FreeBSD1301 { // FreeBSD 13 has the id of a ping at both ends
				want[2].Wire.Port, want[2].Stack.Port = [2]uint16{4711, 4711}, [2]uint16{4711, 4711}
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("%v (-want +sent):\n%s", d, diff)
			}
		})
	}
}

// A state of a BSD goes back to it with the windows, the interface and the rule that
// it came with: what is known here is older or nothing.
func TestStatesOfABSDGoBackAsTheyCame(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		s.Flags = 0 // strict
		s.Src = pfstate.Peer{SeqLo: 1000, SeqHi: 2000, SeqDiff: 3, MaxWin: 500, MSS: 1460, State: estab, WScale: 0x87,
			Scrub: pfstate.Scrub{Flags: 1, TTL: 64, Valid: true, TSMod: 5}}
		s.Dst = pfstate.Peer{SeqLo: 3000, SeqHi: 4000, MaxWin: 600, State: estab, WScale: 0x82}
		s.IfName, s.Rule, s.Anchor = pfstate.NewIfName("nosuch0"), 7, 8
		r.deliver(ins(s))
		r.forget()
		moved := s // its traffic runs here now; the table knows nothing of windows
		moved.Src, moved.Dst = pfstate.Peer{State: closing, WScale: 0x87}, pfstate.Peer{State: estab, WScale: 0x82}
		r.table(updated(moved))
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, s.ID) })
		want := s
		want.Src.State = closing
		some := false
		for _, p := range r.takeRaw() {
			h, rest, _ := wire.ParseHeader(p.b)
			for len(rest) > 0 {
				var section wire.Section
				var err error
				if section, rest, err = h.NextSection(rest); err != nil {
					t.Fatal(err)
				}
				var x wire.Message
				if err := section.Dialect.Parse(section.Action, section.Message(0), &x); err != nil {
					t.Fatal(err)
				}
				switch section.Action {
				case wire.ActUpdC:
					if x.UpdC.Src != want.Src || x.UpdC.Dst != want.Dst {
						t.Errorf("update %+v, %+v", x.UpdC.Src, x.UpdC.Dst)
					}
				case wire.ActUpd:
					some = true
					x.State.Expire, x.State.Creation, x.State.Timeout = want.Expire, want.Creation, want.Timeout
					if diff := cmp.Diff(want, x.State, cmp.Comparer(sameAddr)); diff != "" {
						t.Errorf("-came +goes:\n%s", diff)
					}
				}
			}
		}
		if !some {
			t.Error("no answer")
		}
	})
}
