package carp_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

func TestOrderOnBecomingMaster(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		n := len(b.sys.Calls())
		b.sys.Hook(func(c carptest.Call) error {
			time.Sleep(5 * time.Millisecond) // each call waits for the one before
			return nil
		})
		a.stop()
		after(5500 * time.Millisecond) // nothing is under way
		var ops []carptest.Op
		for _, c := range b.sys.Calls()[n:] {
			if c.Device == "carp0" && c.Op != carptest.Serve || c.Device == "carp0" && len(ops) == 0 {
				ops = append(ops, c.Op)
			}
		}
		// The second announcement comes two adverts later.
		want := []carptest.Op{carptest.Serve, carptest.Send, carptest.Announce, carptest.Send, carptest.Send, carptest.Announce}
		if len(ops) < len(want) || !slices.Equal(ops[:len(want)], want) {
			t.Errorf("calls %v, want %v first", ops, want)
		}
		if life := b.sys.Calls(carptest.Serve)[0].Lifetime; life != 3*time.Second {
			t.Errorf("lifetime %v", life)
		}
		n = len(b.sys.Calls())
		b.stop()
		ops = nil
		for _, c := range b.sys.Calls()[n:] {
			if c.Device == "carp0" {
				ops = append(ops, c.Op)
			}
		}
		if !slices.Equal(ops, []carptest.Op{carptest.Send, carptest.Close}) && !slices.Equal(ops, []carptest.Op{carptest.Send, carptest.Withdraw, carptest.Close}) {
			t.Errorf("at the end: %v", ops)
		}
	})
}

func TestRefusedAddressesLeaveServiceToThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		b := r.firewall("fwB", 253, 100, nil)
		after(10 * time.Second)
		a := r.firewall("fwA", 254, 0, nil)
		refused := errors.New("carp0: address 10.0.0.1: exists on sis9")
		a.sys.Hook(carptest.Refuse(refused, carptest.Serve))
		after(2 * time.Second) // it preempts, in vain
		a.has("refused", carp.Master, carp.Master)
		if why := a.status("carp0").Why; why != refused.Error() {
			t.Errorf("why: %q", why)
		}
		b.has("A refused", carp.Master, carp.Master) // A says nothing without addresses
		r.holders("A refused", "fwB")
		after(8 * time.Second)
		a.has("refused thrice", carp.Backup, carp.Backup)
		if d := a.demotion("carp"); d != 2 {
			t.Errorf("demotion %d, want 2", d)
		}
		r.holders("refused thrice", "fwB")
		if n := a.counter("carp_serveerrors"); n < 6 {
			t.Errorf("%d errors counted", n)
		}
		a.sys.Hook(nil)
		after(90 * time.Second) // it tries again
		a.has("mended", carp.Master, carp.Master)
		r.holders("mended", "fwA")
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0: it must not stick", d)
		}
	})
}

func TestAloneWithRefusedAddressesItGoesOnTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := r.firewall("fwA", 254, 0, nil)
		a.sys.Hook(carptest.Refuse(errors.New("no"), carptest.Serve))
		after(time.Minute)
		a.has("refused", carp.Master, carp.Master)
		a.sys.Hook(nil)
		after(1100 * time.Millisecond)
		r.holders("mended", "fwA")
		after(5 * time.Second)
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0", d)
		}
	})
}

func TestSendErrorsDemote(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		var errs int
		a.sys.Hook(func(c carptest.Call) error {
			if c.Op == carptest.Send && c.Device == "carp0" {
				errs++
				return errors.New("no buffer space available")
			}
			return nil
		})
		after(3*time.Second + 3*slack) // three adverts of carp0, then one of carp1
		if a.demotion("carp") != 1 || errs < 3 {
			t.Fatalf("demotion %d after %d errors", a.demotion("carp"), errs)
		}
		b.has("A cannot send", carp.Backup, carp.Master)
		after(time.Second)
		b.has("A cannot send", carp.Master, carp.Master)
		a.sys.Hook(nil)
		after(2 * time.Minute)
		a.has("mended", carp.Master, carp.Master)
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0", d)
		}
	})
}

