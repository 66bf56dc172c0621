package engine

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const (
	beaconEvery  = time.Second
	heardMax     = 3 // peers named in each packet; a beacon names all
	unprovedMax  = 8
	beaconSpace  = 3*wire.AttrLen + wire.HelloLen + wire.DigestLen + wire.OldestLen
	trailerSpace = wire.TrailerLen + wire.AttrLen + wire.HeardLen + beaconSpace // with one peer heard
)

// newEpoch names a start of the engine.
func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(1, binary.BigEndian.Uint64(b[:]))
}

// unproved is the epoch of somebody who has not shown yet that his packets are of now.
type unproved struct {
	epoch uint64
	heard time.Duration
}

// heard lists whom we hear, most of them.
func (e *Engine) heard(most int) []wire.Heard {
	list := e.heardList[:0]
	for _, p := range e.peers.list {
		if p != nil && p.linux && !p.dead && len(list) < most {
			p.acked = p.window.whole()
			list = append(list, wire.Heard{Epoch: p.epoch, Seq: p.acked})
		}
	}
	for _, u := range e.unproved {
		if len(list) < most && e.now-u.heard < peerDead {
			list = append(list, wire.Heard{Epoch: u.epoch})
		}
	}
	e.heardList = list
	return list
}

// begin begins the trailer of the next packet.
func (e *Engine) begin(packet []byte, flags wire.TrailerFlags, heard int) wire.TrailerWriter {
	e.seq++
	w := wire.BeginTrailer(packet, flags, e.epoch, e.seq)
	if list := e.heard(heard); len(list) > 0 {
		w.Heard(list)
	}
	return w
}

// finish ends it and keeps the packet.
func (e *Engine) finish(w *wire.TrailerWriter) []byte {
	packet := w.End()
	if e.keys.On() {
		packet = e.keys.Seal(packet)
	}
	e.ring.put(e.seq, packet)
	return packet
}

// beacon appends what is said each second: who we are and what we answer for, as
// of this packet.
func (e *Engine) beacon(w *wire.TrailerWriter) {
	w.Hello(wire.Hello{Creator: e.cfg.Creator, Features: wire.FeatureCompact})
	w.Digest(e.own.wire())
	w.Oldest(max(1, e.ring.oldest))
	e.beaconed = e.now
}

// trailers puts a trailer behind each packet, what a beacon has behind the last.
func (e *Engine) trailers(payloads [][]byte, of []behind) {
	room := e.maxDatagram() - e.keys.Overhead()
	for i, p := range payloads {
		compact := of[i].compact
		w := e.begin(p, of[i].flags, min(heardMax, (room-len(p)-len(compact)-wire.TrailerLen-wire.AttrLen)/wire.HeardLen))
		w.Compact(compact)
		if i == len(payloads)-1 && !e.queued() && w.Len()+beaconSpace <= room && e.now-e.beaconed >= beaconEvery/4 {
			e.beacon(&w)
		}
		payloads[i] = e.finish(&w)
	}
}

// bare sends a packet without messages, for what is in its trailer. pfsync0 does
// not show it: no state has changed.
func (e *Engine) bare(fill func(*wire.TrailerWriter)) { e.bareNaming(heardMax, fill) }

// bareNaming names that many of those whom we hear.
func (e *Engine) bareNaming(heard int, fill func(*wire.TrailerWriter)) {
	if !e.linkState.Up || !e.settings.talks() {
		return
	}
	e.bareBuf = wire.Header{Version: e.dialect.Version(), Len: wire.HeaderLen}.Append(e.bareBuf[:0])
	w := e.begin(e.bareBuf, 0, heard)
	if fill != nil {
		fill(&w)
	}
	e.bareBuf = e.finish(&w)
	e.barePackets[0] = e.bareBuf
	e.counters.add(outBare)
	e.transmit(e.barePackets[:])
}

// bareRoom is what one attribute of a bare packet may hold.
func (e *Engine) bareRoom() int {
	return e.maxDatagram() - e.keys.Overhead() - wire.HeaderLen - wire.TrailerLen - wire.AttrLen - heardMax*wire.HeardLen - wire.AttrLen
}

// sendBeacon says each second that we are alive, if nothing else did.
func (e *Engine) sendBeacon() {
	if e.now-e.beaconed < beaconEvery-sweepEvery/2 || !e.running() {
		return
	}
	e.bareNaming(peersMax, e.beacon)
}

