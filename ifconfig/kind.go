package ifconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kind is a set of kinds of interfaces, as keywords know them.
type kind uint8

const (
	kindPFSync kind = 1 << iota
	kindVLAN
	kindBridge
	kindPair
	kindVether
	kindCarp
	kindPlain // whatever else there is: it cannot be created here

	kindAny   = kindPFSync | kindCarp | kindLinux
	kindInet  = kindCarp | kindLinux // those that have addresses
	kindLinux = kindVLAN | kindBridge | kindPair | kindVether | kindPlain
)

// Driver is what the letters of an interface's name say of it, in OpenBSD's names.
type Driver struct {
	Name  string
	Linux string // Linux's kind of the same (ip link add type); "": pfsyncd makes it
	kind  kind
}

// drivers are those whose interfaces can be created, in the order of their names.
var drivers = []Driver{
	{"bridge", "bridge", kindBridge},
	{"carp", "", kindCarp},
	{"pair", "veth", kindPair},
	{"pfsync", "", kindPFSync},
	{"vether", "dummy", kindVether},
	{"vlan", "vlan", kindVLAN},
}

// Cloners names what can be created, as -C prints it.
func Cloners() []string {
	var names []string
	for _, d := range drivers {
		names = append(names, d.Name)
	}
	return names
}

// DriverOf finds the driver that makes interfaces of that name: letters and a number.
func DriverOf(name string) (d Driver, ok bool) {
	letters, unit := cutUnit(name)
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Name == letters })
	if i < 0 || unit == "" {
		return d, false
	}
	return drivers[i], true
}

// kindOf tells what words apply to the interface of this name.
func kindOf(name string) (kind, error) {
	driver, unit := cutUnit(name)
	switch {
	case unit == "":
	case driver == "pfsync" && unit != "0":
		return 0, fmt.Errorf("%s: only pfsync0 is supported", name)
	}
	if d, ok := DriverOf(name); ok {
		return d.kind, nil
	}
	if !isName(name) {
		return 0, fmt.Errorf("interface name %s: bad value", Shown(name))
	}
	return kindPlain, nil
}

// isName tells whether Linux could have an interface of that name, were it short enough.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == ':' || r == '%' || r <= ' ' || !strconv.IsPrint(r) || r == '\uFFFD'
	})
}

// cutUnit splits pfsync0 into pfsync and 0; unit is empty when the name ends in no digit.
func cutUnit(name string) (driver, unit string) {
	driver = strings.TrimRight(name, "0123456789")
	return driver, name[len(driver):]
}
