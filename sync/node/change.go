package node

import (
	"errors"
	"fmt"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// Change applies c as a whole or not at all. It is the control.Node's.
func (n *Node) Change(c ifconfig.Change) error {
	if err := c.Validate(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.run == nil || n.runCtx.Err() != nil {
		return errors.New("pfsyncd is ending")
	}
	if c.Interface != Name {
		return n.changeCarp(c)
	}
	switch {
	case c.Create && n.device != nil && !n.born:
		return fmt.Errorf("%s: SIOCIFCREATE: File exists", Name)
	case c.Destroy:
		return n.changeDestroy()
	}
	next := n.settings.with(c)
	word, err := n.check(c, next)
	if err != nil {
		return &control.WordError{Word: word, Err: fmt.Errorf("%s: %w", Name, err)}
	}
	if n.device == nil {
		if err := n.create(); err != nil {
			return err
		}
	}
	n.born = false
	old := n.settings
	n.settings = next
	if err := n.apply(); err != nil {
		n.settings = old
		return errors.Join(fmt.Errorf("%s: %w", Name, err), n.apply())
	}
	if next != old {
		n.log.Info("pfsync0 configured", "up", next.engine.Up, "syncdev", next.link.Syncdev, "syncpeer", next.link.Peer(),
			"maxupd", next.engine.MaxUpd, "defer", next.engine.Defer, "listen", next.engine.Listen, "mtu", next.engine.MTU, "key", next.keyState(false))
	}
	if c.Push {
		err = n.engine.PushBulk()
	}
	if c.Bulk {
		err = errors.Join(err, n.engine.RequestBulk()) // nothing new when the link has just been set: that asks by itself
	}
	return err
}

func (n *Node) changeDestroy() error {
	if n.device == nil {
		return fmt.Errorf("%s: SIOCIFDESTROY: Device not configured", Name)
	}
	delay := n.settings.engine.DeferDelay // a sysctl's, not the interface's
	n.settings = settings{engine: n.defaults()}
	n.settings.engine.DeferDelay = delay
	err := n.apply()
	n.destroy()
	return err
}

// defaults are the settings of a pfsync0 just made.
func (n *Node) defaults() engine.Settings {
	s := engine.DefaultSettings()
	s.Listen = n.cfg.Listen
	return s
}

// with is s with what c mentions.
func (s settings) with(c ifconfig.Change) settings {
	set(&s.engine.Up, c.Up)
	set(&s.engine.MTU, c.MTU)
	set(&s.engine.MaxUpd, c.MaxUpd)
	set(&s.engine.Defer, c.Defer)
	set(&s.engine.Listen, c.Listen)
	set(&s.link.Syncdev, c.Syncdev)
	set(&s.link.Syncpeer, c.Syncpeer)
	s.engine.Dialect, s.engine.DialectSet = dialectOf(c.Version, s.engine)
	if c.Pair != nil {
		s.engine.Pair = engine.PairOff
		if *c.Pair {
			s.engine.Pair = engine.PairOn
		}
	}
	if c.Key != nil && !c.Key.Equal(s.key) { // the same key of another request is no other setting
		s.key = *c.Key
	}
	return s
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// check refuses what could not work, before anything is changed. Only what c
// mentions is looked at: a syncdev that has vanished since must not stand in the
// way of other settings. word is the one to blame.
func (n *Node) check(c ifconfig.Change, next settings) (word string, err error) {
	if c.Key != nil && c.Key.Unread() {
		return "key", fmt.Errorf("key %v: was not read", c.Key)
	}
	if c.Defer != nil && *c.Defer {
		if err := n.checkDefer(); err != nil {
			return "defer", err
		}
	}
	mtu := 0 // of the syncdev, when it is there
	if next.link.Syncdev != "" {
		var err error
		if mtu, err = n.cfg.InterfaceMTU(next.link.Syncdev); err != nil && c.Syncdev != nil && next.link.Syncdev != link.IPsecOnly {
			return "syncdev", fmt.Errorf("SIOCSETPFSYNC: syncdev %s: no such interface", next.link.Syncdev)
		}
	}
	if c.MTU != nil && mtu > 0 && *c.MTU > mtu {
		return "mtu", fmt.Errorf("SIOCSIFMTU: mtu %d: larger than that of syncdev %s, %d", *c.MTU, next.link.Syncdev, mtu)
	}
	for _, order := range []struct {
		word  string
		given bool
		later string // what happens by itself once there is somebody
	}{{"bulk", c.Bulk, " (once it is, the peers are asked)"}, {"push", c.Push, " (once it is, Linux peers ask by themselves)"}} {
		if !order.given {
			continue
		}
		if err := n.checkReach(next, order.later); err != nil {
			return order.word, fmt.Errorf("%s: %w", order.word, err)
		}
	}
	if word = "syncdev"; c.Syncpeer != nil {
		word = "syncpeer"
	}
	return word, next.link.Check()
}

// checkReach refuses what would reach nobody, with what to do about it.
func (n *Node) checkReach(next settings, later string) error {
	switch {
	case !next.engine.Up:
		return errors.New("the interface is down (ifconfig pfsync0 up)")
	case next.link.Syncdev == "":
		return errors.New("no syncdev (ifconfig pfsync0 syncdev INTERFACE)")
	case next.engine.Listen:
		return errors.New("pfsync0 only listens (ifconfig pfsync0 -listen)")
	case next.link != n.settings.link || !n.settings.engine.Up:
		return nil // whether the link will be usable is not known yet
	}
	status, err := n.engine.Status()
	if err == nil && !status.Link.Up {
		err = fmt.Errorf("syncdev %s is not usable: %s%s", next.link.Syncdev, next.describe(status), later)
	}
	return err
}

// apply brings device, link and engine to n.settings. What is so already stays
// untouched: setting the same again asks nobody for anything. n.mu is held.
func (n *Node) apply() error {
	key := n.settings.key.Secret()
	if key != nil { // first: nothing is to be sent or taken without it
		if err := n.engine.SetKey(key); err != nil {
			return err
		}
	}
	if err := n.link.Configure(n.settings.link); err != nil {
		return err
	}
	if d := n.device; d != nil {
		status := d.Status()
		if status.MTU != n.settings.engine.MTU {
			if err := d.SetMTU(n.settings.engine.MTU); err != nil {
				return err
			}
		}
		if status.Up != n.settings.engine.Up {
			if err := d.SetUp(n.settings.engine.Up); err != nil {
				return err
			}
		}
	}
	if err := n.engine.Configure(n.settings.engine); err != nil || key != nil {
		return err
	}
	return n.engine.SetKey(nil) // last, for the same reason
}
