package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// digest sums up the states that one firewall answers for, as it said them last:
// kept by the firewall itself, and by every other of what it was told.
type digest struct {
	states  int
	buckets [wire.Buckets]uint64
}

func (d *digest) add(id pfstate.ID, said uint64) {
	d.states++
	d.buckets[wire.Bucket(id)] += said
}

func (d *digest) sub(id pfstate.ID, said uint64) {
	d.states--
	d.buckets[wire.Bucket(id)] -= said
}

func (d *digest) wire() wire.Digest {
	w := wire.Digest{States: uint32(d.states)}
	for _, s := range d.buckets {
		w.Sum += s
	}
	return w
}
