package wire_test

import (
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

// fieldsOfMessage is what was decoded, in the vectors' words.
func fieldsOfMessage(x *wire.Message) any {
	switch {
	case x.Action.HasState():
		return fieldsOfState(&x.State)
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
	return &tdbFields{t.SPI, t.Dst[0], t.Dst[1], t.Dst.Addr(wire.OpenBSD6), t.Replay, t.Bytes, t.Proto, t.Updates, t.RDomain}
}

func fieldsOfState(s *pfstate.State) *stateFields {
	af := 2
	unspecified := netip.IPv4Unspecified()
	if s.Wire.Addr[0].Is6() {
		af, unspecified = 24, netip.IPv6Unspecified()
	}
	if !s.Route.Addr.IsValid() {
		s.Route.Addr = unspecified
	}
	return &stateFields{
		hex64(s.ID.State), s.IfName.String(), hex32(s.ID.Creator), fieldsOfKey(s.Wire), fieldsOfKey(s.Stack),
		fieldsOfPeer(s.Src), fieldsOfPeer(s.Dst), s.Route.Addr, int32(s.Rule), int32(s.Anchor),
		int64(s.Creation / time.Second), int64(s.Expire / time.Second), s.Packets, s.Bytes, s.Proto,
		uint8(s.Direction), s.Log, uint8(s.Timeout), uint16(s.Flags), int32(s.NATRule), uint8(af), [2]int{af, af},
		[2]uint16{s.Wire.RDomain, s.Stack.RDomain}, s.RTable, s.MaxMSS, s.Route.Kind, s.SyncFlags, s.Updates,
		s.MinTTL, s.SetTOS, [2]int{int(s.SetPrio[0]), int(s.SetPrio[1])},
	}
}

func TestVectorsDecodeToTheirFields(t *testing.T) {
	for _, v := range corpus.Vectors(t, "openbsd6") {
		if v.Kind != "message" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			var x wire.Message
			if err := wire.OpenBSD6.Parse(wire.Action(v.Action), v.Bytes(t), &x); err != nil {
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
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFrameVectorsDecodeToTheirMessages(t *testing.T) {
	for _, v := range corpus.Vectors(t, "openbsd6") {
		if v.Kind != "frame" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
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
			if int(h.Len) != v.Size || fmt.Sprintf("%x", h.Cksum) != want.Cksum {
				t.Errorf("header %+v, want length %d, checksum %s", h, v.Size, want.Cksum)
			}
			count, bodies := 0, ""
			for len(rest) > 0 {
				var s wire.Section
				if s, rest, err = wire.NextSection(rest); err != nil {
					t.Fatal(err)
				}
				if v.Action >= 0 && s.Action != wire.Action(v.Action) {
					t.Errorf("action %v, want %d", s.Action, v.Action)
				}
				count += s.Count
				bodies += fmt.Sprintf("%x", s.Body)
			}
			if count != want.Count {
				t.Errorf("%d messages, want %d", count, want.Count)
			}
			if want.Messages != "" && bodies != want.Messages {
				t.Errorf("bodies %s, want %s", bodies, want.Messages)
			}
		})
	}
}
