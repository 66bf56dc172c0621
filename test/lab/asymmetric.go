package lab

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// Split sends what the client says by fwA, and all answers by fwB: the shared addresses are
// on B, but the client's gateway is A. New connections of the server come in by B.
func (l *Lab) Split() error {
	if err := l.MoveTo(l.B); err != nil {
		return err
	}
	return l.Client.defaultRoutes("192.168.0.254", "2001:db8:1::a")
}

// Rules loads the rules of both firewalls anew into f, as a firewall's service does at boot:
// it flushes what is there.
func (f *Firewall) Rules(ctx context.Context) error {
	_, err := f.Run(ctx, "nft", "-f", filepath.Join(f.lab.Dir, "firewall.nft"))
	return err
}

// Flush removes all rules but those that belong to a process; connections are tracked no more.
func (f *Firewall) Flush(ctx context.Context) error {
	_, err := f.Run(ctx, "nft", "flush", "ruleset")
	return err
}

var _ = errors.Join
var _ = netlink.FAMILY_ALL
