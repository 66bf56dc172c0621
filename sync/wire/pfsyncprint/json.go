package pfsyncprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncfilter"
)

// object writes packets as JSON.
type object struct {
	b      *bytes.Buffer
	packet jsonPacket
}

type jsonPacket struct {
	Time     string       `json:"time"`
	Src      string       `json:"src,omitempty"`
	Dst      string       `json:"dst,omitempty"`
	Version  *uint8       `json:"version,omitempty"`
	Length   *uint16      `json:"length,omitempty"`
	Checksum string       `json:"checksum,omitempty"` // not if it is zero
	Messages []any        `json:"messages"`
	Trailer  *jsonTrailer `json:"trailer,omitempty"`
	Foreign  int          `json:"foreign_bytes,omitempty"` // behind the packet
	Cut      bool         `json:"cut,omitempty"`
	Error    string       `json:"error,omitempty"`
}

func (o *object) begin(at time.Time, src, dst netip.Addr) {
	o.packet = jsonPacket{Time: at.UTC().Format(time.RFC3339Nano), Messages: []any{}}
	if src.IsValid() {
		o.packet.Src, o.packet.Dst = src.String(), dst.String()
	}
}

func (o *object) header(h *wire.Header) {
	if h == nil {
		return
	}
	o.packet.Version, o.packet.Length = &h.Version, &h.Len
	if h.Cksum != [16]byte{} {
		o.packet.Checksum = fmt.Sprintf("%x", h.Cksum)
	}
}

func (o *object) otherVersion(*wire.Header) { o.fail(wire.ErrVersion) }

func (o *object) section(wire.Section) {}

type jsonSkipped struct {
	Action  string `json:"action"`
	Skipped int    `json:"skipped"` // messages
	Size    int    `json:"size"`    // of each, in bytes
}

func (o *object) skipped(s wire.Section) {
	o.add(jsonSkipped{pfsyncfilter.ActionName(s.Action), s.Count, s.Size})
}

func (o *object) add(message any) { o.packet.Messages = append(o.packet.Messages, message) }

// jsonID begins all messages about a state.
type jsonID struct {
	Action  string `json:"action"`
	ID      string `json:"id"`
	Creator string `json:"creatorid"`
	Compact bool   `json:"compact,omitempty"` // between Linux peers, in the trailer
}

type jsonBad struct {
	jsonID
	Error string `json:"error"`
}

type jsonClr struct {
	Action  string `json:"action"`
	Creator string `json:"creatorid"`
	IfName  string `json:"interface,omitempty"` // all of them without
}

type jsonBus struct {
	Action  string `json:"action"`
	Creator string `json:"creatorid"`
	EndTime int64  `json:"endtime"` // seconds
	Status  string `json:"status"`
}

type jsonTDB struct {
	Action  string `json:"action"`
	SPI     uint32 `json:"spi"`
	Dst     string `json:"dst,omitempty"`
	Replay  uint64 `json:"rpl"`
	Bytes   uint64 `json:"cur_bytes"`
	Proto   string `json:"proto"`
	Updates uint8  `json:"updates"`
	RDomain uint16 `json:"rdomain"`
}

type jsonUpdC struct {
	jsonID
	Src     jsonPeer `json:"src"`
	Dst     jsonPeer `json:"dst"`
	Expire  int64    `json:"expire"` // seconds
	Timeout string   `json:"timeout"`
	Flags   []string `json:"flags"`

	Linux *jsonLinux `json:"linux,omitempty"`
}

func (o *object) message(x *wire.Message, bad error) {
	action := pfsyncfilter.ActionName(x.Action)
	id := jsonIDOf(action, x.StateID())
	switch {
	case bad != nil:
		o.add(jsonBad{id, bad.Error()})
	case x.Action == wire.ActClr:
		o.add(jsonClr{action, hex32(x.Clr.Creator), x.Clr.IfName.String()})
	case x.Action == wire.ActBus:
		status := x.Bus.Status.String()
		if x.Bus.Status != wire.BusStart && x.Bus.Status != wire.BusEnd {
			status = strconv.Itoa(int(x.Bus.Status))
		}
		o.add(jsonBus{action, hex32(x.Bus.Creator), seconds(x.Bus.EndTime), status})
	case x.Action == wire.ActTDB || x.Action == wire.ActOldTDB:
		t := &x.TDB
		dst := ""
		if a := t.Dst.Addr(x.Dialect); a.IsValid() {
			dst = a.String()
		}
		o.add(jsonTDB{action, t.SPI, dst, t.Replay, t.Bytes, pfstate.ProtoName(t.Proto), t.Updates, t.RDomain})
	case x.Action == wire.ActUpdC:
		u := &x.UpdC
		proto := protoOf(u.Timeout)
		o.add(jsonUpdC{id, jsonPeerOf(&u.Src, proto), jsonPeerOf(&u.Dst, proto), seconds(u.Expire), timeoutName(u.Timeout),
			flagNames(pfstate.Flags(u.Flags)), nil})
	case x.Action.HasState():
		j := jsonStateOf(id, &x.State)
		if x.Dialect != wire.OpenBSD6 {
			f := &x.FreeBSD
			tag, _, _ := bytes.Cut(f.Tag[:], []byte{0})
			j.jsonFreeBSD = &jsonFreeBSD{x.Dialect.String(), f.Queue, f.PQueue, f.Pipe, f.RPipe,
				f.RouteIf.String(), f.OrigIf.String(), string(tag)}
		}
		o.add(j)
	default:
		o.add(id)
	}
}

