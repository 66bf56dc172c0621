package carp

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

const (
	minLifetime  = 3 * time.Second // of addresses: the kernel's resolution is a second
	announceGap  = time.Second     // from the first announcement to the second, at least
	retryEvery   = time.Second     // of what the system has refused
	forgiveAfter = time.Minute     // a host that has had trouble as master may try again
	tooLate      = 20 * time.Millisecond
)

// vhid is one carp interface. Run owns it.
type vhid struct {
	cfg     Config
	signer  *Signer
	counter uint64 // drawn once, sent in every advert
	digest  [digestLen]byte

	state   State
	since   time.Time
	changes uint64
	why     string // it is Init
	master  netip.Addr
	refused bool // adverts of a peer, by their digest: told to the log once

	// Timers; zero: not running.
	adv     time.Time
	down    [2]time.Time // of Inet and Inet6
	graced  bool         // since an advert was heard
	forgive time.Time
	reopen  time.Time
	retry   time.Time // to withdraw

	dev       *device // nil: there is none
	link      Link
	linkKnown bool
	openErr   error

	sendTrouble, serveTrouble trouble
	serveErr                  error
	withdrawn                 bool      // nothing is left in the kernel
	serve                     time.Time // when to renew the addresses
	served                    time.Time // until when they are there
	advertised                bool      // since it is master
	announce                  bool      // now
	again                     time.Time // announce
	insisted                  bool      // since the last regular advert

	demotion int
	removed  chan struct{} // closed when it is gone; nil: it stays
}

func newVHID(c Config, now time.Time) *vhid {
	v := &vhid{cfg: c, since: now, counter: newCounter(), withdrawn: true}
	v.sign()
	return v
}

// newCounter has the top bit clear: peers that count on from what they hear never wrap.
func newCounter() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 1
}

// sign makes ready for adverts of v's configuration.
func (v *vhid) sign() {
	lladdr := v.cfg.LLAddr
	if bytes.Equal(lladdr, VirtualMAC(v.cfg.VHID)) || v.linkKnown && bytes.Equal(lladdr, v.link.MAC) {
		lladdr = nil
	}
	v.signer = NewSigner(v.cfg.Pass, v.cfg.VHID, v.cfg.Addresses, lladdr)
	v.digest = v.signer.Sign(v.counter)
}

func (v *vhid) mac() net.HardwareAddr {
	if len(v.cfg.LLAddr) != 0 {
		return v.cfg.LLAddr
	}
	return VirtualMAC(v.cfg.VHID)
}

// source is the virtual address that adverts of a family come from if the carpdev has
// none; not valid: the family is not there.
func (v *vhid) source(f Family) netip.Addr {
	for _, p := range v.cfg.Addresses {
		if a := plain(p.Addr()); a.Is4() == (f == Inet) {
			return a
		}
	}
	return netip.Addr{}
}

func (v *vhid) patience() time.Duration {
	return patience(v.cfg.AdvBase, v.cfg.AdvSkew).duration()
}

// lifetime is how long the addresses stay if nobody renews them.
func (v *vhid) lifetime() time.Duration {
	return max(minLifetime, time.Duration(3*v.cfg.AdvBase)*time.Second)
}

// carpdevDown reports whether v's carpdev demotes this host.
func (v *vhid) carpdevDown() bool {
	if v.cfg.CarpDev == "" || v.cfg.VHID == 0 || v.removed != nil {
		return false
	}
	return v.openErr != nil || v.linkKnown && !v.link.Usable()
}

// unable returns why v cannot take part, or "".
func (h *Host) unable(v *vhid) string {
	dev := v.cfg.CarpDev
	switch {
	case v.removed != nil:
		return "removed"
	case h.ending:
		return "carp stops"
	case !v.cfg.Up:
		return v.cfg.Name + " is down"
	case !h.options.Allow:
		return "net.inet.carp.allow is 0"
	case v.cfg.VHID == 0:
		return "no vhid"
	case dev == "":
		return "no carpdev"
	case len(v.cfg.Addresses) == 0:
		return "no address"
	case v.openErr != nil:
		return v.openErr.Error()
	case !v.linkKnown:
		return "carpdev " + dev + " is not known yet"
	case !v.link.Exists:
		return "carpdev " + dev + " does not exist"
	case !v.link.Up:
		return "carpdev " + dev + " is down"
	case !v.link.Runs:
		return "carpdev " + dev + " has no carrier"
	}
	return ""
}

