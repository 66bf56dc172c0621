package engine_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// sender is who sent a frame: on pfsync0 there is no address.
func sender(f corpus.Frame) netip.Addr {
	if ip := f.IP(); ip != nil && [4]byte(ip[12:16]) != [4]byte{} {
		return netip.AddrFrom4([4]byte(ip[12:16]))
	}
	return netip.MustParseAddr("10.9.0.1")
}

// script is what a list of captures leaves, by the plainest reading of their
// messages: the last whole state of each id that nobody has deleted.
type script map[pfstate.ID]*scripted

type scripted struct {
	pfstate.State
	until time.Time
}

func (all script) play(t *testing.T, payload []byte) {
	maps.DeleteFunc(all, func(_ pfstate.ID, s *scripted) bool { return s.until.Before(time.Now()) })
	if payload == nil {
		return
	}
	h, rest, err := wire.ParseHeader(payload)
	if err != nil {
		t.Fatal(err)
	}
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			t.Fatal(err)
		}
		if s.End() {
			return
		}
		for n := range s.Count {
			var x wire.Message
			if err := s.Dialect.Parse(s.Action, s.Message(n), &x); err != nil {
				t.Fatal(err)
			}
			all.message(&x)
		}
	}
}

func (all script) message(x *wire.Message) {
	switch x.Action {
	case wire.ActIns, wire.ActUpd:
		orig, _ := x.State.Tuples()
		if x.State.Proto != pfstate.ProtoCARP && !orig.Src.IsUnspecified() { // the firewalls' own
			all[x.State.ID] = &scripted{x.State, time.Now().Add(x.State.Expire)}
		}
	case wire.ActUpdC:
		if s := all[x.UpdC.ID]; s != nil {
			s.until = time.Now().Add(x.UpdC.Timeout.Default())
		}
	case wire.ActDelC:
		delete(all, x.ID)
	case wire.ActClr:
		maps.DeleteFunc(all, func(id pfstate.ID, s *scripted) bool {
			name := x.Clr.IfName.String()
			return id.Creator == x.Clr.Creator && (name == "" || name == s.IfName.String())
		})
	}
}

// connections are those of states, with their translation: one where pf has two states.
func connections(states []pfstate.State) []string {
	all := map[string]string{}
	for _, s := range states {
		orig, reply := s.Tuples()
		if s.Proto == pfstate.ProtoICMP || s.Proto == pfstate.ProtoICMPv6 { // FreeBSD 13 has no type
			orig.DstPort, reply.SrcPort = 0, 0
		}
		k := fmt.Sprint(pfstate.ProtoName(s.Proto), " ", orig)
		if reply != orig.Reversed() || all[k] == "" {
			all[k] = fmt.Sprint(k, ", ", reply)
		}
	}
	return slices.Sorted(maps.Values(all))
}

// TestCapturesLeaveTheStatesOfTheBSDs plays packets of real kernels to a firewall with
// a table in memory, at the pace at which they were captured. How many connections
// are left is what the captures' README says happened.
func TestCapturesLeaveTheStatesOfTheBSDs(t *testing.T) {
	for _, c := range []struct {
		captures string
		left     int // connections
	}{
		{"openbsd80-start", 4}, // neighbour discovery on both
		{"openbsd80-icmp", 3},  // neighbour discovery
		{"openbsd80-udp", 0},
		{"openbsd80-tcp", 1},                            // neighbour discovery
		{"openbsd80-bulk", 5},                           // five established connections, ten states
		{"openbsd80-bulk-many", 150},                    // some 300 states
		{"openbsd80-bulk openbsd80-clear-interface", 5}, // they float: no interface is theirs
		{"openbsd80-bulk openbsd80-clear-all", 0},
		{"openbsd80-kill", 0},
		{"openbsd80-nat", 1}, // of the datagrams: the capture ends before it does
		{"openbsd80-rdr", 0},
		{"openbsd80-scrub", 0},
		{"openbsd80-routeto", 1},
		{"openbsd80-syncpeer", 1},
		{"openbsd80-defer", 2},
		{"openbsd80-pfsync0-wire", 0},
		{"openbsd80-pfsync0-bpf-sender", 0},
		{"openbsd80-pfsync0-bpf-receiver", 0},
		{"freebsd13-start", 2}, // multicast listeners
		{"freebsd13-icmp", 2},  // neighbour discovery
		{"freebsd13-udp", 0},
		{"freebsd13-tcp", 4}, // neighbour discovery
		{"freebsd13-bulk", 5},
		{"freebsd13-bulk-many", 150}, // some 300 states
		{"freebsd13-bulk freebsd13-clear-interface", 5},
		{"freebsd13-bulk freebsd13-clear-all", 0},
		{"freebsd13-kill", 0},
		{"freebsd13-nat", 1},
		{"freebsd13-syncpeer", 1},
		{"freebsd13-defer", 2},
		{"freebsd13-pfsync0-bpf-sender", 2},
		{"freebsd13-pfsync0-bpf-receiver", 0},
	} {
		t.Run(c.captures, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { playCaptures(t, c.captures, c.left) }) })
	}
}

func playCaptures(t *testing.T, captures string, left int) {
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	hub := linktest.NewHub(1)
	port := hub.Port(netip.MustParseAddr("10.9.0.9"))
	table := memory.New(memory.Config{Creator: us})
	e := engine.New(engine.Config{Creator: us, Log: testLog(us)}, table, port, noTap{})
	running.Go(func() { table.Run(ctx) })
	running.Go(func() { hub.Run(ctx) })
	running.Go(func() { e.Run(ctx) })
	up := engine.DefaultSettings()
	up.Up = true
	if err := e.Configure(up); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	want := script{}
	for name := range strings.FieldsSeq(captures) {
		var last time.Time
		for i, f := range corpus.Frames(t, name+".pcap") {
			if i > 0 {
				time.Sleep(f.Time.Sub(last))
			}
			last = f.Time
			port.Inject(link.Packet{Src: sender(f), TTL: 255, Payload: f.Payload()})
			want.play(t, f.Payload())
			synctest.Wait()
		}
	}
	time.Sleep(10 * time.Millisecond)
	want.play(t, nil)
	var wantStates []pfstate.State
	for _, s := range want {
		wantStates = append(wantStates, s.State)
	}
	got := connections(table.States())
	if diff := cmp.Diff(connections(wantStates), got); diff != "" {
		t.Errorf("connections (-in the messages +in the table):\n%s", diff)
	}
	if len(got) != left {
		t.Errorf("%d connections are left, want %d:\n%s", len(got), left, strings.Join(got[:min(len(got), 6)], "\n"))
	}
	known := map[string]bool{}
	if err := e.States(func(s *pfstate.State) bool { known[s.ID.String()] = true; return true }); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for id := range want {
		ids[id.String()] = true
	}
	if diff := cmp.Diff(ids, known); diff != "" {
		t.Errorf("ids (-in the messages +known):\n%s", diff)
	}
	counters, err := e.Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		switch c.Name {
		case "badver", "badlen", "badact", "badval", "hdrops", "skipped", "tablerefused":
			if c.Value != 0 {
				t.Errorf("%d %s", c.Value, c.Help)
			}
		}
	}
}
