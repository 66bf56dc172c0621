package carpif

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveLeftOver removes the carp interfaces that a daemon has left behind which was killed, and names them: from the
// caller's network namespace, in which no daemon may run. A master's would go on answering for its addresses as
// long as they live.
func RemoveLeftOver() (names []string, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	defer h.Close()
	all, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var failed []error
	for _, l := range all {
		if l.Type() != "macvlan" || l.Attrs().Alias != alias {
			continue
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			failed = append(failed, fmt.Errorf("%s: removing what was left over: %w", l.Attrs().Name, err))
			continue
		}
		names = append(names, l.Attrs().Name)
	}
	return names, errors.Join(failed...)
}
