package carp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

func TestBothFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		both := func(c *carp.Config) {
			if c.Name == "carp0" {
				c.Addresses = append(c.Addresses, netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("fe80::1/64"))
			}
		}
		a, b := r.firewall("fwA", 254, 0, both), r.firewall("fwB", 253, 100, both)
		after(10 * time.Second)
		a.has("both", carp.Master, carp.Master)
		b.has("both", carp.Backup, carp.Backup)
		if m := b.status("carp0").Master; m != netip.MustParseAddr("10.0.0.254") {
			t.Errorf("master heard is %v", m)
		}
		v4, v6 := a.counter("carp_opackets"), a.counter("carp_opackets6")
		if v6 == 0 || v4 != 2*v6 {
			t.Errorf("%d and %d adverts, want both families on carp0, IPv4 on carp1", v4, v6)
		}
		// The carpdev has no IPv6 address: the virtual one is the source.
		var from netip.Addr
		r.lan.Tap(func(f carptest.Frame) {
			if f.Packet.Family == carp.Inet6 {
				from = f.Packet.Src
			}
		})
		after(2 * time.Second)
		if from != netip.MustParseAddr("2001:db8::1") {
			t.Errorf("IPv6 adverts are from %v", from)
		}
		// Each family has a timer: IPv6 alone is not enough.
		a.sys.Hook(func(c carptest.Call) error {
			if c.Family == carp.Inet {
				return carptest.ErrDown
			}
			return nil
		})
		after(3*time.Second + skew100)
		b.has("IPv4 silent", carp.Master, carp.Master)
	})
}

func TestCarppeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		to := func(host byte) func(c *carp.Config) {
			return func(c *carp.Config) {
				if c.Name == "carp0" {
					c.CarpPeer = netip.AddrFrom4([4]byte{10, 0, 0, host})
				}
			}
		}
		a, b := r.firewall("fwA", 254, 0, to(253)), r.firewall("fwB", 253, 100, to(254))
		after(10 * time.Second)
		a.has("unicast", carp.Master, carp.Master)
		b.has("unicast", carp.Backup, carp.Backup)
		before := b.counters()
		b.sys.Inject("sis0", multicast(forged(nil))) // to the group
		synctest.Wait()
		if got := less(b.counters(), before)["carp_badvhid"]; got != 1 {
			t.Errorf("badvhid %d, want 1", got)
		}
	})
}

func TestLinkAddressByHand(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for name, c := range map[string]struct {
		b    net.HardwareAddr
		want carp.State
	}{
		"the same":    {mac, carp.Backup},
		"the default": {nil, carp.Master}, // the digests differ: each is alone
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				by := func(mac net.HardwareAddr) func(*carp.Config) { return func(c *carp.Config) { c.LLAddr = mac } }
				r.firewall("fwA", 254, 0, by(mac))
				b := r.firewall("fwB", 253, 100, by(c.b))
				after(10 * time.Second)
				b.has(name, c.want, c.want)
			})
		})
	}
}

// Adverts that wait to be read when a busy host comes to look are heard before the
// timer says that the master is silent.
func TestBusyHostDoesNotTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.firewall("fwA", 254, 0, nil), r.firewall("fwB", 253, 100, nil)
		b.stop()
		var busy atomic.Int64
		b.log = slog.New(slowHandler{slog.DiscardHandler, &busy})
		b.first = func(o *carp.Options) { o.Log = 4 }
		b.start(0)
		after(10*time.Second + 500*time.Millisecond)
		busy.Store(int64(20 * time.Second))
		b.host.SetShare("carp", "what is logged", 1) // and holds up Run
		after(25 * time.Second)
		if busy.Load() != 0 {
			t.Fatal("B was not busy")
		}
		a.has("busy", carp.Master, carp.Master)
		b.has("busy", carp.Backup, carp.Backup)
		if n := b.status("carp0").Changes; n != 1 {
			t.Errorf("B has changed %d times", n)
		}
	})
}

// slowHandler holds up whoever logs once, for as long as it is told.
type slowHandler struct {
	slog.Handler
	wait *atomic.Int64
}

func (h slowHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	time.Sleep(time.Duration(h.wait.Swap(0)))
	return false
}

// A master whose kernel does not keep the addresses is none in the peers' eyes.
func TestNoAdvertsWithoutAddresses(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.Hook(func(c carptest.Call) error {
			if c.Op == carptest.Serve {
				time.Sleep(time.Minute)
			}
			return nil
		})
		after(5 * time.Second) // the lifetime, and not three seconds of silence yet
		r.holders("hanging")
		last := len(a.sys.Calls(carptest.Send))
		after(3 * time.Second)
		if n := len(a.sys.Calls(carptest.Send)); n != last {
			t.Errorf("%d adverts without addresses", n-last)
		}
		r.holders("hanging longer", "fwB")
	})
}

func TestLogFollowsOption(t *testing.T) {
	for level, want := range map[int][]string{
		0: nil,
		2: {"carp state transition"},
		3: {"carp state transition", "carp group demoted"},
		4: {"from=INIT to=BACKUP", "carp group demoted", "to=33", "by=33", "group=carp", `reason="pfsync bulk"`, "from=BACKUP to=MASTER", `why="master is silent"`, "vhid=1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			var text bytes.Buffer
			sys := r.lan.System("fwA", carptest.Ports{"sis0": nil, "sis1": nil})
			f := &firewall{rig: r, sys: sys, log: slog.New(slog.NewTextHandler(&text, nil)), first: func(o *carp.Options) { o.Log = level }}
			f.start(0)
			after(5 * time.Second)
			f.host.SetShare("carp", "pfsync bulk", 33)
			after(time.Second)
			f.stop()
			for _, w := range want {
				if !strings.Contains(text.String(), w) {
					t.Errorf("log %d has no %s:\n%s", level, w, text.String())
				}
			}
			if has := strings.Contains(text.String(), "demoted"); has != (level >= 3) {
				t.Errorf("log %d tells demotions: %t", level, has)
			}
			if has := strings.Contains(text.String(), "INIT"); has != (level >= 4) {
				t.Errorf("log %d tells INIT: %t", level, has)
			}
		})
	}
}

func TestStatusJSON(t *testing.T) {
	s := carp.Status{
		Config: carp.Config{Name: "carp0", VHID: 1, Pass: "secret", AdvBase: 1, CarpDev: "sis0", Addresses: []netip.Prefix{outside}, Up: true},
		State:  carp.Master, Changes: 2,
	}
	b, err := json.Marshal(s)
	check(t, err)
	want := `{"name":"carp0","vhid":1,"advbase":1,"advskew":0,"carpdev":"sis0","carppeer":"","addresses":["10.0.0.1/24"],` +
		`"groups":null,"up":true,"state":"MASTER","since":"0001-01-01T00:00:00Z","demotion":0,"master":"","why":"","changes":2,` +
		`"lladdr":"00:00:5e:00:01:01"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var again carp.Status
	check(t, json.Unmarshal(b, &again))
	s.Pass, s.LLAddr = "", carp.VirtualMAC(1)
	if diff := cmp.Diff(s, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
