package carp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

const (
	skew100 = 100 * time.Second / 256
	slack   = 50 * time.Millisecond
)

// pair runs the example: A is master, B backup, both up for ten seconds.
func pair(t *testing.T, test func(r *rig, a, b *firewall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.firewall("fwA", 254, 0, nil), r.firewall("fwB", 253, 100, nil)
		after(10 * time.Second)
		a.has("at first", carp.Master, carp.Master)
		b.has("at first", carp.Backup, carp.Backup)
		r.holders("at first", "fwA")
		test(r, a, b)
	})
}

func TestBackupTakesOverWhenMasterDies(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.PowerOff() // its last advert was a moment ago
		a.stop()
		after(2 * time.Second)
		b.has("before t_down", carp.Backup, carp.Backup)
		after(time.Second + skew100 - 2*slack)
		b.has("before t_down", carp.Backup, carp.Backup)
		after(3 * slack)
		b.has("after t_down", carp.Master, carp.Master)
		r.holders("after t_down", "fwB")
	})
}

func TestDemotedHostReturnsAsBackupUntilItHasTheStates(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.PowerOff()
		a.stop()
		after(5 * time.Second)
		a.sys.Restart()
		a.start(32)
		after(20 * time.Second)
		a.has("during the bulk update", carp.Backup, carp.Backup)
		b.has("during the bulk update", carp.Master, carp.Master)
		if got := a.status("carp0").Master.String(); got != "10.0.0.253" {
			t.Errorf("master heard is %s", got)
		}
		a.host.SetShare("carp", "pfsync bulk", 0)
		after(time.Second + skew100 + slack) // B's next advert
		a.has("after it", carp.Master, carp.Master)
		b.has("after it", carp.Backup, carp.Backup)
		r.holders("after it", "fwA")
	})
}

func TestDemotedHostServesWhenNobodyElseDoes(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		b.host.SetShare("carp", "pfsync bulk", 32)
		a.sys.PowerOff()
		a.stop()
		after(3*time.Second + skew100 + slack)
		b.has("demoted", carp.Master, carp.Master)
		r.holders("demoted", "fwB")
		if d := b.status("carp0").Demotion; d != 32 {
			t.Errorf("demotion %d, want 32", d)
		}
	})
}

func TestGroupDemotionMovesAll(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		for _, f := range []*firewall{a, b} {
			f.options(func(o *carp.Options) { o.Preempt = false }) // OpenBSD moves even so
		}
		check(t, a.host.Demote("carp", 128))
		after(slack)
		a.has("demoted", carp.Backup, carp.Backup)
		b.has("demoted", carp.Master, carp.Master)
		r.holders("demoted", "fwB")
		check(t, a.host.Demote("carp", -128))
		after(5 * time.Second)
		a.has("without preempt", carp.Backup, carp.Backup)
		a.options(func(*carp.Options) {})
		after(2 * time.Second)
		a.has("with preempt", carp.Master, carp.Master)
	})
}

func TestOtherGroupMovesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		egress := func(c *carp.Config) {
			if c.Name == "carp0" {
				c.Groups = []string{"egress", "all"}
			}
		}
		a, b := r.firewall("fwA", 254, 0, egress), r.firewall("fwB", 253, 100, egress)
		after(10 * time.Second)
		check(t, a.host.Demote("all", 5)) // counts for nobody
		after(slack)
		a.has("all", carp.Master, carp.Master)
		check(t, a.host.Demote("egress", 1))
		after(slack)
		a.has("egress", carp.Backup, carp.Master)
		b.has("egress", carp.Master, carp.Backup)
		check(t, a.host.Demote("egress", -100))
		if d := a.demotion("egress"); d != 0 {
			t.Errorf("demotion %d, want 0: it is never below", d)
		}
	})
}

