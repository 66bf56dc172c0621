package engine_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Every digest sent equals what somebody sums up who has read all packets up to it.
func TestDigestIsOfWhatWasSaid(t *testing.T) {
	for seed := range uint64(5) {
		paired(t, func(r *rig, p *linux) {
			random := rand.New(rand.NewPCG(seed, 1))
			told := make(map[pfstate.ID]uint64)
			digests, some := 0, uint32(0)
			read := func() {
				for _, packet := range r.takeRaw() {
					readMessages(t, packet.b, told)
					for _, a := range attributes(t, packet.b) {
						if !strings.HasPrefix(a, "digest ") {
							continue
						}
						d := wire.Digest{States: uint32(len(told))}
						for _, said := range told {
							d.Sum += said
						}
						if want := fmt.Sprintf("digest %d %016x", d.States, d.Sum); a != want {
							t.Fatalf("seed %d: %s, want %s", seed, a, want)
						}
						digests, some = digests+1, max(some, d.States)
					}
				}
			}
			alive := make(map[int]pfstate.State)
			for range 400 {
				var changes []pfstate.Change
				for range 1 + random.IntN(4) {
					n := 1 + random.IntN(60)
					s, known := alive[n]
					switch {
					case !known:
						s = tcp(us, n, synSent, closed)
						alive[n] = s
						changes = append(changes, created(s))
					case random.IntN(3) == 0:
						delete(alive, n)
						changes = append(changes, deleted(s))
					case random.IntN(4) == 0: // the peer takes it over
						s.Src.State, s.Dst.State = closing, estab
						r.table(changes...)
						changes = nil
						read()
						p.tell(wire.ActUpdC, s)
						delete(told, s.ID)
						read()
					default:
						s.Src.State, s.Dst.State = estab, estab
						s.Timeout = pfstate.TCPEstablishedTimeout
						alive[n] = s
						changes = append(changes, updated(s))
					}
				}
				r.table(changes...)
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
				read()
			}
			if digests < 20 || some < 10 {
				t.Errorf("seed %d: %d digests of at most %d states: nothing was tried", seed, digests, some)
			}
		})
	}
}

// readMessages notes what the sender of a packet answers for by it.
func readMessages(t *testing.T, packet []byte, told map[pfstate.ID]uint64) {
	trailer, err := wire.ParseTrailer(wire.Behind(packet))
	if err != nil {
		t.Fatal(err)
	}
	h, rest, _ := wire.ParseHeader(packet)
	for len(rest) > 0 {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			t.Fatal(err)
		}
		for n := range s.Count {
			var m wire.Message
			if err := s.Dialect.Parse(s.Action, s.Message(n), &m); err != nil {
				t.Fatal(err)
			}
			switch answer := trailer.Flags&wire.FlagAnswer != 0; {
			case s.Action == wire.ActDelC:
				delete(told, m.ID)
			case answer:
			case s.Action == wire.ActIns, s.Action == wire.ActUpd:
				told[m.State.ID] = saidOf(m.State)
			case s.Action == wire.ActUpdC:
				told[m.UpdC.ID] = wire.Said(m.UpdC.ID, &m.UpdC.Src, &m.UpdC.Dst, m.UpdC.Timeout)
			}
		}
	}
}

// Peers that agree are in sync, and that is said once.
func TestEqualDigests(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.is("linux up 0 yes")
		p.tell(wire.ActIns, tcp(them, 1, estab, estab), udp(them, 2, pfstate.Single, pfstate.NoTraffic))
		p.live(10 * time.Second)
		p.is("linux up 2 yes")
		r.loggedTimes(1, "in sync with the peer")
		r.asked("askdigests resend")
		r.counted("drifts=0", "repairs=0")
	})
}

// A difference is no drift before what is on its way had time to come.
func TestDifferenceOfAMoment(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.said(wire.ActIns, s) // and does not send it
		p.beacon()
		time.Sleep(200 * time.Millisecond)
		p.beacon()
		r.asked("askdigests")
		p.is("linux up 0 yes")
		p.tell(wire.ActIns, s)
		p.beacon()
		time.Sleep(time.Second)
		p.beacon()
		r.asked("askdigests")
		r.counted("drifts=0")
	})
}

