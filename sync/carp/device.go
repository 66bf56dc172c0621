package carp

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// device runs the calls of a Device, which may take their time. Adverts have a
// goroutine of their own: a kernel that is slow to change an interface must not
// delay them, and a slow interface none of the others.
type device struct {
	v       *vhid
	carpdev string
	mac     string
	dev     Device // nil until it is open

	// Owned by Run.
	busy    bool // with a job
	closing bool
	dead    bool // it has no events any more
	sending bool
	next    *advert // to send after that
	listens bool    // it is the one of its carpdev whose packets count

	jobs    chan job
	adverts chan *advert
}

// advert is what is sent at one time, of either family.
type advert struct {
	bytes    []byte
	families []Family
	peer     netip.Addr
	sources  []netip.Addr
	bowOut   bool
	errs     []error
}

// job is what a device does one after another.
type job struct {
	kind      jobKind
	addresses []netip.Prefix
	lifetime  time.Duration
	start     time.Time
}

type jobKind uint8

const (
	openJob jobKind = iota
	serveJob
	announceJob
	withdrawJob
	closeJob
)

// report is what has become of a job or an advert, or what the carpdev has to tell.
type report struct {
	from   *device
	job    job
	dev    Device // of openJob
	advert *advert
	event  *Event
	ended  bool // there are no events any more
	err    error
}

// settleDevice gives v the interface it should have, and that the next thing to do.
func (h *Host) settleDevice(v *vhid) {
	d := v.dev
	wanted := v.cfg.CarpDev != "" && v.cfg.VHID != 0 && v.removed == nil && !h.ending && v.reopen.IsZero()
	switch {
	case d == nil && wanted && h.devices[v.cfg.Name] == nil:
		h.open(v)
		return
	case d == nil:
		if v.removed != nil || h.ending {
			h.forget(v)
		}
		return
	case d.dev == nil || d.busy:
		return
	case !wanted || d.dead || !d.fits(v):
		h.closeDevice(v)
		return
	}
	switch {
	case v.state == Master && !v.serve.IsZero() && !v.serve.After(h.now):
		h.start(d, job{kind: serveJob, addresses: slices.Clone(v.cfg.Addresses), lifetime: v.lifetime()})
		v.withdrawn = false
	case v.state == Master && v.announce && v.advertised:
		v.announce = false
		h.start(d, job{kind: announceJob, addresses: slices.Clone(v.cfg.Addresses)})
	case v.state != Master && !v.withdrawn && !d.sending && v.retry.IsZero():
		// After the last advert: it cannot leave an interface that is down.
		h.start(d, job{kind: withdrawJob})
	}
}

// fits reports whether d is what v is configured to be.
func (d *device) fits(v *vhid) bool { return d.carpdev == v.cfg.CarpDev && d.mac == v.mac().String() }

func (h *Host) start(d *device, j job) {
	j.start = h.now
	d.busy = true
	d.jobs <- j // has room: one at a time
}

// open starts v's device.
func (h *Host) open(v *vhid) {
	d := &device{
		v: v, carpdev: v.cfg.CarpDev, mac: v.mac().String(),
		jobs: make(chan job, 1), adverts: make(chan *advert, 1),
	}
	v.dev, h.devices[v.cfg.Name] = d, d
	name, mac := v.cfg.Name, v.mac()
	h.working.Go(func() { h.work(d, name, d.carpdev, mac) })
	h.start(d, job{kind: openJob})
}

// closeDevice removes the interface when what is being sent has been sent.
func (h *Host) closeDevice(v *vhid) {
	d := v.dev
	if d.sending {
		return // settle comes again
	}
	d.closing = true
	close(d.adverts)
	h.start(d, job{kind: closeJob})
	h.chooseListeners()
}

