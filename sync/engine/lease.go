package engine

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// The kernel does not tell that traffic renews a timeout, so a copy would run out
// under a living connection. A copy of a Linux owner therefore gets more time
// than the kernel gives any entry of its kind by itself, as long as the owner
// lives: it ends by the owner's word. When the owner is gone, it is put back on
// the time that was announced for it. And traffic through this host sets such an
// entry back to the kernel's own timeout: so it shows that a connection has moved here.
const (
	leaseShort = 30 * time.Minute    // the longest of the kernel's short timeouts has 10 (generic)
	leaseLong  = 10 * 24 * time.Hour // nf_conntrack_tcp_timeout_established has 5 days
	leaseSlack = 2 * time.Second     // the kernel counts in seconds, orders take their time

	// Without a lease traffic shows by more time than expected, and so does an order
	// that waited.
	orphanSlack = 5 * time.Second
)

// leaseAge is after how long a lease is renewed.
func leaseAge(lease time.Duration) time.Duration {
	if lease == leaseLong {
		return leaseLong / 5
	}
	return leaseShort / 2
}

// looksLeased tells that an entry found in the table has more time left than the
// kernel gives any by itself: an earlier daemon here had it as a peer's.
func looksLeased(s *pfstate.State) bool {
	if s.Timeout == pfstate.TCPEstablishedTimeout {
		return s.Expire > leaseLong*6/10 // nf_conntrack_tcp_timeout_established has 5 days
	}
	return s.Expire > leaseShort/3 // nf_conntrack_generic_timeout has 10 minutes
}

// leaseOf is the time a copy of a living Linux owner gets, 0: it is none.
func (e *Engine) leaseOf(r *record) time.Duration {
	p := e.ownerOf(r.word())
	switch {
	case p == nil || !p.linux || p.dead || r.is(carrier), p.mayHaveEnded(r):
		return 0
	case r.timeout == pfstate.TCPEstablishedTimeout:
		return leaseLong
	}
	return leaseShort
}

// setTime puts the time into an order for the table's entry of r, and notes
// what is to be seen there if no traffic comes.
func (e *Engine) setTime(r *record, w *pfstate.Write) {
	lease := e.leaseOf(r)
	if r.put(leased, lease > 0); lease > 0 {
		w.State.Expire = lease
		r.clear(untimed)
	}
	if r.until = 0; w.State.Expire > 0 {
		r.until = stampIn(w.State.Expire, e.now)
	}
}

// lease gives the copy in i its time, if its owner lives.
func (e *Engine) lease(i slot) {
	if r := e.states.at(i); e.leaseOf(r) > 0 && !r.is(leased) {
		e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true}, i)
	}
}

// tendLease renews or ends the lease of the copy in i, and reports whether it
// is one.
func (e *Engine) tendLease(i slot) bool {
	r := e.states.at(i)
	if r.is(absent) || r.is(shadow) {
		return false
	}
	if r.is(doomed) { // until the probe's answer
		e.writeState(pfstate.Write{Kind: pfstate.WriteProbe}, i)
		return true
	}
	lease := e.leaseOf(r)
	switch {
	case lease == 0 && r.is(leased) && e.mayReturn(r):
		return true
	case lease == 0 && r.is(leased) && !r.is(carrier):
		e.counters.add(leasesEnded)
		e.endLease(i)
		return false
	case lease == 0:
		return false
	case !r.is(leased) || r.until.left(e.now) < lease-leaseAge(lease):
		e.counters.add(leasesRenewed)
		e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true}, i)
	}
	return true
}

// returnTime is how long a peer that has restarted has for naming its states again.
const returnTime = 10 * time.Second

// mayReturn tells that the owner of r has restarted a moment ago.
func (e *Engine) mayReturn(r *record) bool {
	p := e.peers.list[r.by]
	return r.by >= firstPeer && p != nil && !p.dead && p.life != r.life && e.now-p.first < returnTime
}

// endLease puts a copy whose owner is gone on what was announced for it, as of
// the owner's last sign of life. Without an announcement it is the table's own time.
func (e *Engine) endLease(i slot) {
	r := e.states.at(i)
	left := time.Duration(0)
	if r.lifetime > 0 {
		if p := e.peers.list[r.by]; r.by >= firstPeer && p != nil && stampOf(p.heard).after(r.learnt) {
			r.learnt = stampOf(p.heard)
		}
		left = max(time.Second, r.expire(e.now))
	}
	r.learn(left, e.now)
	r.put(untimed, left == 0)
	e.writeState(pfstate.Write{Kind: pfstate.WriteUpdate, Renew: true}, i)
}

// touched tells that traffic has used the entry of a copy, as the table shows it
// with that much time left.
func (e *Engine) touched(r *record, left time.Duration) bool {
	if r.until == 0 || r.is(carrier) {
		return false
	}
	expected := r.until.left(e.now)
	if r.is(leased) {
		return left < expected-leaseSlack || left > expected+time.Minute
	}
	return left > expected+orphanSlack
}

// forwards takes the hint that this host carries traffic: connections of peers
// may have moved here. A dump tells which.
func (e *Engine) forwards() {
	e.forwarded = e.now
	if e.dump.running || !e.dump.complete || !e.copies() {
		return
	}
	// A dump of many states takes long: no more than a twentieth of the time.
	if wait := max(200*time.Millisecond, 20*e.dump.took); e.now-e.dump.endedAt >= wait {
		e.startDump()
	}
}

// copies tells that peers answer for states here.
func (e *Engine) copies() (some bool) {
	if e.states.count[imported] > 0 {
		return true
	}
	e.peers.each(func(p *peer) { some = some || p.imported > 0 })
	return some
}
