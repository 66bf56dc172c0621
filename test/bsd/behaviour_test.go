package bsd_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/bsd/peer"
)

// What neither BSD's tests cover, each case in each dialect.

// Both ask for states of which they hear an update first, and get them whole.
func TestUpdatesOfUnknownStates(t *testing.T) {
	besideEach(t, func(b *bench) {
		s := theirTCP(1)
		b.Restore(s)
		b.New(theirTCP(2)) // known to both
		s.Src.State = 7
		b.Moved(s, theirTCP(2))
		b.hears("UPD_REQ 1")
		b.has(theirText(1, "7:4"), theirText(2, "4:4"))
		b.content()

		b.create(ourTCP(1, 4, 4))
		b.settle()
		ids := b.oursThere(2)
		b.Restart()
		b.update(ourTCP(1, 7, 4))
		b.settle()
		b.oursThere(2)
		for id, s := range b.States() {
			if s.Src.State != 7 || !slices.Contains(ids, id) {
				b.Errorf("the BSD has %x %d:%d", id.State, s.Src.State, s.Dst.State)
			}
		}
		b.content()
	})
}

// oursThere are the ids of our states that the BSD has, which should be so many.
func (b *bench) oursThere(want int) (ids []peer.ID) {
	b.Helper()
	for id := range b.States() {
		if id.Creator == us {
			ids = append(ids, id)
		}
	}
	if len(ids) != want {
		b.Errorf("the BSD has %d states of ours, want %d", len(ids), want)
	}
	slices.SortFunc(ids, func(a, b peer.ID) int { return int(a.State>>63) - int(b.State>>63) })
	return ids
}

// A request for what nobody has is counted and not answered.
func TestRequestsOfUnknownStates(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.create(ourTCP(1, 4, 4))
		b.settle()
		b.Heard()
		known := b.oursThere(2)[0]
		b.Say(b.Ids(peer.Req, peer.ID{State: 77, Creator: us}, known, peer.ID{State: 78, Creator: them}))
		b.hears(fmt.Sprintf("UPD %x 4:4", known.State), fmt.Sprintf("UPD %x 4:4", known.State|1<<63))
		b.counted("badstate=2")
		b.content()
	})
}

func TestDeletes(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.New(theirTCP(1), theirTCP(2))
		b.has(theirText(1, "4:4"), theirText(2, "4:4"))
		b.Gone(theirTCP(1).ID)
		b.Gone(theirTCP(1).ID, peer.ID{State: 5, Creator: 0xcccccccc}) // the other node's own DEL_C of a copy
		b.has(theirText(2, "4:4"))
		b.counted("badstate=2", "badact=0", "badlen=0")
		if b.Size(peer.Del) > 0 { // nobody sends it; those who know it take it
			b.Say(peer.Section{Action: peer.Del, Messages: [][]byte{b.Whole(theirTCP(2))}})
			b.has()
		}

		b.Heard()
		b.create(ourTCP(1, 4, 4))
		b.settle()
		ids := b.oursThere(2)
		b.Heard()
		if err := b.table.Delete(ourTCP(1, 4, 4)); err != nil {
			b.Fatal(err)
		}
		b.hears(fmt.Sprintf("DEL_C %x", ids[0].State), fmt.Sprintf("DEL_C %x", ids[1].State))
		b.oursThere(0)
		b.content()
	})
}

func TestClears(t *testing.T) {
	besideEach(t, func(b *bench) {
		bound, other := theirTCP(2), theirTCP(3)
		bound.IfName, other.ID.Creator = "em0", 0xcccccccc
		b.create(ourTCP(1, 4, 4))
		b.New(theirTCP(1), bound)
		b.Say(b.Inserts(other))
		b.settle()
		ours := "tcp 10.1.0.9:1001 > 10.2.0.9:80 4:4"
		b.Flush("em0") // a floating state is bound to none
		b.has(ours, theirText(1, "4:4"), theirText(3, "4:4"))
		b.Say(b.Clear("em7", them))
		b.has(ours, theirText(1, "4:4"), theirText(3, "4:4"))
		b.Flush("")
		b.has(ours, theirText(3, "4:4"))
		b.Say(b.Clear("", us)) // ours are not for a peer to clear
		b.has(ours, theirText(3, "4:4"))
		b.counted("foreignclear=1")
		b.oursThere(0) // Flush has taken all of its own table
		b.content()
	})
}

