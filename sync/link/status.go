package link

import "net/netip"

// Status is what the link is able to do at one moment. Values compare with ==.
type Status struct {
	Config Config
	Up     bool // packets can be sent

	// Reason tells why the link is not up: "" when no syncdev is configured or
	// Run has not looked yet, "no such interface", "down", "no carrier", "no address",
	// "no IPv6 address", "IPv6 address is tentative",
	// "no multicast", "loopback", "syncpeer is our own address",
	// "syncpeer is a broadcast address", "waiting for ipsec", "ipsec: ...",
	// "socket: ...", "interface: ...".
	Reason string

	Index         int        // of the interface; another one: it was made anew; 0: IPsec without one
	MTU           int        // of the interface, in bytes
	Addr          netip.Addr // our address on it
	ReceiveBuffer int        // bytes that the kernel granted, as it counts them (twice what was asked for)
}

// publish makes s the current status. Only Run's goroutine calls it.
func (l *Link) publish(s Status) {
	l.mu.Lock()
	old := l.status
	l.status = s
	l.mu.Unlock()
	if s == old {
		return
	}
	log := l.log.With("syncdev", s.Config.Syncdev, "peer", s.Config.Peer())
	switch {
	case s.Up && !old.Up:
		log.Info("sync link is up", "addr", s.Addr, "mtu", s.MTU, "rcvbuf", s.ReceiveBuffer)
	case !s.Up && s.Reason == "": // wanted
		log.Info("sync link is off")
	case !s.Up && (old.Up || s.Reason != old.Reason || s.Config != old.Config):
		log.Warn("sync link is down", "reason", s.Reason)
	}
	select {
	case <-l.statuses: // nobody took the last one: it is out of date
	default:
	}
	l.statuses <- s
}

// Status is the current status.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Config is what Configure was told last; Status may still have the one before.
func (l *Link) Config() Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config
}

// Statuses delivers the status when it changed. A slow reader gets the latest only.
func (l *Link) Statuses() <-chan Status { return l.statuses }
