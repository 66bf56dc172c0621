package engine_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

var thirdAddr = netip.MustParseAddr("192.168.254.252")

// questions are all that a peer can ask for, and what the answer begins with. Asked
// about is state 1 of ours.
func questions(epoch uint64, seq uint64) map[string]attrsOf {
	id := pfstate.ID{State: 1, Creator: us}
	return map[string]attrsOf{
		"resend":     func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: seq, Count: 1}}) },
		"askdigests": func(w *wire.TrailerWriter) { w.AskDigests(epoch) },
		"asklist":    func(w *wire.TrailerWriter) { w.AskList(epoch, []uint16{uint16(wire.Bucket(id))}) },
		"ask":        func(w *wire.TrailerWriter) { w.Ask(epoch, []pfstate.ID{id}) },
	}
}

// Whoever asks must have heard us in this epoch: then it is on the sync link, and
// the answer is not for somebody whose address was written into a packet.
func TestOnlyPeersThatHearUsAreAnswered(t *testing.T) {
	for _, name := range []string{"resend", "askdigests", "asklist", "ask"} {
		t.Run(name, func(t *testing.T) {
			paired(t, func(r *rig, _ *linux) {
				r.table(created(tcp(us, 1, estab, estab)))
				epoch, seq := r.named()
				q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
				q.deaf = true
				q.beacon()
				time.Sleep(200 * time.Millisecond) // greetings are over
				r.forget()

				question := questions(epoch, seq)[name]
				q.ask(question)
				r.counted("reqrefused=1")
				q.ask(func(w *wire.TrailerWriter) {
					w.Heard([]wire.Heard{{Epoch: epoch + 1, Seq: seq}, {Epoch: epoch, Seq: seq + 1000}})
					question(w)
				})
				r.counted("reqrefused=2") // another's epoch, or packets that were never sent, show nothing
				time.Sleep(200 * time.Millisecond)
				r.expect()
				r.asked("digests list resend ask")
				r.counted("resendssent=0")

				q.deaf = false
				q.ask(question)
				r.counted("reqrefused=2")
				time.Sleep(200 * time.Millisecond)
				switch sent, _ := r.told(); name {
				case "resend":
					r.counted("resendssent=1")
				case "ask":
					if !slices.Equal(sent, []string{"UPD 0000000000000001/aaaaaaaa 4:4"}) {
						t.Errorf("answered %q", sent)
					}
				case "askdigests":
					if n := len(r.trailers("digests")); n < 5 {
						t.Errorf("digests in %d packets, want all", n)
					}
				case "asklist":
					r.asked("list", fmt.Sprintf("list %d/3 0000000000000001/aaaaaaaa=%016x", wire.Bucket(pfstate.ID{State: 1, Creator: us}),
						saidOf(tcp(us, 1, estab, estab))))
				}
			})
		})
	}
}

func saidOf(s pfstate.State) uint64 { return wire.Said(s.ID, &s.Src, &s.Dst, s.Timeout) }

// What is for another node is overlooked.
func TestQuestionsToOthersAreOverlooked(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.table(created(tcp(us, 1, estab, estab)))
		r.forget()
		epoch, seq := r.named()
		for _, question := range questions(epoch+1, seq) {
			p.ask(question)
		}
		time.Sleep(200 * time.Millisecond)
		r.expect()
		r.asked("digests list resend ask")
		r.counted("reqrefused=0", "resendssent=0", "badtrailer=0")
	})
}