// Who says what is behind the other's knowledge is told so, at once, in either direction.
func TestStaleUpdates(t *testing.T) {
	besideEach(t, func(b *bench) {
		s := theirTCP(1)
		s.Src.State = 7
		b.New(s)
		b.settle()
		b.Heard()
		behind := s
		behind.Src.State, behind.Src.SeqLo = 4, 900
		b.Moved(behind) // it has fallen back
		b.hears("UPD_C 1 7:4")
		b.has(theirText(1, "7:4"))
		b.counted("stale=1")
		if got := b.States()[s.ID]; got.Src != s.Src {
			b.Errorf("the BSD has %+v of it, want %+v", got.Src, s.Src)
		}
		behind.Src, behind.Dst.SeqLo = s.Src, 8000 // in sequence, within the same state
		b.Moved(behind)
		b.hears("UPD_C 1 7:4")
		b.counted("stale=2")

		// What we say of a state of theirs has its numbers: never stale for them.
		here := ourTCP(1, 7, 7)
		here.SetTuples(theirTuples(1))
		b.update(here)
		b.hears("UPD_C 1 7:7")
		if got := b.States()[s.ID]; got.Src != s.Src || got.Dst.SeqLo != s.Dst.SeqLo || got.Dst.State != 7 {
			b.Errorf("the BSD has %+v, %+v of it", got.Src, got.Dst)
		}

		// What the BSD has seen of ours is ahead of what we say: it says so.
		b.create(ourTCP(2, 4, 4))
		b.settle()
		ids := b.oursThere(2)
		b.Mute = true
		for _, id := range ids {
			ahead := b.States()[id]
			ahead.Src.State, ahead.Dst.State = 9, 9
			b.Restore(ahead)
		}
		b.Mute = false
		b.update(ourTCP(2, 7, 4))
		b.settle()
		if b.Count("stale") == 0 {
			b.Error("the BSD takes what is behind for news")
		}
		b.has(theirText(1, "7:7"), "tcp 10.1.0.9:1002 > 10.2.0.9:80 9:9")
		b.content()
	})
}

func theirTuples(n int) (orig, reply pfstate.Tuple, zone uint16) {
	orig = pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: uint16(1000 + n), DstPort: 80}
	return orig, orig.Reversed(), 0
}

// A state whose first packet waits is acknowledged as soon as the table has it, one
// record each; a state that is not taken is not, nor is one that is known in an update.
func TestAcknowledgements(t *testing.T) {
	besideEach(t, func(b *bench) {
		var all []peer.State
		for n := range 3 {
			s := theirTCP(n + 1)
			s.Flags |= 0x10
			all = append(all, s)
		}
		all[1].Proto = 240 // never installed
		b.Box.New(all...)
		time.Sleep(5 * time.Millisecond) // of the 20 that they wait
		synctest.Wait()
		got := b.Heard()
		slices.Sort(got)
		if want := []string{"INS_ACK 1", "INS_ACK 3"}; !slices.Equal(got, want) {
			b.Errorf("the BSD heard %q, want %q", got, want)
		}
		if b.Waits(all[0].ID) || !b.Waits(all[1].ID) || b.Waits(all[2].ID) {
			b.Error("the wrong packets are held")
		}
		b.Say(b.Updates(all[0]))
		b.hears()
		unknown := theirTCP(4)
		unknown.Flags |= 0x10
		b.Say(b.Updates(unknown)) // an import, too
		b.hears("INS_ACK 4")
		b.content()
	})
}

// That a ruleset is another, or none, is no error; ours has none.
func TestChecksumOfTheRuleset(t *testing.T) {
	besideEach(t, func(b *bench) {
		s := theirTCP(1)
		s.Rule = 7
		p := b.Packet(b.Inserts(s))
		for i := range 16 {
			p[4+i] = byte(0xa0 + i)
		}
		b.inject(link.Packet{TTL: 255, Payload: p})
		b.has(theirText(1, "4:4"))
		b.packets()
		b.Say(b.Ids(peer.Req, s.ID))
		b.create(ourTCP(1, 4, 4))
		b.settle()
		for _, p := range b.packets() {
			if !bytes.Equal(p[4:20], make([]byte, 16)) {
				b.Errorf("we send the checksum %x", p[4:20])
			}
		}
		if got := b.States()[b.oursThere(2)[0]].Rule; got != 0xffffffff {
			b.Errorf("our states are of rule %d", got)
		}
		b.content()
	})
}

