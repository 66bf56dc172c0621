package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

func sameAddr(a, b netip.Addr) bool { return a == b }

// The fields of a vector, under the names they have in its file.
type (
	keyFields struct {
		Addr0 netip.Addr `json:"addr0"`
		Addr1 netip.Addr `json:"addr1"`
		Port0 uint16     `json:"port0"`
		Port1 uint16     `json:"port1"`
	}
	peerFields struct {
		ScrubFlag uint8  `json:"scrub_flag"`
		PfssFlags uint16 `json:"pfss_flags"`
		PfssTTL   uint8  `json:"pfss_ttl"`
		PfssTSMod uint32 `json:"pfss_ts_mod"`
		SeqLo     uint32 `json:"seqlo"`
		SeqHi     uint32 `json:"seqhi"`
		SeqDiff   uint32 `json:"seqdiff"`
		MaxWin    uint16 `json:"max_win"`
		MSS       uint16 `json:"mss"`
		State     uint8  `json:"state"`
		WScale    uint8  `json:"wscale"`
	}
	stateFields struct {
		ID         string     `json:"id"`
		IfName     string     `json:"ifname"`
		CreatorID  string     `json:"creatorid"`
		KeyWire    keyFields  `json:"key_wire"`
		KeyStack   keyFields  `json:"key_stack"`
		Src        peerFields `json:"src"`
		Dst        peerFields `json:"dst"`
		RtAddr     netip.Addr `json:"rt_addr"`
		Rule       int32      `json:"rule"`
		Anchor     int32      `json:"anchor"`
		Creation   int64      `json:"creation"`
		Expire     int64      `json:"expire"`
		Packets    [2]uint64  `json:"packets"`
		Bytes      [2]uint64  `json:"bytes"`
		Proto      uint8      `json:"proto"`
		Direction  uint8      `json:"direction"`
		Log        uint8      `json:"log"`
		Timeout    uint8      `json:"timeout"`
		StateFlags uint16     `json:"state_flags"`
		NATRule    int32      `json:"nat_rule"`
		AF         uint8      `json:"af"`
		KeyAF      [2]int     `json:"key_af"`
		KeyRDomain [2]uint16  `json:"key_rdomain"`
		RTableID   [2]int32   `json:"rtableid"`
		MaxMSS     uint16     `json:"max_mss"`
		Rt         uint8      `json:"rt"`
		SyncFlags  uint8      `json:"sync_flags"`
		Updates    uint8      `json:"updates"`
		MinTTL     uint8      `json:"min_ttl"`
		SetTOS     uint8      `json:"set_tos"`
		SetPrio    [2]int     `json:"set_prio"`
	}
	idFields struct {
		ID        string `json:"id"`
		CreatorID string `json:"creatorid"`
	}
	updCFields struct {
		ID         string     `json:"id"`
		Src        peerFields `json:"src"`
		Dst        peerFields `json:"dst"`
		CreatorID  string     `json:"creatorid"`
		Expire     int64      `json:"expire"`
		Timeout    uint8      `json:"timeout"`
		StateFlags uint8      `json:"state_flags"`
	}
	clrFields struct {
		IfName    string `json:"ifname"`
		CreatorID string `json:"creatorid"`
	}
	busFields struct {
		CreatorID string `json:"creatorid"`
		EndTime   int64  `json:"endtime"`
		Status    uint8  `json:"status"`
	}
	tdbFields struct {
		SPI       uint32     `json:"spi"`
		DstLen    uint8      `json:"dst_len"`
		DstFamily uint8      `json:"dst_family"`
		Dst       netip.Addr `json:"dst"`
		Rpl       uint64     `json:"rpl"`
		CurBytes  uint64     `json:"cur_bytes"`
		SProto    uint8      `json:"sproto"`
		Updates   uint8      `json:"updates"`
		RDomain   uint16     `json:"rdomain,omitempty"`
	}
)

func hex64(v uint64) string { return fmt.Sprintf("%016x", v) }
func hex32(v uint32) string { return fmt.Sprintf("%08x", v) }

func fieldsOfKey(k pfstate.Key) keyFields {
	return keyFields{k.Addr[0], k.Addr[1], k.Port[0], k.Port[1]}
}

func fieldsOfPeer(p pfstate.Peer) peerFields {
	f := peerFields{
		PfssFlags: p.Scrub.Flags, PfssTTL: p.Scrub.TTL, PfssTSMod: p.Scrub.TSMod,
		SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, MaxWin: p.MaxWin, MSS: p.MSS,
		State: uint8(p.State), WScale: p.WScale,
	}
	if p.Scrub.Valid {
		f.ScrubFlag = 1
	}
	return f
}

