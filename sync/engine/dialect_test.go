package engine_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// bsd lets a packet of a BSD come in, written in d.
func (r *rig) bsd(addr netip.Addr, d wire.Dialect, build func(*wire.Writer)) {
	w := wire.Writer{Dialect: d, EOF: d != wire.OpenBSD6}
	w.Reset(1480)
	build(&w)
	r.packet(link.Packet{Src: addr, TTL: 255, Payload: slices.Clone(w.Finish())})
}

func ins(s pfstate.State) func(*wire.Writer) {
	return func(w *wire.Writer) { w.State(wire.ActIns, &s) }
}

// heardAs compares how the peer at addr is shown: kind and problems.
func (r *rig) heardAs(addr netip.Addr, want string) {
	r.t.Helper()
	for _, p := range r.status().PeerList {
		if p.Addr == addr {
			if got := strings.Join(append([]string{p.Kind}, p.Problems...), "; "); got != want {
				r.t.Errorf("%v is shown as %q, want %q", addr, got, want)
			}
			return
		}
	}
	r.t.Errorf("%v is not known", addr)
}

func (r *rig) speaks(d wire.Dialect, learnt bool) {
	r.t.Helper()
	if s := r.status(); s.Dialect != d || s.Learnt != learnt {
		r.t.Errorf("speaks %v, learnt %v; want %v, %v", s.Dialect, s.Learnt, d, learnt)
	}
}

func TestDialectOfTheFirstBSD(t *testing.T) {
	for _, d := range []wire.Dialect{wire.FreeBSD1301, wire.FreeBSD1400, wire.FreeBSD1500} {
		t.Run(d.String(), func(t *testing.T) {
			asking(t, nil, func(r *rig) {
				r.speaks(wire.OpenBSD6, false)
				r.bsd(theirAddr, d, ins(tcp(them, 1, estab, estab)))
				// Nobody there has understood what was said in version 6: it is said again.
				r.expect(bulkRequest, "BUS aaaaaaaa 1", "UPD "+d.String()+" 0000000000000001/bbbbbbbb 4:4", "BUS aaaaaaaa 2")
				r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
				r.speaks(d, true)
				r.heardAs(theirAddr, "freebsd "+d.String())
				r.bsd(theirAddr, d, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusStart}) })
				r.bsd(theirAddr, d, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd}) })
				r.table(created(tcp(us, 2, estab, estab)))
				r.expect("INS " + d.String() + " 0000000000000002/aaaaaaaa 4:4")
				for _, p := range r.takeRaw() {
					if p.b[0] != wire.VersionFreeBSD {
						r.t.Errorf("a packet of version %d", p.b[0])
					}
				}
				r.counted("badver=0", "badlen=0", "badact=0", "otherformat=0")
			})
		})
	}
}

