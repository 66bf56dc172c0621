package engine_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

func upd(s pfstate.State) *wire.UpdC {
	return &wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout}
}

func TestImportedStatesGoToTheTableAndNotBack(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, synSent, closed)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.wrote("insert 0000000000000001/bbbbbbbb 2:0")
		s.Src.State, s.Dst.State = estab, estab
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.wrote("update 0000000000000001/bbbbbbbb 4:4")
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, s.ID) })
		r.wrote("delete 0000000000000001/bbbbbbbb 4:4")
		r.expect()
		r.counted("iacts.INS ST=1", "iacts.UPD ST COMP=1", "iacts.DEL ST COMP=1", "ipackets=3", "badstate=0", "stale=0")
	})
}

// What real traffic makes of an imported state is told, under its creator's id.
func TestTrafficOfImportedStatesIsTold(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		here := tcp(them, 1, closing, estab)
		here.ID = pfstate.ID{State: 77, Creator: us} // the table knows its own id only
		r.table(updated(here))
		r.expect("UPD_C 0000000000000001/bbbbbbbb 7:4")
		r.table(deleted(here))
		r.expect("DEL_C 0000000000000001/bbbbbbbb")
	})
}

// A copy that ends here without having carried traffic may live at its owner.
func TestEndOfAnUnusedCopyIsNotTold(t *testing.T) {
	within(t, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(udp(them, 1, pfstate.Single, pfstate.NoTraffic))) })
		r.table(expired(udp(us, 1, pfstate.Single, pfstate.NoTraffic)))
		r.expect()
		r.counted("copiesexpired=1")
	})
}

func TestUnknownStatesAreAskedFor(t *testing.T) {
	within(t, func(r *rig) {
		one, two := tcp(them, 1, estab, estab), tcp(them, 2, estab, estab)
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(one)); w.UpdC(upd(two)); w.UpdC(upd(one)) })
		r.expect("UPD_REQ 0000000000000001/bbbbbbbb", "UPD_REQ 0000000000000002/bbbbbbbb")
		r.counted("reqlimited=1")

		// Not again within a second, but then.
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(one)) })
		r.expect()
		time.Sleep(1100 * time.Millisecond)
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(one)) })
		r.expect("UPD_REQ 0000000000000001/bbbbbbbb")

		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &one) })
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
	})
}

func TestUpdateRequestsAreAnsweredInFull(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)))
		r.forget()
		r.deliver(func(w *wire.Writer) {
			w.ID(wire.ActUpdReq, pfstate.ID{State: 1, Creator: us})
			w.ID(wire.ActUpdReq, pfstate.ID{State: 2, Creator: us})
		})
		r.expect("UPD 0000000000000001/aaaaaaaa 4:4")
		r.counted("badstate=1")
	})
}

// The first packet of a state may wait at the sender until we say that it is known here.
func TestInsertIsAcknowledgedWhenTheTableHasIt(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, synSent, closed)
		s.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.expect()
		writes := r.ordered()
		if len(writes) != 1 || !writes[0].Notify || writes[0].State.Flags&pfstate.FlagAck != 0 {
			t.Fatalf("orders %+v, want one insert to be notified of, without the flag", writes)
		}
		r.table(pfstate.Change{Kind: pfstate.Applied, Op: pfstate.WriteInsert, State: writes[0].State})
		r.expect("INS_ACK 0000000000000001/bbbbbbbb")
	})
	within(t, func(r *rig) { // refused: no acknowledgement
		s := tcp(them, 1, synSent, closed)
		s.Flags |= pfstate.FlagAck
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.table(pfstate.Change{Kind: pfstate.Refused, Op: pfstate.WriteInsert, State: s, Err: pfstate.ErrTableFull})
		r.expect()
		r.counted("tablefull=1", "tablerefused=1", "badstate=1")
	})
}

