//go:build stock

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// These tests need a kernel with ESP. test/vm runs them.

const (
	syncA = "192.168.254.254"
	syncB = "192.168.254.253"
)

// ipsecPair is a lab whose daemons are told to speak through IPsec alone. Its rules let ESP and IKE in.
func ipsecPair(t *testing.T) *lab.Lab {
	t.Helper()
	l := newLab(t)
	t.Cleanup(func() {
		if t.Failed() {
			out, err := l.A.Run(context.Background(), "ip", "-s", "xfrm", "state")
			t.Logf("fwA's security associations: %s %v", out, err)
		}
	})
	const rules = "insert rule inet filter input iifname sis2 meta l4proto { esp, udp } accept;" +
		"insert rule inet raw prerouting iifname sis2 meta l4proto { esp, udp } notrack;" +
		"insert rule inet raw output oifname sis2 meta l4proto { esp, udp } notrack"
	for f, peer := range map[*lab.Firewall]string{l.A: syncB, l.B: syncA} {
		if _, err := f.Run(t.Context(), "nft", rules); err != nil {
			t.Fatal(err)
		}
		startDaemon(t, f)
		if _, err := f.Ifconfig(t.Context(), "pfsync0", "syncpeer", peer, "syncdev", "enc0", "up"); err != nil {
			t.Fatal(err)
		}
		shows(t, f, "status: waiting for ipsec")
	}
	return l
}

// secure sets ESP up between the two, by hand, on both.
func secure(t *testing.T, l *lab.Lab, mode string) {
	t.Helper()
	for i, d := range [][2]string{{syncA, syncB}, {syncB, syncA}} {
		for _, f := range []*lab.Firewall{l.A, l.B} {
			ip(t, f, fmt.Sprintf("xfrm state add src %s dst %s proto esp spi 0x100%d reqid 1 mode %s aead rfc4106(gcm(aes)) 0x%040d 128",
				d[0], d[1], i, mode, 7+i))
		}
	}
}

func insecure(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, f := range []*lab.Firewall{l.A, l.B} {
		ip(t, f, "xfrm state flush")
	}
}

// onTheWire counts what leaves by f's sis2, by protocol. What arrives there is seen a second time
// when it comes out of a tunnel.
func onTheWire(t *testing.T, f *lab.Firewall) func() (clear, esp int) {
	t.Helper()
	const rules = "add table netdev wire; add chain netdev wire out { type filter hook egress device sis2 priority 0; };" +
		"add rule netdev wire out ip protocol 240 counter; add rule netdev wire out ip protocol esp counter"
	if _, err := f.Run(t.Context(), "nft", rules); err != nil {
		t.Fatal(err)
	}
	return func() (clear, esp int) {
		out, err := f.Run(t.Context(), "nft", "list", "table", "netdev", "wire")
		if err != nil {
			t.Fatal(err)
		}
		counts := regexp.MustCompile(`packets (\d+)`).FindAllStringSubmatch(out, -1)
		if len(counts) != 2 {
			t.Fatalf("counters %s", out)
		}
		clear, _ = strconv.Atoi(counts[0][1])
		esp, _ = strconv.Atoi(counts[1][1])
		return clear, esp
	}
}

// As pfsync(4) types it: ifconfig pfsync0 syncpeer 10.0.0.2 syncdev enc0.
func TestOnlyThroughIPsec(t *testing.T) {
	for _, mode := range []string{"transport", "tunnel"} {
		t.Run(mode, func(t *testing.T) {
			l := ipsecPair(t)
			tr := startTraffic(t, l)
			left := onTheWire(t, l.A)
			add(t, tr, 5, traffic.TCP)
			if clear, esp := left(); clear != 0 || esp != 0 {
				t.Errorf("without security associations %d packets left in clear and %d by ESP", clear, esp)
			}
			secure(t, l, mode)
			waitSynced(t, l.A)
			waitSynced(t, l.B)
			add(t, tr, 20, traffic.TCP, traffic.UDP)
			alike(t, l)
			if clear, esp := left(); clear != 0 || esp == 0 {
				t.Errorf("%d packets left in clear and %d by ESP", clear, esp)
			}

			// Whoever can write the peer's address opens nothing.
			before := counters(t, l.B)
			forge(t, l, 10)
			eventually(t, "what came in clear is counted", func() error {
				if n := counters(t, l.B)["link_clear"] - before["link_clear"]; n != 10 {
					return fmt.Errorf("link_clear %d", n)
				}
				return nil
			})
			if err := sameTable(t, l.A, l.B); err != nil {
				t.Error(err)
			}

			insecure(t, l)
			shows(t, l.A, "status: waiting for ipsec")
			add(t, tr, 5, traffic.TCP)
			if clear, _ := left(); clear != 10 {
				t.Errorf("%d packets left in clear, 10 of them forged", clear)
			}
			secure(t, l, mode)
			waitSynced(t, l.A)
			waitSynced(t, l.B)
			alike(t, l)
			move := failover(t, l)
			flowing(t, tr)
			mustSurvive(t, tr.Stop(move))
		})
	}
}

// forge sends n packets of pfsync in clear to fwB, by fwA's address.
func forge(t *testing.T, l *lab.Lab, n int) {
	t.Helper()
	var w wire.Writer
	w.Reset(1400)
	w.Clr(wire.Clr{Creator: 0})
	payload := w.Finish()
	frame := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, 8, 0) // broadcast: of an address of the host it is taken
	frame = link.AppendHeader(frame, netip.MustParseAddr(syncA), netip.MustParseAddr(syncB), len(payload))
	frame = append(frame, payload...)
	for range n {
		if err := l.A.Send("sis2", frame); err != nil {
			t.Fatal(err)
		}
	}
}

