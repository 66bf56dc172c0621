package carp

import (
	"errors"
	"log/slog"
	"net/netip"
)

// receive handles a packet that v's carpdev has received, in OpenBSD's order.
func (h *Host) receive(v *vhid, p *Packet) {
	drop := func(k counter) { h.counts[k]++ }
	if p.Family == Inet6 {
		h.counts[inPackets6]++
	} else {
		h.counts[inPackets]++
	}
	switch {
	case !h.options.Allow:
		drop(notAllowed)
		return
	case p.TTL != TTL:
		drop(badTTL)
		return
	}
	a, err := ParseAdvert(p.Payload)
	if err != nil && looksVRRP(p.Payload) {
		h.counts[vrrp]++
		h.warnVRRP(v, p.Src)
	}
	switch {
	case errors.Is(err, ErrShort) && p.Family == Inet6:
		drop(headerDrops)
		return
	case errors.Is(err, ErrShort):
		drop(badLength)
		return
	case err != nil:
		drop(badChecksum)
		return
	}
	v = h.addressee(v.cfg.CarpDev, p, a.VHID)
	switch {
	case v == nil || v.state == Init:
		drop(badVHID)
	case a.Version != version:
		drop(badVersion)
	case !v.signer.Verify(a.Counter, a.Digest):
		drop(badAuth)
		if !v.refused {
			v.refused = true
			h.logAt(2, slog.LevelWarn, "carp advert refused: its digest is wrong; compare pass and addresses on both hosts",
				"carp", v.cfg.Name, "vhid", v.cfg.VHID, "peer", p.Src)
		}
	case a.Counter == v.counter:
		drop(badAuth)
		drop(looped)
	default:
		v.refused = false
		h.heard(v, p, a)
	}
}

// addressee is the interface on carpdev that p is for: one that talks to a single host
// hears nothing of the group, and the other way round.
func (h *Host) addressee(carpdev string, p *Packet, id uint8) *vhid {
	for _, v := range h.vhids {
		if v.cfg.VHID != id || v.cfg.CarpDev != carpdev || v.removed != nil {
			continue
		}
		if p.Family == Inet && p.Dst.IsMulticast() == v.cfg.CarpPeer.IsValid() {
			continue
		}
		return v
	}
	return nil
}

// heard holds the election that an advert calls for.
func (h *Host) heard(v *vhid, p *Packet, a Advert) {
	c := comparison{
		preempt:  h.options.Preempt,
		mine:     units(v.cfg.AdvBase*256 + h.advskew(v)),
		theirs:   units(int(a.AdvBase)*256 + int(a.AdvSkew)),
		bowOut:   a.BowOut(),
		outranks: a.Counter > v.counter,
	}
	if v.cfg.AdvBase != 0 {
		c.lost = units(3*v.cfg.AdvBase*256 + h.advskew(v))
	}
	if h.options.Dialect == OpenBSD {
		c.myDemotion, c.theirDemotion = h.demotion(v), int(a.Demote)
	}
	verdict, why := judge(h.options.Dialect, v.state, c)
	switch verdict {
	case carryOn:
		if v.state == Backup {
			v.noteMaster(p)
			v.graced = false
			h.wait(v, p.Family, c.theirs)
		}
	case insist:
		if !v.insisted && !v.adv.IsZero() {
			v.insisted, v.announce = true, true
			h.sendAdvert(v, false)
			h.settle(v)
		}
	case yield:
		h.become(v, Backup, why)
		v.noteMaster(p)
		h.wait(v, Inet, c.theirs)
		h.wait(v, Inet6, c.theirs)
		h.settle(v)
	case takeOver:
		h.become(v, Master, why)
		h.settle(v)
	}
}

// noteMaster remembers who has sent p, by its IPv4 address if it has adverts of both families.
func (v *vhid) noteMaster(p *Packet) {
	if p.Family == Inet || !v.source(Inet).IsValid() {
		v.master = p.Src
	}
}

// looksVRRP tells CARP's relative, which has the same protocol number, group and MAC:
// version 2 with its authentication data, version 3 of either family.
func looksVRRP(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	n := int(b[3]) // addresses
	switch b[0] {
	case 0x21:
		return len(b) == 16+4*n
	case 0x31:
		return len(b) == 8+4*n || len(b) == 8+16*n
	}
	return false
}

func (h *Host) warnVRRP(v *vhid, from netip.Addr) {
	if h.warned[v.cfg.CarpDev] {
		return
	}
	h.warned[v.cfg.CarpDev] = true
	h.log.Warn("VRRP is on the carpdev; its virtual router ids and our vhids must differ", "carpdev", v.cfg.CarpDev, "peer", from)
}
