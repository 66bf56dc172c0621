package tunif

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// sysctls keep the kernel from doing anything with a frame but showing it.
var sysctls = [...]struct {
	family, key, value string
	optional           bool // a kernel without IPv6 has none
}{
	{"ipv6", "disable_ipv6", "1", true}, // else router solicitations come in as soon as it is up
	{"ipv4", "rp_filter", "1", false},   // else a frame for this host is delivered a second time, or answered
	{"ipv4", "forwarding", "0", false},  // else a frame for a third host is forwarded
	{"ipv4", "accept_local", "0", false},
	{"ipv4", "log_martians", "0", false}, // the filter's drops are intended
}

// harden writes the sysctls of the calling thread's namespace. The device must be down.
func (d *Device) harden(name string) error {
	for _, s := range sysctls {
		err := setSysctl(s.family, name, s.key, s.value)
		if s.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
	}
	all, err := os.ReadFile(sysctlPath("ipv4", "all", "rp_filter"))
	if err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	if v := strings.TrimSpace(string(all)); v == "2" { // the larger of both counts
		d.log.Warn("net.ipv4.conf.all.rp_filter=2 lets the kernel take pfsync frames for received packets when syncpeer is unicast; set it to 0 or 1",
			"interface", name)
	}
	return nil
}

// setSysctl writes a value unless it is there already: /proc/sys may be read-only.
func setSysctl(family, name, key, value string) error {
	path := sysctlPath(family, name, key)
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("sysctl: %w", err)
	}
	if strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("sysctl net.%s.conf.NAME.%s=%s: %w; set net.%s.conf.default.%s instead", family, key, value, err, family, key)
	}
	return nil
}

// sysctlPath cannot be led astray by a dot in the name: it is one path element.
func sysctlPath(family, name, key string) string {
	return "/proc/sys/net/" + family + "/conf/" + name + "/" + key
}
