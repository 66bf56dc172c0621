package pfsyncfilter_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncfilter"
)

var peer = netip.MustParseAddr("10.9.0.1")

func addr(s string, port uint16) (netip.Addr, uint16) { return netip.MustParseAddr(s), port }

// translated is an outgoing TCP state: 10.1.0.2:40000 to 10.2.0.2:80, seen outside as
// from 192.0.2.1:50000.
func translated() *wire.Message {
	s := pfstate.Default()
	s.ID, s.Proto = pfstate.ID{State: 0x6b01, Creator: 0xa1a1a1a1}, pfstate.ProtoTCP
	var orig, reply pfstate.Tuple
	orig.Src, orig.SrcPort = addr("10.1.0.2", 40000)
	orig.Dst, orig.DstPort = addr("10.2.0.2", 80)
	reply.Src, reply.SrcPort = addr("10.2.0.2", 80)
	reply.Dst, reply.DstPort = addr("192.0.2.1", 50000)
	s.SetTuples(orig, reply, 0)
	return &wire.Message{Action: wire.ActIns, State: s}
}

// messages are one of each kind of message, by name.
func messages() map[string]*wire.Message {
	ipv6 := translated()
	ipv6.Action, ipv6.State.ID.State, ipv6.State.Proto, ipv6.State.Direction = wire.ActUpd, 0x6b02, pfstate.ProtoUDP, pfstate.In
	t := pfstate.Tuple{}
	t.Src, t.SrcPort = addr("2001:db8::2", 40000)
	t.Dst, t.DstPort = addr("2001:db8:1::53", 53)
	ipv6.State.SetTuples(t, t.Reversed(), 0)
	return map[string]*wire.Message{
		"nat":   translated(),
		"ipv6":  ipv6,
		"clr":   {Action: wire.ActClr, Clr: wire.Clr{Creator: 0xa1a1a1a1}},
		"bus":   {Action: wire.ActBus, Bus: wire.Bus{Creator: 0xb2b2b2b2}},
		"req":   {Action: wire.ActUpdReq},
		"del":   {Action: wire.ActDelC, ID: pfstate.ID{State: 0x7777, Creator: 0xb2b2b2b2}},
		"tdb":   {Action: wire.ActTDB},
		"0x90":  {Action: 0x90},
		"empty": nil,
	}
}

