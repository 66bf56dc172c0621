package node_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/tunif"
	"github.com/pfsync-linux/pfsync/tunif/tuniftest"
)

var _ control.Node = (*node.Node)(nil)
var _ node.Device = (*tunif.Device)(nil)
var _ node.Device = (*tuniftest.Device)(nil)

// rig is a node with a table in memory, a device made of channels, and the syncdevs
// sis2 and small, which exist only as far as checks go.
type rig struct {
	*node.Node
	t      *testing.T
	table  *memory.Table
	device *tuniftest.Device // the last one made
	busy   bool              // pfsync0 belongs to another process
}

func start(t *testing.T) *rig { return startLogging(t, slog.New(slog.DiscardHandler)) }

func startLogging(t *testing.T, log *slog.Logger) *rig { return startAs(t, node.Config{Log: log}) }

func startAs(t *testing.T, cfg node.Config) *rig {
	r := &rig{t: t, table: memory.New(memory.Config{Creator: 0xc0ffee01})}
	r.Node = node.New(node.Config{
		Identity: node.Identity{Creator: 0xc0ffee01}, Table: r.table, TableName: "memory", Log: cfg.Log, Listen: cfg.Listen, Exporter: cfg.Exporter, Timeout: cfg.Timeout,
		OpenDevice: func(name string) (node.Device, error) {
			if r.busy {
				return nil, errors.New("pfsync0: in use by another process")
			}
			r.device = tuniftest.Open(name)
			return r.device, nil
		},
		InterfaceMTU: func(name string) (int, error) {
			mtu := map[string]int{"sis2": 1500, "small": 600}[name]
			if mtu == 0 {
				return 0, errors.New("no such network interface")
			}
			return mtu, nil
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	return r
}

// ifconfig does what the command line says.
func (r *rig) ifconfig(words string) error {
	r.t.Helper()
	cmd, err := ifconfig.Parse(append([]string{"pfsync0"}, strings.Fields(words)...))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Change(*cmd.Change)
}

// pfsync0 is what is shown of the interface, nil when there is none.
func (r *rig) pfsync0() *ifconfig.Interface {
	r.t.Helper()
	all, err := r.Interfaces()
	if err != nil {
		r.t.Fatal(err)
	}
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

func TestPfsync0ExistsFromTheStart(t *testing.T) {
	r := start(t)
	want := &ifconfig.Interface{
		Name: "pfsync0", Index: 1, MTU: 1500, Groups: []string{"carp", "pfsync"}, Status: "no syncdev",
		PFSync: &ifconfig.PFSync{MaxUpd: 128, Version: "openbsd", Creator: 0xc0ffee01, Key: ifconfig.KeyOff, Peers: []ifconfig.Peer{}},
	}
	if diff := cmp.Diff(want, r.pfsync0(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestChangesAreApplied(t *testing.T) {
	r := start(t)
	if err := r.ifconfig("syncpeer 192.168.254.253 maxupd 64 up defer mtu 1400 syncdev sis2"); err != nil {
		t.Fatal(err)
	}
	want := &ifconfig.PFSync{
		Syncdev: "sis2", Syncpeer: netip.MustParseAddr("192.168.254.253"), MaxUpd: 64, Version: "openbsd", Defer: true, Creator: 0xc0ffee01,
		Key: ifconfig.KeyOff, Peers: []ifconfig.Peer{},
	}
	got := r.pfsync0()
	if diff := cmp.Diff(want, got.PFSync, cmpopts.EquateComparable(netip.Addr{})); diff != "" || got.MTU != 1400 || got.Flags&ifconfig.FlagUp == 0 {
		t.Errorf("%+v %s", got, diff)
	}
	if err := r.ifconfig("-syncpeer -defer down -syncdev"); err != nil {
		t.Fatal(err)
	}
	got = r.pfsync0()
	if got.PFSync.Syncdev != "" || got.PFSync.Syncpeer.IsValid() || got.PFSync.Defer || got.PFSync.MaxUpd != 64 || got.Flags != 0 {
		t.Errorf("%+v %+v", got, got.PFSync)
	}
}

// A link-local syncpeer is one of the syncdev, whether that was said or not.
func TestSyncpeerOfIPv6(t *testing.T) {
	r := start(t)
	for _, c := range []struct{ words, shown, refused string }{
		{"syncpeer fe80::b", "fe80::b", ""},
		{"syncdev sis2", "fe80::b%sis2", ""},
		{"syncdev small", "fe80::b%small", ""},
		{"syncpeer fe80::b%sis2", "fe80::b%small", "pfsync0: syncpeer fe80::b%sis2: is on sis2, and the syncdev is small; set both"},
		{"syncpeer fe80::c%sis2 syncdev sis2", "fe80::c%sis2", ""},
		{"syncdev small", "fe80::c%sis2", "pfsync0: syncpeer fe80::c%sis2: is on sis2, and the syncdev is small; set both"},
		{"-syncdev", "fe80::c%sis2", ""},
		{"syncpeer ff12::f0%sis2 syncdev sis2", "ff12::f0", ""},
		{"syncpeer 2001:db8::b", "2001:db8::b", ""},
		{"-syncpeer", "invalid IP", ""},
	} {
		refused := ""
		if err := r.ifconfig(c.words); err != nil {
			refused = err.Error()
		}
		if got := r.pfsync0().PFSync.Syncpeer.String(); got != c.shown || refused != c.refused {
			t.Errorf("%s: shown as %s, refused with %q; want %s, %q", c.words, got, refused, c.shown, c.refused)
		}
	}
}

// What is refused changes nothing, also of the words before it.
func TestRefusedChangesChangeNothing(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"maxupd 64 syncdev em9 up", "pfsync0: SIOCSETPFSYNC: syncdev em9: no such interface"},
		{"up mtu 307", "mtu 307: too small"},
		{"up syncdev small mtu 700", "larger than that of syncdev small, 600"},
	} {
		r := start(t)
		if err := r.ifconfig("syncdev sis2 maxupd 32"); err != nil {
			t.Fatal(err)
		}
		before := r.pfsync0()
		ch, err := ifconfig.ParseWords("pfsync0", strings.Fields(c.words))
		if err == nil {
			err = r.Change(ch)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.words, err, c.want)
		}
		if diff := cmp.Diff(before, r.pfsync0(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s changed %s", c.words, diff)
		}
	}
}

// A request that would reach nobody is refused, and says why; the same words are no error when the
// link has still to come up.
func TestBulkNeedsSomebodyToAsk(t *testing.T) {
	r := start(t)
	for _, c := range []struct{ words, want string }{
		{"bulk", "pfsync0: bulk: the interface is down (ifconfig pfsync0 up)"},
		{"up bulk", "pfsync0: bulk: no syncdev (ifconfig pfsync0 syncdev INTERFACE)"},
		{"syncdev sis2 bulk", "pfsync0: bulk: the interface is down (ifconfig pfsync0 up)"},
		{"up syncdev sis2 bulk", ""},
		{"down bulk", "pfsync0: bulk: the interface is down (ifconfig pfsync0 up)"},
		{"down push", "pfsync0: push: the interface is down (ifconfig pfsync0 up)"},
		{"up listen bulk", "pfsync0: bulk: pfsync0 only listens (ifconfig pfsync0 -listen)"},
		{"up listen push", "pfsync0: push: pfsync0 only listens (ifconfig pfsync0 -listen)"},
	} {
		err := r.ifconfig(c.words)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v, want %q", c.words, err, c.want)
		}
	}
	// sis2 exists as far as the checks of settings go; the link looks at the kernel's.
	err := r.ifconfig("bulk")
	if err == nil || !strings.HasPrefix(err.Error(), "pfsync0: bulk: syncdev sis2 is not usable: ") {
		t.Errorf("bulk over a syncdev that is not there: %v", err)
	}
	err = r.ifconfig("push")
	if err == nil || !strings.HasPrefix(err.Error(), "pfsync0: push: syncdev sis2 is not usable: ") ||
		!strings.HasSuffix(err.Error(), " (once it is, Linux peers ask by themselves)") {
		t.Errorf("push over a syncdev that is not there: %v", err)
	}
	if got := r.pfsync0(); got.Flags&ifconfig.FlagUp == 0 || got.PFSync.Syncdev != "sis2" {
		t.Errorf("refusals left %+v %+v", got, got.PFSync)
	}
}

// Who listens by default does so after a new create too, until he is told not to.
func TestListenByDefault(t *testing.T) {
	r := startAs(t, node.Config{Log: slog.New(slog.DiscardHandler), Listen: true})
	for _, c := range []struct {
		words  string
		listen bool
		bulk   string
	}{
		{"syncdev sis2", true, "none"}, {"up", true, "listening"}, {"-listen", false, "start"}, {"maxupd 3", false, "start"},
		{"listen", true, "listening"}, {"-listen", false, "start"}, {"destroy", false, ""}, {"create syncdev sis2 up", true, "listening"},
	} {
		if err := r.ifconfig(c.words); err != nil {
			t.Fatalf("%s: %v", c.words, err)
		}
		if c.bulk == "" {
			continue
		}
		s, err := r.Status()
		if got := r.pfsync0().PFSync.Listen; err != nil || got != c.listen || s.Bulk != c.bulk {
			t.Errorf("%s: listen %v, bulk %s, want %v, %s: %v", c.words, got, s.Bulk, c.listen, c.bulk, err)
		}
	}
}

func TestPushTellsThePeers(t *testing.T) {
	r := start(t)
	pushed := func() uint64 {
		all, err := r.Counters()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Name == "bulkserved" {
				return c.Value
			}
		}
		t.Fatal("no counter bulkserved")
		return 0
	}
	for _, c := range []struct {
		words string
		want  uint64
	}{{"syncdev sis2 up", 0}, {"down", 0}, {"up push", 1}} {
		if err := r.ifconfig(c.words); err != nil {
			t.Fatal(err)
		}
		if got := pushed(); got != c.want {
			t.Errorf("%s: %d bulk updates begun, want %d", c.words, got, c.want)
		}
	}
}

// withKey is a change to the key of that digit alone, and of what the words say.
func withKey(t *testing.T, words, digit string) ifconfig.Change {
	t.Helper()
	c, err := ifconfig.ParseWords("pfsync0", strings.Fields(words))
	if err != nil {
		t.Fatal(err)
	}
	k, err := ifconfig.ParseKey(strings.Repeat(digit, 64))
	if err != nil {
		t.Fatal(err)
	}
	c.Key = &k
	return c
}

func TestKeyStaysUntilItIsTakenAway(t *testing.T) {
	var log journal
	r := startLogging(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, step := range []struct {
		change ifconfig.Change
		err    string
		want   ifconfig.KeyState
		logged bool
	}{
		{withKey(t, "up syncdev sis2", "7"), "", ifconfig.KeyOn, true},
		{withKey(t, "", "7"), "", ifconfig.KeyOn, false},
		{withKey(t, "", "8"), "", ifconfig.KeyChanging, true},
		{ifconfig.Change{Interface: "pfsync0", Up: new(false)}, "", ifconfig.KeyChanging, true},
		{ifconfig.Change{Interface: "pfsync0", Up: new(true)}, "", ifconfig.KeyChanging, true},
		{ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key), Syncdev: new("em9")}, "em9: no such interface", ifconfig.KeyChanging, false},
		{ifconfig.Change{Interface: "pfsync0", Key: &ifconfig.Key{File: "/etc/k"}}, "pfsync0: key /etc/k: was not read", ifconfig.KeyChanging, false},
		{ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)}, "", ifconfig.KeyOff, true},
		{ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)}, "", ifconfig.KeyOff, false},
		{withKey(t, "", "7"), "", ifconfig.KeyOn, true},
		{ifconfig.Change{Interface: "pfsync0", Destroy: true}, "", "", false},
		{ifconfig.Change{Interface: "pfsync0", Create: true}, "", ifconfig.KeyOff, false},
	} {
		before := log.count("pfsync0 configured")
		err := r.Change(step.change)
		if logged := log.count("pfsync0 configured") != before; logged != step.logged {
			t.Errorf("%+v: logged %t, want %t", step.change, logged, step.logged)
		}
		if step.err == "" && err != nil || step.err != "" && (err == nil || !strings.Contains(err.Error(), step.err)) {
			t.Errorf("%+v: %v, want %q", step.change, err, step.err)
		}
		i := r.pfsync0()
		if (i == nil) != (step.want == "") || i != nil && i.PFSync.Key != step.want {
			t.Errorf("after %+v: %+v, want key %q", step.change, i, step.want)
		}
	}
	if log.count("7777")+log.count("8888") > 0 || log.count("key=on") == 0 {
		t.Errorf("log %s", log.text.String())
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// count tells how often what occurs.
func (j *journal) count(what string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), what)
}