// work does the jobs of d, from openJob to closeJob.
func (h *Host) work(d *device, name, carpdev string, mac []byte) {
	var dev Device
	var sender, events sync.WaitGroup
	for j := range d.jobs {
		r := report{from: d, job: j}
		switch j.kind {
		case openJob:
			h.opening <- struct{}{} // one at a time: a System need not expect more
			dev, r.err = h.system.Open(name, carpdev, mac)
			<-h.opening
			if r.dev = dev; r.err != nil {
				h.reports <- r
				return
			}
			sender.Go(func() { h.send(d, dev) })
			events.Go(func() { h.listen(d, dev) })
		case serveJob:
			r.err = dev.Serve(j.addresses, j.lifetime)
		case announceJob:
			r.err = dev.Announce(j.addresses)
		case withdrawJob:
			r.err = dev.Withdraw()
		case closeJob:
			sender.Wait()
			r.err = dev.Close()
			events.Wait()
			h.reports <- r
			return
		}
		h.reports <- r
	}
}

// send sends the adverts of d.
func (h *Host) send(d *device, dev Device) {
	for a := range d.adverts {
		for i, f := range a.families {
			peer := a.peer
			if f == Inet6 {
				peer = netip.Addr{} // carppeer is IPv4's
			}
			a.errs[i] = dev.Send(a.bytes, f, peer, a.sources[i])
		}
		h.reports <- report{from: d, advert: a}
	}
}

// listen passes on what the carpdev has to tell.
func (h *Host) listen(d *device, dev Device) {
	for e := range dev.Events() {
		h.reports <- report{from: d, event: &e}
	}
	h.reports <- report{from: d, ended: true}
}

// sendAdvert sends v's advert, or its last one.
func (h *Host) sendAdvert(v *vhid, bowOut bool) {
	d := v.dev
	if d == nil || d.dev == nil || d.closing {
		return
	}
	a := Advert{
		Version: version, Type: advertise, VHID: v.cfg.VHID, AdvSkew: uint8(h.advskew(v)), AuthLen: authLen,
		AdvBase: uint8(v.cfg.AdvBase), Counter: v.counter, Digest: v.digest,
	}
	if h.options.Dialect == OpenBSD {
		a.Demote = uint8(h.demotion(v))
	}
	if bowOut {
		a.AdvBase, a.AdvSkew = gone, gone
	}
	out := &advert{bytes: a.Append(make([]byte, 0, AdvertLen)), peer: v.cfg.CarpPeer, bowOut: bowOut}
	for _, f := range families {
		if source := v.source(f); source.IsValid() {
			out.families, out.sources = append(out.families, f), append(out.sources, source)
		}
	}
	out.errs = make([]error, len(out.families))
	if !d.sending {
		d.sending = true
		d.adverts <- out // has room: one at a time
		return
	}
	if d.next != nil {
		h.counts[sendBusy]++
	}
	d.next = out
}

// sent takes note of what has become of an advert.
func (h *Host) sent(d *device, a *advert) {
	v := d.v
	var failed error
	for i, err := range a.errs {
		switch {
		case err == nil && a.families[i] == Inet:
			h.counts[outPackets]++
		case err == nil:
			h.counts[outPackets6]++
		default:
			failed = err
			h.counts[sendErrors]++
			if errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) {
				h.counts[noMemory]++
			}
		}
	}
	if d.sending = d.next != nil; d.sending {
		d.adverts <- d.next
		d.next = nil
	}
	if v.dev != d || a.bowOut || v.state != Master {
		return
	}
	was := v.sendTrouble.held
	v.sendTrouble.note(failed)
	h.dirty = h.dirty || v.sendTrouble.held != was
	if v.sendTrouble.held && !was {
		h.logAt(3, slog.LevelWarn, "carp adverts cannot be sent", "carp", v.cfg.Name, "vhid", v.cfg.VHID, "err", failed)
	}
	if !v.advertised {
		v.advertised, v.announce = true, true
		v.again = h.now.Add(max(announceGap, 2*h.interval(v)))
	}
}

// handle takes note of a report.
func (h *Host) handle(r report) {
	d := r.from
	v := d.v
	switch {
	case r.event != nil && r.event.Packet != nil:
		if d.listens {
			h.receive(v, r.event.Packet)
		}
		return // what follows has been done
	case r.event != nil && r.event.Link != nil:
		h.linked(d, *r.event.Link)
	case r.ended:
		if h.linked(d, Link{}) { // it has gone by itself
			d.dead = true
			v.reopen = h.now.Add(retryEvery)
		}
	case r.advert != nil:
		h.sent(d, r.advert)
	default:
		h.worked(d, r)
	}
	h.settle(v)
}

