package ifconfig

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNoInterface is wrapped with the name when a display names nothing that exists.
var ErrNoInterface = errors.New("no such interface")

// Display says what to show and how.
type Display struct {
	Name    string // an interface, a group or a driver; "": all
	Family  Family // only addresses of this one; "": both
	Aliases bool   // not only the first IPv4 address
	JSON    bool
	Style   Style
}

// Style is the form of a display.
type Style string

const (
	// StyleBoth is OpenBSD's display with FreeBSD's syncok line added, and the peers. It is the default.
	StyleBoth Style = "both"
	// StyleOpenBSD is OpenBSD's display exactly.
	StyleOpenBSD Style = "openbsd"
	// StyleFreeBSD is FreeBSD's display (14), of what there is on Linux.
	StyleFreeBSD Style = "freebsd"
)

// ParseStyle reads the argument of --style.
func ParseStyle(s string) (Style, error) {
	switch Style(s) {
	case StyleBoth, StyleOpenBSD, StyleFreeBSD:
		return Style(s), nil
	}
	return "", fmt.Errorf("style %s: unknown, choose openbsd, freebsd or both", Shown(s))
}

// Select picks what d asks for out of all, each with the addresses that d asks for. An exact name
// is taken first, then another name of an interface, under which it is shown, then a group,
// then a driver (pfsync: pfsync0). The error wraps ErrNoInterface.
func (d Display) Select(all []Interface) ([]Interface, error) {
	picked := all
	if d.Name != "" {
		picked = nil
		for _, match := range []func(Interface) bool{
			func(i Interface) bool { return i.Name == d.Name },
			func(i Interface) bool { return slices.Contains(i.AltNames, d.Name) },
			func(i Interface) bool { return slices.Contains(i.Groups, d.Name) },
			func(i Interface) bool { driver, unit := cutUnit(i.Name); return driver == d.Name && unit != "" },
		} {
			for _, i := range all {
				if match(i) {
					if slices.Contains(i.AltNames, d.Name) {
						i.Name = d.Name
					}
					picked = append(picked, i)
				}
			}
			if picked != nil {
				break
			}
		}
		if picked == nil && isWord(d.Name) {
			return nil, fmt.Errorf("%s: %w (the interface comes first: %s)", d.Name, ErrNoInterface, inItsPlace(d.Name))
		}
		if picked == nil {
			return nil, fmt.Errorf("%s: %w", Shown(d.Name), ErrNoInterface)
		}
	}
	shownOnes := make([]Interface, 0, len(picked))
	for _, i := range picked {
		if d.Family == Inet6 {
			i.Inet = nil
		}
		if d.Family == Inet {
			i.Inet6 = nil
		}
		if !d.Aliases && len(i.Inet) > 1 {
			i.Inet = i.Inet[:1]
		}
		shownOnes = append(shownOnes, i)
	}
	return shownOnes, nil
}
