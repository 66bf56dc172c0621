package links

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// inet6Conf is where Linux keeps an interface's settings for IPv6, of the namespace of who looks.
const inet6Conf = "/proc/sys/net/ipv6/conf"

// Values of accept_ra: 2 is 1 for a host that is a router too, as a firewall is.
const (
	ignoreAdvertisements = "0"
	acceptAdvertisements = "2"
)

// setting reads a setting; "" if there is none: no such interface, or no IPv6.
func setting(iface, name string) string {
	b, _ := os.ReadFile(filepath.Join(inet6Conf, iface, name))
	return strings.TrimSpace(string(b))
}

func set(iface, name, value string) error {
	return os.WriteFile(filepath.Join(inet6Conf, iface, name), []byte(value+"\n"), 0)
}

// autoconf tells whether the interface takes its addresses from routers' advertisements
// although this is a router: what `inet6 autoconf` sets.
func autoconf(iface string) bool { return setting(iface, "accept_ra") == acceptAdvertisements }

// inet6 plans autoconf and -inet6, and the end of -inet6 when there is an address again.
func (p *plan) inet6() error {
	want := map[string]string{}
	word := ""
	if on := p.change.Autoconf; on != nil {
		want["accept_ra"], word = ignoreAdvertisements, "-autoconf"
		if *on {
			want["accept_ra"], want["autoconf"], want["disable_ipv6"], word = acceptAdvertisements, "1", "0", "autoconf"
		}
	}
	for _, a := range p.change.Addresses {
		if a.Op != ifconfig.AddressDelete && a.Family == ifconfig.Inet6 && want["disable_ipv6"] == "" {
			want["disable_ipv6"], word = "0", a.String()
		}
	}
	if p.change.NoInet6 {
		want["disable_ipv6"], word = "1", "-inet6"
	}
	for _, name := range []string{"disable_ipv6", "autoconf", "accept_ra"} {
		value, wanted := want[name]
		iface := p.attrs().Name
		if p.link == nil {
			iface = p.change.Interface
		}
		now := setting(iface, name)
		switch {
		case !wanted, now == value:
			continue
		case now == "" && p.link != nil:
			return fmt.Errorf("%s: %s: this kernel or interface has no IPv6", p.change.Interface, word)
		}
		s := step{word: word, do: func() error { return set(iface, name, value) }}
		if now != "" && name != "disable_ipv6" || value == "0" {
			s.undo = func() error { return set(iface, name, now) }
		}
		p.add(s)
	}
	return nil
}
