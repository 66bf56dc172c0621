package engine_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// various is one of as many states as there are numbers, of every kind of keys.
func various(n int) pfstate.State {
	s := tcp(us, n, estab, estab)
	four := func(net byte) netip.Addr { return netip.AddrFrom4([4]byte{net, byte(n >> 16), byte(n >> 8), byte(n)}) }
	six := func(net byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, net, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
	}
	orig := pfstate.Tuple{Src: four(10), Dst: four(11), SrcPort: 1024 + uint16(n), DstPort: 80}
	if n%8 >= 4 {
		orig.Src, orig.Dst = six(10), six(11)
	}
	reply, zone := orig.Reversed(), uint16(0)
	switch n % 4 {
	case 1:
		reply.Dst, reply.DstPort = netip.AddrFrom4([4]byte{192, 0, 2, 9}), 5000
		if orig.Src.Is6() {
			reply.Dst = six(12)
		}
	case 2:
		reply.SrcPort = 8080
	case 3:
		zone = 7
	}
	s.SetTuples(orig, reply, zone)
	s.Linux.Has = pfstate.HasMark
	if n%5 == 0 {
		s.Linux.Mark = uint32(n)
	}
	s.Packets, s.Bytes = [2]uint64{uint64(n % 3), 0}, [2]uint64{uint64(n % 3 * 100), 0}
	return s
}

// States come and go; as many as there are, each is found by its connection and by its id,
// and is what it was, though others have used its memory before.
func TestEveryStateIsFound(t *testing.T) {
	within(t, func(r *rig) {
		r.linkDown()
		rnd := rand.New(rand.NewPCG(7, 8))
		alive := make(map[uint64]pfstate.State)
		check := func() {
			r.t.Helper()
			got := make(map[uint64]pfstate.State)
			r.engine.States(func(s *pfstate.State) bool { got[s.ID.State] = *s; return true })
			if len(got) != len(alive) {
				r.t.Fatalf("%d states, want %d", len(got), len(alive))
			}
			for n, want := range alive {
				is := got[n]
				if want.Creation, want.Expire = is.Creation, is.Expire; is != want {
					r.t.Fatalf("state (-want +got):\n%s", cmp.Diff(want, is, cmpopts.EquateComparable(netip.Addr{})))
				}
			}
			for _, s := range alive {
				if e := []pfstate.Entry{{State: s}}; r.engine.Join(e) != nil || !e[0].Known || e[0].State.ID != s.ID {
					r.t.Fatalf("%v is not found by its connection", s.ID)
				}
				break
			}
		}
		for _, change := range []struct{ most, chance int }{{9000, 90}, {9000, 5}, {20000, 50}, {20000, 95}, {20000, 10}} {
			for range 8 {
				var changes []pfstate.Change
				for range 2000 {
					n := 1 + rnd.IntN(change.most)
					s := various(n)
					_, here := alive[s.ID.State]
					switch bear := rnd.IntN(100) < change.chance; {
					case bear && !here:
						alive[s.ID.State] = s
						changes = append(changes, created(s))
					case !bear && here:
						delete(alive, s.ID.State)
						changes = append(changes, deleted(s))
					case here:
						if s.Linux.Mark++; s.Linux.Mark%2 == 0 {
							s.Linux.Mark = 0
						}
						alive[s.ID.State] = s
						changes = append(changes, updated(s))
					}
				}
				r.table(changes...)
			}
			check()
		}
		r.counted("resyncmended=0")
	})
}

// While the link is down states wait. Many that have come meanwhile have gone again; the
// others are told once each, in the order in which they came.
func TestStatesWaitInOrder(t *testing.T) {
	within(t, func(r *rig) {
		r.linkDown()
		var want []string
		for round := range 40 {
			var changes []pfstate.Change
			for k := range 500 {
				s := tcp(us, 1+round*500+k, estab, estab)
				changes = append(changes, created(s))
				if k%100 == round {
					want = append(want, fmt.Sprintf("INS %v 4:4", s.ID))
				}
			}
			for k := range 500 {
				if k%100 != round {
					changes = append(changes, deleted(tcp(us, 1+round*500+k, estab, estab)))
				}
			}
			r.table(changes...)
		}
		r.linkUp()
		var got []string
		for sent, _ := r.told(); len(sent) > 0; sent, _ = r.told() {
			got = append(got, sent...)
		}
		got = slices.DeleteFunc(got, func(m string) bool { return m[:4] != "INS " })
		if !slices.Equal(got, want) {
			t.Errorf("%d states were told, want %d, or the order is another", len(got), len(want))
		}
	})
}