// The end of a bulk update that was asked for before ours is none of ours: FreeBSD says
// by its time how long ago its request came.
func TestEndOfABulkUpdateThatBeganBefore(t *testing.T) {
	for _, y := range peer.Systems() {
		t.Run(y.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, y)
				b.Join() // so that FreeBSD's version is learnt
				b.settle()
				b.Say(b.BulkStatus(them, peer.BulkEnd, 100))
				b.settle()
				b.is("sent", false)
				b.Say(b.BulkStatus(them, peer.BulkStart, 0))
				b.Say(b.Updates(theirTCP(1)))
				b.settle()
				b.Say(b.BulkStatus(them, peer.BulkEnd, 100))
				b.settle()
				b.is("bulk", false)
				b.Say(b.BulkStatus(them, peer.BulkEnd, 1))
				b.settle()
				b.is("done", true)
			})
		})
	}
}

// Nobody answers: twelve tries, and then it is as it was, until somebody does.
func TestBulkRequestsAreExhausted(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.Mute = true
		if err := b.engine.Configure(engine.Settings{}); err != nil {
			b.Fatal(err)
		}
		b.configure(func(*engine.Settings) {})
		b.settle()
		b.is("sent", false)
		time.Sleep(24 * time.Second)
		b.is("failed", false)
		b.hears(slices.Repeat([]string{"UPD_REQ 0"}, 12)...)
		time.Sleep(30 * time.Second)
		b.Mute = false
		b.New(theirTCP(1))
		b.settle()
		b.is("done", true)
		b.content()
	})
}

// Who asks for all gets all, between a start and an end, also of an empty table, also twice.
func TestBulkUpdatesAreServed(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.Join()
		b.hears("BUS 1", "BUS 2")
		if b.Bulk() != "done" {
			b.Errorf("the BSD's bulk update of an empty table is %q", b.Bulk())
		}
		for n := range 40 {
			b.create(ourTCP(n, 4, 4))
		}
		b.New(theirTCP(1), theirTCP(2))
		b.settle()
		before := b.States()
		b.Restart()
		b.packets()
		b.Join()
		b.settle()
		b.oursThere(80)
		after := b.States()
		for id, s := range before {
			got := after[id]
			got.Creation, got.Expire, got.Timeout = s.Creation, s.Expire, s.Timeout
			if got != s {
				b.Errorf("%x came back as\n%+v, was\n%+v", id.State, got, s)
			}
		}
		heard := b.Heard()
		if heard[0] != "BUS 1" || heard[len(heard)-1] != "BUS 2" || b.Bulk() != "done" {
			b.Errorf("heard %q ... %q, the bulk update is %q", heard[0], heard[len(heard)-1], b.Bulk())
		}
		for _, m := range heard[1 : len(heard)-1] {
			if m[:4] != "UPD " {
				b.Errorf("%q in a bulk update", m)
			}
		}
		b.Restart()
		b.Join()
		b.Join()
		b.settle()
		b.oursThere(80)
		b.content()
	})
}

// Every way to cut a packet short is counted as pf does, and what is whole before is taken.
func TestTruncatedPackets(t *testing.T) {
	besideEach(t, func(b *bench) {
		whole := b.Packet(b.Inserts(theirTCP(1)), b.Progress(theirTCP(1)))
		set := func(p []byte, n int) []byte {
			p = slices.Clone(p[:n])
			binary.BigEndian.PutUint16(p[2:], uint16(n))
			return p
		}
		first := 20 + 4 + b.State
		for _, c := range []struct {
			name    string
			payload []byte
			want    string
		}{
			{"no header", whole[:19], "hdrops"},
			{"longer than the datagram", whole[:len(whole)-1], "badlen"},
			{"in the first message", set(whole, first-1), "badlen"},
			{"in the second section", set(whole, first+50), "badlen"},
		} {
			before := b.counters()
			b.inject(link.Packet{TTL: 255, Payload: c.payload})
			for _, name := range []string{"hdrops", "badlen", "badact", "badver", "badval"} {
				want := uint64(0)
				if name == c.want {
					want = 1
				}
				if got := b.counters()[name] - before[name]; got != want {
					b.Errorf("%s: %d %s, want %d", c.name, got, name, want)
				}
			}
		}
		b.has(theirText(1, "4:4"))
		b.inject(link.Packet{TTL: 255, Payload: set(whole, first+2)}) // of a subheader only: it ends there
		b.counted("badlen=3")
	})
}