// The rules of pfsync-protocol.md 3.10 for OpenBSD since 7.4.
func TestMerge(t *testing.T) {
	peers := func(src, dst pfstate.PeerState, srcSeq, dstSeq uint32) pfstate.State {
		s := tcp(them, 1, src, dst)
		s.Src.SeqLo, s.Dst.SeqLo = srcSeq, dstSeq
		return s
	}
	other := func(src, dst pfstate.PeerState) pfstate.State { return udp(them, 1, src, dst) }
	for _, c := range []struct {
		name            string
		ours, theirs    pfstate.State
		wrote, answered string // peer states
		stale           int
	}{
		{"progress", peers(2, 0, 1, 0), peers(4, 4, 2, 2), "4:4", "", 0},
		{"equal", peers(4, 4, 0, 0), peers(4, 4, 0, 0), "4:4", "", 0},
		{"newer sequence numbers", peers(4, 4, 1, 1), peers(4, 4, 9, 9), "4:4", "", 0},
		{"sequence numbers wrap", peers(4, 4, 0xfffffff0, 1), peers(4, 4, 5, 1), "4:4", "", 0},
		{"src behind in state", peers(7, 4, 1, 1), peers(4, 9, 1, 1), "7:9", "7:9", 1},
		{"src behind in sequence", peers(4, 4, 9, 1), peers(4, 7, 1, 1), "4:7", "4:7", 1},
		{"dst behind in sequence", peers(4, 4, 1, 9), peers(7, 4, 1, 1), "7:4", "7:4", 1},
		{"dst's sequence counts only within one state", peers(4, 2, 1, 9), peers(4, 4, 1, 1), "4:4", "", 0},
		{"both behind", peers(9, 9, 1, 1), peers(4, 4, 1, 1), "", "9:9", 1},
		{"synproxy gives way", peers(11, 0, 1, 0), peers(4, 4, 1, 0), "4:4", "", 0},
		{"UDP progress", other(1, 0), other(2, 2), "2:2", "", 0},
		{"UDP one side behind", other(2, 0), other(1, 1), "2:1", "2:1", 1},
		{"UDP both behind", other(2, 2), other(1, 1), "", "2:2", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &c.ours) })
				r.forget()
				r.deliver(func(w *wire.Writer) { w.UpdC(upd(c.theirs)) })
				var wrote, answered []string
				if c.wrote != "" {
					wrote = []string{"update 0000000000000001/bbbbbbbb " + c.wrote}
				}
				if c.answered != "" {
					answered = []string{"UPD_C 0000000000000001/bbbbbbbb " + c.answered}
				}
				r.wrote(wrote...)
				r.expect(answered...)
				r.counted(fmt.Sprintf("stale=%d", c.stale))
			})
		})
	}
}

// Sequence numbers of a pf peer are kept and said again: Linux has none of its own.
func TestSequenceNumbersOfAPeerAreKept(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		s.Src.SeqLo, s.Src.SeqHi, s.Dst.SeqLo, s.Dst.SeqHi = 1000, 2000, 3000, 4000
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.table(updated(tcp(us, 1, closing, estab)))
		r.expect("UPD_C 0000000000000001/bbbbbbbb 7:4")
		var got pfstate.State
		r.engine.States(func(s *pfstate.State) bool { got = *s; return true })
		if got.Src.SeqLo != 1000 || got.Src.SeqHi != 2000 || got.Dst.SeqLo != 3000 || got.Dst.SeqHi != 4000 {
			t.Errorf("peers are %+v and %+v, want the numbers kept", got.Src, got.Dst)
		}
	})
}

