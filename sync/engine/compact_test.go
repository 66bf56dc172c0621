package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// greets says that p understands compact messages.
func (p *linux) greets() {
	p.ask(func(w *wire.TrailerWriter) {
		w.Hello(wire.Hello{Creator: p.creator, Features: wire.FeatureCompact})
		w.Digest(p.digest())
	})
}

// terse runs test with an engine whose one peer understands compact messages.
func terse(t *testing.T, test func(*rig, *linux)) {
	t.Helper()
	paired(t, func(r *rig, p *linux) {
		p.greets()
		r.forget()
		r.base = r.counters()
		test(r, p)
	})
}

// forms names the messages about states in the packets sent since the last call, those in
// the compact form in lower case.
func (r *rig) forms() (all []string) {
	for _, p := range r.takeRaw() {
		all = append(all, messages(r.t, p.b)...)
		all = append(all, compactNames(r.t, p.b)...)
	}
	return all
}

func compactNames(t *testing.T, packet []byte) (all []string) {
	trailer, err := wire.ParseTrailer(wire.Behind(packet))
	if err != nil {
		return nil
	}
	for rest := trailer.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = next
		if typ < wire.AttrInsert || typ > wire.AttrDelete {
			continue
		}
		creator, b, err := wire.ParseCompact(typ, body)
		for len(b) > 0 && err == nil {
			var s pfstate.State
			var u wire.UpdC
			switch typ {
			case wire.AttrDelete:
				all = append(all, fmt.Sprintf("delete %v", wire.DeletedAt(b, creator, 0)))
				b = b[wire.DeletedLen:]
			case wire.AttrUpdate:
				b, err = wire.NextUpdate(creator, b, &u)
				all = append(all, fmt.Sprintf("update %v %d:%d mark %d", u.ID, u.Src.State, u.Dst.State, u.Linux.Mark))
			default:
				b, err = wire.NextState(creator, b, &s)
				all = append(all, fmt.Sprintf("%v %v %d:%d mark %d", typ, s.ID, s.Src.State, s.Dst.State, s.Linux.Mark))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func (r *rig) sees(want ...string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.forms(); !slices.Equal(got, want) {
		r.t.Errorf("after %v sent %q, want %q", time.Since(r.start), got, want)
	}
}

func withMark(s pfstate.State, mark uint32) pfstate.State {
	s.Linux = pfstate.Linux{Has: pfstate.HasMark, Mark: mark}
	return s
}

// Between Linux peers that understand it the compact form is spoken; a BSD, or an older
// Linux peer, brings pf's back with the next packet.
func TestFormFollowsThePeers(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		s := withMark(tcp(us, 1, synSent, closed), 7)
		r.table(created(s))
		r.sees("insert 0000000000000001/aaaaaaaa 2:0 mark 7")
		s.Src.State, s.Dst.State = estab, estab
		s.Linux.Mark = 0
		r.table(updated(s))
		r.sees("update 0000000000000001/aaaaaaaa 4:4 mark 0")
		r.table(deleted(s))
		r.sees("delete 0000000000000001/aaaaaaaa")
		r.counted("ocompact=3", "oacts.INS ST=1", "oacts.UPD ST COMP=1", "oacts.DEL ST COMP=1")

		old := r.linux(thirdAddr, 0xcccccccc, 0xccc)
		old.beacon()
		r.forget()
		r.table(created(tcp(us, 2, estab, estab)))
		r.sees("INS 0000000000000002/aaaaaaaa 4:4")
		old.greets() // it has been updated
		r.forget()
		r.table(created(tcp(us, 3, estab, estab)))
		r.sees("insert 0000000000000003/aaaaaaaa 4:4 mark 0")
	})
}

// A BSD that says anything but a request for all states is told all of them: it has
// understood nothing so far.
func TestWhoeverHasNoTrailerIsToldAllInPFsForm(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprint("asks ", asks), func(t *testing.T) {
			terse(t, func(r *rig, p *linux) {
				r.table(created(tcp(us, 1, estab, estab)))
				r.sees("insert 0000000000000001/aaaaaaaa 4:4 mark 0")
				bsd := packet(func(w *wire.Writer) {
					if asks {
						w.ID(wire.ActUpdReq, pfstate.ID{})
					} else {
						w.ID(wire.ActDelC, pfstate.ID{State: 99, Creator: them})
					}
				})
				bsd.Src = thirdAddr
				r.packet(bsd)
				r.table(updated(tcp(us, 1, 9, 9)))
				p.live(2 * time.Second)
				var ups, buses int
				for _, m := range r.forms() {
					switch m {
					case "UPD_C 0000000000000001/aaaaaaaa 9:9":
					case "UPD 0000000000000001/aaaaaaaa 9:9", "UPD 0000000000000001/aaaaaaaa 4:4":
						ups++
					case "BUS aaaaaaaa 1", "BUS aaaaaaaa 2":
						buses++
					default:
						t.Errorf("sent %q", m)
					}
				}
				if ups != 1 || buses != 2 {
					t.Errorf("%d states told in full, %d marks of a bulk update, want 1 and 2", ups, buses)
				}
			})
		})
	}
}