// Another version is counted, and both live side by side on one wire.
func TestBothVersionsOnOneWire(t *testing.T) {
	besideEach(t, func(b *bench) {
		y := peer.OpenBSD
		if b.Version == y.Version {
			y = peer.FreeBSD14
		}
		stranger := peer.NewBox(y, 0xcccccccc, func(p []byte) {
			b.inject(link.Packet{Src: netip.MustParseAddr("10.9.0.2"), TTL: 255, Payload: p})
		})
		s := theirTCP(1)
		s.ID.Creator = stranger.HostID
		stranger.New(s)
		stranger.Join()
		b.has()
		b.counted("badver=2")
		b.New(theirTCP(2))
		b.has(theirText(2, "4:4"))
		b.hears()
		for _, p := range b.packets() {
			if p[0] != b.Version {
				b.Errorf("we speak version %d", p[0])
			}
		}
		b.content()
	})
}

// Another box with our creatorid is said to be there.
func TestOurCreatoridOfABSD(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.Say(b.BulkStatus(us, peer.BulkStart, 0))
		s := theirTCP(1)
		s.ID.Creator = us
		b.Say(b.Inserts(s))
		b.settle()
		if b.counters()["owncreator"] == b.base["owncreator"] {
			b.Error("nothing is counted")
		}
	})
}

// As many messages go into a packet as the MTU has room for, and never more.
func TestPacketsFillTheMTU(t *testing.T) {
	besideEach(t, func(b *bench) {
		const n = 60
		for _, mtu := range []int{1500, 700} {
			b.configure(func(s *engine.Settings) { s.MTU = mtu })
			b.settle()
			b.packets()
			for i := range n {
				b.create(ourTCP(mtu+i, 4, 4))
			}
			b.settle()
			most, states := 0, 0
			for _, p := range b.packets() {
				if 20+len(p) > mtu {
					b.Errorf("%d bytes with an MTU of %d", 20+len(p), mtu)
				}
				if len(p) > 24 && p[20] == b.Ins {
					in := int(binary.BigEndian.Uint16(p[22:]))
					most, states = max(most, in), states+in
				}
			}
			room := mtu - 20 - 20 - 4
			if b.Version == 5 {
				room -= 24 // FreeBSD's own limit: room for an EOF section, and for IPv6's header
			}
			if least := max(1, room/b.State-1); states != 2*n || most < least { // a trailer may take the last one's room
				b.Errorf("MTU %d: %d states, at most %d in a packet; want %d, %d", mtu, states, most, 2*n, least)
			}
		}
		b.content()
	})
}

// However long it takes, no more than maxupd updates of a state make one message.
func TestMaxUpd(t *testing.T) {
	besideEach(t, func(b *bench) {
		for _, most := range []int{0, 1, 255} {
			b.configure(func(s *engine.Settings) { s.MaxUpd = most })
			b.create(ourTCP(most, 4, 4))
			b.settle()
			b.Heard()
			b.update(ourTCP(most, 7, 4))
			time.Sleep(10 * time.Millisecond)
			b.update(ourTCP(most, 7, 7))
			b.settle()
			last := b.Heard()
			if len(last) < 2 || last[len(last)-1][len(last[len(last)-1])-3:] != "7:7" {
				b.Errorf("maxupd %d: the BSD heard %q", most, last)
			}
		}
		b.content()
	})
}

// What has crossed a router is no neighbour's.
func TestOtherTTLs(t *testing.T) {
	besideEach(t, func(b *bench) {
		for _, ttl := range []uint8{0, 1, 64, 254} {
			b.inject(link.Packet{TTL: ttl, Payload: b.Packet(b.Inserts(theirTCP(1)))})
		}
		b.has()
		b.counted("badttl=4", "iacts.INS ST=0")
	})
}

