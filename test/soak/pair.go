package main

import (
	"context"
	"fmt"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rival"
)

// pair is a daemon that keeps two firewalls in sync, as its operator runs it.
type pair interface {
	programs() []string
	// prepare readies a firewall once.
	prepare(ctx context.Context, f *lab.Firewall) error
	// start starts the daemon of f and has it learn what it missed, by whatever its
	// manual says is due then.
	start(ctx context.Context, f *lab.Firewall, active bool) error
	counters(ctx context.Context, f *lab.Firewall) (map[string]uint64, error)
}

func pairOf(name string) (pair, error) {
	switch name {
	case "pfsyncd":
		return pfsyncd{}, nil
	case "conntrackd":
		mode, err := rival.Mode("ftfw")
		return conntrackd{mode}, err
	default:
		return nil, fmt.Errorf("peer %s: unknown, choose pfsyncd or conntrackd", name)
	}
}

type pfsyncd struct{}

func (pfsyncd) programs() []string                           { return nil }
func (pfsyncd) prepare(context.Context, *lab.Firewall) error { return nil }
func (pfsyncd) counters(ctx context.Context, f *lab.Firewall) (map[string]uint64, error) {
	return f.Counters(ctx)
}

func (pfsyncd) start(ctx context.Context, f *lab.Firewall, _ bool) error {
	if err := f.StartDaemon(); err != nil {
		return err
	}
	if err := f.WaitReady(ctx); err != nil {
		return err
	}
	_, err := f.Ifconfig(ctx, "pfsync0", "up", "syncdev", lab.Sync)
	return err
}

// conntrackd is conntrack-tools' daemon in its reliable mode, FTFW.
type conntrackd struct{ mode rival.Conntrackd }

func (conntrackd) programs() []string { return []string{"conntrackd"} }

func (conntrackd) counters(context.Context, *lab.Firewall) (map[string]uint64, error) {
	return nil, nil
}

func (conntrackd) prepare(ctx context.Context, f *lab.Firewall) error { return rival.Prepare(ctx, f) }

// start does what conntrack-tools' primary-backup.sh does for the daemon's role.
func (c conntrackd) start(ctx context.Context, f *lab.Firewall, active bool) error {
	if err := c.mode.Start(ctx, f); err != nil {
		return err
	}
	commands := []string{"-n"} // ask the peer for its states
	if active {
		commands = []string{"-R", "-B"} // read the kernel's table again, and send all of it
	}
	for _, command := range commands {
		if err := c.mode.Ask(ctx, f, command); err != nil {
			return err
		}
	}
	return nil
}
