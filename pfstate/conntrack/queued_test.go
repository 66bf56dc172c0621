package conntrack_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// firstOf is a connection of which the first packet is in a queue.
func firstOf(proto uint8, src, dst string, status uint32) raw {
	r := flowOf(proto, src, dst)
	r.Status, r.Timeout = status, 4294867 // what some kernels say before it is confirmed
	if r.TCP != nil {
		r.TCP.State = 1
	}
	return r
}

// What is made of a connection before it is in the table is what its event will tell then, under the same name.
func TestQueuedConnections(t *testing.T) {
	echo := firstOf(58, "fd00::1", "fd00::2", 0)
	echo.Orig.Type, echo.Orig.Sport = 128, 7
	echo.Reply = echo.Orig.plain(58)
	snat := firstOf(6, "10.1.0.1", "10.2.0.1", srcNAT|0x80)
	snat.Orig.Sport, snat.Orig.Dport = 1234, 80
	snat.Reply = rawTuple{Src: netip.MustParseAddr("10.2.0.1"), Dst: netip.MustParseAddr("192.0.2.1"), Sport: 80, Dport: 50000}
	dnat := firstOf(17, "10.1.0.1", "192.0.2.1", dstNAT|0x100)
	dnat.Reply = rawTuple{Src: netip.MustParseAddr("10.2.0.1"), Dst: netip.MustParseAddr("10.1.0.1")}
	for _, c := range []struct {
		name   string
		r      raw
		expire time.Duration
	}{
		{"tcp", firstOf(6, "10.1.0.1", "10.2.0.1", 0), 120 * time.Second}, {"snat", snat, 120 * time.Second},
		{"dnat", dnat, 30 * time.Second}, {"echo", echo, 30 * time.Second}, {"sctp", firstOf(132, "10.1.0.1", "10.2.0.1", 0), 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			codec := newCodec()
			marked := func(e *netlink.AttributeEncoder) { e.Uint32(8, 0x42) }
			got := pfstate.Change{Err: pfstate.ErrNoState} // of its last use
			if there, ok := codec.Queued(attributes(t, c.r, marked), &got); there || !ok {
				t.Fatalf("in the table %t, ok %t", there, ok)
			}
			if got.State.Expire != c.expire {
				t.Errorf("expires in %v, want %v", got.State.Expire, c.expire)
			}
			later := c.r
			later.Status |= confirmed
			later.Timeout = uint32(c.expire / time.Second)
			var b pfstate.Batch[pfstate.Change]
			codec.Events(&b, event(t, 0, netlink.Create|netlink.Excl, 0, later, marked), 0)
			if len(b.Items) != 1 {
				t.Fatalf("%d events", len(b.Items))
			}
			if diff := cmp.Diff(b.Items[0], got, sameAddr); diff != "" {
				t.Errorf("-event +queued:\n%s", diff)
			}
			if there, ok := codec.Queued(attributes(t, later), &got); !there || !ok || got.State.Expire != c.expire {
				t.Errorf("later: in the table %t, ok %t, expires in %v", there, ok, got.State.Expire)
			}
		})
	}
}

// By hand after linux/netfilter/nfnetlink_conntrack.h, lengths and types in the host's order: a SYN from 10.1.0.2 port
// 40000 to 10.2.0.2 port 80, translated to 10.2.0.7, as Linux 6.1 puts it into NFQA_CT.
const queuedSYN = `
3400 0180  1400 0180 0800 0100 0a010002 0800 0200 0a020002  1c00 0280 0500 0100 06000000 0600 0200 9c400000 0600 0300 00500000
3400 0280  1400 0180 0800 0100 0a020002 0800 0200 0a020007  1c00 0280 0500 0100 06000000 0600 0200 00500000 0600 0300 9c400000
0800 0c00 12345678
0800 0300 00000190
0800 0700 00000000
3000 0480  2c00 0180 0500 0100 01000000 0500 0200 07000000 0500 0300 00000000 0600 0400 23000000 0600 0500 00000000
0800 0800 00000000
`

func TestQueuedConnectionByHand(t *testing.T) {
	attrs, err := hex.DecodeString(strings.Join(strings.Fields(queuedSYN), ""))
	if err != nil {
		t.Fatal(err)
	}
	var c pfstate.Change
	if there, ok := newCodec().Queued(attrs, &c); there || !ok {
		t.Fatalf("in the table %t, ok %t", there, ok)
	}
	orig, reply := c.State.Tuples()
	want := pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: 40000, DstPort: 80}
	wantReply := pfstate.Tuple{Src: want.Dst, Dst: netip.MustParseAddr("10.2.0.7"), SrcPort: 80, DstPort: 40000}
	if orig != want || reply != wantReply || c.Ref != 0x12345678 || c.Kind != pfstate.Created {
		t.Errorf("%v, reply %v, ref %x", orig, reply, c.Ref)
	}
	if s := &c.State; s.Src.State != pfstate.TCPSynSent || s.Dst.State != pfstate.TCPClosed || s.Src.WScale != pfstate.WScaleFlag|7 || s.Expire != 120*time.Second {
		t.Errorf("%v", s)
	}
	codec := newCodec()
	if n := testing.AllocsPerRun(100, func() { codec.Queued(attrs, &c) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is none of our business is not held for anybody, and what cannot be read is counted.
func TestQueuedButNotShared(t *testing.T) {
	codec := newCodec()
	var c pfstate.Change
	if _, ok := codec.Queued(attributes(t, firstOf(2, "10.0.0.1", "224.0.0.22", 0)), &c); ok {
		t.Error("igmp is taken")
	}
	whole := attributes(t, firstOf(6, "10.1.0.1", "10.2.0.1", 0))
	if _, ok := codec.Queued(whole[:len(whole)-6], &c); ok {
		t.Error("a part of a connection is taken for the whole")
	}
	for _, n := range codec.Counters() {
		if n.Name == "malformed" && n.Value != 1 {
			t.Errorf("%d malformed", n.Value)
		}
	}
}

// FuzzQueued: no bytes make the reader panic, and what it makes of them can be named.
func FuzzQueued(f *testing.F) {
	for _, r := range []raw{firstOf(6, "10.1.0.1", "10.2.0.1", srcNAT), firstOf(58, "fd00::1", "fd00::2", 0), flowOf(17, "10.1.0.1", "10.2.0.1")} {
		f.Add(attributes(f, r))
	}
	f.Fuzz(func(t *testing.T, attrs []byte) {
		codec := newCodec()
		var c pfstate.Change
		if _, ok := codec.Queued(attrs, &c); ok {
			_ = c.State.String()
			named(t, codec, &c)
		}
	})
}