// A BSD that has lost its states gets them back, and may give its ids to others.
func TestRestartWithTheSameCreatorid(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.New(theirTCP(1), theirTCP(2))
		b.create(ourTCP(1, 4, 4))
		b.settle()
		b.Restart()
		again := theirTCP(3)
		again.ID.State = 1
		b.New(again)
		b.Join()
		b.has(theirText(3, "4:4"), theirText(2, "4:4"), "tcp 10.1.0.9:1001 > 10.2.0.9:80 4:4")
		if s := b.States(); len(s) != 4 || s[again.ID].Wire != again.Wire || s[theirTCP(2).ID].Wire != theirTCP(2).Wire {
			b.Errorf("the BSD has %d states", len(s))
		}
		b.content()
	})
}

// The sections come in the systems' order, in another, and several of one action.
func TestOrdersOfSections(t *testing.T) {
	besideEach(t, func(b *bench) {
		moved := theirTCP(1)
		moved.Src.State = 7
		sections := []peer.Section{
			b.Inserts(theirTCP(1)), b.Progress(moved), b.Inserts(theirTCP(2), theirTCP(3)), b.Ids(peer.DelC, theirTCP(3).ID),
			b.Ids(peer.Req, peer.ID{State: 99, Creator: us}), b.Progress(moved), b.Ids(peer.Ack, theirTCP(9).ID),
			b.SA(0x1000, netip.MustParseAddr("10.9.9.9"), 5),
		}
		b.Say(sections...)
		b.has(theirText(1, "7:4"), theirText(2, "4:4"))
		b.hears()
		b.counted("badstate=1", "badact=0", "badlen=0", "iacts.INS ST=3")
		// The old connection's end is in front of its successor, as OpenBSD has it.
		successor := theirTCP(1)
		successor.ID.State = 11
		b.Say(b.Ids(peer.DelC, theirTCP(1).ID), b.Inserts(successor))
		b.has(theirText(1, "4:4"), theirText(2, "4:4"))
		// And FreeBSD's way: the end behind it.
		successor.ID.State = 12
		b.Say(b.Inserts(successor), b.Ids(peer.DelC, peer.ID{State: 11, Creator: them}))
		b.has(theirText(1, "4:4"), theirText(2, "4:4"))
	})
}

// What is not known is stepped over where the packet says how long it is; in version 5
// the rest of the packet is lost.
func TestUnknownSections(t *testing.T) {
	besideEach(t, func(b *bench) {
		unknown := peer.Section{Action: 0x90, Messages: [][]byte{make([]byte, 20), make([]byte, 20)}}
		b.Say(b.Inserts(theirTCP(1)), unknown, b.Inserts(theirTCP(2)))
		if b.Version == 6 {
			b.has(theirText(1, "4:4"), theirText(2, "4:4"))
			old := func(action byte) peer.Section {
				return peer.Section{Action: action, Messages: b.Inserts(theirTCP(7)).Messages}
			}
			b.Say(old(1), old(3)) // INS and UPD of OpenBSD before version 6
			b.settle()
			b.counted("skipped=3", "badact=0")
			longer := b.Inserts(theirTCP(3), theirTCP(4))
			for i := range longer.Messages {
				longer.Messages[i] = append(longer.Messages[i], make([]byte, 20)...)
			}
			b.Say(longer) // a newer OpenBSD's
			b.has(theirText(1, "4:4"), theirText(2, "4:4"), theirText(3, "4:4"), theirText(4, "4:4"))
			return
		}
		b.has(theirText(1, "4:4"))
		b.counted("badact=1")
		for _, never := range []byte{8, 9} { // INS_F, DEL_F
			b.Say(peer.Section{Action: never, Messages: [][]byte{make([]byte, 12)}}, b.Inserts(theirTCP(2)))
		}
		b.has(theirText(1, "4:4"))
		b.counted("badact=3")
	})
}

// The last section of FreeBSD's packets may be missing, and what follows it is not read.
func TestEOFSections(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.Send(b.Open(b.Inserts(theirTCP(1))))
		b.has(theirText(1, "4:4"))
		p := append(b.Packet(b.Inserts(theirTCP(2))), b.Open(b.Inserts(theirTCP(3)))[20:]...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		b.Send(p)
		if b.EOF {
			b.has(theirText(1, "4:4"), theirText(2, "4:4"))
			b.counted("badlen=1")
		} else {
			b.has(theirText(1, "4:4"), theirText(2, "4:4"), theirText(3, "4:4"))
		}
		for _, p := range b.packets() {
			if n := binary.BigEndian.Uint16(p[2:]); b.EOF && n >= 24 && p[n-4] == peer.EOF && p[n-3] == 0 && p[n-2] == 0 && p[n-1] == 1 {
				b.Error("an EOF section in front of a trailer: FreeBSD counts badlen")
			}
		}
	})
}

