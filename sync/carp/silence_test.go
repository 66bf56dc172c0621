package carp_test

import (
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

// With pfsync's peers silent too, two adverts that do not come are enough. The last one
// came the moment before the power went.
func TestSilentPeersHastenTheTakeover(t *testing.T) {
	const two = 2*time.Second + skew100
	for _, c := range []struct {
		name         string
		silent, ends time.Duration // 0: it does not
		want         time.Duration
	}{
		{"told in time", 1700 * time.Millisecond, 0, two},
		{"told late", 2900 * time.Millisecond, 0, 2900 * time.Millisecond},
		{"not in the end", 1700 * time.Millisecond, 2200 * time.Millisecond, 3*time.Second + skew100},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair(t, func(r *rig, a, b *firewall) {
				a.sys.PowerOff()
				a.stop()
				time.AfterFunc(c.silent, func() { b.host.PeersSilent(true) })
				if c.ends != 0 {
					time.AfterFunc(c.ends, func() { b.host.PeersSilent(false) })
				}
				after(c.want - 2*slack)
				b.has("before it", carp.Backup, carp.Backup)
				after(3 * slack)
				b.has("after it", carp.Master, carp.Master)
				r.holders("after it", "fwB")
				hastened := uint64(2)
				if c.ends != 0 {
					hastened = 0
				}
				if n := b.counter("carp_hastenings"); n != hastened {
					t.Errorf("carp_hastenings %d, want %d", n, hastened)
				}
			})
		})
	}
}

// They say nothing of a master that is heard, nor of one whose single advert was lost.
func TestSilentPeersMoveNobody(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		changes := b.status("carp0").Changes
		b.host.PeersSilent(true)
		after(time.Minute)
		r.lan.Partition([]*carptest.System{a.sys}, []*carptest.System{b.sys})
		after(time.Second)
		r.lan.Partition()
		after(time.Minute)
		b.has("in the end", carp.Backup, carp.Backup)
		if n := b.status("carp0").Changes; n != changes {
			t.Errorf("%d changes", n-changes)
		}
	})
}