func TestWhatIsSelected(t *testing.T) {
	for _, c := range []struct{ filter, want string }{
		{"host 10.1.0.2", "nat"},
		{"host 192.0.2.1", "nat"}, // behind the translation
		{"src host 192.0.2.1", "nat"},
		{"src 10.1.0.2", "nat"},
		{"dst host 10.1.0.2", ""},
		{"dst 10.2.0.2", "nat"},
		{"host 2001:db8::2", "ipv6"},
		{"host 10.1.0.0/16", "nat"},
		{"net 10.1.0.0/16", "nat"},
		{"src net 10.2.0.0/16", ""},
		{"net 2001:db8::/32", "ipv6"},
		{"net 0.0.0.0/0", "nat"},
		{"port 80", "nat"},
		{"port 80 or 53", "nat ipv6"},
		{"port 50000", "nat"},
		{"src port 80", ""},
		{"src port 40000", "nat ipv6"},
		{"dst port 50-80", "nat ipv6"},
		{"port 54-79", ""},
		{"proto 6", "nat"},
		{"proto tcp or udp", "nat ipv6"},
		{"udp", "ipv6"},
		{"tcp or udp", "nat ipv6"},
		{"udp port 80", ""},
		{"tcp dst port 80", "nat"},
		{"tcp src 10.1.0.2 and dst port 80", "nat"},
		{"id 6b01", "nat"},
		{"id 0000000000006B01/a1a1a1a1", "nat"},
		{"id 6b01/b2b2b2b2", ""},
		{"id 0x6b01 or 7777", "nat del"},
		{"id 0", "req"}, // not those without an id
		{"creatorid a1a1a1a1", "nat ipv6 clr"},
		{"creatorid b2b2b2b2", "bus del"},
		{"creatorid 0", "req"},
		{"act clr", "clr"},
		{"act ins or upd or del_c", "nat ipv6 del"},
		{"act 144", "0x90"},
		{"act upd_req and not creatorid a1a1a1a1", "req"},
		{"peer 10.9.0.1 and act bus", "bus"},
		{"peer 10.9.0.0/24 and act bus", "bus"},
		{"peer 10.9.0.3", ""},
		{"peer 10.9.0.1", "nat ipv6 clr bus req del tdb 0x90 empty"},
		{"not peer 10.9.0.1", ""},
		{"not (host 10.1.0.2 or act clr or act bus)", "ipv6 req del tdb 0x90 empty"},
		{"!(act clr) and creatorid a1a1a1a1", "nat ipv6"},
		{"! act clr && creatorid a1a1a1a1 || act clr", "nat ipv6 clr"},
		{"act clr or act bus and peer 10.9.0.3", ""}, // from left to right
		{"act clr or (act bus and peer 10.9.0.3)", "clr"},
		{"peer 10.9.0.3 and act clr or act bus", "bus"},
	} {
		want := map[string]bool{}
		for _, name := range strings.Fields(c.want) {
			want[name] = true
		}
		for name, m := range messages() {
			f, err := pfsyncfilter.Parse(strings.Fields(c.filter)...)
			if err != nil {
				t.Fatalf("%s: %v", c.filter, err)
			}
			if got := f.Match(peer, m); got != want[name] {
				t.Errorf("%s: %s selected: %v, want %v", c.filter, name, got, want[name])
			}
		}
	}
}

func TestWordsMayBeOneArgument(t *testing.T) {
	f, err := pfsyncfilter.Parse("tcp and (port", "80 or", "81)")
	if err != nil {
		t.Fatal(err)
	}
	if !f.Match(peer, translated()) {
		t.Error("not selected")
	}
}

func TestMessagesWithAnIdAreFollowed(t *testing.T) {
	f, err := pfsyncfilter.Parse("host 10.1.0.2")
	if err != nil {
		t.Fatal(err)
	}
	id := translated().State.ID
	updC := &wire.Message{Action: wire.ActUpdC, UpdC: wire.UpdC{ID: id}}
	if f.Match(peer, updC) {
		t.Error("a state that was never told of is selected")
	}
	f.Match(peer, translated())
	if !f.Match(peer, updC) || !f.Match(peer, &wire.Message{Action: wire.ActDelC, ID: id}) {
		t.Error("the state is not remembered")
	}
	// One that could not be read changes nothing.
	bad := &wire.Message{Action: wire.ActUpd, State: pfstate.State{ID: id}}
	if f.Match(peer, bad) {
		t.Error("a message that could not be read is selected")
	}
	if !f.Match(peer, updC) {
		t.Error("a message that could not be read made the filter forget")
	}
	if f.Match(peer, &wire.Message{Action: wire.ActDelC, ID: pfstate.ID{State: id.State, Creator: 1}}) {
		t.Error("another creator's state is selected")
	}
}

func TestOldStatesAreForgotten(t *testing.T) {
	f, err := pfsyncfilter.Parse("host 10.1.0.2")
	if err != nil {
		t.Fatal(err)
	}
	m := translated()
	first := &wire.Message{Action: wire.ActDelC, ID: m.State.ID}
	forgotten := 0
	for n := range 400_000 {
		m.State.ID.State++
		f.Match(peer, m)
		if n%1000 == 0 && !f.Match(peer, first) {
			forgotten++
		}
	}
	if forgotten == 0 {
		t.Error("nothing is ever forgotten")
	}
	if !f.Match(peer, &wire.Message{Action: wire.ActDelC, ID: pfstate.ID{State: m.State.ID.State - 100_000, Creator: m.State.ID.Creator}}) {
		t.Error("the latest hundred thousand states are not remembered")
	}
}