// vectorDialects are the dialects that there are vectors of.
var vectorDialects = []struct {
	name    string
	dialect wire.Dialect
	lacks   []string // fields of a state
}{
	{"openbsd6", wire.OpenBSD6, freebsdFields},
	{"freebsd1301", wire.FreeBSD1301, append([]string{
		"key_af", "key_rdomain", "rtableid", "max_mss", "rt", "min_ttl", "set_tos", "set_prio"}, freebsdFields...)},
	{"freebsd1400", wire.FreeBSD1400, []string{"key_af", "key_rdomain", "orig_ifname", "tagname",
		"wire_af", "stack_af", "rt_af", "wire_proto", "stack_proto"}},
	{"freebsd1500", wire.FreeBSD1500, []string{"key_af", "key_rdomain", "af", "sync_flags", "updates"}},
}

var freebsdFields = []string{"qid", "pqid", "dnpipe", "dnrpipe", "rt_ifname", "orig_ifname", "tagname",
	"wire_af", "stack_af", "rt_af", "wire_proto", "stack_proto"}

func eachVector(t *testing.T, test func(t *testing.T, d wire.Dialect, v corpus.Vector)) {
	for _, c := range vectorDialects {
		for _, v := range corpus.Vectors(t, c.name) {
			t.Run(c.name+" "+v.Name, func(t *testing.T) { test(t, c.dialect, v) })
		}
	}
}

// sectionOf is a section with the message v.
func sectionOf(t *testing.T, d wire.Dialect, v corpus.Vector) wire.Section {
	t.Helper()
	b := append([]byte{uint8(v.Action), uint8(v.Size / 4), 0, 1}, v.Bytes(t)...)
	h := wire.Header{Version: d.Version()}
	s, rest, err := h.NextSection(b)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	if s.Number() != uint8(v.Action) {
		t.Errorf("number %d, want %d", s.Number(), v.Action)
	}
	if s.Action.HasState() && s.Dialect != d {
		t.Errorf("read as %v, is %v", s.Dialect, d)
	}
	return s
}

// fieldsOfMessage is what was decoded, in the vectors' words.
func fieldsOfMessage(x *wire.Message) any {
	switch {
	case x.Action.HasState():
		return fieldsOfState(x)
	case x.Action.HasID():
		return &idFields{hex64(x.ID.State), hex32(x.ID.Creator)}
	}
	switch x.Action {
	case wire.ActUpdC:
		u := x.UpdC
		return &updCFields{hex64(u.ID.State), fieldsOfPeer(u.Src), fieldsOfPeer(u.Dst), hex32(u.ID.Creator),
			int64(u.Expire / time.Second), uint8(u.Timeout), u.Flags}
	case wire.ActClr:
		return &clrFields{x.Clr.IfName.String(), hex32(x.Clr.Creator)}
	case wire.ActBus:
		return &busFields{hex32(x.Bus.Creator), int64(x.Bus.EndTime / time.Second), uint8(x.Bus.Status)}
	}
	t := x.TDB
	return &tdbFields{t.SPI, t.Dst[0], t.Dst[1], t.Dst.Addr(x.Dialect), t.Replay, t.Bytes, t.Proto, t.Updates, t.RDomain}
}