// What differs is found by the digests of the buckets and the lists of those that
// differ, and asked for: what is missing, what has changed, what is there no more.
func TestDriftIsMended(t *testing.T) {
	missing, changed, extra := tcp(them, 1, estab, estab), tcp(them, 2, synSent, closed), tcp(them, 3, estab, estab)
	moved := tcp(them, 2, estab, estab)
	for _, c := range []struct {
		name  string
		drift func(*linux) // what the engine does not hear of
		ask   []pfstate.State
		mend  func(*linux)
		log   string
		count []string
	}{
		{"missing", func(p *linux) { p.said(wire.ActIns, missing) },
			[]pfstate.State{missing}, func(p *linux) { p.tell(wire.ActUpd, missing) },
			"missing=1 extra=0 changed=0", []string{"mendedmissing=1", "mendedextra=0", "mendedchanged=0"}},
		{"changed", func(p *linux) { p.said(wire.ActUpdC, moved) },
			[]pfstate.State{changed}, func(p *linux) { p.tell(wire.ActUpd, moved) },
			"missing=0 extra=0 changed=1", []string{"mendedmissing=0", "mendedextra=0", "mendedchanged=1"}},
		{"extra", func(p *linux) { delete(p.answers, extra.ID) },
			[]pfstate.State{extra}, func(p *linux) {
				p.send(wire.FlagAnswer, func(w *wire.Writer) { w.ID(wire.ActDelC, extra.ID) }, nil)
			},
			"missing=0 extra=1 changed=0", []string{"mendedmissing=0", "mendedextra=1", "mendedchanged=0"}},
		{"all", func(p *linux) {
			p.said(wire.ActIns, missing)
			p.said(wire.ActUpdC, moved)
			delete(p.answers, extra.ID)
		}, []pfstate.State{missing, changed, extra}, func(p *linux) {
			p.tell(wire.ActUpd, missing, moved)
			p.send(wire.FlagAnswer, func(w *wire.Writer) { w.ID(wire.ActDelC, extra.ID) }, nil)
		}, "missing=1 extra=1 changed=1", []string{"mendedmissing=1", "mendedextra=1", "mendedchanged=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				others := 0
				for n := 100; n < 10000; n++ { // some in other buckets, and all in the same ones
					b := wire.Bucket(tcp(them, n, estab, estab).ID)
					if n < 120 || slices.ContainsFunc(c.ask, func(s pfstate.State) bool { return wire.Bucket(s.ID) == b }) {
						p.tell(wire.ActIns, tcp(them, n, estab, estab))
						others++
					}
				}
				p.tell(wire.ActIns, changed, extra)
				p.live(time.Second)
				p.is(fmt.Sprintf("linux up %d yes", others+2))
				r.forget()

				c.drift(p)
				p.beacon()
				time.Sleep(800 * time.Millisecond)
				p.beacon()
				r.asked("askdigests asklist ask", "askdigests")
				if s := p.status(); s.Sync != "no" {
					t.Errorf("in sync: %s", s.Sync)
				}
				r.forget()
				p.sendSums()
				buckets, ids := make(map[int]bool), make(map[string]bool)
				for _, s := range c.ask {
					buckets[wire.Bucket(s.ID)], ids[s.ID.String()] = true, true
				}
				asked := r.trailers("asklist", "ask", "askdigests")
				if len(asked) != 1 || !sameWords(asked[0], "asklist", slices.Collect(maps.Keys(buckets))) {
					t.Fatalf("asked for %q, want the lists of %v", asked, buckets)
				}
				for b := range buckets {
					p.sendList(b)
				}
				asked = r.trailers("asklist", "ask", "askdigests")
				if len(asked) != 1 || !sameWords(asked[0], "ask", slices.Collect(maps.Keys(ids))) {
					t.Fatalf("asked for %q, want %v", asked, ids)
				}
				c.mend(p)
				p.live(5 * time.Second)
				r.asked("askdigests asklist ask")
				if s := p.status(); s.Sync != "yes" || s.States != len(p.answers) {
					t.Errorf("in sync: %s, with %d states, want yes and %d", s.Sync, s.States, len(p.answers))
				}
				r.counted(append(c.count, "drifts=1", "repairs=1")...)
				r.loggedTimes(1, "drifted apart", c.log, "peer="+p.addr.String())
			})
		})
	}
}

// sameWords tells whether text is the first word and all of others, in any order.
func sameWords[T any](text, first string, others []T) bool {
	got := strings.Fields(text)
	want := []string{first}
	for _, o := range others {
		want = append(want, fmt.Sprint(o))
	}
	slices.Sort(got[1:])
	slices.Sort(want[1:])
	return slices.Equal(got, want)
}

// Lost questions and answers are asked again.
func TestRepairWhoseAnswersAreLost(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		s := tcp(them, 1, estab, estab)
		p.said(wire.ActIns, s)
		p.beacon()
		time.Sleep(800 * time.Millisecond)
		p.beacon()
		r.asked("askdigests", "askdigests")
		time.Sleep(time.Second)
		if n := len(r.trailers("askdigests")); n < 1 || n > 3 {
			t.Errorf("asked %d times within a second for what was lost", n)
		}
		p.sendSums()
		list := fmt.Sprint("asklist ", wire.Bucket(s.ID))
		r.asked("asklist", list)
		time.Sleep(750 * time.Millisecond)
		r.asked("asklist", list)
		p.sendList(wire.Bucket(s.ID))
		r.asked("ask", "ask "+s.ID.String())
	})
}

// What cannot be mended is tried again, less and less often.
func TestDifferenceThatStays(t *testing.T) {
	s := tcp(them, 1, estab, estab)
	for _, c := range []struct {
		name   string
		answer func(*linux, string)
		most   [3]int // questions in the first, second and third minute
	}{
		{"its sum is wrong", func(p *linux, question string) {
			if question == "askdigests" {
				said := p.answers[s.ID]
				delete(p.answers, s.ID)
				p.sendSums() // no bucket differs
				p.answers[s.ID] = said
			}
		}, [3]int{8, 3, 3}},
		{"it never tells", func(p *linux, question string) {
			switch question {
			case "askdigests":
				p.sendSums()
			case "asklist":
				p.sendList(wire.Bucket(s.ID))
			}
		}, [3]int{24, 9, 9}},
		{"it never answers", func(*linux, string) {}, [3]int{54, 15, 15}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				p.said(wire.ActIns, s)
				for minute, most := range c.most {
					questions := 0
					for range 600 {
						time.Sleep(100 * time.Millisecond)
						p.beacon()
						for _, q := range r.trailers("askdigests", "asklist", "ask") {
							questions++
							kind, _, _ := strings.Cut(q, " ")
							c.answer(p, kind)
						}
					}
					if questions == 0 || questions > most {
						t.Errorf("minute %d: %d questions, want at most %d, and some", minute+1, questions, most)
					}
				}
				p.is("linux up 0 no")
				r.counted("repairs=0")
				if n := len(r.logged("level=WARN")); n > 2 {
					t.Errorf("%d warnings: %q", n, r.logged("level=WARN"))
				}
				p.tell(wire.ActIns, s)
				p.beacon()
				p.is("linux up 1 yes")
			})
		})
	}
}