// A device that hangs for seconds does not make the others late.
func TestSlowDeviceHoldsUpNobodyElse(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.Hook(func(c carptest.Call) error {
			if c.Device == "carp0" {
				time.Sleep(10 * time.Second)
			}
			return nil
		})
		var late time.Duration
		last := time.Now()
		r.lan.Tap(func(f carptest.Frame) {
			if f.From == "fwA" && f.Port == "sis1" {
				late, last = max(late, f.At.Sub(last)), f.At
			}
		})
		after(2 * time.Second)
		a.status("carp1") // answers
		after(30 * time.Second)
		if late > time.Second+slack {
			t.Errorf("an advert of carp1 came after %v", late)
		}
		if n := b.status("carp1").Changes; n != 1 {
			t.Errorf("carp1 of B has changed %d times", n)
		}
		if a.counter("carp_obusy") == 0 {
			t.Error("adverts that were not sent are not counted")
		}
	})
}

// Serve may hang, as behind other users of the kernel's interface lock: adverts do not.
func TestSlowServeDelaysNoAdverts(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.Hook(func(c carptest.Call) error {
			if c.Op == carptest.Serve {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		})
		after(30 * time.Second)
		a.has("slow", carp.Master, carp.Master)
		if n := b.status("carp0").Changes + b.status("carp1").Changes; n != 2 {
			t.Errorf("B has changed %d times", n)
		}
	})
}

func TestCarpdevGoesAndComesBack(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.SetLink("sis0", carp.Link{})
		after(4 * time.Second)
		a.has("gone", carp.Init, carp.Backup)
		b.has("gone", carp.Master, carp.Master)
		if why := a.status("carp0").Why; why != "carpdev sis0 does not exist" {
			t.Errorf("why: %q", why)
		}
		a.sys.Plug("sis0")
		after(10 * time.Second)
		a.has("back", carp.Master, carp.Master)
		r.holders("back", "fwA")
	})
}

func TestCarpdevAppearsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		sys := r.lan.System("fwA", carptest.Ports{"sis0": nil, "sis1": {netip.MustParseAddr("192.168.0.254")}})
		sys.SetLink("sis0", carp.Link{})
		a := &firewall{rig: r, sys: sys}
		a.start(0)
		after(10 * time.Second)
		a.has("late", carp.Init, carp.Master)
		if why := a.status("carp0").Why; why != "carpdev sis0 does not exist" {
			t.Errorf("why: %q", why)
		}
		if d := a.demotion("carp"); d != 1 {
			t.Errorf("demotion %d, want 1", d)
		}
		sys.Plug("sis0")
		after(5 * time.Second)
		a.has("there", carp.Master, carp.Master)
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0", d)
		}
	})
}

func TestInterfaceThatCannotBeMadeIsTriedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		sys := r.lan.System("fwA", carptest.Ports{"sis0": nil, "sis1": nil})
		refused := errors.New("carp0: carpdev sis0: is a port of br0; use br0 as the carpdev")
		sys.Hook(carptest.Refuse(refused, carptest.Open))
		a := &firewall{rig: r, sys: sys}
		a.start(0)
		after(3500 * time.Millisecond)
		a.has("refused", carp.Init, carp.Init)
		if why := a.status("carp0").Why; why != refused.Error() {
			t.Errorf("why: %q", why)
		}
		if n, d := a.counter("carp_openerrors"), a.demotion("carp"); n != 8 || d != 2 {
			t.Errorf("%d errors, demotion %d; want 8 and 2", n, d)
		}
		sys.Hook(nil)
		after(5 * time.Second)
		a.has("mended", carp.Master, carp.Master)
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0", d)
		}
		check(t, a.host.Remove("carp0"))
		sys.Hook(carptest.Refuse(refused, carptest.Open))
		check(t, a.host.Configure(carp.Config{Name: "carp0", VHID: 1, AdvBase: 1, CarpDev: "sis0", Up: true}))
		after(time.Second / 2)
		check(t, a.host.Remove("carp0")) // while it is not there
		if all, err := a.host.Status(); err != nil || len(all) != 1 {
			t.Errorf("%d interfaces, %v", len(all), err)
		}
	})
}