// jsonState is a whole state. Rules that are none, and no route, are left out.
type jsonState struct {
	jsonID
	IfName    string     `json:"interface"`
	Proto     string     `json:"proto"`
	Direction string     `json:"direction"`
	Wire      jsonKey    `json:"wire"`
	Stack     jsonKey    `json:"stack"`
	Src       jsonPeer   `json:"src"`
	Dst       jsonPeer   `json:"dst"`
	Route     *jsonRoute `json:"route,omitempty"`
	Rule      *uint32    `json:"rule,omitempty"`
	Anchor    *uint32    `json:"anchor,omitempty"`
	NATRule   *uint32    `json:"nat_rule,omitempty"`
	Age       int64      `json:"age"`    // seconds
	Expire    int64      `json:"expire"` // seconds left
	Packets   [2]uint64  `json:"packets"`
	Bytes     [2]uint64  `json:"bytes"`
	RTable    [2]int32   `json:"rtable"`
	MaxMSS    uint16     `json:"max_mss"`
	Log       uint8      `json:"log"`
	Timeout   string     `json:"timeout"`
	SyncFlags uint8      `json:"sync_flags"`
	Updates   uint8      `json:"updates"`
	MinTTL    uint8      `json:"min_ttl"`
	SetTOS    uint8      `json:"set_tos"`
	SetPrio   [2]int     `json:"set_prio"`
	Flags     []string   `json:"flags"`
	Linux     *jsonLinux `json:"linux,omitempty"`
	*jsonFreeBSD
}

// jsonFreeBSD is what only FreeBSD says.
type jsonFreeBSD struct {
	Format      string `json:"format"` // 1301, 1400, 1500
	Queue       uint16 `json:"qid,omitempty"`
	PQueue      uint16 `json:"pqid,omitempty"`
	Pipe        uint16 `json:"dnpipe,omitempty"`
	RPipe       uint16 `json:"dnrpipe,omitempty"`
	RouteIfName string `json:"route_interface,omitempty"`
	OrigIfName  string `json:"original_interface,omitempty"`
	Tag         string `json:"tag,omitempty"`
}

// jsonKey has the initiator at index 0 of a state with direction in, else at 1, as pf has it.
type jsonKey struct {
	Addr    [2]netip.Addr `json:"addr"`
	Port    [2]uint16     `json:"port"`
	RDomain uint16        `json:"rdomain"`
}

type jsonRoute struct {
	Kind string     `json:"kind"`
	Addr netip.Addr `json:"addr"`
}

type jsonPeer struct {
	State   string     `json:"state"`
	SeqLo   uint32     `json:"seqlo"`
	SeqHi   uint32     `json:"seqhi"`
	SeqDiff uint32     `json:"seqdiff"`
	MaxWin  uint16     `json:"max_win"`
	MSS     uint16     `json:"mss"`
	WScale  uint8      `json:"wscale"` // as sent: the shift, and 128 if the option was seen
	Scrub   *jsonScrub `json:"scrub,omitempty"`
}

type jsonScrub struct {
	Flags uint16 `json:"flags"`
	TTL   uint8  `json:"ttl"`
	TSMod uint32 `json:"ts_mod"`
}

