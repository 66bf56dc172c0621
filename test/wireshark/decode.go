package wireshark

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Decode gives the fields of a packet by our own decoder. What that does
// not keep is taken to be zero, as senders set it: scrub fields that are not valid, the
// next hop without a route. A malformed packet or trailer is an error.
func Decode(b []byte) (Fields, error) {
	f := Fields{}
	h, rest, err := wire.ParseHeader(b)
	if err != nil {
		return nil, err
	}
	f.add("version", "%d", h.Version)
	f.add("len", "%d", h.Len)
	f.add("chksum", "%x", h.Cksum)
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			return nil, err
		}
		f.add("action", "%d", s.Number())
		if h.Version == wire.Version {
			f.add("size", "%d", s.Size/4)
		}
		f.add("count", "%d", s.Count)
		if s.End() {
			break
		}
		if s.Skipped() {
			f.add("skipped", "%x", s.Body)
			continue
		}
		var x wire.Message
		for i := range s.Count {
			if err := s.Dialect.Parse(s.Action, s.Message(i), &x); err != nil {
				return nil, err
			}
			f.message(&x)
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last section", len(rest))
	}
	return f, f.behind(wire.Behind(b))
}

func (f Fields) id(id pfstate.ID) {
	f.add("id", "0x%016x", id.State)
	f.creator(id.Creator)
}

func (f Fields) creator(n uint32) { f.add("creatorid", "0x%08x", n) }

// address is under one of two names.
func (f Fields) address(name string, a netip.Addr) {
	if a.Is6() {
		name += "_v6"
	}
	f.add(name, "%v", a)
}

func (f Fields) message(x *wire.Message) {
	switch {
	case x.Action.HasState():
		f.state(x)
	case x.Action.HasID():
		f.id(x.ID)
	case x.Action == wire.ActUpdC:
		f.id(x.UpdC.ID)
		f.peer("src", &x.UpdC.Src)
		f.peer("dst", &x.UpdC.Dst)
		f.add("updc.expire", "%d", x.UpdC.Expire/time.Second)
		f.add("timeout", "%d", x.UpdC.Timeout)
		f.add("updc.flags", "0x%02x", x.UpdC.Flags)
	case x.Action == wire.ActClr:
		f.add("clr.ifname", "%s", x.Clr.IfName)
		f.creator(x.Clr.Creator)
	case x.Action == wire.ActBus:
		f.creator(x.Bus.Creator)
		f.add("bus.endtime", "%d", x.Bus.EndTime/time.Second)
		f.add("bus.status", "%d", x.Bus.Status)
	default:
		f.tdb(x.Dialect, &x.TDB)
	}
}

func (f Fields) tdb(d wire.Dialect, t *wire.TDB) {
	f.add("tdb.spi", "0x%08x", t.SPI)
	f.add("tdb.dst.len", "%d", t.Dst[0])
	f.add("tdb.dst.family", "%d", t.Dst[1])
	f.add("tdb.dst.port", "%d", int(t.Dst[2])<<8|int(t.Dst[3]))
	if a := t.Dst.Addr(d); a.IsValid() {
		f.address("tdb.dst", a)
	}
	f.add("tdb.rpl", "%d", t.Replay)
	f.add("tdb.cur_bytes", "%d", t.Bytes)
	f.add("tdb.proto", "%d", t.Proto)
	f.add("tdb.updates", "%d", t.Updates)
	f.add("tdb.rdomain", "%d", t.RDomain)
}

func (f Fields) peer(name string, p *pfstate.Peer) {
	name += "."
	f.add(name+"scrub.flags", "0x%04x", p.Scrub.Flags)
	f.add(name+"scrub.ttl", "%d", p.Scrub.TTL)
	f.flag(name+"scrub.valid", p.Scrub.Valid)
	f.add(name+"scrub.ts_mod", "%d", p.Scrub.TSMod)
	f.add(name+"seqlo", "%d", p.SeqLo)
	f.add(name+"seqhi", "%d", p.SeqHi)
	f.add(name+"seqdiff", "%d", p.SeqDiff)
	f.add(name+"max_win", "%d", p.MaxWin)
	f.add(name+"mss", "%d", p.MSS)
	f.add(name+"state", "%d", p.State)
	f.add(name+"wscale", "0x%02x", p.WScale)
	f.add(name+"wscale.shift", "%d", p.WScale&0x0f)
	f.flag(name+"wscale.sent", p.WScale&pfstate.WScaleFlag != 0)
}

