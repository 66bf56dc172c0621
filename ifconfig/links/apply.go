package links

import (
	"context"
	"errors"
	"fmt"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/keyfile"
)

// Daemon changes pfsync0 and carp: pfsyncd, reached by a control.Client.
type Daemon interface {
	Change(context.Context, ifconfig.Change) error
}

// Apply carries out c: by the daemon for pfsync0 and all that is carp's, by the kernel for other interfaces of
// the caller's network namespace, and for pfsync0's description and group. The file of a
// key is read here: the daemon could not. The error is what programs print behind their
// name. Who calls Apply prints c.Warnings.
func Apply(ctx context.Context, d Daemon, c ifconfig.Change) error {
	switch {
	case c.Carp != nil || ifconfig.IsCarp(c.Interface):
		return carp(ctx, d, c)
	case c.Interface != pfsync0:
		return kernel(c)
	}
	c, err := keyfile.Load(c)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	ours := ifconfig.Change{Interface: c.Interface, Linux: c.Linux}
	if err := check(ours); err != nil {
		return err
	}
	if err := d.Change(ctx, c.ForDaemon()); err != nil || c.Linux.Empty() {
		return err
	}
	if err := kernel(ours); err != nil {
		return fmt.Errorf("%w; what else is on the line is done", err)
	}
	return nil
}

// carp has the daemon apply the carp part of c. In FreeBSD's form the rest is about the interface that
// carries the vhid, and comes first: it may have to be up.
func carp(ctx context.Context, d Daemon, c ifconfig.Change) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if ifconfig.IsCarp(c.Interface) {
		return d.Change(ctx, c.ForDaemon())
	}
	if c.Up != nil || c.MTU != nil || !c.Linux.Empty() {
		if err := kernel(ifconfig.Change{Interface: c.Interface, Up: c.Up, MTU: c.MTU, Linux: c.Linux}); err != nil {
			return err
		}
	}
	return d.Change(ctx, ifconfig.Change{Interface: c.Interface, Carp: c.Carp})
}

// pfsync0 is the interface that pfsyncd owns.
const pfsync0 = "pfsync0"

// check finds out whether the kernel's part of a change for pfsync0 can be done, as far as
// that can be known: pfsyncd may have to create it first.
func check(c ifconfig.Change) error {
	if c.Linux.Empty() {
		return nil
	}
	l, err := Open()
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := l.plan(c); !errors.Is(err, ifconfig.ErrNoInterface) {
		return err
	}
	return nil
}

func kernel(c ifconfig.Change) error {
	l, err := Open()
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Change(c)
}