func TestErrorsSayWhatIsExpected(t *testing.T) {
	const conditions = "host, net, port, src, dst, proto, tcp, udp, icmp, id, creatorid, act or peer expected"
	const ends = "filter: it ends too early: "
	for _, c := range []struct{ filter, want string }{
		{"", "filter: it is empty"},
		{"hots 10.1.0.2", "filter: hots: " + conditions},
		{"10.1.0.2", "filter: 10.1.0.2: " + conditions},
		{"host", "filter: host: it ends too early: an address expected; names are not looked up"},
		{"host fw1", "filter: host: fw1: an address expected; names are not looked up"},
		{"src fw1", "filter: src host: fw1: an address expected; names are not looked up"},
		{"net 10.1.0.0", "filter: net: 10.1.0.0: an address and a length expected, as in 10.1.0.0/16"},
		{"port http", "filter: port: http: a port from 0 to 65535, or two as in 80-90, expected; names are not looked up"},
		{"port 90-80", "filter: port: 90-80: a port from 0 to 65535, or two as in 80-90, expected; names are not looked up"},
		{"port 65536", "filter: port: 65536: a port from 0 to 65535, or two as in 80-90, expected; names are not looked up"},
		{"proto 256", "filter: proto: 256: tcp, udp, icmp, icmp6, sctp, gre, esp, ah or a number expected"},
		{"id xyz", "filter: id: xyz: a hexadecimal number of 64 bits expected, or id/creatorid"},
		{"id 1/123456789", "filter: id: 1/123456789: a hexadecimal number of 64 bits expected, or id/creatorid"},
		{"creatorid 123456789", "filter: creatorid: 123456789: a hexadecimal number of 32 bits expected"},
		{"act delete", "filter: act: delete: clr, ins_old, ins_ack, upd_old, upd_c, upd_req, del, del_c, ins_f, del_f, bus, tdb_old, eof, ins, upd, tdb or a number expected"},
		{"port 80 port 81", "filter: port: and, or, or the end expected"},
		{"port 80 and", ends + conditions},
		{"port 80 and and", "filter: and: " + conditions},
		{"tcp 80", "filter: 80: and, or, or the end expected"},
		{"tcp and 80", "filter: 80: " + conditions},
		{"(port 80", ends + ") expected"},
		{"port 80)", "filter: ): and, or, or the end expected"},
		{"()", "filter: ): " + conditions},
		{"not", ends + conditions},
		{"\x1b[31m", `filter: \x1b[31m: ` + conditions},
		{strings.Repeat("x", 70), "filter: " + strings.Repeat("x", 60) + "...: " + conditions},
		{strings.Repeat("(", 5000), "filter: (: nested too deep"},
		{strings.Repeat("!", 5000), "filter: !: nested too deep"},
	} {
		if _, err := pfsyncfilter.Parse(c.filter); err == nil || err.Error() != c.want {
			t.Errorf("%.80s:\ngot  %v\nwant %s", c.filter, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("tcp src host 10.1.0.2 and not (port 80 or 443) or id 1/2")
	f.Add("act ins or upd && peer 10.9.0.0/24 || creatorid a1a1a1a1")
	f.Fuzz(func(t *testing.T, expr string) {
		filter, err := pfsyncfilter.Parse(expr)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "filter: ") {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, m := range messages() {
			filter.Match(peer, m)
		}
	})
}

func Example() {
	f, err := pfsyncfilter.Parse("host", "10.1.0.2", "and", "(port", "80", "or", "443)")
	if err != nil {
		fmt.Println(err)
		return
	}
	ins := translated()
	del := &wire.Message{Action: wire.ActDelC, ID: ins.State.ID}
	fmt.Println(f.Match(peer, ins), f.Match(peer, del))
	// Output: true true
}
