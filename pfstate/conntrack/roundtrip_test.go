package conntrack_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// addresses of a translated connection, by family.
type addresses struct{ client, public, nat, server netip.Addr }

var (
	v4 = addresses{
		netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("192.0.2.80"),
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.2.0.9"),
	}
	v6 = addresses{
		netip.MustParseAddr("fd01::5"), netip.MustParseAddr("2001:db8::80"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd02::9"),
	}
)

// progress is a protocol in one condition, and what pf says of it (spec
// linux-conntrack.md, section 9).
type progress struct {
	name     string
	raw      raw // without tuples
	icmp     uint8
	src, dst pfstate.PeerState
	wscale   [2]uint8
	timeout  pfstate.Timeout
}

func progresses() []progress {
	tcp := func(state uint8, flags [2]uint8, wscale [2]uint8, status uint32) raw {
		return raw{Proto: 6, Status: confirmed | status, TCP: &rawTCP{State: state, Flags: flags, WScale: wscale}}
	}
	other := func(proto uint8, status uint32) raw { return raw{Proto: proto, Status: confirmed | status} }
	const both = seenReply | assured
	const closeInit = 0x04
	scaled := [2]uint8{0x80 | 7, 0x80 | 9}
	list := []progress{
		{"tcp none", tcp(0, [2]uint8{}, [2]uint8{}, 0), 0, 0, 0, [2]uint8{}, pfstate.TCPFirstPacket},
		{"tcp syn_sent", tcp(1, [2]uint8{}, [2]uint8{}, 0), 0, 2, 0, [2]uint8{}, pfstate.TCPFirstPacket},
		{"tcp syn_recv", tcp(2, [2]uint8{1, 1}, [2]uint8{7, 9}, seenReply), 0, 4, 2, scaled, pfstate.TCPOpening},
		{"tcp established", tcp(3, [2]uint8{1, 1}, [2]uint8{7, 9}, both), 0, 4, 4, scaled, pfstate.TCPEstablishedTimeout},
		{"tcp established without scaling", tcp(3, [2]uint8{0, 0}, [2]uint8{}, both), 0, 4, 4, [2]uint8{}, pfstate.TCPEstablishedTimeout},
		{"tcp established scale 0", tcp(3, [2]uint8{1, 1}, [2]uint8{0, 14}, both), 0, 4, 4, [2]uint8{0x80, 0x80 | 14}, pfstate.TCPEstablishedTimeout},
		{"tcp fin_wait by initiator", tcp(4, [2]uint8{1 | closeInit, 1}, [2]uint8{7, 9}, both), 0, 7, 4, scaled, pfstate.TCPClosingTimeout},
		{"tcp fin_wait by responder", tcp(4, [2]uint8{1, 1 | closeInit}, [2]uint8{7, 9}, both), 0, 4, 7, scaled, pfstate.TCPClosingTimeout},
		{"tcp close_wait by initiator", tcp(5, [2]uint8{1 | closeInit, 1}, [2]uint8{7, 9}, both), 0, 9, 4, scaled, pfstate.TCPClosingTimeout},
		{"tcp close_wait by responder", tcp(5, [2]uint8{1, 1 | closeInit}, [2]uint8{7, 9}, both), 0, 4, 9, scaled, pfstate.TCPClosingTimeout},
		{"tcp last_ack by initiator", tcp(6, [2]uint8{1 | closeInit, 1}, [2]uint8{7, 9}, both), 0, 9, 7, scaled, pfstate.TCPFinWaitTimeout},
		{"tcp last_ack by responder", tcp(6, [2]uint8{1, 1 | closeInit}, [2]uint8{7, 9}, both), 0, 7, 9, scaled, pfstate.TCPFinWaitTimeout},
		{"tcp time_wait", tcp(7, [2]uint8{1, 1}, [2]uint8{7, 9}, both), 0, 9, 9, scaled, pfstate.TCPClosedTimeout},
		{"tcp close", tcp(8, [2]uint8{1, 1}, [2]uint8{7, 9}, both), 0, 10, 10, scaled, pfstate.TCPClosedTimeout},
		{"tcp syn_sent2", tcp(9, [2]uint8{1, 1}, [2]uint8{7, 9}, seenReply), 0, 2, 2, scaled, pfstate.TCPOpening},
		{"icmp asked", other(1, 0), 8, 0, 0, [2]uint8{}, pfstate.ICMPFirstPacket},
		{"icmp answered", other(1, seenReply), 8, 0, 0, [2]uint8{}, pfstate.ICMPErrorReply},
		{"icmp timestamp", other(1, seenReply), 13, 0, 0, [2]uint8{}, pfstate.ICMPErrorReply},
	}
	for _, p := range []struct {
		name  string
		proto uint8
		first pfstate.Timeout
	}{{"udp", 17, pfstate.UDPFirstPacket}, {"udplite", 136, pfstate.OtherFirstPacket}, {"gre", 47, pfstate.OtherFirstPacket},
		{"esp", 50, pfstate.OtherFirstPacket}, {"proto 99", 99, pfstate.OtherFirstPacket}, {"sctp", 132, pfstate.OtherFirstPacket}} {
		list = append(list,
			progress{p.name + " first", other(p.proto, 0), 0, 1, 0, [2]uint8{}, p.first},
			progress{p.name + " answered", other(p.proto, seenReply), 0, 2, 1, [2]uint8{}, p.first + 1},
			progress{p.name + " assured", other(p.proto, both), 0, 2, 2, [2]uint8{}, p.first + 2})
		if p.proto == 132 {
			for i := range 3 {
				list[len(list)-3+i].raw.SCTP = &rawSCTP{State: uint8(2 + i), Tag: [2]uint32{0x11223344, 0x55667788}}
			}
		}
	}
	return list
}

// variants are the same progress over both families, each translation, and zones.
func (p progress) variants() map[string]raw {
	list := make(map[string]raw)
	for name, a := range map[string]addresses{"IPv4": v4, "IPv6": v6} {
		r := p.raw
		r.Timeout = 1000
		if name == "IPv6" && r.Proto == 1 {
			if p.icmp != 8 {
				continue
			}
			r.Proto = 58
		}
		ported, translatesPorts := false, false
		switch r.Proto {
		case 6, 17, 136, 132:
			ported, translatesPorts = true, true
		case 47:
			ported = true
		}
		r.Orig = rawTuple{Src: a.client, Dst: a.server}
		if ported {
			r.Orig.Sport, r.Orig.Dport = 40000, 443
		}
		switch r.Proto {
		case 1:
			r.Orig.Sport, r.Orig.Type = 777, p.icmp
		case 58:
			r.Orig.Sport, r.Orig.Type = 777, 128
		}
		add := func(kind string, public bool, to addresses, snat, dnat bool) {
			r := r
			if public {
				r.Orig.Dst = to.public
			}
			r.Reply = r.Orig.plain(r.Proto)
			if snat {
				r.Status |= srcNAT
				r.Reply.Dst = to.nat
				switch {
				case translatesPorts:
					r.Reply.Dport = 5001
				case r.Proto == 1 || r.Proto == 58:
					r.Reply.Sport = 778
				}
			}
			if dnat {
				r.Status |= dstNAT
				r.Reply.Src = to.server
				if translatesPorts {
					r.Reply.Sport = 8443
				}
			}
			list[name+" "+kind] = r
		}
		add("plain", false, a, false, false)
		add("SNAT", false, a, true, false)
		add("DNAT", true, a, false, true)
		add("both", true, a, true, true)
		z := list[name+" plain"]
		z.Zone = 7
		list[name+" zone"] = z
		z = list[name+" SNAT"]
		z.Zone = 8
		list[name+" zone SNAT"] = z
		z = list[name+" plain"]
		z.Orig.Zone = 9 // the reply stays in zone 0
		list[name+" zone of original direction"] = z
		z = list[name+" plain"]
		z.Reply.Zone = 9
		list[name+" zone of reply direction"] = z
	}
	return list
}

// liberal is what must be in the second kernel: the first one's entry without window checks.
func liberal(r raw) raw {
	if r.TCP != nil {
		p := *r.TCP
		for i := range p.Flags {
			p.Flags[i] = p.Flags[i]&0x05 | 0x08
		}
		r.TCP = &p
	}
	return r
}

// alike drops the timeout, which has moved on, and the bits of the status that
// tell how the NAT machinery got there.
func alike(r raw) raw {
	r.Timeout = 0
	r.Status &= seenReply | assured | confirmed | srcNAT | dstNAT
	return r
}

var sameAddr = cmpopts.EquateComparable(netip.Addr{})

func timeoutNear(a, b uint32) bool { return a <= b+2 && b <= a+2 }

// TestRoundTripThroughTwoKernels makes an entry in one kernel table by hand, takes
// it out as a state, puts that into another kernel table, and compares the entries.
func TestRoundTripThroughTwoKernels(t *testing.T) {
	nsA, nsB := labtest.NewNS(t), labtest.NewNS(t)
	a, b := openKernel(t, nsA), openKernel(t, nsB)
	from := tabletest.Start(t, open(t, nsA, conntrack.Config{}))
	to := tabletest.Start(t, open(t, nsB, conntrack.Config{}))
	for _, p := range progresses() {
		for name, r := range p.variants() {
			t.Run(p.name+" "+name, func(t *testing.T) {
				a.t, b.t, from.T, to.T = t, t, t, t
				defer func() {
					if t.Failed() {
						a.flush()
						b.flush()
					}
				}()
				if err := a.make(r); err != nil {
					t.Fatalf("hand-made entry: %v", err)
				}
				made := a.only()
				if diff := cmp.Diff(alike(r), alike(made), sameAddr); diff != "" {
					t.Fatalf("the kernel made another entry than the hand (-want +got):\n%s", diff)
				}
				c := from.Want(pfstate.Created)
				checkState(t, p, r, &c.State)
				to.Apply(pfstate.WriteInsert, c.State, 0)
				copied := b.only()
				if !timeoutNear(made.Timeout, copied.Timeout) {
					t.Errorf("timeout %d, want %d", copied.Timeout, made.Timeout)
				}
				if diff := cmp.Diff(liberal(alike(made)), alike(copied), sameAddr); diff != "" {
					t.Errorf("second kernel (-want +got):\n%s", diff)
				}
				seen := to.Probe(c.State)
				if seen == nil {
					t.Fatal("the second table does not find it")
				}
				if diff := tabletest.Diff(c.State, seen.State); diff != "" {
					t.Errorf("state out of the second kernel (-want +got):\n%s", diff)
				}
				// Again, as an update of what is there: nothing may change.
				to.Apply(pfstate.WriteInsert, c.State, 0)
				to.Apply(pfstate.WriteUpdate, c.State, 0)
				again := b.only()
				if diff := cmp.Diff(alike(copied), alike(again), sameAddr); diff != "" {
					t.Errorf("after an update (-want +got):\n%s", diff)
				}
				to.Apply(pfstate.WriteDelete, c.State, 0)
				from.Apply(pfstate.WriteDelete, c.State, c.Ref)
			})
		}
	}
	if left := append(a.dump(), b.dump()...); len(left) != 0 {
		t.Errorf("left after deletes: %+v", left)
	}
}

func checkState(t *testing.T, p progress, r raw, s *pfstate.State) {
	t.Helper()
	want := pfstate.Default()
	want.Proto = r.Proto
	tuple := func(x rawTuple) pfstate.Tuple {
		return pfstate.Tuple{Src: x.Src, Dst: x.Dst, SrcPort: x.Sport, DstPort: x.Dport}
	}
	orig, reply := tuple(r.Orig), tuple(r.Reply)
	if r.Proto == 1 || r.Proto == 58 { // id at the initiator's end, query type at the responder's
		orig.DstPort = uint16(r.Orig.Type)
		reply.SrcPort, reply.DstPort = uint16(r.Orig.Type), r.Reply.Sport
	}
	want.SetTuples(orig, reply, r.Zone)
	want.Stack.RDomain += r.Orig.Zone
	want.Wire.RDomain += r.Reply.Zone
	want.Src.State, want.Dst.State = p.src, p.dst
	want.Src.WScale, want.Dst.WScale = p.wscale[0], p.wscale[1]
	want.Timeout, want.Expire = p.timeout, s.Expire
	if r.TCP != nil {
		want.Flags = pfstate.FlagSloppy
	}
	if r.SCTP != nil {
		want.Src.Scrub = pfstate.Scrub{Valid: true, TSMod: r.SCTP.Tag[0]}
		want.Dst.Scrub = pfstate.Scrub{Valid: true, TSMod: r.SCTP.Tag[1]}
	}
	want.ID = s.ID
	want.Linux.Has = pfstate.HasMark
	if diff := cmp.Diff(want, *s, sameAddr); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if s.ID.State == 0 || s.ID.Creator != 0xc0ffee {
		t.Errorf("id %v", s.ID)
	}
	if !timeoutNear(uint32(s.Expire.Seconds()), r.Timeout) {
		t.Errorf("expire %v, want %d s", s.Expire, r.Timeout)
	}
}

// TestScaleOfAnUnansweredSYN: the kernel takes scales only in pairs, the copy of a
// lone SYN must keep the one that was offered.
func TestScaleOfAnUnansweredSYN(t *testing.T) {
	nsA, nsB := labtest.NewNS(t), labtest.NewNS(t)
	from := tabletest.Start(t, open(t, nsA, conntrack.Config{}))
	to := tabletest.Start(t, open(t, nsB, conntrack.Config{}))
	s := tabletest.TCP(1)
	s.Src.State, s.Dst = pfstate.TCPSynSent, pfstate.Peer{}
	s.Timeout = pfstate.TCPFirstPacket
	from.Apply(pfstate.WriteInsert, s, 0)
	first := from.Probe(s)
	to.Apply(pfstate.WriteInsert, first.State, 0)
	if diff := tabletest.Diff(s, to.Probe(s).State); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestAgreesWithTheConntrackTool makes entries with Debian's conntrack and reads the copies with it.
func TestAgreesWithTheConntrackTool(t *testing.T) {
	nsA, nsB := labtest.NewNS(t), labtest.NewNS(t)
	from := tabletest.Start(t, open(t, nsA, conntrack.Config{}))
	to := tabletest.Start(t, open(t, nsB, conntrack.Config{}))
	ctx := context.Background()
	for _, c := range []struct {
		add  []string
		want string
	}{
		{[]string{"-p", "tcp", "-s", "10.1.0.5", "-d", "10.2.0.9", "--sport", "1000", "--dport", "80", "--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED"},
			"tcp 6 ESTABLISHED src=10.1.0.5 dst=10.2.0.9 sport=1000 dport=80 src=10.2.0.9 dst=10.1.0.5 sport=80 dport=1000 [ASSURED]"},
		{[]string{"-p", "udp", "-s", "10.1.0.5", "-d", "10.2.0.9", "--sport", "1000", "--dport", "53", "-n", "192.0.2.1:5000"},
			"udp 17 src=10.1.0.5 dst=10.2.0.9 sport=1000 dport=53 [UNREPLIED] src=10.2.0.9 dst=192.0.2.1 sport=53 dport=5000"},
		{[]string{"-p", "udp", "-s", "fd01::5", "-d", "2001:db8::80", "--sport", "1000", "--dport", "53", "-g", "fd02::9"},
			"udp 17 src=fd01::5 dst=2001:db8::80 sport=1000 dport=53 [UNREPLIED] src=fd02::9 dst=fd01::5 sport=53 dport=1000"},
		{[]string{"-p", "icmp", "-s", "10.1.0.5", "-d", "10.2.0.9", "--icmp-type", "8", "--icmp-code", "0", "--icmp-id", "7", "-u", "SEEN_REPLY"},
			"icmp 1 src=10.1.0.5 dst=10.2.0.9 type=8 code=0 id=7 src=10.2.0.9 dst=10.1.0.5 type=0 code=0 id=7"},
	} {
		if out, err := nsA.Run(ctx, "conntrack", append([]string{"-I", "-t", "600"}, c.add...)...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s := from.Want(pfstate.Created)
		to.Apply(pfstate.WriteInsert, s.State, 0)
		list := func(h *tabletest.Harness, run func(context.Context, string, ...string) (string, error)) string {
			var text string
			for _, family := range []string{"ipv4", "ipv6"} {
				out, err := run(ctx, "conntrack", "-L", "-f", family)
				if err != nil {
					t.Fatal(err)
				}
				text += out
			}
			return words(text)
		}
		for name, got := range map[string]string{"first": list(from, nsA.Run), "second": list(to, nsB.Run)} {
			if got != c.want {
				t.Errorf("%s kernel:\n got %s\nwant %s", name, got, c.want)
			}
		}
		to.Apply(pfstate.WriteDelete, s.State, 0)
		from.Apply(pfstate.WriteDelete, s.State, 0)
	}
}