func TestReconfigure(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		second := netip.MustParsePrefix("10.0.0.9/24")
		for _, f := range []*firewall{a, b} {
			c := f.status("carp0").Config
			c.Addresses = append(c.Addresses, second)
			check(t, f.host.Configure(c))
		}
		after(5 * time.Second)
		a.has("address added", carp.Master, carp.Master)
		b.has("address added", carp.Backup, carp.Backup)
		if !a.sys.Has(second.Addr()) || !a.sys.Has(outside.Addr()) {
			t.Error("address is not there")
		}
		if n := a.status("carp0").Changes; n != 2 {
			t.Errorf("A has changed %d times", n)
		}

		// Another vhid and another carpdev are another interface.
		c := a.status("carp0").Config
		c.VHID = 7
		check(t, a.host.Configure(c))
		after(5 * time.Second)
		a.has("vhid changed", carp.Master, carp.Master)
		b.has("vhid changed", carp.Master, carp.Backup)
		c.VHID, c.CarpDev = 1, "sis1"
		check(t, a.host.Configure(c))
		after(5 * time.Second)
		opened := a.sys.Calls(carptest.Open)
		if last := opened[len(opened)-1]; last.Port != "sis1" || len(opened) != 4 {
			t.Errorf("opened %d times, last on %s", len(opened), last.Port)
		}
		check(t, a.host.Remove("carp0"))
		check(t, a.host.Configure(c)) // the name is free again
		if err := a.host.Remove("carp9"); err == nil || err.Error() != "carp9: no such interface" {
			t.Errorf("remove: %v", err)
		}
	})
}

// Adverts go on at the times at which they would have come anyway.
func TestSettingTheSameAgainDisturbsNothing(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		var sent []time.Time
		r.lan.Tap(func(f carptest.Frame) {
			if f.From != "fwA" {
				t.Errorf("%s has advertised", f.From)
			}
			if f.Port == "sis0" {
				sent = append(sent, f.At)
			}
		})
		disturbing := []carptest.Op{carptest.Open, carptest.Announce, carptest.Withdraw, carptest.Close}
		before := [2]int{len(a.sys.Calls(disturbing...)), len(b.sys.Calls(disturbing...))}
		began := time.Now()
		for range 20 {
			after(170 * time.Millisecond)
			for _, f := range []*firewall{a, b} {
				for _, name := range []string{"carp0", "carp1"} {
					check(t, f.host.Configure(f.status(name).Config))
				}
			}
		}
		after(20*time.Second - time.Since(began))
		a.has("set again", carp.Master, carp.Master)
		b.has("set again", carp.Backup, carp.Backup)
		if got := [2]int{len(a.sys.Calls(disturbing...)), len(b.sys.Calls(disturbing...))}; got != before {
			t.Errorf("calls of %v: %v, before %v", disturbing, got, before)
		}
		if a.status("carp0").Changes != 2 || b.status("carp0").Changes != 1 {
			t.Errorf("transitions: A %d, B %d", a.status("carp0").Changes, b.status("carp0").Changes)
		}
		if len(sent) != 20 {
			t.Errorf("%d adverts in 20 seconds", len(sent))
		}
		for i := 1; i < len(sent); i++ {
			if gap := sent[i].Sub(sent[i-1]); gap != time.Second {
				t.Errorf("advert %d came %v after the one before", i, gap)
			}
		}
	})
}

func TestForcedState(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		for _, f := range []*firewall{a, b} {
			f.options(func(o *carp.Options) { o.Preempt = false })
		}
		after(700 * time.Millisecond) // long after its last advert: B's timer is ahead
		check(t, a.host.Force("carp0", carp.Backup))
		after(4 * time.Second)
		b.has("A forced", carp.Master, carp.Backup)
		a.has("A forced", carp.Backup, carp.Master)
		check(t, a.host.Force("carp0", carp.Master))
		after(slack)
		a.has("A forced back", carp.Master, carp.Master)
		b.has("A forced back", carp.Backup, carp.Backup)
		check(t, b.host.Force("carp0", carp.Init))
		b.has("init", carp.Backup, carp.Backup)
		a.sys.Pull("sis0")
		after(slack)
		check(t, a.host.Force("carp0", carp.Master))
		if s := a.status("carp0").State; s != carp.Init {
			t.Errorf("forced out of INIT to %v", s)
		}
	})
}