// Every way to refuse a packet is a counter of pf's.
func TestBadPacketsAreCounted(t *testing.T) {
	var good wire.Writer
	good.Reset(1480)
	good.ID(wire.ActUpdReq, pfstate.ID{State: 1, Creator: them})
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good.Finish()...)) }
	set := func(at int, v byte) []byte { return change(func(b []byte) []byte { b[at] = v; return b }) }
	invalid := tcp(them, 1, 13, 0)

	var states wire.Writer
	states.Reset(1480)
	states.State(wire.ActIns, &invalid)
	for _, c := range []struct {
		name    string
		packet  link.Packet
		counter string
	}{
		{"ttl", link.Packet{TTL: 254, Payload: good.Finish()}, "badttl"},
		{"our own address", link.Packet{Src: ourAddr, Payload: good.Finish()}, "ownpackets"},
		{"short", link.Packet{Payload: good.Finish()[:19]}, "hdrops"},
		{"version", link.Packet{Payload: set(0, 5)}, "badver"},
		{"header length", link.Packet{Payload: change(func(b []byte) []byte { binary.BigEndian.PutUint16(b[2:], 500); return b })}, "badlen"},
		{"count", link.Packet{Payload: set(wire.HeaderLen+3, 2)}, "badlen"},
		{"unknown action without length", link.Packet{Payload: change(func(b []byte) []byte { b[wire.HeaderLen], b[wire.HeaderLen+1] = 0x90, 0; return b })}, "badact"},
		{"unknown action", link.Packet{Payload: set(wire.HeaderLen, 0x90)}, "skipped"},
		{"peer state", link.Packet{Payload: states.Finish()}, "badval"},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				if c.packet.TTL == 0 {
					c.packet.TTL = 255
				}
				if !c.packet.Src.IsValid() {
					c.packet.Src = theirAddr
				}
				r.packet(c.packet)
				r.counted(c.counter+"=1", "ipackets=1")
				r.wrote()
				r.expect()
			})
		})
	}
}

func TestClear(t *testing.T) {
	within(t, func(r *rig) {
		bound := tcp(them, 2, estab, estab)
		bound.IfName = pfstate.NewIfName("em0")
		r.table(created(tcp(us, 7, estab, estab)))
		r.deliver(func(w *wire.Writer) {
			w.State(wire.ActIns, ptr(tcp(them, 1, estab, estab)))
			w.State(wire.ActIns, &bound)
			w.State(wire.ActIns, ptr(tcp(0xcccccccc, 3, estab, estab)))
		})
		r.forget()
		r.deliver(func(w *wire.Writer) { w.Clr(wire.Clr{Creator: them, IfName: pfstate.NewIfName("em0")}) })
		r.wrote("delete 0000000000000002/bbbbbbbb 4:4")
		r.deliver(func(w *wire.Writer) { w.Clr(wire.Clr{Creator: them}) })
		r.wrote("delete 0000000000000001/bbbbbbbb 4:4")
		r.deliver(func(w *wire.Writer) { w.Clr(wire.Clr{Creator: us}) })
		r.wrote()
		r.expect()
		r.counted("foreignclear=1")
		if s := r.status(); s.Local != 1 || s.Imported != 1 {
			t.Errorf("%d local and %d imported states left, want 1 and 1", s.Local, s.Imported)
		}
	})
}

// A message that was under way when a state ended here does not revive it.
func TestEndedStatesStayDead(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(us, 1, estab, estab)
		r.table(created(s), updated(s))
		r.table(deleted(s))
		r.forget()
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &s) })
		r.wrote()
		r.expect()
		r.counted("buried=1")
		// The same connection anew, by traffic, is alive.
		r.table(created(s))
		r.expect("INS 0000000000000001/aaaaaaaa 4:4")
	})
}

// A peer's DEL must not stand in the way of its successor under the same id.
func TestPeerMayReuseAnID(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, s.ID); w.State(wire.ActIns, &s) })
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4", "delete 0000000000000001/bbbbbbbb 4:4", "insert 0000000000000001/bbbbbbbb 4:4")
		successor := tcp(them, 2, synSent, closed)
		successor.ID.State = 1
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &successor) })
		r.wrote("delete 0000000000000001/bbbbbbbb 4:4", "insert 0000000000000001/bbbbbbbb 2:0")
	})
}

