package e2e_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/bsd/peer"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

const bsdHost = 0xbbbbbbbb

// bsdBeside puts a BSD in fwB's place, with packets to there.
func bsdBeside(t *testing.T, l *lab.Lab, y *peer.System, to string) (*peer.Box, *peer.Socket) {
	t.Helper()
	s, err := peer.Open(l.B.NS.Do, lab.Sync, netip.MustParseAddr(to))
	if err != nil {
		t.Fatal(err)
	}
	b := peer.NewBox(y, bsdHost, func(p []byte) {
		if err := s.Send(p); err != nil {
			t.Error(err)
		}
	})
	go s.Serve(b)
	t.Cleanup(func() { s.Close() })
	return b, s
}

// theirs is a connection of the BSD's that no packet belongs to.
func theirs(n int) peer.State {
	return peer.Connection(peer.ID{State: uint64(n), Creator: bsdHost}, 6,
		netip.MustParseAddrPort(fmt.Sprintf("10.128.1.%d:1024", n)), netip.MustParseAddrPort("192.0.2.1:80"))
}

// bsdHas waits until the BSD has a state of ours of that protocol from there.
func bsdHas(t *testing.T, b *peer.Box, proto byte, from string) {
	t.Helper()
	eventually(t, "the BSD has the state from "+from, func() error {
		for _, s := range b.States() {
			if s.Proto == proto && s.ID.Creator != bsdHost && s.Direction == 2 && s.Stack.Addr[1] == netip.MustParseAddr(from) {
				return nil
			}
		}
		return fmt.Errorf("it has %v", b.States())
	})
}