// settle does what follows from v's condition: it runs or not, has the interface that
// it should have, and what that has to do next.
func (h *Host) settle(v *vhid) {
	switch why := h.unable(v); {
	case why == "" && v.state == Init:
		h.become(v, Backup, "carpdev "+v.cfg.CarpDev+" is up")
	case why != "" && v.state != Init:
		h.become(v, Init, why)
	case why != "":
		v.why = why
	}
	h.settleDevice(v)
}

// become changes v's state.
func (h *Host) become(v *vhid, s State, why string) {
	old := v.state
	if old == s {
		return
	}
	if old == Master && s == Init && v.link.Usable() && !v.served.IsZero() {
		h.sendAdvert(v, true)
	}
	v.state, v.since, v.why = s, h.now, ""
	v.changes++
	v.adv, v.down, v.graced = time.Time{}, [2]time.Time{}, false
	v.serve, v.served, v.again, v.announce, v.advertised, v.insisted = time.Time{}, time.Time{}, time.Time{}, false, false, false
	v.serveErr, v.forgive, v.retry = nil, time.Time{}, time.Time{}
	switch s {
	case Init:
		v.why, v.master = why, netip.Addr{}
		v.sendTrouble, v.serveTrouble = trouble{}, trouble{} // the link has a share of its own
		h.dirty = true
	case Backup:
		h.wait(v, Inet, 0)
		h.wait(v, Inet6, 0)
		if v.sendTrouble.held || v.serveTrouble.held {
			v.forgive = h.now.Add(forgiveAfter)
		}
	case Master:
		v.master = netip.Addr{}
		v.serve = h.now // adverts follow when the addresses are there
		h.counts[preempted]++
	}
	level := 2 // LOG_CRIT, as in OpenBSD
	if s == Init || old == Init {
		level = 4
	}
	h.logAt(level, slog.LevelInfo, "carp state transition", "carp", v.cfg.Name, "vhid", v.cfg.VHID, "from", old.String(), "to", s.String(), "why", why)
	h.tell(Transition{Name: v.cfg.Name, VHID: v.cfg.VHID, Old: old, New: s, Why: why, At: h.now})
}

// wait starts the timer after which a master is silent. With advbase 0 three of our
// intervals may be less than one of its: then it is three of theirs, up to two seconds
// each, for that field is not authenticated. Of a master not heard yet (0) nothing is
// known but that it has an interval below a second.
func (h *Host) wait(v *vhid, f Family, theirs units) {
	if !v.source(f).IsValid() {
		return
	}
	patience := v.patience()
	if v.cfg.AdvBase == 0 {
		least := time.Second
		if theirs > 0 {
			least = 3 * min(theirs, 2*256).duration()
		}
		patience = max(patience, least)
	}
	v.down[f.index()] = h.now.Add(patience)
}

func (f Family) index() int {
	if f == Inet6 {
		return 1
	}
	return 0
}

var families = [...]Family{Inet, Inet6}

// String is inet or inet6.
func (f Family) String() string {
	switch f {
	case Inet:
		return "inet"
	case Inet6:
		return "inet6"
	}
	return fmt.Sprintf("Family(%d)", uint8(f))
}

// configure makes c v's configuration. A master that changes what its peers know it by
// goes down in their eyes first.
func (h *Host) configure(v *vhid, c Config) {
	old := v.cfg
	moved := old.CarpDev != c.CarpDev || old.VHID != c.VHID || !bytes.Equal(v.mac(), mac(c))
	if moved || len(c.Addresses) == 0 || !c.Up {
		why := "configuration has changed"
		if !c.Up {
			why = c.Name + " is down"
		}
		h.become(v, Init, why)
	}
	if moved {
		v.link, v.linkKnown, v.openErr, v.reopen = Link{}, false, nil, time.Time{}
	}
	v.cfg = c
	v.refused, h.dirty = false, true
	v.sign()
	switch v.state {
	case Backup:
		v.down = [2]time.Time{}
		h.wait(v, Inet, 0)
		h.wait(v, Inet6, 0)
	case Master:
		v.serve = h.now
		v.announce = v.advertised
		if !v.adv.IsZero() {
			v.adv = h.now // with the new digest
		}
	}
}

func mac(c Config) net.HardwareAddr { return (&vhid{cfg: c}).mac() }
