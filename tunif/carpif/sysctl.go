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
	withoutIPv6,
}

// withoutIPv6 keeps the kernel from joining groups where there is no IPv6 address: the
// report is a frame from the virtual MAC, also of an interface that a killed daemon has
// left up, and draws the switch's port here when the cable is plugged in again.
var (
	withoutIPv6 = setting{"ipv6", "disable_ipv6", 1, false}
	withIPv6    = setting{"ipv6", "disable_ipv6", 0, false}
)

// parentSettings are those of the carpdev: it neither answers ARP for the virtual
// addresses nor asks from them with its own MAC, which neighbours would learn.
var parentSettings = [...]setting{
	{"ipv4", "arp_ignore", 1, true},
	{"ipv4", "arp_announce", 2, true},
}

// sysctls are the interfaces' ones of one network namespace, whatever thread asks: they
// are looked up from that namespace's folders.
type sysctls struct{ dirs map[string]int } // by family

func openSysctls(netNS int) (*sysctls, error) {
	s := &sysctls{dirs: map[string]int{}}
	open := func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			// O_PATH: the daemon may not list folders once it is confined.
			dir, err := unix.Open("/proc/sys/net/"+family+"/conf", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if family == "ipv6" && errors.Is(err, fs.ErrNotExist) {
				continue // a kernel without it
			}
			if err != nil {
				return fmt.Errorf("/proc/sys/net/%s/conf: %w", family, err)
			}
			s.dirs[family] = dir
		}
		return nil
	}
	var err error
	if netNS == 0 {
		err = open()
	} else {
		err = inNamespace(netns.NsHandle(netNS), open)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sysctls) close() error {
	var errs []error
	for _, dir := range s.dirs {
		errs = append(errs, unix.Close(dir))
	}
	return errors.Join(errs...)
}

// apply writes a setting and returns the value that was there, or -1 if the kernel has
// no IPv6 for the interface.
func (s *sysctls) apply(name string, want setting) (old int, err error) {
	text, err := s.read(want.family, name, want.key)
	if want.family == "ipv6" && errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err == nil {
		old, err = strconv.Atoi(text)
	}
	if err != nil {
		return -1, fmt.Errorf("sysctl net/%s/conf/%s/%s: %w", want.family, name, want.key, err)
	}
	if old == want.value || want.atLeast && old > want.value {
		return old, nil // /proc/sys may be read-only
	}
	if err := s.write(want.family, name, want.key, strconv.Itoa(want.value)); err != nil {
		return old, fmt.Errorf("sysctl net.%s.conf.NAME.%s=%d: %w; set net.%[1]s.conf.default.%[2]s instead", want.family, want.key, want.value, err)
	}
	return old, nil
}

// value is what a setting is now.
func (s *sysctls) value(name string, of setting) (int, error) {
	text, err := s.read(of.family, name, of.key)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// forwards6 tells whether the interface is a router's.
func (s *sysctls) forwards6(name string) bool {
	text, err := s.read("ipv6", name, "forwarding")
	return err == nil && text != "0"
}

// open opens a sysctl. A dot in the name cannot lead it astray: it is one path element.
func (s *sysctls) open(family, name, key string, flags int) (int, error) {
	dir, ok := s.dirs[family]
	if !ok {
		return -1, fs.ErrNotExist
	}
	return unix.Openat(dir, name+"/"+key, flags|unix.O_CLOEXEC, 0)
}

func (s *sysctls) read(family, name, key string) (string, error) {
	fd, err := s.open(family, name, key, unix.O_RDONLY)
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

func (s *sysctls) write(family, name, key, value string) error {
	fd, err := s.open(family, name, key, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