// Values that pf refuses are refused one by one, and counted.
func TestInvalidValues(t *testing.T) {
	besideEach(t, func(b *bench) {
		bad := func(n int, change func(*peer.State)) peer.State {
			s := theirTCP(n)
			change(&s)
			return s
		}
		b.Say(b.Inserts(
			bad(1, func(s *peer.State) { s.Src.State = 13 }), bad(2, func(s *peer.State) { s.Timeout = 30 }), theirTCP(3)))
		b.Say(b.Inserts(bad(4, func(s *peer.State) { s.Direction = 3 })), b.Progress(bad(3, func(s *peer.State) { s.Dst.State = 13 })))
		b.has(theirText(3, "4:4"))
		b.counted("badval=4")
		wrong := b.Inserts(theirTCP(5))
		wrong.Messages[0][b.Family()] = 77
		b.Say(wrong)
		b.has(theirText(3, "4:4"))
	})
}

// sctp is an association through us; a Linux table knows the tag of an end once it has spoken.
func sctp(n int, tags bool) pfstate.State {
	s := ourTCP(n, 2, 2)
	s.Proto, s.Flags, s.Timeout = pfstate.ProtoSCTP, 0, pfstate.SCTPEstablished
	s.Expire = s.Timeout.Default()
	s.Src.Scrub = pfstate.Scrub{Valid: true, TSMod: 0x1234}
	if tags {
		s.Dst.Scrub = pfstate.Scrub{Valid: true, TSMod: 0x5678}
	}
	return s
}

// SCTP is a protocol as any other to those that do not know it; the others refuse a
// state without tags, known or not.
func TestSCTP(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.create(sctp(1, true))
		b.create(sctp(2, false))
		b.settle()
		for _, id := range b.oursThere(4) {
			s := b.States()[id]
			if own := b.System == peer.FreeBSD14 || b.System == peer.FreeBSD15; own != (s.Timeout >= 20) {
				b.Errorf("the BSD has it with timeout %d", s.Timeout)
			}
		}
		moved := sctp(1, true)
		moved.Timeout = pfstate.SCTPClosing
		b.update(moved)
		b.settle()
		b.content()
	})
}

// Two of ours beside a BSD say the same of what its format cannot carry.
func TestTwoOfOursBesideABSD(t *testing.T) {
	besideEach(t, func(b *bench) {
		other, table := b.firewall(0xcccccccc, b.hub.Port(netip.MustParseAddr("10.9.0.8")))
		b.settle()
		b.create(sctp(1, true))
		b.create(ourTCP(2, 4, 4))
		b.New(theirTCP(1))
		moved := sctp(1, true)
		moved.Timeout = pfstate.SCTPClosing
		time.Sleep(10 * time.Second)
		b.update(moved)
		time.Sleep(10 * time.Second)
		if n := len(table.States()); n != 3 {
			b.Errorf("the other one has %d states", n)
		}
		for name, c := range map[string]map[string]uint64{"this": b.counters(), "the other": b.countersOf(other)} {
			if c["drifts"] > 1 || c["mendedchanged"] != 0 || c["mendedmissing"] != 0 || c["mendedextra"] != 0 {
				b.Errorf("%s one mends: %d drifts, %d changed, %d missing, %d extra", name, c["drifts"], c["mendedchanged"], c["mendedmissing"], c["mendedextra"])
			}
		}
	})
}

// FreeBSD's buckets and OpenBSD's slices overtake each other: states come before the
// start and after the end.
func TestStatesOutsideOfABulkUpdate(t *testing.T) {
	besideEach(t, func(b *bench) {
		b.Mute = true
		if err := b.engine.Configure(engine.Settings{}); err != nil {
			b.Fatal(err)
		}
		b.configure(func(*engine.Settings) {})
		b.settle()
		b.Say(b.Updates(theirTCP(1)))
		b.settle()
		b.Say(b.BulkStatus(them, peer.BulkStart, 0), b.Updates(theirTCP(2)))
		b.settle()
		b.is("bulk", false)
		b.Say(b.BulkStatus(them, peer.BulkEnd, 0))
		b.settle()
		b.is("done", true)
		b.Say(b.Updates(theirTCP(3)))
		b.has(theirText(1, "4:4"), theirText(2, "4:4"), theirText(3, "4:4"))
		b.counted("badstate=0")
	})
}

