package lab

import (
	"context"
	"path/filepath"
	"syscall"
)

// Split sends what the client says by fwA, and all answers by fwB: the shared addresses are
// on B, but the client's gateway is A. New connections of the server come in by B, and are
// answered by A.
func (l *Lab) Split() error {
	if err := l.MoveTo(l.B); err != nil {
		return err
	}
	return l.Client.defaultRoutes("192.168.0.254", "2001:db8:1::a")
}

// LoadRules loads the rules of both firewalls into f, as a firewall's service does at
// boot: it flushes what is there.
func (f *Firewall) LoadRules(ctx context.Context) error {
	_, err := f.Run(ctx, "nft", "-f", filepath.Join(f.lab.Dir, "firewall.nft"))
	return err
}

// FlushRules removes all rules but those that belong to a process: connections are not
// tracked any more.
func (f *Firewall) FlushRules(ctx context.Context) error {
	_, err := f.Run(ctx, "nft", "flush", "ruleset")
	return err
}

// Signal sends the firewall's pfsyncd a signal that does not end it.
func (f *Firewall) Signal(s syscall.Signal) error { return f.signal(s) }