func TestStatesThatMustNotBeInstalled(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pfstate.State)
	}{
		{"pfsync", func(s *pfstate.State) { s.Proto = pfstate.ProtoPFSync }},
		{"carp", func(s *pfstate.State) { s.Proto = pfstate.ProtoCARP }},
		{"loopback", func(s *pfstate.State) {
			s.Stack.Addr[0], s.Wire.Addr[0] = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1")
		}},
		{"no address", func(s *pfstate.State) {
			s.Stack.Addr[0], s.Wire.Addr[0] = netip.IPv4Unspecified(), netip.IPv4Unspecified()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				s := udp(them, 1, 1, 1)
				c.change(&s)
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
				r.wrote()
				r.counted("neversynced=1")
			})
		})
	}
}

// Two firewalls that know one connection by two ids end up with one.
func TestOneConnectionTwoIDs(t *testing.T) {
	orig := tcp(us, 1, estab, estab)
	as := func(creator uint32, n uint64) pfstate.State {
		s := orig
		s.ID = pfstate.ID{State: n, Creator: creator}
		return s
	}
	for _, c := range []struct {
		name    string
		before  func(r *rig)
		theirs  pfstate.State
		want    pfstate.ID
		counter string
	}{
		{"born here, ours is less: ours", func(r *rig) { r.table(created(orig)) }, as(them, 9), pfstate.ID{State: 1, Creator: us}, "duplicate=1"},
		{"born here, theirs is less: theirs", func(r *rig) { r.table(created(orig)) }, as(0x11111111, 9), pfstate.ID{State: 9, Creator: 0x11111111}, "duplicate=0"},
		{"the peer made it anew: the new one", func(r *rig) {
			r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, ptr(as(them, 5))) })
		}, as(them, 9), pfstate.ID{State: 9, Creator: them}, "duplicate=0"},
		{"ours has closed: theirs", func(r *rig) {
			s := orig
			s.Src.State, s.Dst.State = finWait, finWait
			r.table(created(s))
		}, as(them, 9), pfstate.ID{State: 9, Creator: them}, "duplicate=0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				c.before(r)
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &c.theirs) })
				var ids []pfstate.ID
				r.engine.States(func(s *pfstate.State) bool { ids = append(ids, s.ID); return true })
				if len(ids) != 1 || ids[0] != c.want {
					t.Errorf("known as %v, want %v", ids, c.want)
				}
				r.counted(c.counter)
			})
		})
	}
}

// Who is told of a connection that is known here under a better id is answered
// with that one, once; then both speak of one state.
func TestPeerIsBroughtRoundToOurID(t *testing.T) {
	within(t, func(r *rig) {
		r.table(created(tcp(us, 1, estab, estab)))
		r.forget()
		theirs := tcp(them, 1, closing, estab)
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(theirs)) })
		r.expect("UPD_REQ 0000000000000001/bbbbbbbb")
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &theirs) })
		r.expect("UPD 0000000000000001/aaaaaaaa 4:4")
	})
}

// What the peers have been told the id of keeps it: both sides may be telling at once.
func TestServedStatesKeepTheirID(t *testing.T) {
	mine := tcp(us, 1, estab, estab)
	asking(t, []pfstate.State{mine}, func(r *rig) {
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		r.forget()
		theirs := mine
		theirs.ID = pfstate.ID{State: 22, Creator: them}
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &theirs) })
		r.engine.States(func(s *pfstate.State) bool {
			if s.ID != mine.ID {
				t.Errorf("known as %v, the peer was told %v", s.ID, mine.ID)
			}
			return true
		})
	})
}

