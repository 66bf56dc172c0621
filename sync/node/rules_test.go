package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/node"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/tunif/tuniftest"
)

// connection is a TCP connection to a server of 192.0.2.0/24.
func connection(i int) pfstate.State {
	s := pfstate.Default()
	s.Proto, s.Timeout, s.Expire = pfstate.ProtoTCP, pfstate.TCPEstablishedTimeout, time.Hour
	s.Src.State, s.Dst.State = pfstate.TCPEstablished, pfstate.TCPEstablished
	t := pfstate.Tuple{Src: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Dst: netip.MustParseAddr("192.0.2.80"),
		SrcPort: 40000, DstPort: 80}
	s.SetTuples(t, t.Reversed(), 0)
	return s
}

func parse(t *testing.T, text string) *pfconf.Ruleset {
	t.Helper()
	rs, _, err := pfconf.Loader{}.Parse("pf.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// states waits for the node to know of n states.
func states(t *testing.T, n *node.Node, want int) {
	t.Helper()
	labtest.Eventually(t, fmt.Sprintf("%d states", want), func() bool {
		i, err := n.Info()
		if err != nil {
			t.Fatal(err)
		}
		return i.States == want
	})
}

func TestRulesKeepStatesPrivate(t *testing.T) {
	r := start(t)
	for i := range 10 {
		if err := r.table.Create(connection(i)); err != nil {
			t.Fatal(err)
		}
	}
	states(t, r.Node, 10)
	if err := r.SetRuleset(parse(t, "pass inet proto tcp from 10.0.0.0/30 to any keep state (no-sync)\n")); err != nil {
		t.Fatal(err)
	}
	states(t, r.Node, 6)
	if err := r.Enable(false); err != nil {
		t.Fatal(err)
	}
	states(t, r.Node, 10)
	if err := r.Enable(false); err == nil || err.Error() != "pf not enabled" {
		t.Errorf("disabled twice: %v", err)
	}
	if err := r.Enable(true); err != nil {
		t.Fatal(err)
	}
	states(t, r.Node, 6)
	bad := parse(t, "pass proto udp keep state (no-sync)\n")
	bad.Rules[0].Family = "inet5"
	if err := r.SetRuleset(bad); err == nil || !strings.Contains(err.Error(), `bad family "inet5"`) {
		t.Errorf("bad ruleset: %v", err)
	}
	if got, err := r.Rules(); err != nil || !got.Enabled || len(got.Ruleset.Rules) != 1 || got.Ruleset.Rules[0].Family != "inet" {
		t.Errorf("%+v %v, want the rules of before", got, err)
	}
}

func TestKillByLabel(t *testing.T) {
	r := start(t)
	for i := range 10 {
		if err := r.table.Create(connection(i)); err != nil {
			t.Fatal(err)
		}
	}
	states(t, r.Node, 10)
	if err := r.SetRuleset(parse(t, "pass inet proto tcp from 10.0.0.0/29 to any label web\npass inet from 10.0.0.0/31 to any label \"no web\"\n")); err != nil {
		t.Fatal(err)
	}
	if killed, err := r.Kill(control.Kill{Label: "www"}); err == nil || err.Error() != "label www: no rule has it" {
		t.Errorf("a label that no rule has: %+v %v", killed, err)
	}
	if killed, err := r.Kill(control.Kill{Label: "web", Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}}); err != nil || killed.States != 1 {
		t.Errorf("%+v %v, want 1 killed", killed, err)
	}
	if killed, err := r.Kill(control.Kill{Label: "web"}); err != nil || killed.States != 5 {
		t.Errorf("%+v %v, want 5 killed", killed, err)
	}
	labtest.Eventually(t, "4 entries", func() bool { return r.table.Len() == 4 })
}

func TestKillAndFlush(t *testing.T) {
	r := start(t)
	for i := range 10 {
		if err := r.table.Create(connection(i)); err != nil {
			t.Fatal(err)
		}
	}
	states(t, r.Node, 10)
	if killed, err := r.Kill(control.Kill{Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.8/31")}}); err != nil || killed.States != 2 {
		t.Errorf("%+v %v, want 2 killed", killed, err)
	}
	labtest.Eventually(t, "8 entries", func() bool { return r.table.Len() == 8 })
	if _, err := r.Kill(control.Kill{}); err == nil {
		t.Error("nothing is said of what to kill, and it is no error")
	}
	if flushed, err := r.Flush(); err != nil || flushed.States != 8 {
		t.Errorf("%+v %v, want 8 flushed", flushed, err)
	}
	labtest.Eventually(t, "no entries", func() bool { return r.table.Len() == 0 })
}

func TestInfo(t *testing.T) {
	r := start(t)
	half := connection(1)
	half.Src.State, half.Dst.State = pfstate.TCPSynSent, pfstate.TCPClosed
	if err := errors.Join(r.table.Create(connection(0)), r.table.Create(half)); err != nil {
		t.Fatal(err)
	}
	states(t, r.Node, 2)
	i, err := r.Info()
	if err != nil || !i.Enabled || i.HalfOpen != 1 || i.Creator != 0xc0ffee01 || len(i.Timeouts) != int(pfstate.MaxTimeout) ||
		i.Timeouts[2] != (control.Timeout{Name: "tcp.established", Value: 86400e9}) {
		t.Errorf("%+v %v", i, err)
	}
}

// Rules hold until others are loaded: the daemon's end, and a crash, do not let private states out.
func TestRulesOutliveTheDaemon(t *testing.T) {
	dir := t.TempDir()
	run := func(log *slog.Logger, f func(n *node.Node, table *memory.Table)) {
		t.Helper()
		id := load(t, dir)
		defer id.Close()
		table := memory.New(memory.Config{Creator: id.Creator})
		if err := table.Create(connection(1)); err != nil {
			t.Fatal(err)
		}
		n := node.New(node.Config{
			Identity: id, Table: table, TableName: "memory", Log: log,
			OpenDevice:   func(name string) (node.Device, error) { return tuniftest.Open(name), nil },
			InterfaceMTU: func(string) (int, error) { return 1500, nil },
		})
		ctx, stop := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- n.Run(ctx, func() { close(ready) }) }()
		<-ready
		f(n, table)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	rs := parse(t, "set no-sync mark 0x1/0x1\ntable <private> { 10.0.0.0/24 }\npass from <private> to any keep state (no-sync)\n")
	run(quiet, func(n *node.Node, _ *memory.Table) {
		if err := n.SetRuleset(rs); err != nil {
			t.Fatal(err)
		}
	})
	run(quiet, func(n *node.Node, table *memory.Table) {
		if got, err := n.Rules(); err != nil || !got.Enabled || !got.Ruleset.Equal(rs) {
			t.Errorf("%+v %v, want the rules of before", got, err)
		}
		public := connection(2)
		public.SetTuples(pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("192.0.2.80"), SrcPort: 1, DstPort: 2},
			pfstate.Tuple{Src: netip.MustParseAddr("192.0.2.80"), Dst: netip.MustParseAddr("10.1.0.1"), SrcPort: 2, DstPort: 1}, 0)
		if err := table.Create(public); err != nil {
			t.Fatal(err)
		}
		states(t, n, 1) // the other one was there before
		if err := n.Enable(false); err != nil {
			t.Fatal(err)
		}
		states(t, n, 2)
	})
	run(quiet, func(n *node.Node, _ *memory.Table) {
		if got, err := n.Rules(); err != nil || got.Enabled || !got.Ruleset.Equal(rs) {
			t.Errorf("%+v %v, want the rules of before, disabled", got, err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "rules"), []byte(`{"ruleset": {"rules": [{"action": "block"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	run(slog.New(slog.NewTextHandler(&log, nil)), func(n *node.Node, _ *memory.Table) { states(t, n, 1) })
	if !strings.Contains(log.String(), "the rules of before are lost") || !strings.Contains(log.String(), "bad action") {
		t.Errorf("a damaged file is not told of: %s", &log)
	}
}

// A list of 200,000 states goes over a real socket without either side ever holding much of it,
// though its reader is slow.
func TestManyStatesAreShownInLittleMemory(t *testing.T) {
	const n = 200_000
	r := start(t)
	for i := range n {
		if err := r.table.Create(connection(i)); err != nil {
			t.Fatal(err)
		}
		if i%20_000 == 0 { // the table keeps so many changes only for one who does not read
			states(t, r.Node, i+1)
		}
	}
	states(t, r.Node, n)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(r, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	client := control.NewClientDial(func(context.Context) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) })

	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	base, peak, seen := live(), uint64(0), 0
	err = client.States(ctx, control.Selection{}, func(*pfstate.State) error {
		if seen%10_000 == 0 {
			peak = max(peak, live())
		}
		seen++
		return nil
	})
	if err != nil || seen != n {
		t.Errorf("%d states, %v", seen, err)
	}
	// The list is 53 MB long.
	if grown := int64(peak) - int64(base); grown > 4<<20 {
		t.Errorf("client and server hold %d KB more while %d states are shown", grown>>10, n)
	} else {
		t.Logf("client and server hold %d KB more at most", grown>>10)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
