package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
)

// tcpState is a connection from 10.0.0.0/8 to a server, translated on both ends.
func tcpState(i int) pfstate.State {
	s := pfstate.Default()
	s.ID = pfstate.ID{State: uint64(i) + 1, Creator: 0xa1}
	s.Proto, s.Timeout, s.Expire = pfstate.ProtoTCP, pfstate.TCPEstablishedTimeout, time.Hour
	s.Src.State, s.Dst.State = pfstate.TCPEstablished, pfstate.TCPEstablished
	client := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	s.SetTuples(
		pfstate.Tuple{Src: client, Dst: netip.MustParseAddr("192.0.2.80"), SrcPort: 40000, DstPort: 80},
		pfstate.Tuple{Src: netip.MustParseAddr("172.16.0.80"), Dst: netip.MustParseAddr("192.0.2.1"), SrcPort: 8080, DstPort: 50000}, 0)
	return s
}

func many(n int) []pfstate.State {
	list := make([]pfstate.State, n)
	for i := range list {
		list[i] = tcpState(i)
	}
	return list
}

func TestStatesAreStreamed(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	want := many(2500) // three parts, the last one not full
	want[7].IfName = pfstate.NewIfName("sis0")
	node.Hold(want...)
	for name, c := range map[string]struct {
		sel  control.Selection
		want []pfstate.State
	}{
		"all":                {control.Selection{}, want},
		"of an interface":    {control.Selection{Interface: "sis0"}, want[7:8]},
		"of a source":        {control.Selection{Host: netip.MustParsePrefix("10.0.1.0/24")}, want[256:512]},
		"of a destination":   {control.Selection{Host: netip.MustParsePrefix("192.0.2.80/32")}, want},
		"of the real server": {control.Selection{Host: netip.MustParsePrefix("172.16.0.80/32")}, want},
		"of both":            {control.Selection{Interface: "sis0", Host: netip.MustParsePrefix("10.0.0.8/32")}, nil},
		"of nobody":          {control.Selection{Host: netip.MustParsePrefix("2001:db8::/32")}, nil},
	} {
		var got []pfstate.State
		err := h.client.States(t.Context(), c.sel, func(s *pfstate.State) error { got = append(got, *s); return nil })
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
			t.Errorf("%s: %d states, want %d; %v %.300s", name, len(got), len(c.want), err, diff)
		}
	}
	enough := errors.New("enough")
	if err := h.client.States(t.Context(), control.Selection{}, func(*pfstate.State) error { return enough }); err != enough {
		t.Errorf("yield's error comes back as %v", err)
	}
}

// A list that could not be shown to its end does not pass for a shorter one.
func TestStatesThatAreCutOff(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	node.Hold(many(1500)...)
	failAt := 0
	node.Fail = func(next int) error {
		if next == failAt {
			return errors.New("the engine has stopped")
		}
		return nil
	}
	count := 0
	yield := func(*pfstate.State) error { count++; return nil }
	if err := h.client.States(t.Context(), control.Selection{}, yield); err == nil || err.Error() != "the engine has stopped" || count != 0 {
		t.Errorf("at the beginning: %v after %d states", err, count)
	}
	failAt = 1000
	if err := h.client.States(t.Context(), control.Selection{}, yield); err == nil || !strings.Contains(err.Error(), "cut off after 1000 of them") || count != 1000 {
		t.Errorf("in the middle: %v after %d states", err, count)
	}
}