// A full update must not give a closed connection the time of the open one.
func TestLifetimeFitsTheMergedState(t *testing.T) {
	open, ended := tcp(them, 1, estab, estab), tcp(them, 1, finWait, finWait)
	open.Expire, ended.Expire = 432000*time.Second, time.Minute
	half := tcp(them, 1, closing, estab)
	half.Expire = 2 * time.Minute
	for _, c := range []struct {
		name         string
		ours, theirs pfstate.State
		most         time.Duration
	}{
		{"closed by the peer", open, ended, time.Minute},
		{"closing here, the peer has not heard", half, open, 0}, // a full period of the table's
		{"the same state, fresher there", ended, func() pfstate.State { s := ended; s.Expire = 90 * time.Second; return s }(), 90 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(r *rig) {
				r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &c.ours) })
				r.ordered()
				r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &c.theirs) })
				writes := r.ordered()
				if len(writes) != 1 || writes[0].State.Expire != c.most {
					t.Errorf("orders %+v, want one with %v to live", writes, c.most)
				}
			})
		})
	}
}

// A cut link holds the news of our end, while the connection may have gone on elsewhere.
func TestExpiryDuringACutIsNotTold(t *testing.T) {
	within(t, func(r *rig) {
		idle, over, removed := udp(us, 1, 2, 2), tcp(us, 2, finWait, finWait), udp(us, 3, 2, 2)
		r.table(created(idle), created(over), created(removed))
		r.linkDown()
		r.forget()
		r.table(expired(idle), expired(over), deleted(removed))
		r.linkUp()
		r.expect("UPD_REQ 0000000000000000/00000000", "DEL_C 0000000000000002/aaaaaaaa", "DEL_C 0000000000000003/aaaaaaaa")
	})
}

// In a bulk update of a third firewall there may be what its owner has just ended.
func TestUpdatesDoNotReviveWhatItsOwnerEnded(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(them, 1, estab, estab)
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s); w.ID(wire.ActDelC, s.ID) })
		r.deliver(func(w *wire.Writer) { w.ID(wire.ActDelC, s.ID) })
		r.forget()
		r.deliver(func(w *wire.Writer) { w.State(wire.ActUpd, &s); w.UpdC(upd(s)) })
		r.wrote()
		r.expect()
		r.counted("buried=1")
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) }) // its owner uses the id again
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
	})
}

// A peer's answer to a message that was overtaken is no sign of traffic there:
// the end of the state is ours to tell.
func TestStaleAnswerDoesNotTakeTheStateOver(t *testing.T) {
	within(t, func(r *rig) {
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.forget()
		r.table(deleted(s))
		r.expect("DEL_C 0000000000000001/aaaaaaaa")
	})
	within(t, func(r *rig) { // long after: its traffic goes there now
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		time.Sleep(time.Minute)
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		r.forget()
		r.table(expired(s))
		r.expect()
	})
}

// An older word of a peer must not set back what traffic is moving on: the event
// of it may be on its way to us.
func TestOldNewsDoNotSetTheEntryBack(t *testing.T) {
	within(t, func(r *rig) {
		s := udp(us, 1, pfstate.Multiple, pfstate.Single)
		further := udp(us, 1, pfstate.Multiple, pfstate.Multiple)
		r.table(created(s))
		for _, c := range []struct {
			said  pfstate.State
			renew bool
		}{{s, true}, {further, false}, {further, true}} {
			r.deliver(func(w *wire.Writer) { w.UpdC(upd(c.said)) })
			writes := r.ordered()
			if len(writes) != 1 || writes[0].Kind != pfstate.WriteUpdate || writes[0].Renew != c.renew {
				t.Errorf("orders %+v, want an update with renew %v", writes, c.renew)
			}
		}
	})
}

// The answer to an ICMP query is seen in nothing but the timeout.
func TestProgressOfICMP(t *testing.T) {
	within(t, func(r *rig) {
		s := udp(them, 1, 0, 0)
		s.Proto, s.Timeout = pfstate.ProtoICMP, pfstate.ICMPFirstPacket
		r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) })
		r.forget()
		s.Timeout = pfstate.ICMPErrorReply
		r.deliver(func(w *wire.Writer) { w.UpdC(upd(s)) })
		if writes := r.ordered(); len(writes) != 1 || writes[0].Renew || writes[0].State.Timeout != pfstate.ICMPErrorReply {
			t.Errorf("orders %+v, want an update of the progress", writes)
		}
	})
}