// A BSD that is silent may hold nothing but copies. It is asked for a state each minute,
// and what it answers is no news.
func TestSilentBSDIsAskedWhetherItIsThere(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		s := tcp(us, 1, estab, estab)
		s.Expire = 24 * time.Hour
		r.table(created(s))
		say := func(messages messagesOf) {
			b := packet(messages)
			b.Src = thirdAddr
			r.packet(b)
		}
		say(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		for range 30 { // half an hour
			p.greets()
			p.live(50 * time.Second)
			r.forget()
			for range 15 {
				time.Sleep(time.Second)
				p.greets()
			}
			if !slices.Contains(r.forms(), "UPD_REQ 0000000000000001/aaaaaaaa") {
				t.Fatalf("not asked after %v", time.Since(r.start))
			}
			say(func(w *wire.Writer) { w.State(wire.ActUpd, &s) })
		}
		r.forget()
		r.table(deleted(s)) // it is still ours to tell of
		r.sees("DEL_C 0000000000000001/aaaaaaaa")

		s = tcp(us, 2, estab, estab)
		s.Expire = 24 * time.Hour
		r.table(created(s))
		for range 700 { // it has gone
			time.Sleep(time.Second)
			p.greets()
		}
		r.forget()
		r.table(deleted(s))
		r.sees("delete 0000000000000002/aaaaaaaa")
	})
}

// pfsync0 shows pf's messages to whoever watches, whatever goes over the link, and costs
// nothing when nobody does.
func TestPfsync0ShowsPFsMessages(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		shows := func(want ...string) {
			t.Helper()
			synctest.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			if !slices.Equal(r.frames, want) {
				t.Errorf("shown %q, want %q", r.frames, want)
			}
			r.frames = nil
		}
		r.frames = nil
		s := tcp(us, 1, synSent, closed)
		r.table(created(s))
		r.sees("insert 0000000000000001/aaaaaaaa 2:0 mark 0")
		shows("INS 0000000000000001/aaaaaaaa 2:0")
		r.table(updated(tcp(us, 1, estab, estab)))
		r.table(deleted(s))
		shows("UPD_C 0000000000000001/aaaaaaaa 4:4", "DEL_C 0000000000000001/aaaaaaaa")
		r.mu.Lock()
		r.unseen = true
		r.mu.Unlock()
		r.forget()
		r.table(created(s))
		r.sees("insert 0000000000000001/aaaaaaaa 2:0 mark 0")
		shows()
	})
}

// What compact messages cannot say is said in pf's form.
func TestStatesOfAPFGoInPFsForm(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		s := tcp(0xcccccccc, 1, estab, estab)
		s.Src.SeqLo, s.Rule = 1000, 7
		p.tell(wire.ActIns, s)
		r.forget()
		p.ask(func(w *wire.TrailerWriter) { w.Ask(r.epoch, []pfstate.ID{s.ID}) })
		r.sees("UPD 0000000000000001/cccccccc 4:4")
		plain := tcp(0xcccccccc, 2, estab, estab)
		p.tell(wire.ActIns, plain)
		r.forget()
		p.ask(func(w *wire.TrailerWriter) { w.Ask(r.epoch, []pfstate.ID{plain.ID}) })
		r.sees("state 0000000000000002/cccccccc 4:4 mark 0")
	})
}