// FreeBSD's cases that want a kernel, by their names, beside each BSD. Packets go
// through fwA; fwB's namespace is the BSD's.
func TestFreeBSDCasesInTheKernel(t *testing.T) {
	for _, y := range peer.Systems() {
		t.Run(y.Name, func(t *testing.T) {
			l := newLab(t)
			tr := startTraffic(t, l)
			b, s := bsdBeside(t, l, y, "224.0.0.240")
			b.Restore(theirs(1))
			startFirst(t, l.A)

			t.Run("bulk", func(t *testing.T) {
				b.New(theirs(2)) // its first word, after our request
				waitSynced(t, l.A)
				eventually(t, "we have the BSD's states", func() error { return holds(t, l.A, "10.128.1.1", "10.128.1.2") })
				open(t, l.A, "10.128.6.1")
				bsdHas(t, b, 6, "10.128.6.1")
				b.Restart()
				b.Join()
				bsdHas(t, b, 6, "10.128.6.1")
				if n := len(b.States()); n < 4 { // both of ours, and its own
					t.Errorf("the BSD got %d states", n)
				}
				eventually(t, "the bulk update ends", func() error {
					if b.Bulk() != "done" {
						return fmt.Errorf("it is %q", b.Bulk())
					}
					return nil
				})
			})

			t.Run("basic", func(t *testing.T) {
				begun := time.Now()
				add(t, tr, 1, traffic.ICMP)
				bsdHas(t, b, 1, lab.ClientAddr)
				t.Logf("after %v", time.Since(begun)) // the original's two seconds; this machine may be busy
				ping := peer.Connection(peer.ID{State: 7, Creator: bsdHost}, 1, netip.MustParseAddrPort("198.51.100.254:77"), netip.MustParseAddrPort("198.51.100.1:8"))
				if y == peer.FreeBSD13 { // has the id at both ends
					ping = peer.Connection(ping.ID, 1, netip.MustParseAddrPort("198.51.100.254:77"), netip.MustParseAddrPort("198.51.100.1:77"))
				}
				b.New(ping)
				eventually(t, "the kernel has the BSD's ping", func() error {
					out := labtest.Run(t, l.A.NS, "conntrack -L -p icmp")
					if !strings.Contains(out, "src=198.51.100.254 dst=198.51.100.1 type=8 code=0 id=77") {
						return fmt.Errorf("it has %s", out)
					}
					return nil
				})
				eventually(t, "its host id is known", func() error {
					out, _ := l.A.Run(t.Context(), l.A.Program("pfsyncctl"), "peers")
					if !strings.Contains(out, fmt.Sprintf("%08x", bsdHost)) {
						return fmt.Errorf("peers: %s", out)
					}
					return nil
				})
			})

			t.Run("basic_defer", func(t *testing.T) {
				deferWithin(t, 1000, l.A)
				acked := count(t, l.A, "deferacked")
				if c := connects(t, tr, traffic.TCP6, 5, 1); c.Lost > 0 || traffic.Quantile(c.Opened, 1) >= time.Second {
					t.Errorf("%d lost, opened in %v", c.Lost, c.Opened)
				}
				if n := count(t, l.A, "deferacked") - acked; n != 5 {
					t.Errorf("%d first packets were held until the BSD acknowledged", n)
				}
				waits := theirs(8)
				waits.Flags |= 0x10
				b.New(waits)
				eventually(t, "we acknowledge", func() error {
					if b.Waits(waits.ID) {
						return fmt.Errorf("its packet waits")
					}
					return nil
				})
			})

			t.Run("defer", func(t *testing.T) {
				b.Mute = true
				if _, err := l.A.Run(t.Context(), l.A.Program("pfsyncctl"), "sysctl", "net.pfsync.defer_delay=400"); err != nil {
					t.Fatal(err)
				}
				b.Heard()
				if c := connects(t, tr, traffic.TCP6, 1, 1); c.Lost > 0 || traffic.Quantile(c.Opened, 0) < 400*time.Millisecond {
					t.Errorf("nobody acknowledges: %d lost, opened in %v", c.Lost, c.Opened)
				}
				if heard := strings.Join(b.Heard(), " "); !strings.Contains(heard, " 2:0") {
					t.Errorf("the BSD heard %q before the packet left", heard)
				}
				if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "-defer"); err != nil {
					t.Fatal(err)
				}
				hasRules(t, l.A, false)
				timedOut := count(t, l.A, "defertimedout")
				connects(t, tr, traffic.TCP6, 1, 1)
				if n := count(t, l.A, "defertimedout"); n != timedOut {
					t.Errorf("%d packets waited without defer", n-timedOut)
				}
				b.Mute = false
			})

			// What comes in elsewhere, or from afar, is not for pfsync0.
			t.Run("wrong interface, wrong ttl", func(t *testing.T) {
				inside, err := peer.Open(l.Client.Do, "eth0", netip.MustParseAddr("224.0.0.240"))
				if err != nil {
					t.Fatal(err)
				}
				go inside.Serve(peer.NewBox(y, 1, func([]byte) {}))
				defer inside.Close()
				if err := inside.Send(y.Packet(y.Inserts(theirs(20)))); err != nil {
					t.Fatal(err)
				}
				if err := s.SetTTL(254); err != nil {
					t.Fatal(err)
				}
				b.Say(y.Inserts(theirs(21)))
				if err := s.SetTTL(255); err != nil {
					t.Fatal(err)
				}
				b.New(theirs(22))
				eventually(t, "the good one is taken", func() error {
					return holds(t, l.A, "10.128.1.1", "10.128.1.2", "10.128.1.8", "10.128.1.22", "10.128.6.1")
				})
				if n := count(t, l.A, "badttl"); n != 1 {
					t.Errorf("badttl is %d", n)
				}
			})

			t.Run("kill and clear", func(t *testing.T) {
				labtest.Run(t, l.A.NS, "conntrack -D -s 10.128.6.1")
				eventually(t, "the BSD hears of the end", func() error {
					for _, s := range b.States() {
						if s.Stack.Addr[1] == netip.MustParseAddr("10.128.6.1") || s.Stack.Addr[0] == netip.MustParseAddr("10.128.6.1") {
							return fmt.Errorf("it has %x", s.ID.State)
						}
					}
					return nil
				})
				b.Gone(theirs(22).ID)
				eventually(t, "what the BSD kills is gone", func() error { return holds(t, l.A, "10.128.1.1", "10.128.1.2", "10.128.1.8") })
				b.Flush("")
				eventually(t, "what the BSD clears is gone", func() error { return holds(t, l.A) })
			})

			if c := b.Complaints(); c != "[]" {
				t.Errorf("the BSD counts %s", c)
			}
			for _, name := range []string{"badver", "badlen", "badact", "badval", "hdrops", "badstate"} {
				if n := count(t, l.A, name); n != 0 {
					t.Errorf("%s is %d", name, n)
				}
			}
		})
	}
}