// IKEv2 by Debian's strongSwan.
func TestOnlyThroughStrongSwan(t *testing.T) {
	l := ipsecPair(t)
	tr := startTraffic(t, l)
	left := onTheWire(t, l.A)
	startStrongSwan(t, l.A, syncB)
	startStrongSwan(t, l.B, syncA)
	waitSynced(t, l.A)
	waitSynced(t, l.B)
	add(t, tr, 20, traffic.TCP, traffic.UDP)
	alike(t, l)
	if clear, esp := left(); clear != 0 || esp == 0 {
		t.Errorf("%d packets left in clear and %d by ESP", clear, esp)
	}
	move := failover(t, l)
	flowing(t, tr)
	mustSurvive(t, tr.Stop(move))
}

// startStrongSwan runs charon in f, which brings the SAs to peer up by itself.
func startStrongSwan(t *testing.T, f *lab.Firewall, peer string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	socket := filepath.Join(dir, "vici")
	conf := write("strongswan.conf", fmt.Sprintf(`charon {
	load_modular = yes
	plugins {
		include /etc/strongswan.d/charon/*.conf
		vici { socket = unix://%s }
	}
}
`, socket))
	connections := write("swanctl.conf", fmt.Sprintf(`connections { sync {
	remote_addrs = %s
	local { auth = psk }
	remote { auth = psk }
	children { pfsync {
		mode = transport
		local_ts = dynamic[240]
		remote_ts = dynamic[240]
		start_action = start
		esp_proposals = aes128gcm128
	} }
} }
secrets { ike { secret = "not told to anybody" } }
`, peer))
	// It keeps its pid in /run, so that one alone could run on a machine.
	charon := exec.Command("unshare", "--mount", "sh", "-c", "mkdir -p /var/run && mount -t tmpfs run /var/run && exec /usr/lib/ipsec/charon")
	charon.Env = append(os.Environ(), "STRONGSWAN_CONF="+conf)
	var log bytes.Buffer
	charon.Stdout, charon.Stderr = &log, &log
	if err := f.Start(charon); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		charon.Process.Kill()
		charon.Wait()
		if t.Failed() {
			t.Logf("%s's charon:\n%s", f.Name, &log)
		}
	})
	eventually(t, "strongSwan takes its connections", func() error {
		_, err := f.Run(t.Context(), "swanctl", "--load-all", "--file", connections, "--uri", "unix://"+socket)
		return err
	})
}

// The backup's copy of an SA goes on where the master's is.
func TestReplayCountersOfIPsec(t *testing.T) {
	l := newLab(t)
	startPair(t, l)
	waitSynced(t, l.B)
	// An SA to a host that is not there, which both have: traffic on fwA uses it.
	for _, f := range []*lab.Firewall{l.A, l.B} {
		ip(t, f, "route add 198.51.100.0/24 via 192.168.254.77 dev sis2")
		ip(t, f, "address add 192.168.254.1/32 dev lo")
		ip(t, f, "neighbour add 192.168.254.77 lladdr 02:00:00:00:00:77 dev sis2")
		ip(t, f, "xfrm state add src 192.168.254.1 dst 198.51.100.9 proto esp spi 0x4711 reqid 9 mode tunnel replay-window 32 aead rfc4106(gcm(aes)) 0x"+strings.Repeat("5", 40)+" 128")
		ip(t, f, "xfrm policy add dir out src 0.0.0.0/0 dst 203.0.113.0/24 tmpl src 192.168.254.1 dst 198.51.100.9 proto esp reqid 9 mode tunnel")
		ip(t, f, "route add 203.0.113.0/24 via 192.168.254.77 dev sis2")
	}
	use := func(f *lab.Firewall, times int) {
		t.Helper()
		err := f.Do(func() error {
			c, err := net.Dial("udp", "203.0.113.1:9")
			if err != nil {
				return err
			}
			defer c.Close()
			for range times {
				if _, err := c.Write([]byte("x")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	use(l.A, 9)
	number := func(f *lab.Firewall) int {
		out := labtest.Run(t, f.NS, "ip -s xfrm state get src 192.168.254.1 dst 198.51.100.9 proto esp spi 0x4711")
		m := regexp.MustCompile(`oseq 0x([0-9a-f]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no number in %s", out)
		}
		n, err := strconv.ParseInt(m[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	if n := number(l.A); n != 9 {
		t.Fatalf("fwA has sent %d packets by the SA", n)
	}
	eventually(t, "fwB goes on behind fwA's number", func() error {
		if n := number(l.B); n < 9 || n > 9+16384 {
			return fmt.Errorf("number %d", n)
		}
		return nil
	})
	if c := counters(t, l.B); c["ipsec_applied"] == 0 || c["ipsec_refused"] != 0 {
		t.Errorf("applied %d, refused %d", c["ipsec_applied"], c["ipsec_refused"])
	}
	// fwB's own use of it goes back to fwA.
	before := number(l.B)
	use(l.B, 3)
	eventually(t, "fwA goes on behind fwB's number", func() error {
		if n := number(l.A); n < before+3 {
			return fmt.Errorf("number %d, fwB had %d", n, before)
		}
		return nil
	})
}
