package hostname

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
)

// later are the drivers whose interfaces need others first, in the order in which OpenBSD starts them.
// Those behind routes need the default routes too. pfsync is the last one: no state of a peer is to
// come before this firewall can use it.
var later = []string{
	"trunk", "aggr", "svlan", "vlan", "carp",
	routes,
	"pppoe", "tun", "tap", "gif", "etherip", "gre", "egre", "nvgre", "eoip", "vxlan", "wg", "bridge", "veb", "tpmr", "pflow", "pfsync",
}

// routes stands for the default routes in later.
const routes = ""

// Order splits names into those that are started before the default routes are set and those that
// are started after it, each in the order of starting: lo0, then others by name, then those that
// are made of others.
func Order(names []string) (before, after []string) {
	rank := func(name string) int {
		driver := strings.TrimRight(name, "0123456789")
		if driver == "lo" {
			return -2
		}
		return slices.Index(later, driver) // -1: any other
	}
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	at := slices.IndexFunc(sorted, func(name string) bool { return rank(name) > slices.Index(later, routes) })
	if at < 0 {
		at = len(sorted)
	}
	return sorted[:at:at], sorted[at:]
}

// ParseGateways reads a mygate file: an address on each line, of which the first one of each
// family becomes the default route. As on BSD there are comments behind #. path is for
// errors, which start with it and the line. Steps are returned beside an error.
func ParseGateways(r io.Reader, path string) ([]plan.Step, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxGateways))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var steps []plan.Step
	var wrong []error
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		place := plan.Place{File: path, Line: n}
		addr, err := netip.ParseAddr(line)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%v: %s is no address", place, ifconfig.Shown(line)))
		case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback():
			wrong = append(wrong, fmt.Errorf("%v: %s is no gateway", place, line))
		case addr.IsLinkLocalUnicast() && addr.Is6() && addr.Zone() == "":
			wrong = append(wrong, fmt.Errorf("%v: %s: write its interface behind it, %s%%eth0", place, line, line))
		case slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Gateway.Is4() == addr.Is4() }):
			wrong = append(wrong, fmt.Errorf("%v: %s: there is a gateway of this family above", place, line))
		default:
			steps = append(steps, plan.Step{Place: place, Do: plan.Route, Gateway: addr})
		}
	}
	return steps, errors.Join(wrong...)
}

// maxGateways bounds a mygate file in bytes.
const maxGateways = 64 << 10
