package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/tunif/tuniftest"
)

// carpRig is a node with carp on the two networks of the manual's example.
type carpRig struct {
	*node.Node
	t    *testing.T
	sys  *carptest.System
	stop func()
}

func startCarp(t *testing.T, lan *carptest.LAN, host byte) *carpRig {
	sis0, sis1 := netip.AddrFrom4([4]byte{10, 0, 0, host}), netip.AddrFrom4([4]byte{192, 168, 0, host})
	r := &carpRig{t: t, sys: lan.System(fmt.Sprint("fw", host), carptest.Ports{"sis0": {sis0}, "sis1": {sis1}})}
	r.Node = node.New(node.Config{
		Identity: node.Identity{Creator: 0xc0ffee00 + uint32(host)}, Table: memory.New(memory.Config{Creator: 1}), TableName: "memory",
		Log:        slog.New(slog.DiscardHandler),
		OpenDevice: func(name string) (node.Device, error) { return tuniftest.Open(name), nil },
		InterfaceMTU: func(name string) (int, error) {
			if name != "sis0" && name != "sis1" && name != "off0" {
				return 0, errors.New("no such network interface")
			}
			return 1500, nil
		},
		Carp: r.sys,
		Networks: func() ([]node.Network, error) {
			return []node.Network{
				{Name: "lo", Up: true, Loopback: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
				{Name: "carp7", Up: true, Multicast: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.77/24")}},
				{Name: "sis0", Up: true, Multicast: true, Prefixes: []netip.Prefix{netip.PrefixFrom(sis0, 24)}},
				{Name: "sis1", Up: true, Multicast: true, Prefixes: []netip.Prefix{netip.PrefixFrom(sis1, 24)}},
				{Name: "off0", Multicast: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.1/24")}},
			}, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func() { close(ready) }) }()
	<-ready
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return r
}

// do does what ifconfig's command line says.
func (r *carpRig) do(line string) error {
	r.t.Helper()
	cmd, err := ifconfig.Parse(strings.Fields(line))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Change(*cmd.Change)
}

func (r *carpRig) must(lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		if err := r.do(line); err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
	}
}

// until waits for what the display of the carp interfaces is to have.
func (r *carpRig) until(text string) {
	r.t.Helper()
	r.wait(text, r.shown)
}

func (r *carpRig) wait(text string, shown func() string) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(shown(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("no %q in:\n%s", text, shown())
		}
	}
}

// shown is the display of the carp interfaces, without lines that say nothing new.
func (r *carpRig) shown() string {
	r.t.Helper()
	all, err := r.Interfaces()
	if err != nil {
		r.t.Fatal(err)
	}
	var carps []ifconfig.Interface
	for _, i := range all {
		if i.Carp != nil {
			carps = append(carps, i)
		}
	}
	var b strings.Builder
	if err := ifconfig.Print(&b, carps, ifconfig.StyleOpenBSD); err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

func (r *carpRig) demotion() string {
	r.t.Helper()
	list, err := r.Demotion()
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprint(list)
}

func TestTheManualsFirewallsElectAMaster(t *testing.T) {
	lan := carptest.NewLAN()
	a, b := startCarp(t, lan, 254), startCarp(t, lan, 253)
	a.must("carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo")
	a.until("carp: MASTER")
	b.must("carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo advskew 100")
	b.until("carp: BACKUP")
	want := `carp0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500
	lladdr 00:00:5e:00:01:01
	index 0 priority 15 llprio 3
	carp: MASTER carpdev sis0 vhid 1 advbase 1 advskew 0
	groups: carp
	status: master
	inet 10.0.0.1 netmask 0xffffff00 broadcast 10.0.0.255
`
	if diff := cmp.Diff(want, a.shown()); diff != "" {
		t.Errorf("A: -want +got:\n%s", diff)
	}
	backup := strings.NewReplacer("MASTER", "BACKUP", "master", "backup", "advskew 0", "advskew 100").Replace(want)
	if diff := cmp.Diff(backup, b.shown()); diff != "" {
		t.Errorf("B: -want +got:\n%s", diff)
	}
	a.stop() // bows out
	b.until("carp: MASTER")
	got, err := b.Transitions(t.Context(), 0)
	if err != nil || len(got.List) != 2 || got.List[1].New != "MASTER" || got.List[1].Number != 2 || got.Last != 2 {
		t.Errorf("transitions %+v, %v", got, err)
	}
	b.stop()
}

func TestWhatCarpRefuses(t *testing.T) {
	r := startCarp(t, carptest.NewLAN(), 254)
	r.must("carp0 10.0.0.1/24 vhid 1 pass foo", "carp3 create")
	r.until("carp: MASTER carpdev sis0") // nothing changes by itself any more
	before := r.shown()
	for line, want := range map[string]string{
		"carp1 10.0.0.2/24 vhid 1":         "carp1: ",
		"carp1 10.9.9.9/24 vhid 3":         "carp1: 10.9.9.9: no interface that is up has an address in its network (give one to it first, or name it: carpdev INTERFACE)",
		"carp1 172.16.0.9/24 vhid 3":       "carp1: 172.16.0.9: belongs to the network of off0, which is down (ifconfig off0 up)",
		"carp1 carpdev sis9 vhid 3":        "carp1: carpdev sis9: no such interface",
		"carp0 create":                     "carp0: SIOCIFCREATE: File exists",
		"carp9 destroy":                    "carp9: SIOCIFDESTROY: Device not configured",
		"carp0 10.0.0.9 -alias":            "carp0: SIOCDIFADDR: Can't assign requested address",
		"carp0 -group wan":                 "carp0: -group wan: the interface is not in it",
		"sis9 vhid 1 10.0.0.1/24 pass foo": "sis9: no such interface",
		"sis1 vhid 7 state master":         "sis1: there is no vhid 7 on it (make it: ifconfig sis1 inet ADDRESS vhid 7 pass WORD alias)",
	} {
		if err := r.do(line); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", line, err, want)
		} else if strings.Count(err.Error(), "carp1: carp1") > 0 {
			t.Errorf("%s: error %v", line, err)
		}
	}
	err := r.do("carp1 carpdev sis9 vhid 3")
	if w, ok := errors.AsType[*control.WordError](err); !ok || w.Word != "carpdev" {
		t.Errorf("to blame: %v", err)
	}
	if diff := cmp.Diff(before, r.shown()); diff != "" {
		t.Errorf("a refusal changed something: -want +got:\n%s", diff)
	}
	r.stop()
}

func TestFreeBSDsFormIsACarpInterface(t *testing.T) {
	r := startCarp(t, carptest.NewLAN(), 254)
	r.must("carp0 10.0.0.7/24 vhid 7", "sis1 inet 192.168.0.1/24 vhid 2 pass bar alias", "sis1 inet 192.168.0.2/24 vhid 2 alias", "sis1 vhid 2 advskew 50")
	r.until("carp: MASTER carpdev sis1 vhid 2 advbase 1 advskew 50")
	if got := r.shown(); !strings.Contains(got, "carp1: ") || !strings.Contains(got, "carp: MASTER carpdev sis1 vhid 2 advbase 1 advskew 50") ||
		strings.Count(got, "\tinet 192.168.0.") != 2 {
		t.Errorf("shown:\n%s", got)
	}
	r.must("sis1 inet 192.168.0.1 vhid 2 -alias", "sis1 inet 192.168.0.2 vhid 2 -alias")
	if got := r.shown(); strings.Contains(got, "carp1: ") {
		t.Errorf("without an address:\n%s", got)
	}
	r.stop()
}

func TestDemotionBySysctlAndGroup(t *testing.T) {
	r := startCarp(t, carptest.NewLAN(), 254)
	r.must("carp0 10.0.0.1/24 vhid 1 pass foo group wan")
	set := func(name string, value, want int64) {
		t.Helper()
		if old, err := r.SetSysctl(sysctl.Setting{Name: name, Value: value}); err != nil || old != want {
			t.Errorf("%s: old %d, %v", name, old, err)
		}
	}
	set("net.inet.carp.demotion", 5, 0)
	set("net.inet.carp.demotion", -2, 5)
	if err := r.Demote(ifconfig.Demote{Group: "carp", Count: 10}); err != nil {
		t.Error(err)
	}
	if got := r.demotion(); !strings.Contains(got, "{carp 13 [{carpdemote 13}]}") {
		t.Errorf("demotion %s", got)
	}
	set("net.inet.carp.demotion", -13, 13)
	if err := r.Demote(ifconfig.Demote{Group: "nobody", Count: 1}); err == nil || err.Error() != "nobody: no carp interface is in this group" {
		t.Errorf("error %v", err)
	}

	// pfsync0 without a link: its states are not here, and never will be.
	if err := r.do("pfsync0 syncdev sis1 up"); err != nil {
		t.Fatal(err)
	}
	r.wait("{pfsync bulk 32}", r.demotion)
	r.wait("{pfsync link 1}", r.demotion)
	set("net.inet.carp.dialect", 1, 0)
	r.wait("{carp 240 [{pfsync bulk 240}]}", r.demotion)
	if err := r.do("pfsync0 down"); err != nil {
		t.Fatal(err)
	}
	r.wait("{carp 0 []}", r.demotion)
	r.stop()
}

func TestWithoutCarpItIsRefused(t *testing.T) {
	r := start(t)
	for _, line := range []string{"carp0 create", "sis2 vhid 1 pass foo 10.0.0.1/24"} {
		cmd, err := ifconfig.Parse(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Change(*cmd.Change); err == nil || !strings.HasSuffix(err.Error(), ": this pfsyncd only watches (--table memory): it holds no addresses") {
			t.Errorf("%s: error %v", line, err)
		}
	}
}

// A second run of netstart finds everything as it is to be.
func TestSettingCarpAgainDisturbsNothing(t *testing.T) {
	r := startCarp(t, carptest.NewLAN(), 254)
	lines := []string{
		"carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo advskew 0", "carp0 up",
		"sis1 inet 192.168.0.1/24 vhid 2 pass bar alias", "sis1 vhid 2 advbase 1",
	}
	r.must(lines...)
	r.until("carp: MASTER carpdev sis0")
	r.until("carp: MASTER carpdev sis1")
	transitions := func() string {
		got, err := r.Transitions(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(got.Last)
	}
	r.wait("4", transitions) // each became backup, then master
	disturbing := []carptest.Op{carptest.Open, carptest.Withdraw, carptest.Close}
	before, shown := len(r.sys.Calls(disturbing...)), r.shown()
	for range 3 {
		r.must(lines...)
	}
	if got := len(r.sys.Calls(disturbing...)); got != before {
		t.Errorf("%d calls of %v more", got-before, disturbing)
	}
	if diff := cmp.Diff(shown, r.shown()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r.stop()
	if got := transitions(); got != "6" { // and left it in the end
		t.Errorf("%s transitions, want 6", got)
	}
}