// FreeBSD's case "ipsec": with a syncpeer the packets of pfsync are subject to the kernel's
// policies, in and out. There is no SA at first: nothing comes through, in either direction.
// What ESP makes of packets is the kernel's affair, and not every kernel has it.
func TestFreeBSDCaseIPsec(t *testing.T) {
	l := newLab(t)
	const a, b = "192.168.254.254", "192.168.254.253"
	const policy = "ip xfrm policy add src %s dst %s proto 240 dir %s tmpl src %[1]s dst %[2]s proto esp mode transport level required"
	labtest.Run(t, l.A.NS, fmt.Sprintf(policy, a, b, "out"))
	labtest.Run(t, l.A.NS, fmt.Sprintf(policy, b, a, "in"))
	box, _ := bsdBeside(t, l, peer.FreeBSD15, a)
	startDaemon(t, l.A)
	if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync, "syncpeer", b, "version", "1500"); err != nil {
		t.Fatal(err)
	}
	open(t, l.A, "10.128.6.1")
	eventually(t, "the kernel refuses what comes and what goes", func() error {
		box.Say(box.Inserts(theirs(1)))
		stat := labtest.Run(t, l.A.NS, "cat /proc/net/xfrm_stat")
		refused := map[string]int{}
		for line := range strings.Lines(stat) {
			var name string
			var n int
			if _, err := fmt.Sscan(line, &name, &n); err != nil {
				t.Fatal(err)
			}
			refused[name] = n
		}
		if refused["XfrmInTmplMismatch"] == 0 || refused["XfrmOutNoStates"] == 0 {
			return fmt.Errorf("it has counted %v", refused)
		}
		return nil
	})
	if n := count(t, l.A, "ipackets"); n != 0 || box.Count("ipackets") != 0 {
		t.Errorf("%d and %d packets have come", n, box.Count("ipackets"))
	}
	labtest.Run(t, l.A.NS, "ip xfrm policy flush")
	open(t, l.A, "10.128.6.2")
	bsdHas(t, box, 6, "10.128.6.2")
	box.New(theirs(2))
	eventually(t, "we have the BSD's state", func() error { return holds(t, l.A, "10.128.1.2", "10.128.6.1", "10.128.6.2") })
	if c := box.Complaints(); c != "[]" {
		t.Errorf("the BSD counts %s", c)
	}
}

// FreeBSD's case "timeout": a pfsync0 without syncdev, with defer, outlives its one-second timer.
// The packets are to a neighbour: what stays within a Linux host is not watched.
func TestFreeBSDCaseTimeout(t *testing.T) {
	l := newLab(t)
	startDaemon(t, l.A)
	if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "defer"); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{lab.ClientAddr, lab.ClientAddr6} {
		begun := count(t, l.A, "table_events_new")
		err := l.A.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("discard"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the daemon has seen the packet to "+addr, func() error {
			if count(t, l.A, "table_events_new") == begun {
				return fmt.Errorf("no event")
			}
			return nil
		})
	}
	time.Sleep(1100 * time.Millisecond) // the timer's second
	if out, err := l.A.Ifconfig(t.Context(), "pfsync0"); err != nil || !strings.Contains(out, "UP") {
		t.Errorf("%v: %s", err, out)
	}
	if err := l.A.StopDaemon(t.Context()); err != nil {
		t.Error(err)
	}
}

// FreeBSD's cases "basic_ipv6_unicast" and "basic_ipv6": no IPv4 on the sync link.
func TestFreeBSDCasesOverIPv6(t *testing.T) {
	const a, b = "fd2c::1", "fd2c::2"
	for _, y := range []*peer.System{peer.FreeBSD14, peer.FreeBSD15} {
		for _, c := range []struct{ name, ours, theirs string }{
			{"basic_ipv6_unicast", b, a},
			{"basic_ipv6", "ff12::f0", "ff12::f0"},
		} {
			t.Run(y.Name+"/"+c.name, func(t *testing.T) {
				l := newLab(t)
				for addr, f := range map[string]*lab.Firewall{a: l.A, b: l.B} {
					labtest.Run(t, f.NS, "ip -4 address flush dev "+lab.Sync)
					labtest.Run(t, f.NS, "ip address add "+addr+"/64 dev "+lab.Sync+" nodad")
				}
				box, s := bsdBeside(t, l, y, c.theirs)
				startDaemon(t, l.A)
				if _, err := l.A.Ifconfig(t.Context(), "pfsync0", "up", "syncdev", lab.Sync, "syncpeer", c.ours, "version", y.Name); err != nil {
					t.Fatal(err)
				}
				waitSynced(t, l.A)
				open(t, l.A, "10.128.6.1")
				bsdHas(t, box, 6, "10.128.6.1")
				if err := s.SetTTL(254); err != nil {
					t.Fatal(err)
				}
				box.Say(y.Inserts(theirs(1)))
				if err := s.SetTTL(255); err != nil {
					t.Fatal(err)
				}
				box.New(theirs(2))
				eventually(t, "we have the BSD's state", func() error { return holds(t, l.A, "10.128.1.2", "10.128.6.1") })
				if n := count(t, l.A, "badttl"); n != 1 {
					t.Errorf("badttl is %d", n)
				}
				if c := box.Complaints(); c != "[]" {
					t.Errorf("the BSD counts %s", c)
				}
			})
		}
	}
}
