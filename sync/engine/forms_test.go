package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// The compact form has no halves, whatever is set; as soon as a BSD is heard everything
// is told in pf's, in both.
func TestHalvesAreOfPFsForm(t *testing.T) {
	terse(t, func(r *rig, _ *linux) {
		r.configure(pairs(engine.PairOn))
		s := tcp(us, 1, estab, estab)
		r.table(created(s))
		r.sees("insert 0000000000000001/aaaaaaaa 4:4 mark 0")
		s.Src.State = closing
		r.table(updated(s))
		r.sees("update 0000000000000001/aaaaaaaa 7:4 mark 0")
		r.bsd(thirdAddr, wire.OpenBSD6, ins(tcp(0xcccccccc, 2, estab, estab)))
		time.Sleep(2 * time.Second) // the bulk update that this causes
		r.forget()
		s.Dst.State = closing
		r.table(updated(s))
		r.sees("UPD_C 8000000000000001/aaaaaaaa 7:7", "UPD_C 0000000000000001/aaaaaaaa 7:7")
		r.table(deleted(s))
		r.sees("DEL_C 0000000000000001/aaaaaaaa", "DEL_C 8000000000000001/aaaaaaaa")
	})
}

// What a table counts, and what pf has of a peer that was not seen yet, is for pf's form:
// neither keeps a state out of the compact one, nor stays with a peer that was told so.
func TestHonestFieldsKeepNothingFromTheCompactForm(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		s := tcp(us, 1, synSent, closed)
		s.Packets, s.Bytes = [2]uint64{1, 0}, [2]uint64{60, 0} // nf_conntrack_acct is on
		r.table(created(s))
		r.sees("insert 0000000000000001/aaaaaaaa 2:0 mark 0")
		s.Packets[1], s.Bytes[1], s.Dst.State = 1, 60, synSent
		r.table(updated(s))
		r.sees("update 0000000000000001/aaaaaaaa 2:2 mark 0")

		theirs := tcp(them, 2, synSent, closed)
		theirs.Dst.SeqHi, theirs.Dst.MaxWin = 1, 1 // as in pf's form
		p.send(0, ins(theirs), nil)
		r.forget()
		theirs.Dst = pfstate.Peer{State: synSent}
		r.table(updated(theirs))
		r.sees("update 0000000000000002/bbbbbbbb 2:2 mark 0")
	})
}

// What FreeBSD alone says of a state goes on in pf's form, the next state in the compact
// one has nothing of it.
func TestWhatFreeBSDSaysHasNoCompactForm(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		m := wire.Message{Action: wire.ActIns, Dialect: wire.FreeBSD1500, State: tcp(them, 1, estab, estab)}
		m.FreeBSD = wire.FreeBSD{Queue: 1, OrigIf: pfstate.NewIfName("em0")}
		p.send(0, func(w *wire.Writer) {
			*w = wire.Writer{Dialect: wire.FreeBSD1500}
			w.Reset(1400)
			w.Message(&m)
		}, nil)
		second := tcp(them, 2, estab, estab)
		var c wire.CompactWriter
		c.Reset(1000)
		c.State(wire.AttrInsert, &second)
		p.send(0, nil, func(w *wire.TrailerWriter) { w.Compact(c.Bytes()) })
		r.wrote("insert 0000000000000001/bbbbbbbb 4:4", "insert 0000000000000002/bbbbbbbb 4:4")
		r.forget()
		for i, want := range []string{"UPD 0000000000000001/bbbbbbbb 4:4", "state 0000000000000002/bbbbbbbb 4:4 mark 0"} {
			id := []pfstate.ID{m.State.ID, second.ID}[i]
			p.send(0, func(w *wire.Writer) { w.ID(wire.ActUpdReq, id) }, nil)
			time.Sleep(time.Second)
			if got := r.forms(); !slices.Contains(got, want) {
				t.Errorf("asked for %v, sent %q, want %q", id, got, want)
			}
		}
	})
}