// A compact message reaches the table with all that it says, and its name is the one in
// the sender's digest.
func TestCompactMessagesAreTaken(t *testing.T) {
	terse(t, func(r *rig, p *linux) {
		s := withMark(tcp(them, 1, synSent, closed), 3)
		s.Linux.Has |= pfstate.HasLabels
		s.Linux.Rare.Labels[0] = 9
		tell := func(add func(*wire.CompactWriter)) {
			var c wire.CompactWriter
			c.Reset(1300)
			add(&c)
			p.ask(func(w *wire.TrailerWriter) {
				w.Compact(c.Bytes())
				w.Digest(p.digest())
			})
		}
		p.answers[s.ID] = wire.SaidCompact(s.ID, &s.Src, &s.Dst, s.Timeout, &s.Linux)
		tell(func(c *wire.CompactWriter) { c.State(wire.AttrInsert, &s) })
		w := r.ordered()
		if len(w) != 1 || w[0].Kind != pfstate.WriteInsert || w[0].State.Linux != s.Linux {
			t.Fatalf("ordered %+v", w)
		}
		p.is("linux up 1 yes")
		// Nothing but a mark: no progress, but news.
		s.Linux.Mark = 4
		p.answers[s.ID] = wire.SaidCompact(s.ID, &s.Src, &s.Dst, s.Timeout, &s.Linux)
		tell(func(c *wire.CompactWriter) {
			c.Update(&wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout, Linux: s.Linux})
		})
		w = r.ordered()
		if len(w) != 1 || w[0].Kind != pfstate.WriteUpdate || !w[0].Renew || w[0].State.Linux.Mark != 4 {
			t.Fatalf("ordered %+v", w)
		}
		p.is("linux up 1 yes")
		delete(p.answers, s.ID)
		tell(func(c *wire.CompactWriter) { c.Delete(s.ID) })
		r.wrote("delete 0000000000000001/bbbbbbbb 2:0")
		p.is("linux up 0 yes")
		r.counted("icompact=3", "drifts=0", "badtrailer=0")

		bad := tcp(them, 2, 13, closed)
		good := tcp(them, 3, estab, estab)
		tell(func(c *wire.CompactWriter) { c.State(wire.AttrInsert, &bad); c.State(wire.AttrInsert, &good) })
		r.wrote("insert 0000000000000003/bbbbbbbb 4:4")
		r.counted("badval=1")
		p.ask(func(w *wire.TrailerWriter) { w.Attr(wire.AttrInsert, []byte{0xbb, 0xbb, 0xbb, 0xbb, 9}) })
		r.counted("badtrailer=1")
	})
}

// unlike is a firewall's link that changes what it says and hears.
type unlike struct {
	*unplugged
	received chan *pfstate.Batch[link.Packet]
	says     func([]byte) []byte // nil: nothing
}

func (u *unlike) Received() <-chan *pfstate.Batch[link.Packet] { return u.received }

func (u *unlike) Send(payloads [][]byte) (int, error) {
	for _, b := range payloads {
		if b = u.says(b); b != nil {
			if _, err := u.unplugged.Send([][]byte{b}); err != nil {
				return 0, err
			}
		}
	}
	return len(payloads), nil
}

