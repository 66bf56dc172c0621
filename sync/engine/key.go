package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/sync/auth"
)

// Times of a change of the key: the one before is kept until every living peer
// has shown the new one, but not for ever.
const (
	keyOverlap = 3 * time.Second
	keyMost    = time.Hour
)

// SetKey makes key the one that packets are sealed and opened with; nil: none. The key
// before is accepted until every peer has shown the new one. The same key again changes
// nothing. key is not kept.
func (e *Engine) SetKey(key []byte) error {
	return e.do(func() {
		if key == nil {
			e.keys.Clear()
			return
		}
		before := e.keys
		e.keys.Set(key)
		if e.keys == before {
			return
		}
		e.keyed = e.now
		e.ring.clear() // sealed with what the peers may not take any more
		e.peers.each(func(p *peer) { p.keyed = false })
		e.log.Info("key set", "changing", e.keys.Changing())
	})
}

// retireKey forgets the key before once nobody needs it.
func (e *Engine) retireKey() {
	if !e.keys.Changing() || e.now-e.keyed < keyOverlap {
		return
	}
	living, without := 0, 0
	e.peers.each(func(p *peer) {
		if p.linux && !p.dead {
			living++
			if !p.keyed {
				without++
			}
		}
	})
	if late := e.now-e.keyed > keyMost; !late && (living == 0 || without > 0) {
		return
	}
	e.keys.Retire()
	e.ring.clear()
	e.log.Info("key before is not accepted any more", "peers", living, "without", without)
}

// authentic checks the authentication code of a packet, if a key is set.
func (e *Engine) authentic(payload []byte) (verdict auth.Verdict, ok bool) {
	verdict, err := e.keys.Open(payload)
	if err != nil {
		e.counters.add(badAuth)
		return verdict, false
	}
	return verdict, true
}
