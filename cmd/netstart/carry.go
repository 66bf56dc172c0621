package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/keyfile"
	"github.com/pfsync-linux/pfsync/ifconfig/links"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// pfsync0 is the daemon's interface, as those of carp are: its lines are one change.
const pfsync0 = "pfsync0"

// carry carries steps out, in order, or prints them. All are read before one is carried out: if one is
// wrong, none is. What the kernel refuses does not keep the later ones from being tried, as on OpenBSD.
func (n *netstart) carry(ctx context.Context, steps []plan.Step) {
	changes := make([]ifconfig.Change, len(steps))
	wrong := false
	for i, s := range steps {
		n.leased = n.leased || s.Do == plan.DHCP
		n.routed = n.routed || s.Has("inet6") && s.Has("autoconf")
		if n.dry {
			n.show(s)
		}
		if s.Do != plan.Ifconfig {
			continue
		}
		var err error
		if changes[i], err = s.Change(); err != nil {
			n.fail(s.Errorf("%w", err))
			wrong = true
		}
		for _, w := range changes[i].Warnings {
			n.say("%v: warning: %s", s.Place, w)
		}
	}
	if n.dry || wrong {
		return
	}
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		n.again(ctx)
		var err error
		switch s.Do {
		case plan.Shell:
			err = n.shell(ctx, s)
		case plan.DHCP:
			err = n.lease(ctx, s.Interface)
		case plan.Route:
			err = route(s)
		case plan.Sysctl:
			if _, err = sysctl.Apply(ctx, n.daemon, s.Setting); n.unheard(err) {
				n.fail(fmt.Errorf("%s: %w", s.File, err))
				return // nor will it hear the others
			}
		case plan.Ifconfig:
			if ifconfig.IsCarp(s.Interface) || s.Has("vhid") {
				n.hold(ctx)
			}
			if s.Interface == pfsync0 || ifconfig.IsCarp(s.Interface) {
				end := i + 1
				for end < len(steps) && steps[end].Do == plan.Ifconfig {
					end++
				}
				n.owned(ctx, steps[i:end], changes[i:end])
				i = end - 1
				continue
			}
			err = n.change(ctx, s, changes[i])
		}
		if err != nil {
			n.fail(s.Errorf("%w", err))
		}
		if errors.Is(err, ifconfig.ErrNoInterface) {
			return
		}
	}
}

// show prints a step as -n does.
func (n *netstart) show(s plan.Step) {
	if s.Do != plan.DHCP {
		n.print(s.Show(n.secrets))
		return
	}
	c, err := findClient()
	if err != nil {
		n.fail(s.Errorf("%w", err))
		return
	}
	n.print(c.command(s.Interface))
}

// unheard tells of an error that is no answer of the daemon. Who waited for it once does not
// wait again.
func (n *netstart) unheard(err error) bool {
	if errors.Is(err, control.ErrNotRunning) {
		n.daemon.Patience = 0
	}
	return errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrNoAnswer)
}

// owned has the daemon apply the lines as one change. A refusal is reported with the line of
// the word that is to blame.
func (n *netstart) owned(ctx context.Context, steps []plan.Step, changes []ifconfig.Change) {
	all := ifconfig.Change{Interface: steps[0].Interface}
	for i, c := range changes {
		c, err := keyfile.Load(c)
		if err != nil {
			n.fail(steps[i].Errorf("%w", err))
			return
		}
		all.Merge(c)
	}
	all.Create = false // a second run must find nothing wrong; what is missing is created anyway
	err := links.Apply(ctx, n.daemon, all)
	if err == nil {
		return
	}
	place := plan.Place{File: steps[0].File}
	if blame, ok := errors.AsType[*control.WordError](err); ok {
		for _, s := range slices.Backward(steps) {
			if s.Has(blame.Word) {
				place = s.At(blame.Word)
				break
			}
		}
	}
	if len(steps) == 1 && place.Line == 0 && !n.unheard(err) {
		place = steps[0].Place
	}
	n.unheard(err)
	n.fail(fmt.Errorf("%v: %w", place, err))
}

// change has one line carried out: by the kernel, what is of a vhid by the daemon. What exists is not created again.
func (n *netstart) change(ctx context.Context, s plan.Step, c ifconfig.Change) error {
	if c.Create && exists(s.Interface) {
		if len(s.Words) == 1 {
			return nil
		}
		c.Create = false
	}
	return links.Apply(ctx, n.daemon, c)
}

// shell runs a line that begins with '!'.
func (n *netstart) shell(ctx context.Context, s plan.Step) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.Command)
	cmd.Stdout, cmd.Stderr = n.stdout, n.stderr
	cmd.Env = append(os.Environ(), "if="+s.Interface)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("'!%s': %w", ifconfig.Shown(s.Command), err)
	}
	return nil
}

// route sets a default route, in the place of the one that is there.
func route(s plan.Step) error {
	r := &netlink.Route{Gw: s.Gateway.WithZone("").AsSlice(), Family: netlink.FAMILY_V4}
	if s.Gateway.Is6() {
		r.Family = netlink.FAMILY_V6
	}
	if zone := s.Gateway.Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return fmt.Errorf("%v: %s: %w", s.Gateway, zone, ifconfig.ErrNoInterface)
		}
		r.LinkIndex = i.Index
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("default route via %v: %w", s.Gateway, err)
	}
	return nil
}
