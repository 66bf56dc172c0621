package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// A packet that comes twice counts once, also one that had been late.
func TestDuplicatesChangeNothing(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := udp(them, 1, pfstate.Single, pfstate.NoTraffic)
		ins := p.next(0, p.said(wire.ActIns, s), nil)
		r.packet(ins)
		r.wrote("insert 0000000000000001/bbbbbbbb 1:0")
		r.packet(ins)
		r.wrote()
		r.counted("duplicates=1", "iacts.INS ST=1", "recovered=0")

		s.Src.State, s.Timeout = pfstate.Multiple, pfstate.UDPMultiple
		late := p.next(0, p.said(wire.ActUpdC, s), nil)
		other := tcp(them, 2, estab, estab)
		p.tell(wire.ActIns, other)
		r.packet(late)
		r.forget()
		r.packet(late)
		r.wrote()
		r.counted("duplicates=2", "iacts.UPD ST COMP=1", "recovered=1", "ipackets=5")

		p.beacon()
		p.is("linux up 2 yes")
		r.asked("askdigests asklist resend")
	})
}

// What was said later holds, whatever comes in between: the end of a state, and its
// last update.
func TestLatePacketsDoNotUndoNewerOnes(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		gone := tcp(them, 1, estab, estab)
		insert := p.next(0, p.said(wire.ActIns, gone), nil)
		p.end(gone)
		r.packet(insert)
		r.wrote()
		r.counted("buried=1", "recovered=1")

		s := udp(them, 2, pfstate.Multiple, pfstate.Multiple)
		p.tell(wire.ActIns, s)
		r.forget()
		s.Timeout = pfstate.UDPSingle
		older := p.next(0, p.said(wire.ActUpdC, s), nil)
		s.Timeout = pfstate.UDPMultiple
		p.tell(wire.ActUpdC, s)
		r.wrote("update 0000000000000002/bbbbbbbb 2:2")
		r.packet(older)
		r.wrote()
		p.beacon()
		p.is("linux up 1 yes")
	})
}

// After a restart of the peer, what was on its way from before it is dropped.
func TestPacketsOfAnEarlierEpochAreDropped(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		old := p.next(0, p.said(wire.ActIns, tcp(them, 1, estab, estab)), nil)
		again := r.linux(theirAddr, them, theirEpoch+1)
		again.beacon()
		r.counted("peerrestarts=1")
		r.packet(old)
		r.wrote()
		r.counted("oldpackets=1", "iacts.INS ST=0", "peerrestarts=1")
		again.tell(wire.ActIns, tcp(them, 2, estab, estab))
		r.wrote("insert 0000000000000002/bbbbbbbb 4:4")
		if n := r.status().Peers; n != 1 {
			t.Errorf("%d peers, want 1", n)
		}
	})
}

// Some switches send multicasts back where they came from.
func TestOwnPacketsAreDropped(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.table(created(tcp(us, 1, estab, estab)))
		sent := r.takeRaw()
		r.packet(link.Packet{Src: ourAddr, TTL: 255, Payload: sent[0].b})
		r.packet(link.Packet{Src: theirAddr, TTL: 255, Payload: sent[0].b})
		r.counted("ownpackets=2", "iacts.INS ST=0")
		p.is("linux up 0 yes")
	})
}

// Who knows a Linux peer's address cannot speak for it without its epoch. When it
// is dead, a BSD may have taken its place.
func TestPacketsWithoutATrailerFromALinuxPeer(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		bsd := func() { r.deliver(func(w *wire.Writer) { w.State(wire.ActIns, &s) }) }
		bsd()
		r.wrote()
		r.counted("notrailer=1", "iacts.INS ST=0")
		time.Sleep(4 * time.Second) // stale
		bsd()
		r.counted("notrailer=2", "iacts.INS ST=0")
		p.is("linux stale 0 unknown")
		time.Sleep(4 * time.Second)
		r.forget()
		bsd()
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4")
		r.counted("notrailer=2")
		p.is("openbsd up 1 unknown")
	})
}

// Packets that have only changed places are not asked for.
func TestReorderingAsksForNothing(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		var held []link.Packet
		for n := range 5 {
			held = append(held, p.next(0, p.said(wire.ActIns, tcp(them, n+1, estab, estab)), nil))
		}
		p.beacon()
		time.Sleep(2 * time.Millisecond)
		for _, n := range []int{2, 4, 0, 1, 3} {
			r.packet(held[n])
		}
		time.Sleep(time.Second)
		p.beacon()
		r.asked("resend askdigests")
		r.counted("recovered=5", "resendsasked=0", "lostpackets=0", "duplicates=0", "drifts=0")
		p.is("linux up 5 yes")
	})
}