func (f Fields) flag(name string, set bool) {
	n := 0
	if set {
		n = 1
	}
	f.add(name, "%d", n)
}

func (f Fields) key(d wire.Dialect, name string, k *pfstate.Key) {
	for i := range 2 {
		f.address(fmt.Sprintf("state.%s.addr%d", name, i), k.Addr[i])
		f.add(fmt.Sprintf("state.%s.port%d", name, i), "%d", k.Port[i])
		f.address("addr", k.Addr[i])
		f.add("port", "%d", k.Port[i])
	}
	if d == wire.OpenBSD6 {
		f.add("state."+name+".rdomain", "%d", k.RDomain)
	}
}

func (f Fields) state(x *wire.Message) {
	s, d := &x.State, x.Dialect
	f.id(s.ID)
	f.add("state.ifname", "%s", s.IfName)
	f.key(d, "wire", &s.Wire)
	f.key(d, "stack", &s.Stack)
	f.peer("src", &s.Src)
	f.peer("dst", &s.Dst)
	hop := s.Route.Addr
	switch {
	case hop.IsValid(), d == wire.FreeBSD1500: // which has no family for no address
	case s.Wire.Addr[0].Is4():
		hop = netip.IPv4Unspecified()
	default:
		hop = netip.IPv6Unspecified()
	}
	if hop.IsValid() {
		f.address("state.rt_addr", hop)
	}
	numbers := map[string]any{
		"rule": s.Rule, "anchor": s.Anchor, "nat_rule": s.NATRule, "creation": s.Creation / time.Second,
		"expire": s.Expire / time.Second, "packets0": s.Packets[0], "packets1": s.Packets[1],
		"bytes0": s.Bytes[0], "bytes1": s.Bytes[1], "proto": s.Proto, "direction": uint8(s.Direction),
	}
	if d != wire.FreeBSD1500 {
		numbers["updates"] = s.Updates
		f.add("state.sync_flags", "0x%02x", s.SyncFlags)
	}
	route := s.Route.Kind
	switch d {
	case wire.OpenBSD6:
		numbers["rtableid0"], numbers["rtableid1"] = s.RTable[0], s.RTable[1]
	case wire.FreeBSD1400, wire.FreeBSD1500:
		numbers["rtableid"] = s.RTable[1]
		if s.Direction == pfstate.Out {
			numbers["rtableid"] = s.RTable[0]
		}
		if route > 0 {
			route++ // FreeBSD counts one more kind
		}
		f.freebsd(d, &x.FreeBSD)
	}
	if d != wire.FreeBSD1301 {
		f.add("state.set_tos", "0x%02x", s.SetTOS)
		numbers["max_mss"], numbers["rt"], numbers["min_ttl"] = s.MaxMSS, route, s.MinTTL
		numbers["set_prio0"], numbers["set_prio1"] = s.SetPrio[0], s.SetPrio[1]
		for name, flag := range flags {
			f.flag("state.flags."+name, s.Flags&flag != 0)
		}
	}
	for name, n := range numbers {
		f.add("state."+name, "%d", n)
	}
	f.add("timeout", "%d", s.Timeout)
	f.add("state.log", "0x%02x", s.Log)
	f.add("state.flags", "0x%04x", uint16(s.Flags))
}

func (f Fields) freebsd(d wire.Dialect, x *wire.FreeBSD) {
	f.add("state.qid", "%d", x.Queue)
	f.add("state.pqid", "%d", x.PQueue)
	f.add("state.dnpipe", "%d", x.Pipe)
	f.add("state.dnrpipe", "%d", x.RPipe)
	f.add("state.rt_ifname", "%s", x.RouteIf)
	if d == wire.FreeBSD1500 {
		tag, _, _ := bytes.Cut(x.Tag[:], []byte{0})
		f.add("state.orig_ifname", "%s", x.OrigIf)
		f.add("state.tag", "%s", tag)
	}
}

var flags = map[string]pfstate.Flags{
	"allow_opts": pfstate.FlagAllowOpts, "sloppy": pfstate.FlagSloppy, "pflow": pfstate.FlagPFlow, "no_sync": pfstate.FlagNoSync,
	"ack": pfstate.FlagAck, "no_df": pfstate.FlagNoDF, "set_tos": pfstate.FlagSetTOS, "random_id": pfstate.FlagRandomID,
	"scrub_tcp": pfstate.FlagScrubTCP, "set_prio": pfstate.FlagSetPrio,
}
