package engine_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// A Linux peer says something each second: after 3 s without it is stale, after 6 s dead.
func TestPeerFallsSilent(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		p.beacon()
		for _, step := range []struct {
			until time.Duration
			want  string
		}{
			{2900 * time.Millisecond, "linux up 1 yes"},
			{4100 * time.Millisecond, "linux stale 1 unknown"},
			{5900 * time.Millisecond, "linux stale 1 unknown"},
			{7100 * time.Millisecond, "linux dead 1 unknown"},
			{time.Minute, "linux dead 1 unknown"},
		} {
			time.Sleep(step.until - p.status().Age)
			p.is(step.want)
		}
		r.loggedTimes(1, "level=WARN", "peer is not heard", p.addr.String())
		r.loggedTimes(1, "level=WARN", "peer is dead", "states=1")
		r.counted("peerdeaths=1")
		r.forget()
		time.Sleep(2 * time.Second)
		r.asked("heard hello", "hello aaaaaaaa", "hello aaaaaaaa") // it is not named any more
	})
}

// A peer that is heard again in the same epoch is where it was.
func TestPeerIsHeardAgain(t *testing.T) {
	for _, silent := range []time.Duration{4500 * time.Millisecond, 20 * time.Second} {
		paired(t, func(r *rig, p *linux) {
			p.tell(wire.ActIns, tcp(them, 1, estab, estab))
			time.Sleep(silent)
			p.beacon()
			p.is("linux up 1 yes")
			r.loggedTimes(1, "peer is heard again")
			p.live(5 * time.Second)
			r.loggedTimes(1, "peer is heard again")
			r.counted("peerrestarts=0", "drifts=0")
		})
	}
}

// A restart is a new epoch. What the peer said before it is nobody's.
func TestPeerRestarts(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab), tcp(them, 2, estab, estab))
		p.beacon()
		p.is("linux up 2 yes")
		again := r.linux(theirAddr, them, theirEpoch+1)
		again.beacon()
		r.counted("peerrestarts=1")
		r.loggedTimes(1, "level=INFO", "peer has restarted")
		again.is("linux up 0 yes")
		again.tell(wire.ActUpd, tcp(them, 1, estab, estab))
		again.beacon()
		again.is("linux up 1 yes")
		if n := r.status().Imported; n != 2 {
			t.Errorf("%d states, want both kept", n)
		}
	})
}

// A peer keeps what it is when its address changes.
func TestPeerWithAnotherAddress(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		p.tell(wire.ActIns, tcp(them, 1, estab, estab))
		p.addr = thirdAddr
		p.beacon()
		p.is("linux up 1 yes")
		if s := r.status(); s.Peers != 1 {
			t.Errorf("%d peers, want 1", s.Peers)
		}
		r.counted("peerrestarts=0")
	})
}

// Who is heard and does not hear us is named after four seconds.
func TestOneWayLink(t *testing.T) {
	for _, c := range []struct {
		name string
		deaf func(*linux)
	}{
		{"from the start", func(p *linux) { p.deaf = true }},
		{"from now on", func(p *linux) { p.beacon(); _, p.heard = p.r.named() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			paired(t, func(r *rig, _ *linux) {
				p := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
				c.deaf(p)
				p.beacon()
				p.live(3500 * time.Millisecond)
				p.is("linux up 0 yes")
				p.live(2500 * time.Millisecond)
				p.is("linux up 0 yes does not hear us")
				p.live(10 * time.Second)
				r.counted("onewaylinks=1")
				r.loggedTimes(1, "level=WARN", "one-way link", "peer="+thirdAddr.String())
				p.deaf, p.heard = false, 0
				p.live(2 * time.Second)
				p.is("linux up 0 yes")
				r.loggedTimes(1, "level=INFO", "hears us again")
				r.counted("onewaylinks=1")
			})
		})
	}
}

// Two firewalls with one creatorid: an operator must act, and is told once.
func TestPeerWithOurCreatorid(t *testing.T) {
	paired(t, func(r *rig, _ *linux) {
		p := r.linux(thirdAddr, us, 0xcccc)
		p.live(5 * time.Second)
		p.is("linux up 0 yes uses our creatorid")
		r.loggedTimes(1, "level=ERROR", "uses our creatorid", thirdAddr.String(), "creatorid=aaaaaaaa", "--hostid")
		r.counted("owncreator=5")
		if s := p.status(); s.Creator != us {
			t.Errorf("creatorid %08x", s.Creator)
		}
	})
}

