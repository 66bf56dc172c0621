// Package rival runs what Linux has beside pfsyncd for keeping two firewalls in sync:
// conntrackd of conntrack-tools, with the peer's states in the kernel as ours has them,
// and buffers far above the packaged example's.
package rival

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Conntrackd is one way of configuring it.
type Conntrackd struct {
	Name, Note    string
	mode, options string // blocks of its configuration
}

// Modes are those in which a backup's kernel has the states at once.
func Modes() []Conntrackd {
	return []Conntrackd{
		{Name: "ftfw", Note: "the reliable protocol", mode: ftfw},
		{Name: "ftfw-window", Note: "ftfw that carries TCP's window scales too", mode: ftfw, options: "Options {\n\tTCPWindowTracking yes\n}"},
		{Name: "notrack", Note: "best effort", mode: "Mode NOTRACK {\n\tDisableInternalCache no\n\tDisableExternalCache yes\n}"},
		{Name: "notrack-bypass", Note: "best effort without any cache, the closest to pfsync", mode: "Mode NOTRACK {\n\tDisableInternalCache yes\n\tDisableExternalCache yes\n}"},
	}
}

const ftfw = "Mode FTFW {\n\tResendQueueSize 1048576\n\tACKWindowSize 300\n\tDisableExternalCache yes\n}"

// Mode finds one by its name.
func Mode(name string) (Conntrackd, error) {
	i := slices.IndexFunc(Modes(), func(c Conntrackd) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, c := range Modes() {
			names = append(names, c.Name)
		}
		return Conntrackd{}, fmt.Errorf("conntrackd's mode %s: unknown, choose one of %s", name, strings.Join(names, ", "))
	}
	return Modes()[i], nil
}

// Prepare lets a firewall take the protocol, without tracking it. It is called once for a
// firewall, whatever the modes are.
func Prepare(ctx context.Context, f *lab.Firewall) error {
	for _, rule := range []string{
		"insert rule inet filter input iifname " + lab.Sync + " udp dport 3780 accept",
		"add rule inet raw prerouting iifname " + lab.Sync + " udp dport 3780 notrack",
		"add rule inet raw output oifname " + lab.Sync + " udp dport 3780 notrack",
	} {
		if _, err := f.Run(ctx, "nft", rule); err != nil {
			return err
		}
	}
	return nil
}

func file(f *lab.Firewall) string { return filepath.Join(f.StateDir(), "conntrackd.conf") }

// Start starts it, and returns when it has read the kernel's table and takes commands.
func (c Conntrackd) Start(ctx context.Context, f *lab.Firewall) error {
	own, err := f.Addr(lab.Sync)
	if err != nil {
		return err
	}
	text := strings.NewReplacer("MODE", c.mode, "OPTIONS", c.options, "DIR", f.StateDir(), "SYNCDEV", lab.Sync, "ADDRESS", own.String()).Replace(configuration)
	if err := os.WriteFile(file(f), []byte(text), 0o600); err != nil {
		return err
	}
	for _, left := range []string{"lock", "ctl"} { // by kill -9
		if err := os.Remove(filepath.Join(f.StateDir(), left)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := f.StartOther(exec.Command("conntrackd", "-C", file(f))); err != nil {
		return err
	}
	return lab.Eventually(ctx, f.Name+": conntrackd", func() error { return c.Ask(ctx, f, "-s") })
}

// Ask gives the running daemon a command.
func (c Conntrackd) Ask(ctx context.Context, f *lab.Firewall, words ...string) error {
	_, err := f.Run(ctx, "conntrackd", append([]string{"-C", file(f)}, words...)...)
	return err
}

const configuration = `Sync {
MODE
	Multicast {
		IPv4_address 225.0.0.50
		Group 3780
		IPv4_interface ADDRESS
		Interface SYNCDEV
		SndSocketBuffer 33554432
		RcvSocketBuffer 33554432
		Checksum yes
	}
OPTIONS
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