// A packet is repeated byte for byte, whatever became of the states in it.
func TestPacketsAreRepeatedAsTheyWere(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.takeRaw()
		for n := range 3 {
			r.table(created(tcp(us, n+1, synSent, closed)))
		}
		epoch, last := r.named()
		sent := r.takeRaw()
		r.table(updated(tcp(us, 2, estab, estab)), deleted(tcp(us, 1, synSent, closed)))
		r.forget()
		p.ask(func(w *wire.TrailerWriter) {
			w.Resend(epoch, []wire.Range{{First: last, Count: 1}, {First: last - 2, Count: 2}})
		})
		got := r.takeRaw()
		if len(got) != 3 || !bytes.Equal(got[0].b, sent[2].b) || !bytes.Equal(got[1].b, sent[0].b) || !bytes.Equal(got[2].b, sent[1].b) {
			t.Errorf("repeated %v, want the last and the two before of %v", got, sent)
		}
		r.expect("INS 0000000000000003/aaaaaaaa 2:0", "INS 0000000000000001/aaaaaaaa 2:0", "INS 0000000000000002/aaaaaaaa 2:0")
		r.counted("resendssent=3")
		p.ask(func(w *wire.TrailerWriter) {
			w.Resend(epoch, []wire.Range{{First: last + 1000, Count: 5}, {First: ^uint64(0), Count: 9}})
		})
		r.counted("resendssent=3") // not sent yet
	})
}

// One peer cannot have us send for ever: a ring full, then a bounded rate.
func TestRepeatedPacketsAreLimited(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		const sent = 300
		for n := range sent {
			r.table(created(tcp(us, n+1, estab, estab)))
		}
		epoch, last := r.named()
		time.Sleep(900 * time.Millisecond)
		flood := func(w *wire.TrailerWriter) {
			w.Resend(epoch, slices.Repeat([]wire.Range{{First: last - sent + 1, Count: sent}}, 32))
		}
		p.ask(flood)
		r.counted("resendssent=8192", "resendslimited=1")
		for range 50 {
			p.ask(flood)
		}
		r.counted("resendssent=8192", "resendslimited=51")
		time.Sleep(100 * time.Millisecond)
		p.ask(flood)
		r.counted("resendssent=10192", "resendslimited=52")
		time.Sleep(400 * time.Millisecond)
		r.forget()
		p.ask(func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: last, Count: 1}}) })
		r.expect(fmt.Sprintf("INS %016x/aaaaaaaa 4:4", sent)) // an honest one is served again
	})
}

// Who asks for more than is kept is told so.
func TestRequestsBeyondTheRing(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		const more = 8192 + 200 // packets that the ring holds, and some
		s := udp(us, 1, pfstate.Multiple, pfstate.Multiple)
		r.table(created(s))
		time.Sleep(4 * time.Second) // it hears nothing: nobody waits for it
		for n := range more {
			s.Timeout = []pfstate.Timeout{pfstate.UDPSingle, pfstate.UDPMultiple}[n%2]
			r.table(updated(s))
		}
		epoch, last := r.named()
		r.forget()
		time.Sleep(150 * time.Millisecond)
		p.ask(func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: 1, Count: 10}}) })
		_, now := r.named()
		r.asked("oldest", fmt.Sprintf("oldest %d", now-8192))
		r.counted("resendssent=0")

		p.ask(func(w *wire.TrailerWriter) { w.Resend(epoch, []wire.Range{{First: last - 8191 - 50, Count: 100}}) })
		if n := r.counters()["resendssent"]; n < 40 || n > 50 {
			t.Errorf("%d packets repeated, want those that are kept", n)
		}
	})
}

// Asked for a state, we tell what we know of it; what another answers for goes
// out as an answer, as does the deletion of what is not known.
func TestAskedForStates(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
		q.beacon()
		r.table(created(tcp(us, 1, estab, estab)))
		q.tell(wire.ActIns, tcp(0xcccccccc, 2, estab, estab))
		time.Sleep(200 * time.Millisecond)
		epoch, _ := r.named()
		for _, c := range []struct {
			id    pfstate.ID
			want  string
			flags []string
		}{
			{pfstate.ID{State: 1, Creator: us}, "UPD 0000000000000001/aaaaaaaa 4:4", nil},
			{pfstate.ID{State: 2, Creator: 0xcccccccc}, "UPD 0000000000000002/cccccccc 4:4", []string{"flags 1"}},
		} {
			r.forget()
			p.ask(func(w *wire.TrailerWriter) { w.Ask(epoch, []pfstate.ID{c.id}) })
			time.Sleep(300 * time.Millisecond)
			r.asked("flags", c.flags...)
			r.expect(c.want)
		}
	})
}

