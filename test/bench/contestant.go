package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rival"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// baseline is whom the others are compared with unless another is asked for.
const baseline = "conntrackd/ftfw"

// machineItself is the contestant of scenarios that measure the kernel alone.
const machineItself = "kernel"

// contestant is a daemon that keeps two firewalls in sync.
type contestant struct {
	name string
	// start returns when the daemon follows its kernel's table.
	start func(ctx context.Context, f *lab.Firewall) error
	// join asks the peer for what it has, and returns when that is asked.
	join func(ctx context.Context, f *lab.Firewall) error
	// holds waits until the daemon has read n states of its kernel's; nil: start does.
	holds func(ctx context.Context, f *lab.Firewall, n int) error
	// counters are what the daemon has counted, by name; nil: it is not asked.
	counters func(ctx context.Context, f *lab.Firewall) (map[string]uint64, error)
	// defers is set for those that hold first packets back.
	defers bool
	// profiled daemons answer at /debug/ of their control socket.
	profiled bool
}

// contestants finds them by their names. Pprof is whether pfsyncd can be looked into.
func contestants(names []string, pprof bool) (list []contestant, err error) {
	for _, name := range names {
		daemon, mode, _ := strings.Cut(name, "/")
		switch {
		case daemon == "conntrackd":
			m, err := rival.Mode(mode)
			if err != nil {
				return nil, err
			}
			list = append(list, contestant{
				name: name, start: m.Start,
				join: func(ctx context.Context, f *lab.Firewall) error { return m.Ask(ctx, f, "-n") },
			})
		case name == "pfsyncd/plain":
			list = append(list, contestant{name: name, start: startPfsyncd(pprof), join: upBesideBSD, holds: holds, counters: counters, profiled: pprof})
		case name == "pfsyncd/defer":
			list = append(list, contestant{name: name, start: startFirst(pprof), join: upWithDefer, holds: holds, counters: counters, defers: true, profiled: pprof})
		case name == "pfsyncd":
			list = append(list, contestant{name: name, start: startPfsyncd(pprof), join: up, holds: holds, counters: counters, profiled: pprof})
		default:
			return nil, fmt.Errorf("contestant %s: unknown, choose pfsyncd, pfsyncd/plain, pfsyncd/defer or conntrackd/MODE", name)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no contestants in %q", names)
	}
	return list, nil
}

// programs are what the contestants need beside pfsyncd's own.
func programs(all []contestant) (list []string) {
	for _, k := range all {
		if daemon, _, _ := strings.Cut(k.name, "/"); daemon != "pfsyncd" {
			list = append(list, daemon)
		}
	}
	return list
}

func startPfsyncd(pprof bool) func(context.Context, *lab.Firewall) error {
	return func(ctx context.Context, f *lab.Firewall) error {
		var args []string
		if pprof {
			args = append(args, "--pprof")
		}
		if err := f.StartDaemon(args...); err != nil {
			return err
		}
		return f.WaitReady(ctx)
	}
}

// up has pfsyncd ask its peers for their states by itself.
func up(ctx context.Context, f *lab.Firewall) error {
	_, err := f.Ifconfig(ctx, "pfsync0", "up", "syncdev", lab.Sync)
	return err
}

func counters(ctx context.Context, f *lab.Firewall) (map[string]uint64, error) {
	return f.Counters(ctx)
}

// bsd is a firewall that is heard once, and speaks OpenBSD's format alone: for its sake
// all others do so too.
var bsd = netip.MustParseAddr("192.168.254.99")

// upBesideBSD is up where there is such a firewall.
func upBesideBSD(ctx context.Context, f *lab.Firewall) error {
	if err := up(ctx, f); err != nil {
		return err
	}
	var w wire.Writer
	w.Reset(1480)
	bare := w.Finish()
	return lab.Eventually(ctx, f.Name+": a BSD as peer", func() error {
		if err := rush.Stranger(f.Peer().NS, lab.Sync, bsd, bare); err != nil {
			return err
		}
		s, err := status(ctx, f)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.Peers, func(p ifconfig.Peer) bool { return p.Addr == bsd }) {
			return fmt.Errorf("%d peers, not %v", len(s.Peers), bsd)
		}
		return nil
	})
}

func status(ctx context.Context, f *lab.Firewall) (s control.Status, err error) {
	b, err := ask(ctx, f, "/v1/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

func holds(ctx context.Context, f *lab.Firewall, n int) error {
	return lab.Eventually(ctx, f.Name+": states", func() error {
		s, err := status(ctx, f)
		if err != nil {
			return err
		}
		if s.States.Local < n {
			return fmt.Errorf("%d of %d are known", s.States.Local, n)
		}
		return nil
	})
}

// fresh removes what a firewall's earlier daemons have kept.
func fresh(f *lab.Firewall) error {
	if err := os.RemoveAll(f.StateDir()); err != nil {
		return err
	}
	return os.MkdirAll(f.StateDir(), 0o700)
}
