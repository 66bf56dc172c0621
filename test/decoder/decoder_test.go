package decoder_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/memory"
	"github.com/pfsync-linux/pfsync/pfstate/pftest"
	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/sync/link/linktest"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/lab"
)

var (
	ours   = netip.MustParseAddr("10.9.0.1")
	theirs = netip.MustParseAddr("10.9.0.3")
)

const (
	us   = 0xaaaaaaaa
	them = 0xbbbbbbbb
)

// compile builds pfsyncread, with all that a compiler can find out about it.
func compile(t *testing.T) string {
	t.Helper()
	if err := lab.Require("gcc", "/usr/include/stdlib.h"); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "pfsyncread")
	out, err := exec.Command("gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1",
		"-fsanitize=address,undefined", "-fno-sanitize-recover", "-o", program, "pfsyncread/pfsyncread.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

// read gives packets to pfsyncread as that system, and returns its lines and complaints.
func read(t *testing.T, program, system string, packets [][]byte) (lines []string, complaints string) {
	t.Helper()
	var in, out, errs bytes.Buffer
	for _, p := range packets {
		fmt.Fprintf(&in, "%x\n", p)
	}
	c := exec.Command(program, system)
	c.Stdin, c.Stdout, c.Stderr = &in, &out, &errs
	if err := c.Run(); err != nil && errs.Len() == 0 {
		t.Fatalf("pfsyncread %s: %v", system, err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), errs.String()
}

// line is what pfsyncread should print of a message, by our own decoder.
func line(x *wire.Message) string {
	name := map[wire.Action]string{
		wire.ActClr: "CLR", wire.ActInsAck: "INS_ACK", wire.ActUpdC: "UPD_C", wire.ActUpdReq: "UPD_REQ", wire.ActDelC: "DEL_C",
		wire.ActBus: "BUS", wire.ActIns: "INS", wire.ActUpd: "UPD",
	}[x.Action]
	switch {
	case x.Action.HasID():
		return fmt.Sprintf("%s %v", name, x.ID)
	case x.Action == wire.ActUpdC:
		u := &x.UpdC
		return fmt.Sprintf("%s %v peers %d:%d wscale %d:%d timeout %d", name, u.ID, u.Src.State, u.Dst.State, u.Src.WScale, u.Dst.WScale, u.Timeout)
	case x.Action == wire.ActBus:
		return fmt.Sprintf("%s %08x %v age %d", name, x.Bus.Creator, x.Bus.Status, x.Bus.EndTime/time.Second)
	case x.Action == wire.ActClr:
		return fmt.Sprintf("%s %08x '%v'", name, x.Clr.Creator, x.Clr.IfName)
	}
	s := &x.State
	key := func(k *pfstate.Key) string {
		return fmt.Sprintf("%v %d %v %d", k.Addr[0], k.Port[0], k.Addr[1], k.Port[1])
	}
	return fmt.Sprintf("%s %v %v proto %d dir %d wire %s stack %s peers %d:%d wscale %d:%d timeout %d flags %04x rule %d anchor %d nat %d age %d expire %d",
		name, s.ID, s.IfName, s.Proto, s.Direction, key(&s.Wire), key(&s.Stack), s.Src.State, s.Dst.State, s.Src.WScale, s.Dst.WScale,
		s.Timeout, s.Flags, int32(s.Rule), int32(s.Anchor), int32(s.NATRule), s.Creation/time.Second, s.Expire/time.Second)
}

// lines are those of whole packets.
func lines(t *testing.T, packets [][]byte) (all []string) {
	t.Helper()
	for _, b := range packets {
		h, rest, err := wire.ParseHeader(b)
		for err == nil && len(rest) >= wire.SubheaderLen {
			var s wire.Section
			if s, rest, err = h.NextSection(rest); err != nil {
				break
			}
			for n := range s.Count {
				var x wire.Message
				if err := s.Dialect.Parse(s.Action, s.Message(n), &x); err != nil {
					t.Error(err)
				}
				all = append(all, line(&x))
			}
		}
		if err != nil {
			t.Errorf("%x: %v", b, err)
		}
	}
	return all
}

type noTap struct{}

func (noTap) Show([][]byte) {}

// said is what a firewall sends that lives through everything: connections of all
// kinds and their updates and ends, a bulk update, requests, acknowledgements.
func said(t *testing.T, d wire.Dialect) (packets [][]byte) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		var mu sync.Mutex
		hub := linktest.NewHub(1)
		hub.Tap(func(f linktest.Frame) {
			mu.Lock()
			defer mu.Unlock()
			packets = append(packets, bytes.Clone(f.Payload))
		})
		port := hub.Port(ours)
		table := memory.New(memory.Config{Creator: us})
		e := engine.New(engine.Config{Creator: us, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, table, port, noTap{})
		running.Go(func() { table.Run(ctx) })
		running.Go(func() { hub.Run(ctx) })
		running.Go(func() { e.Run(ctx) })
		up := engine.DefaultSettings()
		up.Up, up.Dialect, up.DialectSet, up.Pair = true, d, true, engine.PairOn
		if err := e.Configure(up); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		bsd := func(build func(*wire.Writer)) {
			w := wire.Writer{Dialect: d}
			w.Reset(1480)
			build(&w)
			port.Inject(link.Packet{Src: theirs, TTL: 255, Payload: slices.Clone(w.Finish())})
			time.Sleep(10 * time.Millisecond)
		}
		r := rand.New(rand.NewPCG(9, 10))
		var states []pfstate.State
		for n := range 200 {
			s := pftest.Entry(r)
			s.ID, s.Wire.RDomain, s.Stack.RDomain = pfstate.ID{}, 0, 0
			s.Proto = []uint8{pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoICMP, pfstate.ProtoGRE}[n%4]
			switch {
			case s.Proto == pfstate.ProtoICMP:
				tuple, proto, query := pfstate.Tuple{}, uint8(pfstate.ProtoICMP), uint16(8)
				tuple, _ = s.Tuples()
				if tuple.Src.Is6() {
					proto, query = pfstate.ProtoICMPv6, 128
				}
				tuple.DstPort = query
				s.Proto = proto
				s.SetTuples(tuple, tuple.Reversed(), 0)
				s.Src.State, s.Dst.State = 0, 0
			case s.Proto == pfstate.ProtoTCP:
				s.Src.State, s.Dst.State, s.Flags = 4, 4, pfstate.FlagSloppy
				s.Src.WScale, s.Dst.WScale = 0x87, 0x8a
			default:
				s.Src.State, s.Dst.State = 2, 2
			}
			s.Timeout = pfstate.TimeoutOf(s.Proto, s.Src.State, s.Dst.State)
			s.Expire = s.Timeout.Default()
			if err := table.Create(s); err != nil {
				t.Fatal(err)
			}
			states = append(states, s)
		}
		time.Sleep(2 * time.Second)
		for i := range states {
			if s := &states[i]; s.Proto == pfstate.ProtoTCP {
				s.Src.State = 7
				s.Timeout = pfstate.TimeoutOf(s.Proto, 7, 4)
				if err := table.Update(*s); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(2 * time.Second)
		bsd(func(w *wire.Writer) { w.ID(wire.ActUpdReq, pfstate.ID{}) })
		deferred := states[1]
		deferred.ID, deferred.Flags = pfstate.ID{State: 1, Creator: them}, pfstate.FlagAck
		orig, _ := deferred.Tuples()
		orig.SrcPort++
		deferred.SetTuples(orig, orig.Reversed(), 0)
		bsd(func(w *wire.Writer) { w.State(wire.ActIns, &deferred) })
		bsd(func(w *wire.Writer) { w.UpdC(&wire.UpdC{ID: pfstate.ID{State: 2, Creator: them}}) }) // it asks
		time.Sleep(2 * time.Second)
		for _, s := range states {
			if err := table.Delete(s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
	})
	return packets
}

// TestWhatWeSendIsReadByAnotherDecoder has no complaint, and nothing read otherwise
// than by our own decoder.
func TestWhatWeSendIsReadByAnotherDecoder(t *testing.T) {
	program := compile(t)
	for _, c := range []struct {
		dialect wire.Dialect
		systems []string // that read it
	}{
		{wire.OpenBSD6, []string{"openbsd"}},
		{wire.FreeBSD1301, []string{"freebsd13", "freebsd14", "freebsd15"}},
		{wire.FreeBSD1400, []string{"freebsd14", "freebsd15"}},
		{wire.FreeBSD1500, []string{"freebsd15"}},
	} {
		packets := said(t, c.dialect)
		want := lines(t, packets)
		for _, action := range []string{"INS ", "UPD ", "UPD_C", "UPD_REQ", "DEL_C", "BUS", "INS_ACK"} {
			if !slices.ContainsFunc(want, func(l string) bool { return strings.HasPrefix(l, action) }) {
				t.Errorf("%v: no %s was sent", c.dialect, action)
			}
		}
		for _, system := range c.systems {
			got, complaints := read(t, program, system, packets)
			if complaints != "" {
				t.Errorf("%s reads %v:\n%.2000s", system, c.dialect, complaints)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s reads %v (-ours +its):\n%.4000s", system, c.dialect, diff)
			}
		}
	}
}

// The decoder is no yes-man: it reads a real kernel's packets, and complains of broken ones.
func TestTheOtherDecoderIsWorthItsSalt(t *testing.T) {
	program := compile(t)
	var packets [][]byte
	for _, name := range []string{"openbsd80-udp.pcap", "openbsd80-bulk.pcap", "openbsd80-nat.pcap"} {
		for _, f := range corpus.Frames(t, name) {
			packets = append(packets, f.Payload())
		}
	}
	got, complaints := read(t, program, "openbsd", packets)
	if diff := cmp.Diff(lines(t, packets), got); diff != "" || complaints != "" {
		t.Errorf("packets of OpenBSD (-ours +its):\n%.2000s\n%.2000s", diff, complaints)
	}
	good := corpus.Frames(t, "openbsd80-udp.pcap")[0].Payload()
	for name, c := range map[string]struct {
		system string
		change func([]byte) []byte
	}{
		"another version":       {"freebsd14", func(b []byte) []byte { return b }},
		"cut off":               {"openbsd", func(b []byte) []byte { return b[:len(b)-1] }},
		"an unknown action":     {"openbsd", func(b []byte) []byte { b[20] = 9; return b }},
		"a count too large":     {"openbsd", func(b []byte) []byte { b[23]++; return b }},
		"a message's other len": {"openbsd", func(b []byte) []byte { b[21]--; return b }},
	} {
		if _, complaints := read(t, program, c.system, [][]byte{c.change(bytes.Clone(good))}); complaints == "" {
			t.Errorf("%s: no complaint", name)
		}
	}
	var w wire.Writer
	for name, change := range map[string]func(*pfstate.State){
		"a timeout": func(s *pfstate.State) { s.Timeout = 19 + 1 }, "a peer's state": func(s *pfstate.State) { s.Src.State = 13 },
		"no creator": func(s *pfstate.State) { s.ID.Creator = 0 }, "a strict state without numbers": func(s *pfstate.State) { s.Flags = 0 },
		"flags": func(s *pfstate.State) { s.Flags |= pfstate.FlagNoSync },
	} {
		s := pftest.Entry(rand.New(rand.NewPCG(1, 1)))
		s.Proto, s.Flags, s.Expire = pfstate.ProtoTCP, pfstate.FlagSloppy, time.Hour
		s.Wire.RDomain, s.Stack.RDomain = 0, 0
		w.Reset(1480)
		w.State(wire.ActIns, &s)
		if _, complaints := read(t, program, "openbsd", [][]byte{w.Finish()}); complaints != "" {
			t.Fatalf("%s", complaints)
		}
		change(&s)
		w.Reset(1480)
		w.State(wire.ActIns, &s)
		b := bytes.Clone(w.Finish())
		if name == "a timeout" {
			b[24+255] = 20 // ours would not write it
		}
		if _, complaints := read(t, program, "openbsd", [][]byte{b}); complaints == "" {
			t.Errorf("%s: no complaint", name)
		}
	}
}