// Of a FreeBSD that has only asked so far, nobody knows which formats it reads; all read 1301.
func TestFormatUntilFreeBSDHasShownItsOwn(t *testing.T) {
	within(t, func(r *rig) {
		r.bsd(thirdAddr, wire.FreeBSD1500, func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		r.speaks(wire.OpenBSD6, true) // theirs, heard before
		r.heardAs(thirdAddr, "freebsd; its packets are not understood")
		r.counted("badver=1")
	})
	asking(t, []pfstate.State{tcp(us, 1, estab, estab)}, func(r *rig) {
		r.bsd(theirAddr, wire.FreeBSD1500, func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		r.speaks(wire.FreeBSD1301, true)
		r.heardAs(theirAddr, "freebsd")
		r.bsd(theirAddr, wire.FreeBSD1400, ins(tcp(them, 2, estab, estab)))
		r.speaks(wire.FreeBSD1400, true)
		r.bsd(theirAddr, wire.FreeBSD1500, ins(tcp(them, 3, estab, estab)))
		r.speaks(wire.FreeBSD1400, true)
		r.counted("otherformat=1")
	})
}

func TestDialectThatIsSet(t *testing.T) {
	within(t, func(r *rig) {
		set := func(d wire.Dialect, is bool) {
			r.configure(func(s *engine.Settings) { s.Up, s.Dialect, s.DialectSet = true, d, is })
		}
		set(wire.FreeBSD1400, true)
		r.speaks(wire.FreeBSD1400, false)
		r.forget()
		r.bsd(theirAddr, wire.OpenBSD6, ins(tcp(them, 1, estab, estab)))
		r.wrote()
		r.counted("badver=1")
		r.heardAs(theirAddr, "openbsd; its packets are not understood")
		r.loggedTimes(1, "level=WARN", "not understood", "version 1400")
		r.bsd(thirdAddr, wire.FreeBSD1301, ins(tcp(0xcccccccc, 2, estab, estab)))
		r.wrote("insert 0000000000000002/cccccccc 4:4")
		r.heardAs(thirdAddr, "freebsd 1301; its states are in an older format than ours, which it may not read: see ifconfig pfsync0 version")
		r.loggedTimes(1, "level=WARN", "older format", "its=1301", "ours=1400")
		r.counted("otherformat=1")
		set(0, false) // what is heard next
		r.speaks(wire.FreeBSD1400, false)
		r.bsd(theirAddr, wire.OpenBSD6, ins(tcp(them, 3, estab, estab)))
		r.wrote("insert 0000000000000003/bbbbbbbb 4:4")
		r.speaks(wire.OpenBSD6, true)
		r.heardAs(theirAddr, "openbsd")
		r.bsd(thirdAddr, wire.FreeBSD1301, ins(tcp(0xcccccccc, 4, estab, estab)))
		r.heardAs(thirdAddr, "freebsd; its packets are not understood")
		for range 11 { // the one who is not understood talks on
			time.Sleep(time.Minute)
			r.bsd(thirdAddr, wire.FreeBSD1301, ins(tcp(0xcccccccc, 4, estab, estab)))
		}
		r.bsd(thirdAddr, wire.FreeBSD1301, ins(tcp(0xcccccccc, 5, estab, estab)))
		r.speaks(wire.FreeBSD1301, true) // the other is forgotten by now
	})
}

// What FreeBSD alone says of a state goes back to it when it asks.
func TestAnswersHaveWhatFreeBSDSaid(t *testing.T) {
	asking(t, nil, func(r *rig) {
		m := wire.Message{Action: wire.ActIns, Dialect: wire.FreeBSD1500, State: tcp(them, 1, estab, estab)}
		m.State.Route = pfstate.Route{Kind: 1, Addr: theirAddr}
		m.FreeBSD = wire.FreeBSD{Queue: 1, PQueue: 2, Pipe: 3, RPipe: 4, RouteIf: pfstate.NewIfName("em1"), OrigIf: pfstate.NewIfName("em0")}
		copy(m.FreeBSD.Tag[:], "web")
		r.bsd(theirAddr, wire.FreeBSD1500, func(w *wire.Writer) { w.Message(&m) })
		r.bsd(theirAddr, wire.FreeBSD1500, ins(tcp(them, 2, estab, estab)))
		r.forget()
		r.bsd(theirAddr, wire.FreeBSD1500, func(w *wire.Writer) { w.ID(wire.ActUpdReq, m.State.ID) })
		for _, p := range r.takeRaw() {
			h, rest, err := wire.ParseHeader(p.b)
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := h.NextSection(rest)
			if err != nil || s.Action != wire.ActUpd {
				continue
			}
			var got wire.Message
			if err := s.Dialect.Parse(s.Action, s.Message(0), &got); err != nil {
				t.Fatal(err)
			}
			if got.FreeBSD != m.FreeBSD || got.State.Route != m.State.Route {
				t.Errorf("%+v\nwant %+v", got.FreeBSD, m.FreeBSD)
			}
			return
		}
		t.Error("no answer")
	})
}

// A ping as FreeBSD 13 has it, the id at both ends, is one of ours, and goes back as it came.
func TestPingsOfFreeBSD13(t *testing.T) {
	asking(t, nil, func(r *rig) {
		theirs := udp(them, 1, 0, 0)
		theirs.Proto, theirs.Timeout = pfstate.ProtoICMP, pfstate.ICMPFirstPacket
		theirs.SetTuples(pfstate.Tuple{Src: ourAddr, Dst: theirAddr, SrcPort: 77, DstPort: 77}, pfstate.Tuple{Src: theirAddr, Dst: ourAddr, SrcPort: 77, DstPort: 77}, 0)
		r.bsd(theirAddr, wire.FreeBSD1301, ins(theirs))
		orders := r.ordered()
		if len(orders) != 1 {
			t.Fatalf("orders %v", orders)
		}
		if orig, _ := orders[0].State.Tuples(); orig.SrcPort != 77 || orig.DstPort != 8 {
			t.Errorf("ordered %v", orig)
		}
		r.takeRaw()
		r.bsd(theirAddr, wire.FreeBSD1301, func(w *wire.Writer) { w.ID(wire.ActUpdReq, theirs.ID) })
		for _, p := range r.takeRaw() {
			h, rest, _ := wire.ParseHeader(p.b)
			var got pfstate.State
			if s, _, err := h.NextSection(rest); err == nil && s.Action == wire.ActUpd {
				if err := wire.ParseState(s.Dialect, s.Message(0), &got); err != nil || got.Wire != theirs.Wire || got.Stack != theirs.Stack {
					t.Errorf("%v, %v; want %v", &got, err, &theirs)
				}
				return
			}
		}
		t.Error("no answer")
	})
}
