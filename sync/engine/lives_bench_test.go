package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// life is what the kernel tells of one TCP connection: seven events.
func life(creator uint32, n int) (all [7]pfstate.Change) {
	for i, at := range [7][2]pfstate.PeerState{{2, 0}, {4, 2}, {4, 4}, {7, 4}, {9, 7}, {9, 9}, {9, 9}} {
		s := tcp(creator, n, at[0], at[1])
		s.Src.WScale = 0x87
		if i > 0 {
			s.Dst.WScale = 0x87
		}
		s.Linux = pfstate.Linux{Has: pfstate.HasMark | pfstate.HasTCP, TCP: [2]uint8{3, 3}}
		kind := pfstate.Updated
		switch i {
		case 0:
			kind = pfstate.Created
		case 6:
			kind = pfstate.Deleted
		}
		all[i] = pfstate.Change{Kind: kind, State: s}
	}
	return all
}

// BenchmarkLives is the event path: TCP connections live, 100 of them beside each other,
// whose events come one kind after the other; in both forms.
func BenchmarkLives(b *testing.B) {
	for _, form := range []string{"plain", "compact"} {
		b.Run(form, func(b *testing.B) {
			f := newFeed(b)
			var steps [7][]pfstate.Change
			for n := range inBatch {
				for i, c := range life(us, n+1) {
					steps[i] = append(steps[i], c)
				}
			}
			last := time.Time{}
			greet := func() {
				if form == "compact" && time.Since(last) > time.Second {
					last = time.Now()
					f.greet()
				}
			}
			greet()
			b.ReportAllocs()
			bytes, packets := f.wireB.Load(), f.wireP.Load()
			for b.Loop() {
				greet()
				for _, changes := range steps {
					f.report(changes)
				}
			}
			lives := float64(b.N) * inBatch
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/lives, "ns/connection")
			b.ReportMetric(float64(f.wireB.Load()-bytes)/lives, "B/connection")
			b.ReportMetric(float64(f.wireP.Load()-packets)/lives, "packets/connection")
		})
	}
}

// BenchmarkApply is the apply path: the same lives come in from a peer.
func BenchmarkApply(b *testing.B) {
	for _, form := range []string{"plain", "compact"} {
		b.Run(form, func(b *testing.B) {
			f := newFeed(b)
			const rounds = 32 // numbered packets are taken once
			packets := func() (all []link.Packet) {
				var w wire.Writer
				for step := range 7 {
					add := func(put func(pfstate.Change, *wire.Writer, *wire.CompactWriter)) {
						if form == "compact" {
							for from := 0; from < inBatch; from += 25 {
								all = append(all, f.linux(func(c *wire.CompactWriter) {
									for n := range 25 {
										put(life(them, from+n+1)[step], nil, c)
									}
								}))
							}
							return
						}
						for from := 0; from < inBatch; from += 5 {
							w.Reset(1480)
							for n := range 5 {
								put(life(them, from+n+1)[step], &w, nil)
							}
							all = append(all, link.Packet{Src: theirAddr, TTL: 255, Payload: slices.Clone(w.Finish())})
						}
					}
					add(func(c pfstate.Change, w *wire.Writer, cw *wire.CompactWriter) {
						s := &c.State
						u := upd(*s)
						u.Linux = s.Linux
						switch {
						case step == 0 && w != nil:
							w.State(wire.ActIns, s)
						case step == 0:
							cw.State(wire.AttrInsert, s)
						case step == 6 && w != nil:
							w.ID(wire.ActDelC, s.ID)
						case step == 6:
							cw.Delete(s.ID)
						case w != nil:
							w.UpdC(u)
						default:
							cw.Update(u)
						}
					})
				}
				return all
			}
			run := func(ps []link.Packet) {
				batch := f.packets.Take()
				batch.Items = append(batch.Items, ps...)
				f.received <- batch
				for n := 0; n < inBatch*7; {
					n += <-f.orders
				}
			}
			b.ReportAllocs()
			lives := 0.0
			for b.Loop() {
				b.StopTimer()
				var all [][]link.Packet
				for range rounds {
					all = append(all, packets())
				}
				b.StartTimer()
				for _, ps := range all {
					run(ps)
					lives += inBatch
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/lives, "ns/connection")
		})
	}
}