// A syncdev that has gone meanwhile does not stand in the way of other settings.
func TestSettingsWithoutTheirSyncdev(t *testing.T) {
	r := start(t)
	if err := r.Change(ifconfig.Change{Interface: "pfsync0", MaxUpd: new(7)}); err != nil {
		t.Error(err)
	}
}

func TestCreateAndDestroy(t *testing.T) {
	r := start(t)
	steps := []struct {
		words, err string
		exists     bool
	}{
		{"create", "", true}, // made by the daemon itself: it becomes the operator's
		{"create", "pfsync0: SIOCIFCREATE: File exists", true},
		{"syncdev sis2 up", "", true},
		{"destroy", "", false},
		{"destroy", "pfsync0: SIOCIFDESTROY: Device not configured", false},
		{"up", "", true}, // makes it, unconfigured
		{"destroy", "", false},
		{"create", "", true},
	}
	for _, s := range steps {
		err := r.ifconfig(s.words)
		if (err == nil) != (s.err == "") || err != nil && err.Error() != s.err {
			t.Errorf("%s: %v, want %q", s.words, err, s.err)
		}
		i := r.pfsync0()
		if (i != nil) != s.exists {
			t.Fatalf("after %s pfsync0 is %+v", s.words, i)
		}
		if s.words == "up" && i.PFSync.Syncdev != "" {
			t.Errorf("made anew it still has syncdev %s", i.PFSync.Syncdev)
		}
	}
}

