package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pfsync-linux/pfsync/test/lab"
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
		return conntrackd{}, nil
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

// conntrackd is conntrack-tools' daemon in its reliable mode, FTFW, with the states of
// the peer in the kernel as ours has them, and buffers far above the packaged example's.
type conntrackd struct{}

func (conntrackd) programs() []string { return []string{"conntrackd"} }

func (conntrackd) counters(context.Context, *lab.Firewall) (map[string]uint64, error) {
	return nil, nil
}

func (c conntrackd) prepare(ctx context.Context, f *lab.Firewall) error {
	for _, rule := range []string{
		"insert rule inet filter input iifname " + lab.Sync + " udp dport 3780 accept",
		"add rule inet raw prerouting iifname " + lab.Sync + " udp dport 3780 notrack",
		"add rule inet raw output oifname " + lab.Sync + " udp dport 3780 notrack",
	} {
		if _, err := f.Run(ctx, "nft", rule); err != nil {
			return err
		}
	}
	own, err := f.Addr(lab.Sync)
	if err != nil {
		return err
	}
	return os.WriteFile(c.file(f), []byte(strings.NewReplacer(
		"DIR", f.StateDir(), "SYNCDEV", lab.Sync, "ADDRESS", own.String(),
	).Replace(conntrackdConf)), 0o600)
}

func (conntrackd) file(f *lab.Firewall) string { return filepath.Join(f.StateDir(), "conntrackd.conf") }

// start does what conntrack-tools' primary-backup.sh does for the daemon's role.
func (c conntrackd) start(ctx context.Context, f *lab.Firewall, active bool) error {
	os.Remove(filepath.Join(f.StateDir(), "lock")) // kill -9 leaves them
	os.Remove(filepath.Join(f.StateDir(), "ctl"))
	if err := f.StartOther(exec.Command("conntrackd", "-C", c.file(f))); err != nil {
		return err
	}
	ask := func(words ...string) error {
		_, err := f.Run(ctx, "conntrackd", append([]string{"-C", c.file(f)}, words...)...)
		return err
	}
	if err := lab.Eventually(ctx, f.Name+": conntrackd", func() error { return ask("-s") }); err != nil {
		return err
	}
	commands := []string{"-n"} // ask the peer for its states
	if active {
		commands = []string{"-R", "-B"} // read the kernel's table again, and send all of it
	}
	for _, command := range commands {
		if err := ask(command); err != nil {
			return err
		}
	}
	return nil
}

const conntrackdConf = `Sync {
	Mode FTFW {
		ResendQueueSize 1048576
		ACKWindowSize 300
		DisableExternalCache yes
	}
	Multicast {
		IPv4_address 225.0.0.50
		Group 3780
		IPv4_interface ADDRESS
		Interface SYNCDEV
		SndSocketBuffer 33554432
		RcvSocketBuffer 33554432
		Checksum yes
	}
}
General {
	HashSize 262144
	HashLimit 4194304
	LogFile DIR/conntrackd.log
	LockFile DIR/lock
	UNIX {
		Path DIR/ctl
	}
	NetlinkBufferSize 33554432
	NetlinkBufferSizeMaxGrowth 134217728
	NetlinkOverrunResync yes
	NetlinkEventsReliable no
	Filter From Kernelspace {
		Protocol Accept {
			TCP
			UDP
			ICMP
			IPv6-ICMP
			SCTP
		}
		Address Ignore {
			IPv4_address 127.0.0.1
			IPv4_address 192.168.254.254
			IPv4_address 192.168.254.253
		}
	}
}
`