// pipes is a listener whose connections are of memory: they work with the clock of a bubble.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// A reader may be slow for hours, as long as it reads; one that is stuck is left after ten minutes.
func TestReadersOfStates(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration // between two parts
		whole bool
	}{"slow": {9 * time.Minute, true}, "stuck": {11 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := controltest.NewNode()
				node.Hold(many(20_000)...)
				l := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
				ctx, stop := context.WithCancel(context.Background())
				served := make(chan error, 1)
				go func() { served <- control.NewServer(node, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
				near, far := net.Pipe()
				l.dialed <- far
				if _, err := fmt.Fprintf(near, "GET /v1/states HTTP/1.1\r\nHost: pfsyncd\r\nConnection: close\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				total, begun := 0, time.Now()
				for buf := make([]byte, 264_000); ; time.Sleep(c.pause) {
					n, err := io.ReadFull(near, buf)
					total += n
					if err != nil {
						break
					}
				}
				if whole := total > 20_000*264; whole != c.whole {
					t.Errorf("%d bytes in %v, want all: %v", total, time.Since(begun), c.whole)
				}
				near.Close()
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestKill(t *testing.T) {
	in := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	at := netip.MustParseAddrPort
	icmp := tcpState(9)
	icmp.Proto = pfstate.ProtoICMP
	icmp.SetTuples(
		pfstate.Tuple{Src: netip.MustParseAddr("10.9.9.9"), Dst: netip.MustParseAddr("8.8.8.8"), SrcPort: 77, DstPort: 8},
		pfstate.Tuple{Src: netip.MustParseAddr("8.8.8.8"), Dst: netip.MustParseAddr("10.9.9.9"), SrcPort: 8, DstPort: 77}, 0)
	for name, c := range map[string]struct {
		kill control.Kill
		want int
	}{
		"source":                  {control.Kill{Src: in("10.0.0.5/32")}, 1},
		"source, translated":      {control.Kill{Src: in("192.0.2.1/32")}, 0},
		"sources":                 {control.Kill{Src: append(in("10.0.0.5/32"), in("10.0.0.6/32")...)}, 2},
		"source and destination":  {control.Kill{Src: in("0.0.0.0/0"), Dst: in("192.0.2.80/32")}, 8},
		"destination, translated": {control.Kill{Src: in("10.0.0.0/30"), Dst: in("172.16.0.80/32")}, 4},
		"other family":            {control.Kill{Src: in("::/0")}, 0},
		"id":                      {control.Kill{ID: 3}, 1},
		"id of another creator":   {control.Kill{ID: 3, Creator: 0xb2}, 0},
		"creator":                 {control.Kill{Creator: 0xa1}, 9},
		"interface":               {control.Kill{Interface: "all"}, 9},
		"other interface":         {control.Kill{Interface: "sis0", Src: in("0.0.0.0/0")}, 0},
		"key before translation":  {control.Kill{Key: &control.KillKey{Proto: 6, From: at("10.0.0.2:40000"), To: at("192.0.2.80:80")}}, 1},
		"key after translation":   {control.Kill{Key: &control.KillKey{Proto: 6, From: at("192.0.2.1:50000"), To: at("172.16.0.80:8080")}}, 8},
		"key of another protocol": {control.Kill{Key: &control.KillKey{Proto: 17, From: at("10.0.0.2:40000"), To: at("192.0.2.80:80")}}, 0},
		"key of ICMP":             {control.Kill{Key: &control.KillKey{Proto: 1, From: at("10.9.9.9:77"), To: at("8.8.8.8:77")}}, 1},
	} {
		killed := 0
		for _, s := range append(many(8), icmp) {
			if c.kill.Matches(&s) {
				killed++
			}
		}
		if killed != c.want {
			t.Errorf("%s: %d states, want %d", name, killed, c.want)
		}
	}
}

// What goes over the socket arrives, and comes back.
func TestCommandsOfPfctl(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	ctx := t.Context()
	node.Hold(many(10)...)
	kill := control.Kill{Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.4/31")}, Creator: 0xa1,
		Key: &control.KillKey{Proto: 6, From: netip.MustParseAddrPort("10.0.0.5:40000"), To: netip.MustParseAddrPort("192.0.2.80:80")}}
	if killed, err := h.client.Kill(ctx, kill); err != nil || killed.States != 1 {
		t.Errorf("%+v %v, want one killed", killed, err)
	}
	if _, err := h.client.Kill(ctx, control.Kill{}); err == nil || !strings.Contains(err.Error(), "says nothing of the states to kill") {
		t.Errorf("kill of nothing: %v", err)
	}
	if _, err := h.client.Kill(ctx, control.Kill{Label: "web"}); err == nil || err.Error() != "label web: no rule has it" {
		t.Errorf("kill by a label that no rule has: %v", err)
	}
	rs, _, err := pfconf.Loader{}.Parse("pf.conf", "pass label all\npass inet from 10.0.0.6 to any label web\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.SetRuleset(ctx, rs); err != nil {
		t.Error(err)
	}
	if killed, err := h.client.Kill(ctx, control.Kill{Label: "web"}); err != nil || killed.States != 1 {
		t.Errorf("%+v %v, want one killed", killed, err)
	}
	if flushed, err := h.client.Flush(ctx); err != nil || flushed.States != 8 {
		t.Errorf("%+v %v, want eight flushed", flushed, err)
	}
	rs, _, err = pfconf.Loader{}.Parse("pf.conf", "set no-sync mark 0x10000/0x10000\ntable <own> { 10/8 !10.0.0.1 }\npass proto udp from <own> to any keep state (no-sync)\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.client.SetRuleset(ctx, rs), h.client.Enable(ctx, false)); err != nil {
		t.Error(err)
	}
	if got, err := h.client.Rules(ctx); err != nil || got.Enabled || !got.Ruleset.Equal(rs) {
		t.Errorf("%+v %v, want %+v", got, err, rs)
	}
	if err := h.client.Enable(ctx, false); err == nil || err.Error() != "pf not enabled" {
		t.Errorf("disabled twice: %v", err)
	}
	rs.Rules[0].Proto, rs.Rules[0].Action = 6, "block"
	if err := h.client.SetRuleset(ctx, rs); err == nil || !strings.Contains(err.Error(), `bad action "block"`) {
		t.Errorf("bad ruleset: %v", err)
	}
	want, _ := node.Info()
	if got, err := h.client.Info(ctx); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}
