package engine_test

import (
	"testing"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// Whatever comes from the network, the engine neither panics nor stops, and makes
// no more states than there were messages for.
func FuzzReceive(f *testing.F) {
	for _, frame := range corpus.AllFrames(f) {
		f.Add(frame.Payload(), frame.Payload())
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		feed, engine := newFeedEngine(t)
		go func() { // nobody counts what it does
			for {
				select {
				case <-feed.sent:
				case <-feed.orders:
				case <-feed.ended:
					return
				}
			}
		}()
		for _, payload := range [][]byte{first, second, first} {
			feed.deliver(link.Packet{Src: theirAddr, TTL: 255, Payload: payload})
		}
		s, err := engine.Status()
		if err != nil {
			t.Fatal(err)
		}
		most := (2*len(first) + len(second)) / wire.StateLen
		if s.Local != 0 || s.Imported > most {
			t.Errorf("%d local and %d imported states from at most %d messages", s.Local, s.Imported, most)
		}
	})
}
