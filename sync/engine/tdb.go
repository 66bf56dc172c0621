package engine

import (
	"github.com/pfsync-linux/pfsync/sync/ipsec"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// SAs are the IPsec security associations of this firewall: ipsec.Monitor.
type SAs interface {
	Used() <-chan []ipsec.SA // at intervals, with what has changed
	Learn(ipsec.SA)          // must not block
}

const leastSPI = 256 // those below are reserved

// usedSAs is where SAs in use come from; nil: there are none.
func (e *Engine) usedSAs() <-chan []ipsec.SA {
	if e.cfg.SAs == nil {
		return nil
	}
	return e.cfg.SAs.Used()
}

// tellSAs tells the peers how far SAs are. Nothing waits for a link: who is used is told again.
func (e *Engine) tellSAs(list []ipsec.SA) {
	if !e.running() || e.mute(unsent) {
		return
	}
	e.buildAs(plain)
	action := wire.ActTDB
	if e.out.dialect.Size(action) == 0 {
		action = wire.ActOldTDB
	}
	for _, s := range list {
		t := wire.TDB{SPI: s.SPI, Dst: wire.NewSockaddr(e.out.dialect, s.Dst), Replay: s.Replay, Bytes: s.Bytes, Proto: s.Proto}
		e.counters.out[action]++
		e.out.put(0, func(w *wire.Writer) bool { return w.TDB(&t) })
	}
	e.send(e.out.finish())
}

func (e *Engine) receiveTDB(s wire.Section)    { e.learnSAs(s, wire.ParseTDB) }
func (e *Engine) receiveOldTDB(s wire.Section) { e.learnSAs(s, wire.ParseOldTDB) }

// learnSAs takes over counters (OpenBSD if_pfsync.c, pfsync_in_tdb).
func (e *Engine) learnSAs(s wire.Section, parse func([]byte) (wire.TDB, error)) {
	for n := range s.Count {
		t, err := parse(s.Message(n))
		dst := t.Dst.Addr(s.Dialect)
		if err != nil || t.SPI < leastSPI || !dst.IsValid() {
			e.counters.add(badState)
			continue
		}
		if e.cfg.SAs != nil {
			e.cfg.SAs.Learn(ipsec.SA{SPI: t.SPI, Dst: dst, Proto: t.Proto, Replay: t.Replay, Bytes: t.Bytes})
		}
	}
}