// changed is a link whose packets pass says on their way out, and hears on their way in.
func changed(says, hears func([]byte) []byte) func(*unplugged, context.Context) engine.Link {
	return func(u *unplugged, ctx context.Context) engine.Link {
		l := &unlike{unplugged: u, received: make(chan *pfstate.Batch[link.Packet]), says: says}
		go func() {
			for {
				select {
				case b := <-u.Port.Received():
					for i := range b.Items {
						b.Items[i].Payload = hears(b.Items[i].Payload)
					}
					select {
					case l.received <- b:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		return l
	}
}

// aBSD sends no trailers, nor what is only a trailer, and reads none.
func aBSD() func(*unplugged, context.Context) engine.Link {
	cut := func(b []byte) []byte { return b[:binary.BigEndian.Uint16(b[2:])] }
	return changed(func(b []byte) []byte {
		if b = cut(b); len(b) == wire.HeaderLen {
			return nil
		}
		return b
	}, cut)
}

// anOld is a Linux peer of before compact messages.
func anOld() func(*unplugged, context.Context) engine.Link {
	rewrite := func(b []byte) []byte {
		t, err := wire.ParseTrailer(wire.Behind(b))
		if err != nil {
			return b
		}
		n := len(b) - len(wire.Behind(b))
		w := wire.BeginTrailer(slices.Clone(b[:n]), t.Flags, t.Epoch, t.Seq)
		for rest := t.Attrs; len(rest) > 0; {
			typ, body, next, err := wire.NextAttr(rest)
			if err != nil {
				return b
			}
			rest = next
			switch h, _ := wire.ParseHello(body); {
			case typ == wire.AttrHello:
				w.Hello(wire.Hello{Creator: h.Creator})
			case typ < wire.AttrInsert:
				w.Attr(typ, body)
			}
		}
		return w.End()
	}
	return changed(rewrite, rewrite)
}

// spoken counts the packets with compact messages and those with pf's messages of states.
type spoken struct{ compact, plain, bytes atomic.Int64 }

func (s *spoken) watch(t *testing.T, hub *linktest.Hub) {
	hub.Tap(func(f linktest.Frame) {
		s.bytes.Add(int64(len(f.Payload)))
		if compactNames(t, f.Payload) != nil {
			s.compact.Add(1)
		}
		for _, m := range messages(t, f.Payload) {
			switch m[:3] {
			case "INS", "UPD", "DEL":
				if m[:7] != "INS_ACK" && m[:7] != "UPD_REQ" {
					s.plain.Add(1)
					return
				}
			}
		}
	})
}

// take gives what was spoken since it was last called.
func (s *spoken) take() (compact, plain int64) { return s.compact.Swap(0), s.plain.Swap(0) }

func (p *pair) upAlone(f *firewall) {
	p.t.Helper()
	up := engine.DefaultSettings()
	up.Up = true
	if err := f.eng.Configure(up); err != nil {
		p.t.Fatal(err)
	}
}

// What conntrack alone knows is on both sides, and no message of pf's is needed for it.
func TestPairSpeaksCompactly(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		var s spoken
		s.watch(p.t, p.hub)
		p.hub.Set(linktest.Conditions{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1})
		for n := range 50 {
			st := tcp(0, 5000+n, estab, estab)
			st.Linux = pfstate.Linux{Has: pfstate.HasMark | pfstate.HasTCP, Mark: uint32(n), TCP: [2]uint8{3, uint8(n) & 7}}
			if n%5 == 0 {
				st.Linux.Has |= pfstate.HasLabels | pfstate.HasHelper
				st.Linux.Rare.Labels[1], st.Linux.Rare.Helper[0] = uint8(n), 'x'
			}
			p.a.table.Create(st)
			if n%2 == 0 {
				time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
				st.Linux.Mark *= 3
				p.a.table.Update(st)
			}
		}
		p.churn(r, 500, true)
		p.insync(30 * time.Second)
		linux := make(map[pfstate.Tuple]pfstate.Linux)
		for _, s := range p.a.table.States() {
			orig, _ := s.Tuples()
			linux[orig] = s.Linux
		}
		for _, s := range p.b.table.States() {
			orig, _ := s.Tuples()
			if a := linux[orig]; orig.SrcPort >= 1024+5000 && s.Linux != a {
				p.t.Errorf("%v: B has %+v, A %+v", orig, s.Linux, a)
			}
		}
		if compact, plain := s.take(); compact == 0 || plain != 0 {
			p.t.Errorf("%d packets in the compact form, %d in pf's", compact, plain)
		}
	})
}

// A BSD joins amid traffic, and leaves. All three hold the same as long as it is there;
// some minutes later the others are among themselves again.
func TestBSDJoinsAndLeaves(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		var s spoken
		s.watch(p.t, p.hub)
		p.churn(r, 300, true)
		if compact, plain := s.take(); compact == 0 || plain != 0 {
			p.t.Fatalf("%d packets in the compact form, %d in pf's", compact, plain)
		}
		bsd := p.joinAs(0xcccccccc, thirdAddr, aBSD())
		p.upAlone(bsd)
		for n := range 500 {
			p.churn(r, 1, true)
			bsd.traffic(r, 2000+r.IntN(200), true)
			if n == 20 {
				time.Sleep(time.Second)
				s.take()
			}
		}
		time.Sleep(5 * time.Second)
		if compact, plain := s.take(); compact != 0 || plain == 0 {
			p.t.Errorf("with a BSD: %d packets in the compact form, %d in pf's", compact, plain)
		}
		linuxes := p.b
		p.equal()
		p.b = bsd
		p.equal()
		p.b = linuxes

		bsd.kill()
		for i := range 15 {
			s := tcp(0, 6000+i, estab, estab)
			p.a.table.Create(s)
			time.Sleep(time.Minute)
		}
		s.take()
		p.churn(r, 200, true)
		p.insync(30 * time.Second)
		if compact, plain := s.take(); compact == 0 || plain != 0 {
			p.t.Errorf("without it: %d packets in the compact form, %d in pf's", compact, plain)
		}
		linuxes.deaf()
	})
}

// An older Linux peer is spoken to in pf's form, is in sync, and may be replaced by a newer.
func TestOlderLinuxPeer(t *testing.T) {
	simulate(t, func(p *pair, r *rand.Rand) {
		p.churn(r, 300, true)
		old := p.joinAs(0xcccccccc, thirdAddr, anOld())
		p.upAlone(old)
		var s spoken
		time.Sleep(100 * time.Millisecond)
		s.watch(p.t, p.hub)
		for range 300 {
			p.churn(r, 1, true)
			old.traffic(r, 2000+r.IntN(200), true)
		}
		time.Sleep(10 * time.Second)
		if compact, plain := s.take(); compact != 0 || plain == 0 {
			p.t.Errorf("with an older peer: %d packets in the compact form, %d in pf's", compact, plain)
		}
		p.equal()
		b := p.b
		p.b = old
		p.equal()
		p.b = b
		for _, f := range p.all {
			for _, peer := range f.status(p.t).PeerList {
				if peer.Sync != "yes" {
					p.t.Errorf("%08x: peer %v in sync: %s", f.creator, peer.Addr, peer.Sync)
				}
			}
		}
	})
}

func (f *firewall) status(t *testing.T) engine.Status {
	t.Helper()
	s, err := f.eng.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