func jsonStateOf(id jsonID, s *pfstate.State) jsonState {
	j := jsonState{
		jsonID: id, IfName: s.IfName.String(), Proto: pfstate.ProtoName(s.Proto), Direction: s.Direction.String(),
		Wire: jsonKey(s.Wire), Stack: jsonKey(s.Stack), Src: jsonPeerOf(&s.Src, s.Proto), Dst: jsonPeerOf(&s.Dst, s.Proto),
		Rule: number(s.Rule), Anchor: number(s.Anchor), NATRule: number(s.NATRule),
		Age: seconds(s.Creation), Expire: seconds(s.Expire), Packets: s.Packets, Bytes: s.Bytes, RTable: s.RTable,
		MaxMSS: s.MaxMSS, Log: s.Log, Timeout: timeoutName(s.Timeout), SyncFlags: s.SyncFlags, Updates: s.Updates,
		MinTTL: s.MinTTL, SetTOS: s.SetTOS, SetPrio: [2]int{int(s.SetPrio[0]), int(s.SetPrio[1])}, Flags: flagNames(s.Flags),
	}
	if s.Route.Kind != 0 || s.Route.Addr.IsValid() { // FreeBSD 13 says no kind
		kinds := [...]string{1: "route-to", 2: "dup-to", 3: "reply-to"}
		kind := strconv.Itoa(int(s.Route.Kind))
		if int(s.Route.Kind) < len(kinds) {
			kind = kinds[s.Route.Kind]
		}
		j.Route = &jsonRoute{kind, s.Route.Addr}
	}
	return j
}

func jsonPeerOf(p *pfstate.Peer, proto uint8) jsonPeer {
	j := jsonPeer{
		State: p.State.Name(proto), SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff,
		MaxWin: p.MaxWin, MSS: p.MSS, WScale: p.WScale,
	}
	if p.Scrub.Valid {
		j.Scrub = &jsonScrub{p.Scrub.Flags, p.Scrub.TTL, p.Scrub.TSMod}
	}
	return j
}

func jsonIDOf(action string, id pfstate.ID) jsonID {
	return jsonID{Action: action, ID: fmt.Sprintf("%016x", id.State), Creator: hex32(id.Creator)}
}

func hex32(n uint32) string { return fmt.Sprintf("%08x", n) }

func hex64(n uint64) string { return fmt.Sprintf("%016x", n) }

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// number is nil for a rule that there is not.
func number(n uint32) *uint32 {
	if n == pfstate.None {
		return nil
	}
	return &n
}

func timeoutName(t pfstate.Timeout) string {
	if t >= pfstate.MaxSCTPTimeout {
		return strconv.Itoa(int(t))
	}
	return t.String()
}

// flagNames are the names of the flags that are set; others are one number.
func flagNames(f pfstate.Flags) []string {
	names := []string{}
	for i, name := range []string{
		"allow-opts", "sloppy", "pflow", "no-sync", "ack", "no-df", "set-tos", "random-id", "scrub-tcp", "set-prio",
	} {
		if bit := pfstate.Flags(1) << i; f&bit != 0 {
			names = append(names, name)
			f &^= bit
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("0x%04x", uint16(f)))
	}
	return names
}

type jsonTrailer struct {
	Epoch      string `json:"epoch"`
	Seq        uint64 `json:"seq"`
	Answer     bool   `json:"answer,omitempty"`
	Heir       bool   `json:"heir,omitempty"`
	Pair       bool   `json:"pair,omitempty"`
	Flags      string `json:"flags,omitempty"` // others
	Attributes []any  `json:"attributes"`
}

func (o *object) trailer(t *wire.Trailer, _ bool) {
	j := &jsonTrailer{
		Epoch: hex64(t.Epoch), Seq: t.Seq, Attributes: []any{},
		Answer: t.Flags&wire.FlagAnswer != 0, Heir: t.Flags&wire.FlagHeir != 0, Pair: t.Flags&wire.FlagPair != 0,
	}
	if other := t.Flags &^ (wire.FlagAnswer | wire.FlagHeir | wire.FlagPair); other != 0 {
		j.Flags = fmt.Sprintf("0x%02x", uint8(other))
	}
	o.packet.Trailer = j
}

func (o *object) attribute(typ wire.AttrType, body []byte) error {
	a, err := jsonAttr(typ, body)
	if err == nil {
		o.packet.Trailer.Attributes = append(o.packet.Trailer.Attributes, a)
	}
	return err
}

// attrName is the name in JSON: one word, or the number.
func attrName(typ wire.AttrType) string {
	if !typ.Known() {
		return strconv.Itoa(int(typ))
	}
	return strings.ReplaceAll(typ.String(), " ", "_")
}

func (o *object) foreign(n int, why error, _ bool) { o.packet.Foreign = n }

func (o *object) nothing() {}

func (o *object) malformed(err error) { o.fail(err) }

// fail keeps the first reason.
func (o *object) fail(err error) {
	if o.packet.Error == "" {
		o.packet.Error = err.Error()
	}
}

func (o *object) cut() { o.packet.Cut = true }

func (o *object) end() {
	e := json.NewEncoder(o.b)
	e.SetEscapeHTML(false)
	_ = e.Encode(&o.packet) // strings and numbers alone cannot fail
}