func fieldsOfState(x *wire.Message) map[string]any {
	s := &x.State
	inet6 := 28
	if x.Dialect == wire.OpenBSD6 {
		inet6 = 24
	}
	family := func(a netip.Addr) int {
		switch {
		case a.Is4():
			return 2
		case a.Is6():
			return inet6
		}
		return 0
	}
	af, rtAF := family(s.Wire.Addr[0]), family(s.Route.Addr)
	if !s.Route.Addr.IsValid() {
		s.Route.Addr = netip.IPv4Unspecified()
		if af != 2 {
			s.Route.Addr = netip.IPv6Unspecified()
		}
	}
	b, err := json.Marshal(&stateFields{
		hex64(s.ID.State), s.IfName.String(), hex32(s.ID.Creator), fieldsOfKey(s.Wire), fieldsOfKey(s.Stack),
		fieldsOfPeer(s.Src), fieldsOfPeer(s.Dst), s.Route.Addr, int32(s.Rule), int32(s.Anchor),
		int64(s.Creation / time.Second), int64(s.Expire / time.Second), s.Packets, s.Bytes, s.Proto,
		uint8(s.Direction), s.Log, uint8(s.Timeout), uint16(s.Flags), int32(s.NATRule), uint8(af), [2]int{af, family(s.Stack.Addr[0])},
		[2]uint16{s.Wire.RDomain, s.Stack.RDomain}, s.RTable, s.MaxMSS, s.Route.Kind, s.SyncFlags, s.Updates,
		s.MinTTL, s.SetTOS, [2]int{int(s.SetPrio[0]), int(s.SetPrio[1])},
	})
	if err != nil {
		panic(err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		panic(err)
	}
	f := &x.FreeBSD
	tag, _, _ := bytes.Cut(f.Tag[:], []byte{0})
	all["qid"], all["pqid"], all["dnpipe"], all["dnrpipe"] = f.Queue, f.PQueue, f.Pipe, f.RPipe
	all["rt_ifname"], all["orig_ifname"], all["tagname"] = f.RouteIf.String(), f.OrigIf.String(), string(tag)
	all["wire_af"], all["stack_af"], all["rt_af"] = af, family(s.Stack.Addr[0]), rtAF
	all["wire_proto"], all["stack_proto"] = s.Proto, s.Proto
	if x.Dialect != wire.OpenBSD6 {
		initiator := 1
		if s.Direction == pfstate.Out {
			initiator = 0
		}
		all["rtableid"] = s.RTable[initiator]
		if s.Route.Kind > 0 {
			all["rt"] = s.Route.Kind + 1 // FreeBSD's numbers of route-to, dup-to, reply-to
		}
	}
	for _, c := range vectorDialects {
		if c.dialect == x.Dialect {
			for _, name := range c.lacks {
				delete(all, name)
			}
		}
	}
	return all
}

func TestVectorsDecodeToTheirFields(t *testing.T) {
	eachVector(t, func(t *testing.T, d wire.Dialect, v corpus.Vector) {
		if v.Kind != "message" {
			return
		}
		var x wire.Message
		s := sectionOf(t, d, v)
		if err := s.Dialect.Parse(s.Action, s.Message(0), &x); err != nil {
			t.Fatal(err)
		}
		// Through JSON, so that a field that the test does not know is a difference.
		var want, got map[string]any
		if err := json.Unmarshal(v.Fields, &want); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(fieldsOfMessage(&x))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if rdomain, ok := want["rdomain"]; ok && rdomain == 0.0 {
			got["rdomain"] = 0.0 // omitted when zero: the old TDB vector has none
		}
		if s.Action == wire.ActUpdC && d != wire.OpenBSD6 {
			want["state_flags"] = 0.0 // a pad there
		}
		if sent, ok := want["state_flags_on_wire"]; ok {
			want["state_flags"] = sent
			delete(want, "state_flags_on_wire")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
	})
}

func TestFrameVectorsDecodeToTheirMessages(t *testing.T) {
	eachVector(t, func(t *testing.T, d wire.Dialect, v corpus.Vector) {
		if v.Kind != "frame" {
			return
		}
		var want struct {
			Messages string `json:"messages_hex"`
			Count    int    `json:"count"`
			Cksum    string `json:"pfcksum"`
		}
		if err := json.Unmarshal(v.Fields, &want); err != nil {
			t.Fatal(err)
		}
		h, rest, err := wire.ParseHeader(v.Bytes(t))
		if err != nil {
			t.Fatal(err)
		}
		if int(h.Len) != v.Size || fmt.Sprintf("%x", h.Cksum) != want.Cksum || h.Version != d.Version() {
			t.Errorf("header %+v, want length %d, checksum %s", h, v.Size, want.Cksum)
		}
		count, bodies, ended := 0, "", false
		for len(rest) > 0 {
			var s wire.Section
			if s, rest, err = h.NextSection(rest); err != nil {
				t.Fatal(err)
			}
			if s.End() {
				ended = true
				break
			}
			if v.Action >= 0 && s.Number() != uint8(v.Action) {
				t.Errorf("action %d, want %d", s.Number(), v.Action)
			}
			count += s.Count
			bodies += fmt.Sprintf("%x", s.Body)
		}
		if count != want.Count || ended != (d != wire.OpenBSD6) || len(rest) > 0 {
			t.Errorf("%d messages, want %d; end %v, %d bytes behind", count, want.Count, ended, len(rest))
		}
		if want.Messages != "" && bodies != want.Messages {
			t.Errorf("bodies %s, want %s", bodies, want.Messages)
		}
	})
}