func TestPfsync0OfAnotherProcess(t *testing.T) {
	r := start(t)
	if err := r.ifconfig("destroy"); err != nil {
		t.Fatal(err)
	}
	r.busy = true
	if err := r.ifconfig("up"); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("%v", err)
	}
	if r.pfsync0() != nil {
		t.Error("pfsync0 is shown")
	}
}

// What others do to the device is followed.
func TestDeviceChangedByOthers(t *testing.T) {
	r := start(t)
	if err := r.ifconfig("up"); err != nil {
		t.Fatal(err)
	}
	await := func(what string, cond func(*ifconfig.Interface) bool) {
		t.Helper()
		for n := 0; !cond(r.pfsync0()); n++ {
			if n == 1e6 {
				t.Fatalf("%s: pfsync0 is %+v", what, r.pfsync0())
			}
		}
	}
	r.device.Change(func(s *tunif.Status) { s.Up = false })
	await("taken down", func(i *ifconfig.Interface) bool { return i.Flags == 0 })
	r.device.Change(func(s *tunif.Status) { s.Gone = true })
	await("deleted", func(i *ifconfig.Interface) bool { return i == nil })
	if err := r.ifconfig("create up"); err != nil {
		t.Error(err)
	}
}

// Every local change appears on pfsync0, with the header it has on the wire.
func TestStateChangesAppearOnPfsync0(t *testing.T) {
	for _, group := range []netip.Addr{link.Group, link.Group6} {
		t.Run(group.String(), func(t *testing.T) { appearsOnPfsync0(t, group) })
	}
}