// Peers whose packets are not understood are named, with what they speak.
func TestPeersOfOtherVersions(t *testing.T) {
	for _, c := range []struct {
		version uint8
		want    string
	}{{4, "version 4"}, {7, "version 7"}} {
		paired(t, func(r *rig, _ *linux) {
			payload := wire.Header{Version: wire.Version, Len: wire.HeaderLen}.Append(nil)
			payload[0] = c.version
			for range 3 {
				r.packet(link.Packet{Src: thirdAddr, TTL: 255, Payload: payload})
			}
			list := r.status().PeerList
			if len(list) != 2 {
				t.Fatalf("peers %+v", list)
			}
			if p := list[1]; p.Kind != c.want || !slices.Equal(p.Problems, []string{"its packets are not understood"}) || p.State != "up" || p.Sync != "unknown" {
				t.Errorf("version %d is %+v", c.version, p)
			}
			r.counted("badver=3")
			r.loggedTimes(1, "level=WARN", "not understood", "peer="+thirdAddr.String())
		})
	}
}

// made is the nth address that somebody made up.
func made(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// Whoever makes up addresses, and epochs too, gets no living Linux peer out.
func TestMadeUpAddresses(t *testing.T) {
	for _, kind := range []string{"openbsd", "linux", "version 4"} {
		t.Run(kind, func(t *testing.T) {
			paired(t, func(r *rig, p *linux) {
				s := tcp(them, 1, estab, estab)
				p.tell(wire.ActIns, s)
				p.beacon()
				var w wire.Writer
				w.Reset(1400)
				w.UpdC(upd(s))
				bsd := slices.Clone(w.Finish())
				for n := range 1000 {
					switch kind {
					case "linux":
						q := r.linux(made(n), uint32(n+1), uint64(n+1))
						q.deaf = true
						q.beacon()
					case "version 4":
						r.packet(link.Packet{Src: made(n), TTL: 255, Payload: append([]byte{4}, bsd[1:]...)})
					default:
						r.packet(link.Packet{Src: made(n), TTL: 255, Payload: bsd})
					}
					if n%100 == 0 {
						p.beacon()
					}
				}
				if n := r.status().Peers; n > 64 {
					t.Errorf("%d peers", n)
				}
				if kind == "linux" {
					r.counted(fmt.Sprintf("toomanypeers=%d", 1000-63))
				}
				s.Src.State = closing
				p.tell(wire.ActUpdC, s)
				p.beacon()
				if st := p.status(); st.State != "up" || st.Kind != "linux" || len(st.Problems) > 0 {
					t.Errorf("the peer is %+v", st)
				}
				r.counted("peerrestarts=0")
				r.forget()
				epoch, _ := r.named()
				p.ask(func(w *wire.TrailerWriter) { w.Ask(epoch, []pfstate.ID{s.ID}) }) // it is still served
				time.Sleep(300 * time.Millisecond)
				r.expect("UPD 0000000000000001/bbbbbbbb 7:4")
			})
		})
	}
}

// With a syncpeer, nobody else is listened to.
func TestOnlyTheSyncpeerIsHeard(t *testing.T) {
	paired(t, func(r *rig, p *linux) {
		r.statuses <- link.Status{Config: link.Config{Syncdev: "sis2", Syncpeer: theirAddr}, Up: true, MTU: 1500, Index: 3, Addr: ourAddr}
		synctest.Wait()
		r.forget()
		q := r.linux(thirdAddr, 0xcccccccc, 0xcccc)
		q.beacon()
		q.tell(wire.ActIns, tcp(0xcccccccc, 1, estab, estab))
		r.wrote()
		r.counted("badpeer=2", "iacts.INS ST=0")
		p.tell(wire.ActIns, tcp(them, 2, estab, estab))
		r.wrote("insert 0000000000000002/bbbbbbbb 4:4")
		if s := r.status(); s.Peers != 1 {
			t.Errorf("%d peers, want 1", s.Peers)
		}
		for n := range 100 { // addresses are cheap
			r.packet(link.Packet{Src: made(n), TTL: 255})
		}
		r.loggedTimes(1, "level=WARN", "not the syncpeer", "peer="+thirdAddr.String())
		r.loggedTimes(1, "not the syncpeer")
		time.Sleep(2 * time.Minute)
		q.beacon()
		r.packet(link.Packet{Src: made(1), TTL: 255})
		r.loggedTimes(1, "not the syncpeer", "peer="+made(1).String())
	})
}