func TestLinkDownMovesTheOtherToo(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.Pull("sis0")
		after(slack)
		a.has("sis0 pulled", carp.Init, carp.Backup)
		if s := a.status("carp0"); s.Why != "carpdev sis0 has no carrier" {
			t.Errorf("why: %q", s.Why)
		}
		if d := a.demotion("carp"); d != 1 {
			t.Errorf("demotion %d, want 1", d)
		}
		after(3*time.Second + skew100)
		b.has("sis0 pulled", carp.Master, carp.Master)
		r.holders("sis0 pulled", "fwB")
		a.sys.Plug("sis0")
		after(10 * time.Second)
		a.has("sis0 plugged", carp.Master, carp.Master)
		b.has("sis0 plugged", carp.Backup, carp.Backup)
		if d := a.demotion("carp"); d != 0 {
			t.Errorf("demotion %d, want 0", d)
		}
	})
}

func TestFreeBSDDialect(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		freebsd := func(o *carp.Options) { o.Dialect = carp.FreeBSD }
		a.options(freebsd)
		b.options(freebsd)
		a.sys.Pull("sis0")
		after(time.Second + slack)
		a.has("sis0 pulled", carp.Init, carp.Backup) // 240 against 100
		if d := a.demotion("carp"); d != 240 {
			t.Errorf("demotion %d, want 240", d)
		}
		a.sys.Plug("sis0")
		after(10 * time.Second)
		a.has("sis0 plugged", carp.Master, carp.Master)

		for _, f := range []*firewall{a, b} {
			f.options(func(o *carp.Options) { o.Dialect, o.Preempt = carp.FreeBSD, false })
		}
		check(t, a.host.Demote("carp", 100))
		after(5 * time.Second)
		a.has("demoted without preempt", carp.Master, carp.Master)
		b.options(freebsd)
		after(5 * time.Second)
		a.has("100 against 100, a faster one is not there", carp.Master, carp.Master)
		check(t, a.host.Demote("carp", 1))
		after(slack)
		a.has("101 against 100", carp.Backup, carp.Backup)
		b.has("101 against 100", carp.Master, carp.Master)
	})
}

func TestBowOut(t *testing.T) {
	for name, leave := range map[string]func(a *firewall){
		"stop": func(a *firewall) { a.stop() },
		"remove": func(a *firewall) {
			check(a.rig.t, a.host.Remove("carp0"))
			check(a.rig.t, a.host.Remove("carp1"))
			if d := a.sys.Devices(); len(d) != 0 {
				a.rig.t.Errorf("left: %v", d)
			}
		},
		"down": func(a *firewall) {
			for _, n := range []string{"carp0", "carp1"} {
				c := a.status(n).Config
				c.Up = false
				check(a.rig.t, a.host.Configure(c))
			}
		},
		"allow": func(a *firewall) { a.options(func(o *carp.Options) { o.Allow = false }) },
	} {
		t.Run(name, func(t *testing.T) {
			pair(t, func(r *rig, a, b *firewall) {
				leave(a)
				after(time.Millisecond)
				b.has("bowed out", carp.Master, carp.Master)
				r.holders("bowed out", "fwB")
			})
		})
	}
}

func TestBowOutWithSubSecondAdverts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		fast := func(c *carp.Config) { c.AdvBase = 0 }
		a, b := r.firewall("fwA", 254, 10, fast), r.firewall("fwB", 253, 20, fast)
		after(2 * time.Second)
		a.has("at first", carp.Master, carp.Master)
		a.stop()
		after(time.Millisecond)
		b.has("bowed out", carp.Master, carp.Master)
	})
}

func TestSubSecondAdverts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		fast := func(c *carp.Config) { c.AdvBase = 0 }
		a, b := r.firewall("fwA", 254, 10, fast), r.firewall("fwB", 253, 20, fast)
		after(2 * time.Second)
		a.has("at first", carp.Master, carp.Master)
		before := a.counter("carp_opackets")
		after(10 * time.Second)
		if n := a.counter("carp_opackets") - before; n < 500 || n > 514 {
			t.Errorf("%d adverts in 10 s, want 2 x 256", n)
		}
		if n := len(a.sys.Calls("serve")); n > 30 {
			t.Errorf("addresses renewed %d times in 12 s", n)
		}
		a.sys.PowerOff()
		a.stop()
		after(60*time.Second/256 + slack)
		b.has("A dead", carp.Master, carp.Master)
		r.holders("A dead", "fwB")
	})
}