func appearsOnPfsync0(t *testing.T, group netip.Addr) {
	r := start(t)
	if err := r.ifconfig("up syncpeer " + group.String()); err != nil {
		t.Fatal(err)
	}
	s := pfstate.Default()
	s.Proto = pfstate.ProtoUDP
	orig := pfstate.Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), SrcPort: 1000, DstPort: 53}
	s.SetTuples(orig, orig.Reversed(), 0)
	if err := r.table.Create(s); err != nil {
		t.Fatal(err)
	}
	packet := <-r.device.Written()
	header, rest := packet[:link.HeaderLen(group)], packet[link.HeaderLen(group):]
	if diff := cmp.Diff(link.AppendHeader(nil, netip.Addr{}, group, len(rest)), header); diff != "" {
		t.Errorf("IP header (-want +got):\n%s", diff)
	}
	h, rest, err := wire.ParseHeader(rest)
	if err != nil {
		t.Fatal(err)
	}
	section, _, err := h.NextSection(rest)
	if err != nil || section.Action != wire.ActIns {
		t.Errorf("first section is %v, %v; want an insert", section.Action, err)
	}
}

func TestStatusAndCounters(t *testing.T) {
	r := start(t)
	s, err := r.Status()
	want := control.Status{Table: "memory", Creator: 0xc0ffee01, Bulk: "none", Peers: []ifconfig.Peer{}}
	if diff := cmp.Diff(want, s); err != nil || diff != "" {
		t.Errorf("status: %v, -want +got:\n%s", err, diff)
	}
	if peers, err := r.Peers(); err != nil || peers == nil || len(peers) != 0 {
		t.Errorf("peers %#v, %v; want none, not nil", peers, err)
	}
	all, err := r.Counters()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for n, c := range all {
		if c.Name == "" || c.Help == "" || seen[c.Name] {
			t.Errorf("counter %d is %+v", n, c)
		}
		seen[c.Name] = true
	}
	if all[0].Name != "ipackets" || !seen["tun_written"] {
		t.Errorf("counters %v", all)
	}
}

