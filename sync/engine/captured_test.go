package engine_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// answersIn names the answers in a packet: requests for states, and acknowledgements.
func answersIn(t *testing.T, payload []byte) (names []string) {
	h, rest, err := wire.ParseHeader(payload)
	for err == nil && len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil || s.End() {
			break
		}
		if s.Action != wire.ActInsAck && s.Action != wire.ActUpdReq {
			continue
		}
		for n := range s.Count {
			id, err := wire.ParseID(s.Message(n))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, fmt.Sprint(s.Action, " ", id))
		}
	}
	if err != nil {
		t.Error(err)
	}
	return names
}

// TestAnswersAreThoseOfTheRealPeer puts a firewall in the place of guest B: it hears
// what A sent, and acknowledges and asks for what the real B did.
func TestAnswersAreThoseOfTheRealPeer(t *testing.T) {
	const a, b = "10.9.0.1", "10.9.0.3"
	for _, c := range []struct {
		capture string
		some    int // answers, at least
	}{
		{"openbsd80-defer", 1}, {"openbsd80-bulk-many", 2}, {"openbsd80-bulk", 0}, {"openbsd80-tcp", 0}, {"openbsd80-nat", 0},
		{"freebsd13-tcp", 0}, {"freebsd13-nat", 0}, {"freebsd13-kill", 0},
	} {
		t.Run(c.capture, func(t *testing.T) {
			withMemory(t, engine.PairOff, func(m *memoryRig) {
				var mu sync.Mutex
				var got, want []string
				m.hub.Tap(func(f linktest.Frame) {
					mu.Lock()
					defer mu.Unlock()
					for _, name := range answersIn(t, f.Payload) {
						if name != "UPD ST REQ 0000000000000000/00000000" { // of coming up, at our own time
							got = append(got, name)
						}
					}
				})
				var last time.Time
				for i, f := range corpus.Frames(t, c.capture+".pcap") {
					if i > 0 {
						time.Sleep(f.Time.Sub(last))
					}
					last = f.Time
					if sender(f) == netip.MustParseAddr(a) {
						m.port.Inject(link.Packet{Src: sender(f), TTL: 255, Payload: f.Payload()})
						synctest.Wait()
						continue
					}
					for _, name := range answersIn(t, f.Payload()) {
						if name != "UPD ST REQ 0000000000000000/00000000" {
							want = append(want, name)
						}
					}
				}
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" || len(want) < c.some {
					t.Errorf("%s of %s (-%s +ours):\n%s", c.capture, b, b, diff)
				}
			})
		})
	}
}
