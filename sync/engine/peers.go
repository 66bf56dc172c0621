package engine

import (
	"net/netip"
	"time"
)

const (
	peersMax    = 64
	peerForgets = 10 * time.Minute
)

// peers is whom we hear, by address.
type peers map[netip.Addr]*peer

type peer struct {
	heard time.Duration
	loud  bool // its use of our creatorid has been logged
}

// heardOf notes a valid packet of the peer at addr and reports whether it is new.
func (e *Engine) heardOf(addr netip.Addr) (fresh bool) {
	if p := e.peers[addr]; p != nil {
		p.heard = e.now
		return false
	}
	if len(e.peers) >= peersMax {
		return false
	}
	e.peers[addr] = &peer{heard: e.now}
	e.log.Info("peer heard", "peer", addr)
	return true
}

func (p peers) expire(now time.Duration) {
	for addr, one := range p {
		if now-one.heard > peerForgets {
			delete(p, addr)
		}
	}
}

// strangers is who sent packets that are not understood, each said once.
type strangers map[netip.Addr]struct{}

func (s strangers) first(addr netip.Addr) bool {
	if _, known := s[addr]; known || len(s) >= peersMax {
		return false
	}
	s[addr] = struct{}{}
	return true
}