func TestConfigureRefuses(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		for want, change := range map[string]func(*carp.Config){
			"a carp interface needs a name, like carp0":                                                func(c *carp.Config) { c.Name = "" },
			"carp2: vhid 1 is carp0's on sis0 already; use another one":                                func(c *carp.Config) { c.VHID, c.CarpDev = 1, "sis0" },
			"carp2: advbase 255: must be 0 to 254 seconds":                                             func(c *carp.Config) { c.AdvBase = 255 },
			"carp2: advskew 255: must be 0 to 254":                                                     func(c *carp.Config) { c.AdvSkew = 255 },
			"carp2: advbase and advskew are both 0: no time is left between adverts; set one of them":  func(c *carp.Config) { c.AdvBase = 0 },
			"carp2: carpdev carp2: is the carp interface itself; name a physical one":                  func(c *carp.Config) { c.CarpDev = "carp2" },
			"carp2: carppeer ff02::12: must be the IPv4 address of one host; -carppeer for the group":  func(c *carp.Config) { c.CarpPeer = netip.MustParseAddr("ff02::12") },
			"carp2: carppeer 224.0.0.1: must be the IPv4 address of one host; -carppeer for the group": func(c *carp.Config) { c.CarpPeer = netip.MustParseAddr("224.0.0.1") },
			"carp2: lladdr 01:00:5e:00:00:12: must be six bytes, and not a multicast address":          func(c *carp.Config) { c.LLAddr = net.HardwareAddr{1, 0, 0x5e, 0, 0, 0x12} },
			"carp2: address 10.0.0.1 is carp0's already; take it away there first":                     func(c *carp.Config) { c.Addresses = []netip.Prefix{outside} },
			"carp2: address 10.0.0.7: given twice": func(c *carp.Config) {
				c.Addresses = prefixes(netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("::ffff:10.0.0.7"))
			},
			"carp2: address 224.0.0.7: no host can have it": func(c *carp.Config) { c.Addresses = prefixes(netip.MustParseAddr("224.0.0.7")) },
		} {
			c := carp.Config{Name: "carp2", VHID: 3, AdvBase: 1, CarpDev: "sis0", Up: true}
			change(&c)
			if err := a.host.Configure(c); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
		if all, err := a.host.Status(); err != nil || len(all) != 2 {
			t.Errorf("%d interfaces, %v", len(all), err)
		}
		o := carp.DefaultOptions()
		o.IfdownFactor = -1
		if err := a.host.SetOptions(o); err == nil {
			t.Error("factor -1 is taken")
		}
	})
}

func TestTransitionsTellHooks(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		for _, want := range []struct{ old, new carp.State }{{carp.Init, carp.Backup}, {carp.Backup, carp.Master}} {
			for range 2 { // carp0 and carp1, in any order
				got := <-a.host.Transitions()
				if got.Old != want.old || got.New != want.new || got.Why == "" || got.At.IsZero() || got.Name != []string{"", "carp0", "carp1"}[got.VHID] {
					t.Errorf("told %+v, want %v to %v", got, want.old, want.new)
				}
			}
		}
		for range 100 { // nobody reads
			check(t, a.host.Force("carp0", carp.Backup))
			check(t, a.host.Force("carp0", carp.Master))
		}
		if n := a.counter("carp_transitionslost"); n != 200-64 {
			t.Errorf("%d lost, want 136", n)
		}
		a.stop()
		n := 0
		for range a.host.Transitions() {
			n++
		}
		if n != 64 {
			t.Errorf("%d left, want the last 64", n)
		}
		if err := a.host.Configure(carp.Config{Name: "carp3", AdvBase: 1}); !errors.Is(err, carp.ErrStopped) {
			t.Errorf("configured after the end: %v", err)
		}
		if _, err := a.host.Status(); !errors.Is(err, carp.ErrStopped) {
			t.Errorf("status after the end: %v", err)
		}
		a.host.SetShare("carp", "late", 1) // blocks nobody
	})
}