// IPv6, whose family has another number everywhere, and translation, in both directions.
func TestFamiliesAndTranslation(t *testing.T) {
	besideEach(t, func(b *bench) {
		six := peer.Connection(peer.ID{State: 6, Creator: them}, 17, addrPort("[fd00:1::2]:1000"), addrPort("[fd00:2::2]:53"))
		in, out := theirTCP(7), theirTCP(8)
		in.Direction, out.Wire.Addr[1], out.Wire.Port[1] = 1, netip.MustParseAddr("10.2.0.1"), 61278
		in.Wire.Addr, in.Wire.Port = [2]netip.Addr{out.Stack.Addr[1], out.Stack.Addr[0]}, [2]uint16{out.Stack.Port[1], out.Stack.Port[0]}
		in.Stack = in.Wire
		b.New(six, in, out)
		b.has("udp [fd00:1::2]:1000 > [fd00:2::2]:53 2:2", "tcp 10.1.0.2:1008 > 10.2.0.2:80, 10.2.0.2:80 > 10.2.0.1:61278 4:4")
		b.Restart()

		ours := ourTCP(1, 4, 4)
		orig, reply := ours.Tuples()
		reply.Dst, reply.DstPort = netip.MustParseAddr("10.2.0.1"), 40000
		ours.SetTuples(orig, reply, 0)
		b.create(ours)
		sixth := ourTCP(2, 4, 4)
		orig6 := pfstate.Tuple{Src: netip.MustParseAddr("fd00:1::9"), Dst: netip.MustParseAddr("fd00:2::9"), SrcPort: 7, DstPort: 8}
		sixth.SetTuples(orig6, orig6.Reversed(), 0)
		b.create(sixth)
		b.settle()
		key := func(first, second string) peer.Key {
			a, z := addrPort(first), addrPort(second)
			return peer.Key{Addr: [2]netip.Addr{a.Addr(), z.Addr()}, Port: [2]uint16{a.Port(), z.Port()}}
		}
		want := map[byte][]peer.Key{ // by direction: wire and stack, twice
			1: {key("10.1.0.9:1001", "10.2.0.9:80"), key("10.1.0.9:1001", "10.2.0.9:80"), key("[fd00:1::9]:7", "[fd00:2::9]:8"), key("[fd00:1::9]:7", "[fd00:2::9]:8")},
			2: {key("10.2.0.9:80", "10.2.0.1:40000"), key("10.2.0.9:80", "10.1.0.9:1001"), key("[fd00:2::9]:8", "[fd00:1::9]:7"), key("[fd00:2::9]:8", "[fd00:1::9]:7")},
		}
		for _, id := range b.oursThere(4) {
			s := b.States()[id]
			w := want[s.Direction]
			if s.Wire.Addr[0].Is6() {
				w = w[2:]
			}
			if s.Wire != w[0] || s.Stack != w[1] || s.Flags&2 == 0 {
				b.Errorf("direction %d: wire %v, stack %v, flags %x; want %v, %v, sloppy", s.Direction, s.Wire, s.Stack, s.Flags, w[0], w[1])
			}
		}
		b.content()
	})
}

// A FreeBSD that has only asked so far is answered in the format that all of them read.
func TestAnswersBeforeAFormatIsShown(t *testing.T) {
	for _, y := range since(peer.FreeBSD13) {
		t.Run(y.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, y)
				b.create(ourTCP(1, 4, 4))
				b.settle()
				b.Forget() // what was said in version 6, for nobody was heard yet
				b.packets()
				b.Mute = false
				b.Join()
				b.settle()
				b.oursThere(2)
				if b.Bulk() != "done" {
					b.Errorf("its bulk update is %q", b.Bulk())
				}
				for _, p := range b.packets() {
					if n := binary.BigEndian.Uint16(p[2:]); n > 24 && p[20] != peer.Bus && p[20] != peer.Req && p[20] != peer.FreeBSD13.Upd {
						b.Errorf("action %d", p[20])
					}
				}
				b.content()
			})
		})
	}
}
