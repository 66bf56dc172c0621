package ifconfig

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

func setCreate(p *parser, _ string) error {
	p.Create = true
	return nil
}

func setDestroy(p *parser, _ string) error {
	p.Destroy = true
	return nil
}

func ignore(*parser, string) error { return nil }

func ignoreNumber(_ *parser, arg string) error {
	_, err := number(arg, 0, 255)
	return err
}

// setRDomain takes 0, the only one there is.
func setRDomain(_ *parser, arg string) error {
	if n, err := number(arg, 0, 255); err != nil {
		return err
	} else if n != 0 {
		return errors.New("not supported on Linux (use a VRF or a network namespace)")
	}
	return nil
}

// maxDescription is OpenBSD's limit in bytes (IFDESCRSIZE less the NUL).
const maxDescription = 63

func setDescription(p *parser, arg string) error {
	p.Description = &arg
	switch {
	case len(arg) > maxDescription:
		return fmt.Errorf("too long (%d bytes, at most %d)", len(arg), maxDescription)
	case strings.ContainsFunc(arg, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }):
		return errors.New("has characters that cannot be printed")
	}
	return nil
}

func setGroup(p *parser, arg string) error {
	p.Group = &arg
	return checkGroup(arg)
}

// checkGroup refuses what OpenBSD refuses as the name of a group, and those that make themselves.
func checkGroup(name string) error {
	_, unit := cutUnit(name)
	switch {
	case len(name) > maxName:
		return errors.New("group name too long")
	case !isName(name):
		return errors.New("not the name of a group")
	case unit != "":
		return errors.New("setifgroup: group names may not end in a digit")
	case name == "egress":
		return errors.New("made of the interfaces that hold a default route (ip route add default ...)")
	case name == "all", name == "default":
		return errors.New("every interface is in it")
	}
	return nil
}

// versionOpenBSD is the format in which states are sent, unless something else is set or learnt.
const versionOpenBSD = "openbsd"

// versions are the dialects of pfsync: OpenBSD's and FreeBSD's formats.
const versions = versionOpenBSD + " 1301 1400 1500"

func setVersion(p *parser, arg string) error {
	if !slices.Contains(words(versions), arg) {
		return errors.New("unsupported, choose one of " + versions)
	}
	p.Version = &arg
	return nil
}

func setLLAddr(p *parser, arg string) error {
	if arg == RandomLLAddr {
		p.LLAddr = &arg
		return nil
	}
	mac, err := parseLLAddr(arg)
	p.LLAddr = &mac
	return err
}

// parseLLAddr reads a link-layer address and returns it in its usual form.
func parseLLAddr(arg string) (string, error) {
	parts := strings.Split(arg, ":")
	if len(parts) != 6 {
		return "", errors.New("not a link-layer address (like 52:54:00:aa:00:01)")
	}
	var mac net.HardwareAddr
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 16, 8) // one digit will do, as in ether_aton(3)
		if err != nil || len(part) > 2 {
			return "", fmt.Errorf("%s is not a byte in hexadecimal (like 52:54:00:aa:00:01)", Shown(part))
		}
		mac = append(mac, byte(n))
	}
	switch {
	case mac[0]&1 != 0:
		return "", errors.New("a group address; an interface's begins with an even number")
	case slices.Max(mac) == 0:
		return "", errors.New("not the address of an interface")
	}
	return mac.String(), nil
}

func setName(p *parser, arg string) error {
	p.Rename = &arg
	if arg == "pfsync0" {
		return errors.New("that one is pfsyncd's")
	}
	return checkName(arg)
}

const (
	minVNetID = 1 // 0 is for packets that have a priority and no tag
	maxVNetID = 4094
)

func setVNetID(p *parser, arg string) error {
	n, err := number(arg, minVNetID, maxVNetID)
	p.VNetID = &n
	return err
}

func setParent(p *parser, arg string) error {
	p.Parent = &arg
	return checkOther(p.Interface, arg)
}

func setPatch(p *parser, arg string) error {
	p.Patch = &arg
	return checkOther(p.Interface, arg)
}

// checkOther refuses the interface itself where another one is meant.
func checkOther(name, other string) error {
	if other == name {
		return errors.New("must be another interface")
	}
	return checkName(other)
}

func setAutoconf(p *parser, on bool) error {
	if p.family != Inet6 {
		return fmt.Errorf("for inet6 only (ifconfig %s inet6 autoconf; for inet use your system's DHCP client)", p.Interface)
	}
	p.Autoconf = &on
	return nil
}