// All buckets are told, once each, and the list of a bucket is of what we answer for.
func TestDigestsAndListsAreComplete(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		const n = 500
		var changes []pfstate.Change
		sums, lists := make([]uint64, wire.Buckets), make(map[pfstate.ID]uint64)
		for i := range n {
			s := tcp(us, i+1, estab, estab)
			changes = append(changes, created(s))
			sums[wire.Bucket(s.ID)] += saidOf(s)
			lists[s.ID] = saidOf(s)
		}
		r.table(changes...)
		p.tell(wire.ActIns, tcp(them, 1000, estab, estab)) // not ours
		time.Sleep(200 * time.Millisecond)
		r.forget()
		epoch, _ := r.named()
		p.ask(func(w *wire.TrailerWriter) { w.AskDigests(epoch) })
		time.Sleep(300 * time.Millisecond)
		buckets := 0
		r.eachAttr(wire.AttrDigests, func(body []byte) {
			first, got, err := wire.ParseDigests(body)
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(got) / wire.SumLen {
				if buckets++; wire.SumAt(got, i) != sums[first+i] {
					t.Errorf("bucket %d sums up to %x, want %x", first+i, wire.SumAt(got, i), sums[first+i])
				}
			}
		})
		if buckets != wire.Buckets {
			t.Errorf("%d buckets were told", buckets)
		}

		p.ask(func(w *wire.TrailerWriter) {
			var all []uint16
			for b := range 600 {
				all = append(all, uint16(b))
			}
			w.AskList(epoch, all)
		})
		time.Sleep(300 * time.Millisecond)
		ends := 0
		r.eachAttr(wire.AttrList, func(body []byte) {
			bucket, flags, entries, err := wire.ParseList(body)
			if err != nil {
				t.Fatal(err)
			}
			if flags&wire.ListLast != 0 {
				ends++
			}
			for i := range len(entries) / wire.ListedLen {
				l := wire.ListedAt(entries, i)
				if wire.Bucket(l.ID) != bucket || lists[l.ID] != l.Said {
					t.Errorf("bucket %d lists %v=%x, want %x", bucket, l.ID, l.Said, lists[l.ID])
				}
				delete(lists, l.ID)
			}
		})
		for id := range lists {
			if wire.Bucket(id) < 600 {
				t.Errorf("%v is not listed", id)
			}
		}
		if ends != 600 {
			t.Errorf("%d lists were told to their end, want 600", ends)
		}
	})
}

// eachAttr takes the attributes of one kind that were sent.
func (r *rig) eachAttr(want wire.AttrType, visit func(body []byte)) {
	for _, p := range r.takeRaw() {
		t, err := wire.ParseTrailer(wire.Behind(p.b))
		if err != nil {
			r.t.Fatal(err)
		}
		for rest := t.Attrs; len(rest) > 0; {
			typ, body, next, err := wire.NextAttr(rest)
			if err != nil {
				r.t.Fatal(err)
			}
			if rest = next; typ == want {
				visit(body)
			}
		}
	}
}

// That a state is not known here is an answer: nobody's claim ends by it.
func TestAskedForUnknownStates(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		epoch, _ := r.named()
		time.Sleep(200 * time.Millisecond)
		r.forget()
		p.ask(func(w *wire.TrailerWriter) { w.Ask(epoch, []pfstate.ID{{State: 9, Creator: them}}) })
		time.Sleep(300 * time.Millisecond)
		r.asked("flags", "flags 1")
		r.expect("DEL_C 0000000000000009/bbbbbbbb")
	})
}

// An idle engine answers without waiting for something else to happen.
func TestAskedForStatesIsAnsweredAtOnce(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.table(created(tcp(us, 1, estab, estab)))
		epoch, _ := r.named()
		time.Sleep(110 * time.Millisecond)
		r.forget()
		p.ask(func(w *wire.TrailerWriter) { w.Ask(epoch, []pfstate.ID{{State: 1, Creator: us}}) })
		time.Sleep(5 * time.Millisecond)
		r.expect("UPD 0000000000000001/aaaaaaaa 4:4")
	})
}
