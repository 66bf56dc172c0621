package main

import (
	"context"
	"time"
)

// holdFor is how long carp is kept from taking over if this program ends without a word. While it works it
// asks again.
const holdFor = time.Minute

// hold keeps this firewall from taking over from another one before pfsync0, which comes last, has asked for
// the states. OpenBSD's rc(8) demotes the group carp until the boot is over.
func (n *netstart) hold(ctx context.Context) {
	if !n.whole || time.Since(n.held) < holdFor/2 {
		return
	}
	n.held = time.Now()
	if err := n.daemon.HoldDemotion(ctx, holdFor); err != nil {
		n.whole = false
		if !n.unheard(err) { // the interface's own line says so if it is
			n.say("warning: this firewall may become master before it has the states: %v", err)
		}
	}
}

// again is hold for those who have asked already: what comes next may take a while.
func (n *netstart) again(ctx context.Context) {
	if !n.held.IsZero() {
		n.hold(ctx)
	}
}

// release ends what hold began.
func (n *netstart) release(ctx context.Context) {
	if !n.whole || n.held.IsZero() {
		return
	}
	if err := n.daemon.HoldDemotion(ctx, 0); err != nil {
		n.say("warning: this firewall is demoted for up to %v: %v", holdFor, err)
	}
}
