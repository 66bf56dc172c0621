package carpif

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netns"
)

// setting is one sysctl of an interface.
type setting struct {
	family, key string
	value       int
	atLeast     bool // a larger value is left as it is: it is stricter
}

// carpSettings are those of carpN.
var carpSettings = [...]setting{
	{"ipv4", "arp_ignore", 1, false},   // answers for its own addresses only
	{"ipv4", "arp_announce", 2, false}, // and asks from them only
	{"ipv4", "rp_filter", 2, false},    // its network is the carpdev's too: strict would drop all
	{"ipv6", "addr_gen_mode", 1, false},
	{"ipv6", "accept_ra", 0, false}, // else an address made of the virtual MAC, which both hosts have
	{"ipv6", "autoconf", 0, false},
	{"ipv6", "accept_dad", 0, false}, // who else has the address is the protocol's business
}

// parentSettings are those of the carpdev: it neither answers ARP for the virtual
// addresses nor asks from them with its own MAC, which neighbours would learn.
var parentSettings = [...]setting{
	{"ipv4", "arp_ignore", 1, true},
	{"ipv4", "arp_announce", 2, true},
}

// sysctls are those of one network namespace, whatever thread asks: paths below
// /proc/sys/net are looked up from the folder of that namespace.
type sysctls struct{ dir int }

func openSysctls(netNS int) (s *sysctls, err error) {
	s = &sysctls{}
	open := func() error {
		// O_PATH: the daemon may not list folders once it is confined.
		s.dir, err = unix.Open("/proc/sys/net", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("/proc/sys/net: %w", err)
		}
		return nil
	}
	if netNS == 0 {
		return s, open()
	}
	return s, inNamespace(netns.NsHandle(netNS), open)
}

func (s *sysctls) close() error { return unix.Close(s.dir) }

// apply writes a setting and returns the value that was there, or -1 if the kernel has
// no IPv6 for the interface.
func (s *sysctls) apply(name string, want setting) (old int, err error) {
	path := want.family + "/conf/" + name + "/" + want.key // a dot in the name leads nowhere else
	text, err := s.read(path)
	if want.family == "ipv6" && errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("sysctl net/%s: %w", path, err)
	}
	if old, err = strconv.Atoi(text); err != nil {
		return -1, fmt.Errorf("sysctl net/%s: %w", path, err)
	}
	if old == want.value || want.atLeast && old > want.value {
		return old, nil // /proc/sys may be read-only
	}
	if err := s.write(path, strconv.Itoa(want.value)); err != nil {
		return old, fmt.Errorf("sysctl net.%s.conf.NAME.%s=%d: %w; set net.%[1]s.conf.default.%[2]s instead", want.family, want.key, want.value, err)
	}
	return old, nil
}

// value is what a setting is now.
func (s *sysctls) value(name string, of setting) (int, error) {
	text, err := s.read(of.family + "/conf/" + name + "/" + of.key)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// forwards6 tells whether the interface is a router's.
func (s *sysctls) forwards6(name string) bool {
	text, err := s.read("ipv6/conf/" + name + "/forwarding")
	return err == nil && text != "0"
}

func (s *sysctls) read(path string) (string, error) {
	fd, err := unix.Openat(s.dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

func (s *sysctls) write(path, value string) error {
	fd, err := unix.Openat(s.dir, path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
