package main

import (
	"fmt"
	"io"

	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// cleanUp removes what a daemon that was killed has left in this network namespace. While one runs it does nothing:
// as long as it has the control socket's name, none starts.
func cleanUp(stderr io.Writer) error {
	listener, err := control.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	names, err := carpif.RemoveLeftOver()
	for _, name := range names {
		fmt.Fprintf(stderr, "pfsyncd: %s: removed, it was left over\n", name)
	}
	return err
}