// linked takes note of the carpdev's condition, unless the device is done with.
func (h *Host) linked(d *device, l Link) bool {
	v := d.v
	if d.closing || d.dead || !d.fits(v) {
		return false
	}
	v.link, v.linkKnown = l, true
	v.sign() // its link address may be in the digest
	h.dirty = true
	return true
}

// worked takes note of what has become of a job.
func (h *Host) worked(d *device, r report) {
	v := d.v
	d.busy = false
	switch r.job.kind {
	case openJob:
		if r.err != nil {
			h.counts[openErrors]++
			delete(h.devices, v.cfg.Name)
			v.dev = nil
			if !d.fits(v) || v.removed != nil {
				return // nobody wants to know any more
			}
			if v.openErr == nil || v.openErr.Error() != r.err.Error() {
				h.log.Warn("carp interface cannot be made", "carp", v.cfg.Name, "err", r.err)
			}
			v.openErr, v.reopen, h.dirty = r.err, h.now.Add(retryEvery), true
			return
		}
		d.dev, v.openErr, v.withdrawn, h.dirty = r.dev, nil, true, true
		h.chooseListeners()
	case serveJob:
		h.servedNow(v, r)
	case announceJob:
		if r.err != nil {
			h.counts[announceErrors]++
			h.log.Warn("neighbours not told of a carp address", "carp", v.cfg.Name, "err", r.err)
		}
	case withdrawJob:
		if v.withdrawn = r.err == nil; r.err != nil {
			h.counts[withdrawErrors]++
			h.log.Error("carp addresses not taken away; they end by themselves", "carp", v.cfg.Name, "err", r.err)
			v.retry = h.now.Add(retryEvery)
		}
	case closeJob:
		if r.err != nil {
			h.counts[withdrawErrors]++
			h.log.Error("carp interface not removed", "carp", v.cfg.Name, "err", r.err)
		}
		delete(h.devices, v.cfg.Name)
		v.dev, v.linkKnown = nil, v.linkKnown && !v.link.Exists
		for _, other := range h.vhids {
			if other != v && other.cfg.Name == v.cfg.Name {
				h.settle(other) // it has waited for the name
			}
		}
	}
}

// servedNow takes note of an attempt to have the addresses.
func (h *Host) servedNow(v *vhid, r report) {
	if v.state != Master {
		return
	}
	if changed := !slices.Equal(r.job.addresses, v.cfg.Addresses); changed {
		v.serve = h.now
	} else {
		v.serve = r.job.start.Add(v.lifetime() / 3)
	}
	was := v.serveTrouble.held
	v.serveTrouble.note(r.err)
	h.dirty = h.dirty || v.serveTrouble.held != was
	if r.err != nil {
		h.counts[serveErrors]++
		if v.serveErr == nil || v.serveErr.Error() != r.err.Error() {
			h.log.Error("master without its addresses", "carp", v.cfg.Name, "vhid", v.cfg.VHID, "err", r.err)
		}
		v.serveErr, v.serve = r.err, h.now.Add(retryEvery)
		return
	}
	v.serveErr = nil
	v.served = r.job.start.Add(r.job.lifetime)
	if v.adv.IsZero() {
		v.adv, v.advertised = h.now, false // announced after it
	}
}

// chooseListeners has one device of each carpdev whose packets count: all of them hear
// the same.
func (h *Host) chooseListeners() {
	first := map[string]*device{}
	for _, d := range h.devices {
		d.listens = false
		if d.dev == nil || d.closing {
			continue
		}
		if f := first[d.carpdev]; f == nil || d.v.cfg.Name < f.v.cfg.Name {
			first[d.carpdev] = d
		}
	}
	for _, d := range first {
		d.listens = true
	}
}

// forget ends v, whose interface is gone.
func (h *Host) forget(v *vhid) {
	h.dirty = true
	h.vhids = slices.DeleteFunc(h.vhids, func(other *vhid) bool { return other == v })
	if v.removed != nil {
		close(v.removed)
	}
}
