package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is something outside this repository that the lab's users run or need.
type Program struct {
	Name    string   // looked for in PATH; a file when it is an absolute path
	Package string   // Debian's package
	For     []string // of make's targets: demo, test, bench, gobench, soak, soak-conntrackd, and failover
}

// Programs is the one list of what demo, tests and benchmarks need beside Go.
// `go run ./test/lab/programs -install TARGET` installs from it.
func Programs() []Program {
	return []Program{
		{"ip", "iproute2", []string{"demo", "test", "bench", "gobench", "soak", "failover"}},
		{"nft", "nftables", []string{"demo", "test", "bench", "gobench", "soak", "failover"}},
		{"conntrack", "conntrack", []string{"demo", "test", "bench", "gobench", "soak", "failover"}},
		{"conntrackd", "conntrackd", []string{"bench", "soak-conntrackd"}},
		{"ucarp", "ucarp", []string{"test", "failover"}},
		{"keepalived", "keepalived", []string{"test", "failover"}},
		{"tcpdump", "tcpdump", []string{"demo", "test"}},
		{"tshark", "tshark", []string{"test"}}, // runs share/wireshark/pfsync.lua
		{"mandoc", "mandoc", []string{"test"}},
		{"strace", "strace", []string{"test"}},
		{"systemd-analyze", "systemd", []string{"test"}}, // reads the unit file; systemd need not run
		{"/etc/protocols", "netbase", []string{"test"}},  // nft and conntrack know protocols by name
		{"promtool", "prometheus", []string{"test"}},     // reads share/prometheus and share/grafana
		{"bash", "bash", []string{"test"}},               // the shells of share/completions
		{"zsh", "zsh", []string{"test"}},
		{"fish", "fish", []string{"test"}},
		{"curl", "curl", []string{"test"}}, // the examples of the manual pages
		{"openssl", "openssl", []string{"test"}},
		{"nsenter", "util-linux", []string{"test"}},
		{"dpkg-deb", "dpkg", []string{"test"}},
		{"qemu-system-x86_64", "qemu-system-x86", []string{"test"}}, // test/vm
		{"depmod", "kmod", []string{"test"}},
		{"wg", "wireguard-tools", []string{"test"}},
		{"chrt", "util-linux", []string{"test"}},
		{"sleep", "coreutils", []string{"test"}},
		{"unshare", "util-linux", []string{"demo", "test"}}, // the package is installed in a mount namespace
		// The race detector is linked by a C compiler; test/decoder has a program in C.
		{"gcc", "gcc", []string{"test"}},
		{"/usr/include/stdlib.h", "libc6-dev", []string{"test"}},
	}
}

// Missing returns the programs of a target that this machine lacks.
func Missing(target string) []Program {
	return slices.DeleteFunc(Programs(), func(p Program) bool {
		return !slices.Contains(p.For, target) || p.present()
	})
}

// Alone tells whether nothing but the program is wanted of its package, which would start
// a service or bring much else: it is taken out of the package, into /usr/local/bin.
func (p Program) Alone() bool { return p.Name == "promtool" }

func (p Program) present() bool {
	if filepath.IsAbs(p.Name) {
		_, err := os.Stat(p.Name)
		return err == nil
	}
	_, err := exec.LookPath(p.Name)
	return err == nil
}

// Require returns an error that names each of the given programs that is missing,
// with its Debian package. A name that Programs does not list is an error too.
func Require(names ...string) error {
	var errs []error
	for _, name := range names {
		i := slices.IndexFunc(Programs(), func(p Program) bool { return p.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s: not in lab.Programs; add it with its package", name))
			continue
		}
		if p := Programs()[i]; !p.present() && p.Alone() {
			errs = append(errs, fmt.Errorf("%s: not installed; go run ./test/lab/programs -install test, or apt-get install %s", name, p.Package))
		} else if !p.present() {
			errs = append(errs, fmt.Errorf("%s: not installed; apt-get install %s", name, p.Package))
		}
	}
	return errors.Join(errs...)
}

// RequireRoot returns an error unless the process may make namespaces.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo")
	}
	return nil
}

// Packages returns the Debian packages of programs, without repetition.
func Packages(programs []Program) []string {
	var names []string
	for _, p := range programs {
		names = append(names, p.Package)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Describe names programs and their packages on one line, for people.
func Describe(programs []Program) string {
	var words []string
	for _, p := range programs {
		words = append(words, fmt.Sprintf("%s (Debian: %s)", p.Name, p.Package))
	}
	return strings.Join(words, ", ")
}
