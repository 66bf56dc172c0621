package bsd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/bsd/peer"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// told is what pf says of TCP connections, without what is its own or of the moment: ids,
// sequence numbers, rules, times.
func told(states map[peer.ID]peer.State) (all []string, creators map[uint32]int) {
	creators = map[uint32]int{}
	for id, s := range states {
		if s.Proto == 6 {
			creators[id.Creator]++
			all = append(all, fmt.Sprintf("dir %d on %s: wire %v stack %v, %d:%d timeout %d, anchor %x nat %x", s.Direction, s.IfName, s.Wire, s.Stack,
				s.Src.State, s.Dst.State, s.Timeout, s.Anchor, s.NATRule))
		}
	}
	slices.Sort(all)
	return all, creators
}

// TestBulkAnswersAreThoseOfTheRealPeer has a BSD join a firewall that holds the five
// connections that guest A held in the capture: it gets what guest B got, a state in and a
// state out of each, between a start and an end.
func TestBulkAnswersAreThoseOfTheRealPeer(t *testing.T) {
	for capture, y := range map[string]*peer.System{"openbsd80-bulk.pcap": peer.OpenBSD, "freebsd13-bulk.pcap": peer.FreeBSD13} {
		t.Run(y.Name, func(t *testing.T) {
			real := peer.NewBox(y, 0xb2b2b2b2, nil)
			real.Mute = true
			for _, f := range corpus.Frames(t, capture) {
				if sender(f) == netip.MustParseAddr("10.9.0.1") {
					real.Hear(255, f.Payload())
				}
			}
			want, from := told(real.States())
			if len(want) != 10 || from[0xa1a1a1a1] != 10 {
				t.Fatalf("guest B got %d states, from %x", len(want), from)
			}
			beside(t, y, func(b *bench) {
				for n := range 5 {
					s := ourTCP(n, 4, 4)
					orig, _ := s.Tuples()
					orig.Src, orig.Dst = netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2")
					orig.SrcPort, orig.DstPort = uint16(43000+n), 8080
					s.SetTuples(orig, orig.Reversed(), 0)
					b.create(s)
				}
				b.settle()
				b.Restart()
				b.Join()
				b.settle()
				got, from := told(b.States())
				if diff := cmp.Diff(want, got); diff != "" || from[us] != 10 {
					b.Errorf("the BSD got, from %x (-from guest A +from us):\n%s", from, diff)
				}
				for id := range b.States() {
					if _, other := b.States()[peer.ID{State: id.State ^ 1<<63, Creator: us}]; !other {
						b.Errorf("%x is alone", id.State)
					}
				}
				if heard := strings.Join(b.Heard(), " "); !strings.HasPrefix(heard, "BUS 1 UPD") || !strings.HasSuffix(heard, " BUS 2") || strings.Contains(heard, "INS") {
					b.Errorf("the BSD heard %s", heard)
				}
				if b.Bulk() != "done" {
					b.Errorf("its bulk update is %q", b.Bulk())
				}
				b.content()
			})
		})
	}
}