// A gap is asked for after 3 ms, then after longer and longer waits, and given up
// after a second and a half: then the digests say what is missing.
func TestGapIsAskedForAndGivenUp(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		first := p.seq + 1
		p.next(0, p.said(wire.ActIns, tcp(them, 1, estab, estab)), nil)
		p.next(0, p.said(wire.ActIns, tcp(them, 2, estab, estab)), nil)
		start := time.Now()
		p.tell(wire.ActIns, tcp(them, 3, estab, estab))
		time.Sleep(time.Second)
		p.beacon() // its digest does not count while something is missing
		time.Sleep(500 * time.Millisecond)
		r.counted("resendsasked=18", "lostpackets=0", "drifts=0")
		time.Sleep(100 * time.Millisecond)
		r.counted("lostpackets=2")

		var want []string
		for _, ms := range []int{3, 23, 63, 143, 303, 553, 803, 1053, 1303} {
			want = append(want, fmt.Sprintf("%v resend %d+2", time.Duration(ms)*time.Millisecond, first))
		}
		if got := r.timed(start, "resend", "askdigests"); !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
		p.beacon()
		r.asked("resend askdigests", "askdigests")
		r.counted("resendsasked=18", "drifts=1")

		late := p.at(first, 0, p.said(wire.ActIns, tcp(them, 1, estab, estab)), nil)
		r.packet(late) // given up: it is not taken any more
		r.counted("duplicates=1")
	})
}

// Exactly what is missing is asked for, and what came meanwhile is not.
func TestOnlyWhatIsMissingIsAskedFor(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		base := p.seq
		packets := make(map[int]link.Packet)
		for n := 1; n <= 12; n++ {
			packets[n] = p.next(0, p.said(wire.ActIns, tcp(them, n, estab, estab)), nil)
		}
		for _, n := range []int{1, 2, 8, 9, 12} {
			r.packet(packets[n])
		}
		time.Sleep(time.Millisecond)
		r.packet(packets[5])
		time.Sleep(2 * time.Millisecond)
		r.asked("resend", fmt.Sprintf("resend %d+2 %d+2 %d+2", base+3, base+6, base+10))
		p.beacon()
		r.table(created(tcp(us, 1, estab, estab)))
		r.asked("heard", fmt.Sprintf("heard eeee/%d", base+2)) // up to where nothing is missing

		for _, n := range []int{4, 6, 7, 11} {
			r.packet(packets[n])
		}
		time.Sleep(20 * time.Millisecond)
		r.asked("resend", fmt.Sprintf("resend %d+1 %d+1", base+3, base+10))
		r.packet(packets[3])
		r.packet(packets[10])
		r.counted("recovered=7", "resendsasked=8", "lostpackets=0")
		time.Sleep(time.Second)
		r.asked("resend")
	})
}

// What the peer cannot repeat any more is not waited for.
func TestGapBeyondTheOldestIsGivenUpAtOnce(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		for n := range 4 {
			p.next(0, p.said(wire.ActIns, tcp(them, n+1, estab, estab)), nil)
		}
		kept := p.seq
		p.ask(func(w *wire.TrailerWriter) { w.Oldest(kept) })
		r.counted("lostpackets=3")
		time.Sleep(3 * time.Millisecond)
		r.asked("resend", fmt.Sprintf("resend %d+1", kept))
		p.ask(func(w *wire.TrailerWriter) { w.Oldest(kept + 1) })
		r.counted("lostpackets=4")
		time.Sleep(time.Second)
		r.asked("resend")
		p.beacon()
		r.asked("askdigests", "askdigests")
	})
}

// A jump of the sequence leads neither to memory nor to requests without bound.
func TestHugeGap(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.seq += 1 << 40
		p.beacon()
		r.counted(fmt.Sprintf("lostpackets=%d", 1<<40-1<<16))
		time.Sleep(2 * time.Second)
		r.counted(fmt.Sprintf("lostpackets=%d", 1<<40))
		if n := len(r.trailers("resend")); n != 9 {
			t.Errorf("%d requests, want 9", n)
		}
		p.beacon()
		p.is("linux up 0 yes")
	})
}

// The end of a bulk update counts once all before it is there.
func TestBulkUpdateEndsWhenItsMissingPartHasCome(t *testing.T) {
	asking(t, nil, func(r *rig) {
		p := r.linux(theirAddr, them, theirEpoch)
		p.beacon()
		p.send(0, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusStart}) }, nil)
		missing := p.next(0, p.said(wire.ActUpd, tcp(them, 1, estab, estab)), nil)
		p.send(0, func(w *wire.Writer) { w.Bus(wire.Bus{Creator: them, Status: wire.BusEnd}) }, nil)
		if s := r.status(); s.SyncOK || s.Bulk != "bulk" {
			t.Errorf("bulk %s, syncok %v while a part is missing", s.Bulk, s.SyncOK)
		}
		r.packet(missing)
		time.Sleep(50 * time.Millisecond) // others may be there, too
		if s := r.status(); !s.SyncOK || s.Bulk != "done" {
			t.Errorf("bulk %s, syncok %v once all is here", s.Bulk, s.SyncOK)
		}
	})
}
