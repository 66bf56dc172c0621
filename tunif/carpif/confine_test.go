package carpif_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/confine"
	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// confinedState is the state directory of a process that confines itself and works then.
const confinedState = "CARPIF_TEST_CONFINED"

// workConfined does all that a daemon does, with no more than the daemon may.
func workConfined(state string) int {
	if _, err := confine.Process(state); err != nil {
		fmt.Println("confine:", err)
	}
	fmt.Println("served:", func() error {
		s, err := carpif.New(slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			return err
		}
		for range 2 { // the second time is like an adoption, and after Close
			d, err := s.Open("carp0", "sis0", virtual)
			if err != nil {
				return err
			}
			for _, err := range []error{
				d.Serve(both, lifetime),
				d.Send(advert(1), carp.Inet, netip.Addr{}, vip.Addr()),
				d.Send(advert(1), carp.Inet6, netip.Addr{}, vip6.Addr()),
				d.Send(advert(1), carp.Inet, addrB, vip.Addr()),
				d.Announce(both),
				d.Serve(both[:1], lifetime),
				d.Withdraw(),
				d.Close(),
			} {
				if err != nil {
					return err
				}
			}
		}
		return s.Close()
	}())
	return 0
}

// All works in the daemon's confinement, and within the filter of its unit file.
func TestConfined(t *testing.T) {
	if err := lab.Require("strace"); err != nil {
		t.Fatal(err)
	}
	l := newLAN(t)
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := launch(t, l.a, confinedState+"="+t.TempDir(), "strace", "-D", "-f", "-e", "trace=socket", "-o", trace)
	check(t, cmd.Wait())
	lines, err := os.ReadFile(trace)
	check(t, err)
	unit, err := os.ReadFile("../../share/systemd/pfsyncd.service")
	check(t, err)
	_, allowed, _ := strings.Cut(string(unit), "\nRestrictAddressFamilies=")
	allowed, _, _ = strings.Cut(allowed, "\n")
	families := map[string]bool{}
	for _, m := range regexp.MustCompile(`socket\((AF_\w+)`).FindAllStringSubmatch(string(lines), -1) {
		families[m[1]] = true
		if !slices.Contains(strings.Fields(allowed), m[1]) {
			t.Errorf("a socket of %s, which RestrictAddressFamilies of the unit file forbids", m[1])
		}
	}
	if !families["AF_PACKET"] || !families["AF_NETLINK"] || !families["AF_INET6"] {
		t.Errorf("the trace is not carpif's: %v", families)
	}
}
