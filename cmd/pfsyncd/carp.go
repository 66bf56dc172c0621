package main

import (
	"log/slog"
	"net"
	"net/netip"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// openCarp lets the node have carp interfaces. It comes before privileges are given up.
func openCarp(cfg *node.Config, log *slog.Logger) (stop func() error, err error) {
	system, err := carpif.New(log)
	if err != nil {
		return nil, err
	}
	cfg.Carp, cfg.CarpCounters, cfg.Networks = system, system.Counters, networks
	return system.Close, nil
}

// networks lists the interfaces of this network namespace.
func networks() ([]node.Network, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []node.Network
	for _, i := range all {
		one := node.Network{
			Name: i.Name, Up: i.Flags&net.FlagUp != 0, Multicast: i.Flags&net.FlagMulticast != 0, Loopback: i.Flags&net.FlagLoopback != 0,
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				one.Prefixes = append(one.Prefixes, p)
			}
		}
		list = append(list, one)
	}
	return list, nil
}

var _ carp.System = (*carpif.System)(nil)