// What the engine knows of the peers is all shown, in an order that stays, each kind as one word.
func TestPeersAreShown(t *testing.T) {
	linux, bsd, old := netip.MustParseAddr("192.168.254.9"), netip.MustParseAddr("192.168.254.10"), netip.MustParseAddr("fe80::1%sis2")
	got := node.ShownPeers(engine.Status{Link: link.Status{Config: link.Config{Syncdev: "sis2"}}, PeerList: []engine.PeerStatus{
		{Addr: old.WithZone(""), Kind: "version 5", State: "up", Sync: "unknown", Problems: []string{"speaks version 5"}},
		{Addr: bsd, Kind: "openbsd", State: "stale", Age: 12 * time.Second, Sync: "unknown"},
		{Addr: linux, Creator: 0x0b5b3f2a, Kind: "linux", State: "up", Age: 400 * time.Millisecond, States: 1200, Sync: "yes"},
	}})
	want := []ifconfig.Peer{
		{Addr: linux, Creator: 0x0b5b3f2a, Kind: "linux", State: "up", Age: ifconfig.Seconds(400 * time.Millisecond), States: 1200,
			Sync: "yes", Problems: []string{}},
		{Addr: bsd, Kind: "openbsd", State: "stale", Age: ifconfig.Seconds(12 * time.Second), Sync: "unknown", Problems: []string{}},
		{Addr: old, Kind: "version-5", State: "up", Sync: "unknown", Problems: []string{"speaks version 5"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
