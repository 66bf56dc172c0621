package node_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
	"github.com/pfsync-linux/pfsync/sync/node"
)

// held runs test with shares in fake time; now is what netstart's is.
func held(t *testing.T, test func(s *node.Shares, now func() int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var share atomic.Int64
		s := node.NewShares(func(group, reason string, count int) {
			if group == "carp" && reason == "netstart" {
				share.Store(int64(count))
			}
		})
		test(s, func() int { synctest.Wait(); return int(share.Load()) })
	})
}

// Netstart was killed: its hold ends all the same, and not earlier.
func TestHoldEndsByItself(t *testing.T) {
	held(t, func(s *node.Shares, now func() int) {
		var over atomic.Int64
		s.Hold(time.Minute, func() { over.Add(1) })
		time.Sleep(59 * time.Second)
		if got := now(); got != 128 || over.Load() != 0 {
			t.Errorf("before its end: %d, told %d times", got, over.Load())
		}
		time.Sleep(time.Second)
		if got := now(); got != 0 || over.Load() != 1 {
			t.Errorf("at its end: %d, told %d times", got, over.Load())
		}
	})
}

func TestHoldIsRenewedAndCutShort(t *testing.T) {
	held(t, func(s *node.Shares, now func() int) {
		s.Hold(time.Minute, func() { t.Error("the first hold ended") })
		time.Sleep(40 * time.Second)
		s.Hold(time.Minute, func() { t.Error("the second hold ended") })
		time.Sleep(59 * time.Second)
		if got := now(); got != 128 {
			t.Errorf("renewed: %d", got)
		}
		var over atomic.Int64
		s.Hold(time.Second, func() { over.Add(1) })
		time.Sleep(time.Second)
		if got := now(); got != 0 || over.Load() != 1 {
			t.Errorf("cut short: %d, told %d times", got, over.Load())
		}
		time.Sleep(time.Hour)
		if got := now(); got != 0 {
			t.Errorf("later: %d", got)
		}
	})
}

// The number is FreeBSD's largest advskew.
func TestHoldInFreeBSDsDialect(t *testing.T) {
	held(t, func(s *node.Shares, now func() int) {
		s.Hold(time.Minute, func() {})
		s.FreeBSD()
		if got := now(); got != 240 {
			t.Errorf("share %d", got)
		}
		time.Sleep(time.Minute)
		if got := now(); got != 0 {
			t.Errorf("after its end: %d", got)
		}
	})
}

// A, the better one, hears B and does not take over before the hold ends.
func TestHeldFirewallDoesNotPreempt(t *testing.T) {
	lan := carptest.NewLAN()
	a, b := startCarp(t, lan, 254), startCarp(t, lan, 253)
	var adverts atomic.Int64 // of B
	lan.Tap(func(f carptest.Frame) {
		if f.From == "fw253" {
			adverts.Add(1)
		}
	})
	if _, err := a.SetSysctl(sysctl.Setting{Name: "net.inet.carp.preempt", Value: 1}); err != nil {
		t.Fatal(err)
	}
	b.must("carp0 10.0.0.1/24 vhid 1 pass foo advskew 100")
	b.until("carp: MASTER")
	hold := func(r *carpRig, d time.Duration) {
		if err := r.HoldDemotion(d); err != nil {
			t.Fatal(err)
		}
	}
	hold(a, 0) // there is none to end
	hold(a, 10*time.Minute)
	a.must("carp0 10.0.0.1/24 vhid 1 pass foo")
	a.until("carp: BACKUP")
	heard := adverts.Load()
	a.wait("enough", func() string {
		if adverts.Load() >= heard+3 {
			return "enough"
		}
		return ""
	})
	if got := a.shown(); !strings.Contains(got, "carp: BACKUP") {
		t.Errorf("held:\n%s", got)
	}
	a.wait("{carp 128 [{netstart 128}]}", a.demotion)
	hold(a, 0)
	a.until("carp: MASTER")
	a.wait("{carp 0 []}", a.demotion)
	hold(a, 10*time.Minute) // netstart runs again: a master keeps its addresses
	if got := a.demotion(); !strings.Contains(got, "{carp 0 []}") {
		t.Errorf("a master is demoted: %s", got)
	}
	a.stop()
	b.stop()
}