// greet answers a newcomer at once, so that it need not wait a second.
func (e *Engine) greet() {
	if e.now-e.greeted >= 100*time.Millisecond {
		e.greeted = e.now
		e.bare(e.beacon)
	}
}

// maxDatagram is what fits behind the IP header, trailer included.
func (e *Engine) maxDatagram() int {
	mtu := e.settings.MTU
	if m := e.linkState.MTU; m > 0 {
		mtu = min(mtu, m)
	}
	return mtu - e.ipHeaderLen()
}

// ipHeaderLen is that of what is sent.
func (e *Engine) ipHeaderLen() int { return link.HeaderLen(e.linkState.Config.Peer()) }

// attributes calls handle with each attribute of t, until one is malformed.
func attributes(t *wire.Trailer, handle func(wire.AttrType, []byte) error) error {
	for rest := t.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err == nil {
			err = handle(typ, body)
		}
		if err != nil {
			return err
		}
		rest = next
	}
	return nil
}

// preamble handles what must be known before the messages of the packet are read.
func (e *Engine) preamble(p *peer, t *wire.Trailer) error {
	return attributes(t, func(typ wire.AttrType, body []byte) error {
		switch typ {
		case wire.AttrHello:
			h, err := wire.ParseHello(body)
			if err != nil {
				return err
			}
			e.introduced(p, h)
		case wire.AttrHeard:
			e.heardBy(p, body)
		case wire.AttrOldest:
			seq, _, err := wire.ParseEpoch(body)
			if err != nil {
				return err
			}
			p.oldest = max(p.oldest, seq)
			e.gaveUp(p, p.window.before(p.oldest))
		}
		return nil
	})
}

// heardBy takes whom p hears.
func (e *Engine) heardBy(p *peer, body []byte) {
	p.hears = p.hears[:0]
	for i := range len(body) / wire.HeardLen {
		h := wire.HeardAt(body, i)
		if len(p.hears) < peersMax {
			p.hears = append(p.hears, h)
		}
		if h.Epoch == e.epoch && h.Seq <= e.seq {
			if p.provedUs = true; h.Seq > p.heardUs {
				p.heardUs, p.heardUsAt = h.Seq, e.now
			}
		}
	}
}

// hearsUs looks for our epoch in the trailer of a packet that may be an old one,
// sent again by somebody who recorded it.
func (e *Engine) hearsUs(t *wire.Trailer) (yes bool) {
	_ = attributes(t, func(typ wire.AttrType, body []byte) error {
		if typ == wire.AttrHeard {
			for i := range len(body) / wire.HeardLen {
				yes = yes || wire.HeardAt(body, i).Epoch == e.epoch
			}
		}
		return nil
	})
	return yes
}

// prove reports whether a packet of an epoch not known may be taken: with a key,
// only once its sender has heard us in this epoch of ours. Nobody ever hears one who listens.
func (e *Engine) prove(p *link.Packet, t *wire.Trailer) bool {
	if !e.keys.On() || e.settings.Listen || e.peers.speaking(t.Epoch) != nil || e.hearsUs(t) {
		return true
	}
	e.counters.add(unprovedPackets)
	known := false
	for i := range e.unproved {
		if u := &e.unproved[i]; u.epoch == t.Epoch {
			u.heard, known = e.now, true
		}
	}
	if !known {
		if len(e.unproved) == unprovedMax {
			e.unproved = append(e.unproved[:0], e.unproved[1:]...)
		}
		e.unproved = append(e.unproved, unproved{epoch: t.Epoch, heard: e.now})
	}
	e.greet()
	return false
}

// postscript handles what is said of, and asked about, the state of things after
// the messages of the packet.
func (e *Engine) postscript(p *peer, t *wire.Trailer) error {
	return attributes(t, func(typ wire.AttrType, body []byte) error {
		switch typ {
		case wire.AttrDigest:
			d, err := wire.ParseDigest(body)
			if err != nil {
				return err
			}
			e.compare(p, d)
		case wire.AttrResend:
			return e.receiveResend(p, body)
		case wire.AttrAskDigests, wire.AttrAskList, wire.AttrAsk:
			return e.receiveQuestion(p, typ, body)
		case wire.AttrDigests:
			return e.receiveDigests(p, body)
		case wire.AttrList:
			return e.receiveList(p, body)
		case wire.AttrHave:
			return e.receiveHave(p, body)
		case wire.AttrSame:
			return e.receiveSame(p, body)
		}
		return nil
	})
}
