package carp_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

// rig is the firewalls of the pfsync(4) example on two networks, sis0 and sis1.
type rig struct {
	t   *testing.T
	lan *carptest.LAN
}

// firewall is one of them.
type firewall struct {
	rig  *rig
	sys  *carptest.System
	host *carp.Host
	stop func() // and wait
	skew int
	more func(*carp.Config)

	log   *slog.Logger // nil: none
	first func(*carp.Options)
}

var (
	outside = netip.MustParsePrefix("10.0.0.1/24")
	inside  = netip.MustParsePrefix("192.168.0.1/24")
)

func newRig(t *testing.T) *rig { return &rig{t: t, lan: carptest.NewLAN()} }

// firewall adds one, running, with carp0 and carp1. more may change their configuration.
func (r *rig) firewall(name string, host byte, skew int, more func(*carp.Config)) *firewall {
	f := &firewall{rig: r, skew: skew, more: more}
	f.sys = r.lan.System(name, carptest.Ports{
		"sis0": {netip.AddrFrom4([4]byte{10, 0, 0, host})},
		"sis1": {netip.AddrFrom4([4]byte{192, 168, 0, host})},
	})
	f.start(0)
	return f
}

// start runs a new host that is demoted like one that waits for its bulk update.
func (f *firewall) start(demotion int) {
	t := f.rig.t
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.host = carp.New(f.sys, f.log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.host.Run(ctx); err != nil {
			t.Errorf("%s: %v", f.sys.Name, err)
		}
	}()
	stopped := false
	f.stop = func() {
		cancel()
		<-ended
		stopped = true
	}
	t.Cleanup(func() {
		if !stopped {
			f.stop()
		}
	})
	f.host.SetShare("carp", "pfsync bulk", demotion)
	options := carp.DefaultOptions()
	options.Preempt = true
	if f.first != nil {
		f.first(&options)
	}
	check(t, f.host.SetOptions(options))
	for i, addr := range []netip.Prefix{outside, inside} {
		c := carp.Config{
			Name: []string{"carp0", "carp1"}[i], VHID: uint8(i + 1), Pass: "foo", AdvBase: 1, AdvSkew: f.skew,
			CarpDev: []string{"sis0", "sis1"}[i], Addresses: []netip.Prefix{addr}, Up: true,
		}
		if f.more != nil {
			f.more(&c)
		}
		check(t, f.host.Configure(c))
	}
}

// options changes the host's options.
func (f *firewall) options(change func(*carp.Options)) {
	o := carp.DefaultOptions()
	o.Preempt = true
	change(&o)
	check(f.rig.t, f.host.SetOptions(o))
}

func (f *firewall) status(name string) carp.Status {
	f.rig.t.Helper()
	all, err := f.host.Status()
	check(f.rig.t, err)
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	f.rig.t.Fatalf("%s: no status of %s", f.sys.Name, name)
	return carp.Status{}
}

func (f *firewall) counter(name string) uint64 {
	f.rig.t.Helper()
	all, err := f.host.Counters()
	check(f.rig.t, err)
	for _, c := range all {
		if c.Name == name {
			return c.Value
		}
	}
	f.rig.t.Fatalf("no counter %s", name)
	return 0
}

func (f *firewall) demotion(group string) int {
	f.rig.t.Helper()
	all, err := f.host.Groups()
	check(f.rig.t, err)
	for _, g := range all {
		if g.Name == group {
			return g.Demotion
		}
	}
	return 0
}

// has wants the states of carp0 and carp1 to be those.
func (f *firewall) has(when string, states ...carp.State) {
	f.rig.t.Helper()
	got := []carp.State{f.status("carp0").State, f.status("carp1").State}
	if !slices.Equal(got, states) {
		f.rig.t.Errorf("%s: %s is %v, want %v", when, f.sys.Name, got, states)
	}
}

// holders wants those to have both addresses.
func (r *rig) holders(when string, names ...string) {
	r.t.Helper()
	for _, a := range []netip.Prefix{outside, inside} {
		if got := r.lan.Holders(a.Addr()); !slices.Equal(got, names) {
			r.t.Errorf("%s: %s is at %v, want %v", when, a.Addr(), got, names)
		}
	}
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
