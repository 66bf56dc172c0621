package links

import (
	"context"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/keyfile"
)

// Daemon changes pfsync0: pfsyncd, reached by a control.Client.
type Daemon interface {
	Change(context.Context, ifconfig.Change) error
}

// Apply carries out c: by the daemon for pfsync0, by the kernel for other interfaces of
// the caller's network namespace. The file of a key is read here: the daemon could not.
// The error is what programs print behind their name.
func Apply(ctx context.Context, d Daemon, c ifconfig.Change) error {
	if c.Interface == "pfsync0" {
		c, err := keyfile.Load(c)
		if err != nil {
			return err
		}
		return d.Change(ctx, c)
	}
	l, err := Open()
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Change(c)
}
