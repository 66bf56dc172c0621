package pfsyncprint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// printedJSON is the line of a packet behind an IP header.
func printedJSON(t *testing.T, cut bool, data []byte) (string, pfsyncprint.Counts) {
	t.Helper()
	var b bytes.Buffer
	p := pfsyncprint.NewJSON(&b)
	if err := p.Frame(at, layers.LinkTypeRaw, data, cut); err != nil {
		t.Fatal(err)
	}
	return b.String(), p.Counts()
}

// head begins the line of every packet of these tests.
const head = `{"time":"2026-11-21T12:01:07.104512Z","src":"10.9.0.1","dst":"224.0.0.240",`

func message(x *wire.Message) []byte {
	return append([]byte{uint8(x.Action), uint8(wire.OpenBSD6.Size(x.Action) / 4), 0, 1}, wire.OpenBSD6.Append(nil, x)...)
}

func TestJSONOfMessages(t *testing.T) {
	const id, inID = `"id":"0000000000000101","creatorid":"c0ffee01"`, `"id":"0000000000000102","creatorid":"c0ffee01"`
	const noPeer = `"seqlo":0,"seqhi":0,"seqdiff":0,"max_win":0,"mss":0,"wscale":0}`
	s := pfstate.Default()
	s.ID, s.Proto, s.Timeout = pfstate.ID{State: 0x101, Creator: 0xc0ffee01}, pfstate.ProtoTCP, pfstate.TCPEstablishedTimeout
	s.SetTuples(
		pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: 40000, DstPort: 80},
		pfstate.Tuple{Src: netip.MustParseAddr("10.2.0.2"), Dst: netip.MustParseAddr("192.0.2.1"), SrcPort: 80, DstPort: 50000}, 7)
	s.Src = pfstate.Peer{
		SeqLo: 1, SeqHi: 2, SeqDiff: 3, MaxWin: 4, MSS: 5, State: pfstate.TCPEstablished, WScale: 0x87,
		Scrub: pfstate.Scrub{Flags: 1, TTL: 64, Valid: true, TSMod: 6},
	}
	s.Flags, s.Creation, s.Expire = pfstate.FlagSloppy|pfstate.FlagAck|0x4000, 61e9, 3600e9
	s.Packets, s.Bytes, s.Rule = [2]uint64{1, 1 << 63}, [2]uint64{3, 4}, 11
	s.Route = pfstate.Route{Kind: 1, Addr: netip.MustParseAddr("192.0.2.254")}
	s.MaxMSS, s.Log, s.SyncFlags, s.MinTTL, s.SetTOS, s.SetPrio = 1400, 1, 4, 64, 16, [2]uint8{3, 5}
	in := s
	in.ID.State, in.Proto, in.Direction, in.Flags, in.Route = 0x102, 99, pfstate.In, 0, pfstate.Route{}
	in.IfName, in.Rule, in.Anchor, in.NATRule = pfstate.NewIfName("em\x00<"), pfstate.None, 5, 6
	in.Src = pfstate.Peer{State: pfstate.Multiple}
	for _, c := range []struct {
		name    string
		message wire.Message
		want    string
	}{
		{
			"clr", wire.Message{Action: wire.ActClr, Clr: wire.Clr{Creator: 0xc0ffee01}},
			`{"action":"clr","creatorid":"c0ffee01"}`,
		}, {
			"clr of an interface", wire.Message{Action: wire.ActClr, Clr: wire.Clr{Creator: 1, IfName: pfstate.NewIfName("a\x1b<")}},
			`{"action":"clr","creatorid":"00000001","interface":"a\u001b<"}`,
		}, {
			"ins_ack", wire.Message{Action: wire.ActInsAck, ID: s.ID}, `{"action":"ins_ack",` + id + `}`,
		}, {
			"upd_req", wire.Message{Action: wire.ActUpdReq}, `{"action":"upd_req","id":"0000000000000000","creatorid":"00000000"}`,
		}, {
			"del_c", wire.Message{Action: wire.ActDelC, ID: s.ID}, `{"action":"del_c",` + id + `}`,
		}, {
			"bus", wire.Message{Action: wire.ActBus, Bus: wire.Bus{Creator: 0xc0ffee01, EndTime: 61e9, Status: wire.BusEnd}},
			`{"action":"bus","creatorid":"c0ffee01","endtime":61,"status":"end"}`,
		}, {
			"bus of another status", wire.Message{Action: wire.ActBus, Bus: wire.Bus{Creator: 1, Status: 7}},
			`{"action":"bus","creatorid":"00000001","endtime":0,"status":"7"}`,
		}, {
			"tdb", wire.Message{Action: wire.ActTDB, TDB: wire.TDB{
				SPI: 4097, Dst: wire.NewSockaddr(wire.OpenBSD6, netip.MustParseAddr("2001:db8::9")), Replay: 1 << 40, Bytes: 8, Proto: 50, Updates: 1, RDomain: 2,
			}},
			`{"action":"tdb","spi":4097,"dst":"2001:db8::9","rpl":1099511627776,"cur_bytes":8,"proto":"esp","updates":1,"rdomain":2}`,
		}, {
			"tdb_old without a destination", wire.Message{Action: wire.ActOldTDB, TDB: wire.TDB{SPI: 1, Proto: 51}},
			`{"action":"tdb_old","spi":1,"rpl":0,"cur_bytes":0,"proto":"ah","updates":0,"rdomain":0}`,
		}, {
			"upd_c", wire.Message{Action: wire.ActUpdC, UpdC: wire.UpdC{ID: s.ID, Src: s.Src, Timeout: s.Timeout, Expire: 9e9, Flags: 2}},
			`{"action":"upd_c",` + id + `,"src":{"state":"ESTABLISHED","seqlo":1,"seqhi":2,"seqdiff":3,"max_win":4,"mss":5,"wscale":135,` +
				`"scrub":{"flags":1,"ttl":64,"ts_mod":6}},"dst":{"state":"CLOSED",` + noPeer +
				`,"expire":9,"timeout":"tcp.established","flags":["sloppy"]}`,
		}, {
			"ins", wire.Message{Action: wire.ActIns, State: s},
			`{"action":"ins",` + id + `,"interface":"all","proto":"tcp","direction":"out",` +
				`"wire":{"addr":["10.2.0.2","192.0.2.1"],"port":[80,50000],"rdomain":7},` +
				`"stack":{"addr":["10.2.0.2","10.1.0.2"],"port":[80,40000],"rdomain":7},` +
				`"src":{"state":"ESTABLISHED","seqlo":1,"seqhi":2,"seqdiff":3,"max_win":4,"mss":5,"wscale":135,` +
				`"scrub":{"flags":1,"ttl":64,"ts_mod":6}},"dst":{"state":"CLOSED",` + noPeer + `,` +
				`"route":{"kind":"route-to","addr":"192.0.2.254"},"rule":11,"age":61,"expire":3600,` +
				`"packets":[1,9223372036854775808],"bytes":[3,4],"rtable":[-1,-1],"max_mss":1400,"log":1,"timeout":"tcp.established",` +
				`"sync_flags":4,"updates":0,"min_ttl":64,"set_tos":16,"set_prio":[3,5],"flags":["sloppy","ack","0x4000"]}`,
		}, {
			"upd", wire.Message{Action: wire.ActUpd, State: in},
			`{"action":"upd",` + inID + `,"interface":"em","proto":"99","direction":"in",` +
				`"wire":{"addr":["10.2.0.2","192.0.2.1"],"port":[80,50000],"rdomain":7},` +
				`"stack":{"addr":["10.2.0.2","10.1.0.2"],"port":[80,40000],"rdomain":7},` +
				`"src":{"state":"MULTIPLE",` + noPeer + `,"dst":{"state":"NO_TRAFFIC",` + noPeer + `,` +
				`"anchor":5,"nat_rule":6,"age":61,"expire":3600,` +
				`"packets":[1,9223372036854775808],"bytes":[3,4],"rtable":[-1,-1],"max_mss":1400,"log":1,"timeout":"tcp.established",` +
				`"sync_flags":4,"updates":0,"min_ttl":64,"set_tos":16,"set_prio":[3,5],"flags":[]}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packet(message(&c.message)...)
			want := fmt.Sprintf(`%s"version":6,"length":%d,"messages":[%s]}`+"\n", head, len(b), c.want)
			got, counts := printedJSON(t, false, ip(b))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if counts != (pfsyncprint.Counts{Packets: 1}) {
				t.Errorf("counted as %v", counts)
			}
		})
	}
}

func TestJSONOfTrailers(t *testing.T) {
	const epoch = `"epoch":"00000000deadbeef"`
	listed := wire.Listed{ID: pfstate.ID{State: 0x101, Creator: 0xc0ffee01}, Said: 0xabcd}
	bits := make([]byte, wire.Buckets/8)
	bits[0], bits[127] = 5, 0x80
	for name, c := range map[string]struct {
		write func(w *wire.TrailerWriter)
		want  string
	}{
		"none":         {func(*wire.TrailerWriter) {}, ``},
		"hello":        {func(w *wire.TrailerWriter) { w.Hello(wire.Hello{Creator: 1, Features: 2}) }, `{"type":"hello","creatorid":"00000001","features":"00000002"}`},
		"heard":        {func(w *wire.TrailerWriter) { w.Heard([]wire.Heard{{Epoch: 0xdeadbeef, Seq: 9}}) }, `{"type":"heard","heard":[{` + epoch + `,"seq":9}]}`},
		"heard nobody": {func(w *wire.TrailerWriter) { w.Heard(nil) }, `{"type":"heard","heard":[]}`},
		"digest":       {func(w *wire.TrailerWriter) { w.Digest(wire.Digest{States: 3, Sum: 4}) }, `{"type":"digest","states":3,"sum":"0000000000000004"}`},
		"oldest":       {func(w *wire.TrailerWriter) { w.Oldest(1 << 60) }, `{"type":"oldest","seq":1152921504606846976}`},
		"resend": {
			func(w *wire.TrailerWriter) { w.Resend(0xdeadbeef, []wire.Range{{First: 5, Count: 6}}) },
			`{"type":"resend",` + epoch + `,"packets":[{"first":5,"count":6}]}`,
		},
		"ask_digests": {func(w *wire.TrailerWriter) { w.AskDigests(0xdeadbeef) }, `{"type":"ask_digests",` + epoch + `}`},
		"digests": {
			func(w *wire.TrailerWriter) { w.Digests(wire.AttrDigests, 1022, []uint64{1, 2}) },
			`{"type":"digests","first":1022,"sums":["0000000000000001","0000000000000002"]}`,
		},
		"have":     {func(w *wire.TrailerWriter) { w.Digests(wire.AttrHave, 0, nil) }, `{"type":"have","first":0,"sums":[]}`},
		"ask_list": {func(w *wire.TrailerWriter) { w.AskList(0xdeadbeef, []uint16{3, 1023}) }, `{"type":"ask_list",` + epoch + `,"buckets":[3,1023]}`},
		"list": {
			func(w *wire.TrailerWriter) { w.List(7, wire.ListLast, []wire.Listed{listed}) },
			`{"type":"list","bucket":7,"first":false,"last":true,"states":[{"id":"0000000000000101","creatorid":"c0ffee01","said":"000000000000abcd"}]}`,
		},
		"ask": {
			func(w *wire.TrailerWriter) { w.Ask(0xdeadbeef, []pfstate.ID{listed.ID}) },
			`{"type":"ask",` + epoch + `,"states":[{"id":"0000000000000101","creatorid":"c0ffee01"}]}`,
		},
		"same": {func(w *wire.TrailerWriter) { w.Same(0xdeadbeef, bits) }, `{"type":"same",` + epoch + `,"buckets":[0,2,1023]}`},
		"auth": {
			func(w *wire.TrailerWriter) { w.Auth(wire.Auth{Hint: [4]byte{1}, MAC: [16]byte{2}}) },
			`{"type":"auth","hint":"01000000","code":"02000000000000000000000000000000"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := wire.BeginTrailer(packet(), wire.FlagHeir, 1, 42)
			c.write(&w)
			want := head + `"version":6,"length":20,"messages":[],"trailer":{"epoch":"0000000000000001","seq":42,"heir":true,"attributes":[` + c.want + "]}}\n"
			got, _ := printedJSON(t, false, ip(w.End()))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	unknown := []byte{0x70, 0x66, 0x4c, 0x78, 1, 0x81, 0, 31, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 200, 0, 0, 7, 1, 2, 3}
	want := head + `"version":6,"length":20,"messages":[],"trailer":{"epoch":"0000000000000001","seq":2,"answer":true,"flags":"0x80",` +
		`"attributes":[{"type":"200","skipped":3}]}}` + "\n"
	if got, _ := printedJSON(t, false, ip(append(packet(), unknown...))); got != want {
		t.Errorf("unknown attribute (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestJSONOfWhatIsNotAsItShouldBe(t *testing.T) {
	del := []byte{7, 3, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0xc0, 0xff, 0xee, 1}
	const deleted = `{"action":"del_c","id":"0000000000000101","creatorid":"c0ffee01"}`
	s := pfstate.Default()
	s.ID, s.Timeout = pfstate.ID{State: 0x101, Creator: 0xc0ffee01}, 77
	badState := message(&wire.Message{Action: wire.ActIns, State: s})
	list := wire.BeginTrailer(packet(), 0, 1, 2)
	list.List(1024, 0, nil)
	list.Oldest(3)
	for _, c := range []struct {
		name string
		data []byte
		cut  bool
		want string
	}{
		{"too short", packet()[:19], false, `"messages":[],"error":"header: too short: 19 of 20 bytes"}`},
		{"cut off in the header", packet()[:19], true, `"messages":[],"cut":true}`},
		{"another version", append([]byte{4}, packet(del...)[1:]...), false, `"version":4,"length":36,"messages":[],"error":"version not supported"}`},
		{"checksum", append([]byte{6, 0, 0, 20, 1}, make([]byte, 15)...), false, `"version":6,"length":20,"checksum":"01000000000000000000000000000000","messages":[]}`},
		{"cut off", packet(append(del, del...)...)[:50], true, `"version":6,"length":52,"messages":[` + deleted + `],"cut":true}`},
		{"unknown action", packet(append([]byte{0x90, 1, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2}, del...)...), false,
			`"version":6,"length":48,"messages":[{"action":"144","skipped":2,"size":4},` + deleted + `]}`},
		{"value refused", packet(badState...), false,
			`"version":6,"length":288,"messages":[{"action":"ins","id":"0000000000000101","creatorid":"c0ffee01","error":"timeout: invalid value 77"}]}`},
		{"foreign bytes", append(packet(del...), 1, 2, 3), false, `"version":6,"length":36,"messages":[` + deleted + `],"foreign_bytes":3}`},
		{"section too long", packet(append(del, 7, 3, 0, 9)...), false,
			`"version":6,"length":40,"messages":[` + deleted + `],"error":"section DEL ST COMP: length does not fit: 9 messages of 12 bytes in 0 bytes"}`},
		{"bad attribute", list.End(), false,
			`"version":6,"length":20,"messages":[],"trailer":{"epoch":"0000000000000001","seq":2,"attributes":[{"type":"oldest","seq":3}]},` +
				`"error":"list: invalid value: bucket 1024 of 1024"}`},
	} {
		got, _ := printedJSON(t, c.cut, ip(c.data))
		if diff := cmp.Diff(head+c.want+"\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Whatever is in the corpus, JSON has as many messages as the text has lines.
func TestEveryPacketIsALineOfJSON(t *testing.T) {
	for _, f := range corpus.AllFrames(t) {
		var text, out bytes.Buffer
		if err := pfsyncprint.New(&text, 0, at.Location()).Frame(f.Time, f.Link, f.Data, false); err != nil {
			t.Fatal(err)
		}
		if err := pfsyncprint.NewJSON(&out).Frame(f.Time, f.Link, f.Data, false); err != nil {
			t.Fatal(err)
		}
		var packet struct{ Messages []map[string]any }
		if err := json.Unmarshal(out.Bytes(), &packet); err != nil {
			t.Fatalf("%s %d: %v", f.File, f.N, err)
		}
		if want := strings.Count(text.String(), "\n"); len(packet.Messages) != want || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s %d: %d messages, want %d", f.File, f.N, len(packet.Messages), want)
		}
	}
}