// The better host's three intervals are one of the worse one's: nothing may flap while
// that is master, when the better one is demoted or comes up.
func TestFastBackupOfSlowMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lan.Delay(time.Millisecond, time.Millisecond)
		fast := func(c *carp.Config) { c.AdvBase = 0 }
		b := r.firewall("fwB", 253, 30, fast)
		after(2 * time.Second)
		a := &firewall{rig: r, skew: 10, more: fast}
		a.sys = r.lan.System("fwA", carptest.Ports{"sis0": nil, "sis1": nil})
		a.start(32)
		after(10 * time.Second)
		a.has("demoted", carp.Backup, carp.Backup)
		if n := a.status("carp0").Changes + a.status("carp1").Changes; n != 2 {
			t.Errorf("A has changed %d times", n)
		}
		a.host.SetShare("carp", "pfsync bulk", 0)
		after(time.Second)
		a.has("not demoted", carp.Master, carp.Master)
		b.has("not demoted", carp.Backup, carp.Backup)
		check(t, a.host.Demote("carp", 1))
		after(10 * time.Second)
		a.has("demoted again", carp.Backup, carp.Backup)
		if n := b.status("carp0").Changes; n != 4 {
			t.Errorf("B has changed %d times", n)
		}
		b.sys.PowerOff()
		b.stop()
		after(3*30*time.Second/256 + slack)
		a.has("B dead", carp.Master, carp.Master)
	})
}

func TestDeadDaemonsAddressesVanish(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		a.sys.KillDaemon()
		a.stop()
		after(time.Second)
		r.holders("just killed", "fwA")
		after(2*time.Second + skew100 + slack)
		r.holders("after t_down", "fwB")
	})
}

func TestTwoMastersResolve(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		r.lan.Partition([]*carptest.System{a.sys}, []*carptest.System{b.sys})
		after(10 * time.Second)
		r.holders("cut", "fwA", "fwB")
		r.lan.Partition()
		after(time.Second + skew100 + slack)
		a.has("healed", carp.Master, carp.Master)
		b.has("healed", carp.Backup, carp.Backup)
		r.holders("healed", "fwA")
	})
}

// With the same settings and everything at the same instant both of a pair of BSDs
// would step down and come back for ever.
func TestEqualMastersResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lan.Delay(200*time.Microsecond, 0) // so adverts cross
		list := []*firewall{r.firewall("fwA", 254, 7, nil), r.firewall("fwB", 253, 7, nil), r.firewall("fwC", 252, 7, nil)}
		after(3*time.Second + 7*time.Second/256 + slack)
		for _, name := range []string{"carp0", "carp1"} {
			masters := 0
			for _, f := range list {
				s := f.status(name)
				if s.State == carp.Master {
					masters++
				}
				if s.Changes > 3 {
					t.Errorf("%s of %s has changed %d times", name, f.sys.Name, s.Changes)
				}
			}
			if masters != 1 {
				t.Errorf("%s: %d masters", name, masters)
			}
		}
	})
}

func TestThreeHosts(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		c := r.firewall("fwC", 252, 200, nil)
		after(10 * time.Second)
		c.has("three", carp.Backup, carp.Backup)
		a.sys.PowerOff()
		a.stop()
		after(4 * time.Second)
		b.has("A dead", carp.Master, carp.Master)
		c.has("A dead", carp.Backup, carp.Backup)
		b.stop()
		after(slack)
		c.has("B stopped", carp.Master, carp.Master)
		r.holders("B stopped", "fwC")
	})
}
