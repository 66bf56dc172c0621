package node

import (
	"context"
	"errors"
	"net/netip"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// device is pfsync0 while it exists.
type device struct {
	Device
	stop context.CancelFunc
}

// shownDevice is what Show needs, without a lock.
type shownDevice struct {
	device Device
	packet []byte // reused; only the engine's goroutine calls Show
}

// create makes pfsync0. n.mu is held.
func (n *Node) create() error {
	opened, err := n.cfg.OpenDevice(Name)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(n.runCtx)
	d := &device{Device: opened, stop: stop}
	n.device = d
	n.shown.Store(&shownDevice{device: opened})
	n.run.Go(func() error {
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			n.watch(ctx, d)
		}()
		err := d.Run(ctx)
		closed := ctx.Err() != nil // by us: what Run says of it is no news
		stop()
		<-watched
		if err != nil && !errors.Is(err, context.Canceled) && !closed {
			n.log.Error("pfsync0 failed; make it anew with ifconfig pfsync0 destroy, create and up", "err", err)
		}
		return nil // the states are synced without it
	})
	return nil
}

// destroy removes pfsync0, if it exists. n.mu is held.
func (n *Node) destroy() {
	d := n.device
	if d == nil {
		return
	}
	n.device, n.born = nil, false
	n.shown.Store(nil)
	d.stop()
	if err := d.Close(); err != nil {
		n.log.Warn("pfsync0 was not closed cleanly", "err", err)
	}
}

// watch follows what others do to pfsync0: `ip link set pfsync0 down` is as good
// as ifconfig's.
func (n *Node) watch(ctx context.Context, d *device) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Events():
			n.deviceChanged(d)
		}
	}
}

func (n *Node) deviceChanged(d *device) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.device != d {
		return
	}
	s := d.Status() // not the event's: our own changes have their events too
	if s.Gone {
		n.log.Error("pfsync0 was deleted by another program; make it anew with ifconfig pfsync0 create up")
		n.destroy()
		n.settings.engine.Up = false
		n.follow()
		return
	}
	if s.Name != Name {
		n.log.Error("pfsync0 was renamed by another program; name it back: ip link set NAME name pfsync0", "name", s.Name)
	}
	if s.MTU != n.settings.engine.MTU {
		n.log.Info("pfsync0's mtu was changed by another program", "mtu", s.MTU)
		n.settings.engine.MTU = s.MTU
		n.follow()
	}
	if s.Up != n.settings.engine.Up {
		n.log.Info("pfsync0 was taken up or down by another program", "up", s.Up)
		n.settings.engine.Up = s.Up
		n.follow()
	}
}

// follow applies what another program has done already.
func (n *Node) follow() {
	if err := n.apply(); err != nil && !errors.Is(err, engine.ErrStopped) {
		n.log.Error("pfsync0 cannot follow", "err", err)
	}
}

// Listened tells whether anybody watches pfsync0.
func (n *Node) Listened() bool {
	shown := n.shown.Load()
	if shown == nil {
		return false
	}
	d, ok := shown.device.(engine.Listened)
	return !ok || d.Listened()
}

// Show puts the engine's packets on pfsync0, each with the IP header that it has
// on the wire.
func (n *Node) Show(payloads [][]byte) {
	shown := n.shown.Load()
	if shown == nil {
		return
	}
	s, dst := n.link.Status(), n.link.Config().Peer()
	src := s.Addr
	if src.Is4() != dst.Is4() {
		src = netip.Addr{}
	}
	for _, p := range payloads {
		shown.packet = link.AppendHeader(shown.packet[:0], src, dst, len(p))
		shown.packet = append(shown.packet, p...)
		// What cannot be shown is counted by the device; nobody waits for it.
		_ = shown.device.Write(shown.packet)
	}
}
