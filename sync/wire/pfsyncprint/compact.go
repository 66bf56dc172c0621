package pfsyncprint

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Compact messages are printed like those of pf's that they stand for, and selected by
// filters like them.

// compactActions are the actions that the attributes stand for.
var compactActions = map[wire.AttrType]wire.Action{
	wire.AttrInsert: wire.ActIns, wire.AttrState: wire.ActUpd, wire.AttrUpdate: wire.ActUpdC, wire.AttrDelete: wire.ActDelC,
}

// hasCompact tells that there are compact messages in the trailer.
func hasCompact(t *wire.Trailer) bool {
	for rest := t.Attrs; len(rest) > 0; {
		typ, _, next, err := wire.NextAttr(rest)
		if err != nil {
			return false
		}
		if compactActions[typ] != 0 {
			return true
		}
		rest = next
	}
	return false
}

// compact prints the messages of an attribute. Its error ends them.
func (p *Printer) compact(typ wire.AttrType, body []byte) error {
	creator, b, err := wire.ParseCompact(typ, body)
	if err != nil {
		return err
	}
	x := &p.message
	x.Action, x.Dialect = compactActions[typ], wire.OpenBSD6 // in its words
	begun := false
	for len(b) > 0 {
		rest := b
		switch typ {
		case wire.AttrDelete:
			x.ID = wire.DeletedAt(b, creator, 0)
			rest, err = b[wire.DeletedLen:], nil
		case wire.AttrUpdate:
			rest, err = wire.NextUpdate(creator, b, &x.UpdC)
		default:
			rest, err = wire.NextState(creator, b, &x.State)
		}
		if rest == nil {
			return err
		}
		b = rest
		m := x
		if err != nil {
			p.bad = true
			m = idOnly(x)
		}
		if !p.selects(m) {
			continue
		}
		if !begun {
			begun = true
			p.format.compactSection(typ)
		}
		p.format.compact(m, err)
	}
	return nil
}

func (t *text) compactSection(typ wire.AttrType) {
	if t.verbose > 0 {
		fmt.Fprintf(t.b, "    act %v compact\n", compactActions[typ])
	}
}

func (t *text) compact(x *wire.Message, bad error) {
	if t.verbose == 0 {
		before := t.prefix
		t.prefix += " compact"
		defer func() { t.prefix = before }()
	}
	t.message(x, bad)
	if bad != nil || t.verbose < 2 {
		return
	}
	linux, is4 := &x.State.Linux, x.State.Wire.Addr[0].Is4()
	switch x.Action {
	case wire.ActDelC:
		return
	case wire.ActUpdC:
		linux, is4 = &x.UpdC.Linux, true
	}
	if words := linuxText(linux, is4); words != "" {
		t.item(x.Action, words)
	}
}

// linuxText is what conntrack knows beyond pf's words.
func linuxText(x *pfstate.Linux, is4 bool) string {
	var all []string
	add := func(field pfstate.LinuxFields, format string, values ...any) {
		if x.Has&field != 0 {
			all = append(all, fmt.Sprintf(format, values...))
		}
	}
	r := &x.Rare
	if x.Mark != 0 {
		add(pfstate.HasMark, "mark=0x%08x", x.Mark)
	}
	add(pfstate.HasStatus, "status=0x%02x", x.Status)
	add(pfstate.HasTCP, "tcp_flags=0x%02x,0x%02x", x.TCP[0], x.TCP[1])
	add(pfstate.HasLabels, "labels=%x", r.Labels)
	add(pfstate.HasHelper, "helper=%s", escape(r.HelperName()))
	add(pfstate.HasMaster, "master=%s %v", pfstate.ProtoName(r.Master.Proto), r.MasterTuple(is4))
	for i, name := range []string{"src", "dst"} {
		if a := r.SeqAdj[i]; a != (pfstate.SeqAdj{}) {
			add(pfstate.HasSeqAdj, "%s.seqadj=%d:%d:%d", name, a.Pos, a.Before, a.After)
		}
	}
	return strings.Join(all, " ")
}

// jsonLinux is what conntrack knows beyond pf's words.
type jsonLinux struct {
	Mark   uint32       `json:"mark,omitempty"`
	Status *uint8       `json:"status,omitempty"`
	TCP    *[2]int      `json:"tcp_flags,omitempty"`
	Labels string       `json:"labels,omitempty"`
	Helper string       `json:"helper,omitempty"`
	Master *jsonMaster  `json:"master,omitempty"`
	SeqAdj []jsonSeqAdj `json:"seqadj,omitempty"` // of src, of dst
}

type jsonMaster struct {
	Proto string        `json:"proto"`
	Addr  [2]netip.Addr `json:"addr"` // the initiator's first
	Port  [2]uint16     `json:"port"`
}

type jsonSeqAdj struct {
	Pos    uint32 `json:"pos"`
	Before int32  `json:"before"`
	After  int32  `json:"after"`
}

func jsonLinuxOf(x *pfstate.Linux, is4 bool) *jsonLinux {
	j := &jsonLinux{Mark: x.Mark}
	r := &x.Rare
	if x.Has&pfstate.HasStatus != 0 {
		j.Status = &x.Status
	}
	if x.Has&pfstate.HasTCP != 0 {
		j.TCP = &[2]int{int(x.TCP[0]), int(x.TCP[1])}
	}
	if x.Has&pfstate.HasLabels != 0 {
		j.Labels = fmt.Sprintf("%x", r.Labels)
	}
	if x.Has&pfstate.HasHelper != 0 {
		j.Helper = r.HelperName()
	}
	if x.Has&pfstate.HasMaster != 0 {
		t := r.MasterTuple(is4)
		j.Master = &jsonMaster{pfstate.ProtoName(r.Master.Proto), [2]netip.Addr{t.Src, t.Dst}, [2]uint16{t.SrcPort, t.DstPort}}
	}
	if x.Has&pfstate.HasSeqAdj != 0 {
		for _, a := range r.SeqAdj {
			j.SeqAdj = append(j.SeqAdj, jsonSeqAdj(a))
		}
	}
	return j
}

func (o *object) compactSection(wire.AttrType) {}

// compact adds a message with what is said of it beyond.
func (o *object) compact(x *wire.Message, bad error) {
	o.message(x, bad)
	if bad != nil {
		return
	}
	last := &o.packet.Messages[len(o.packet.Messages)-1]
	switch m := (*last).(type) {
	case jsonState:
		m.Compact, m.Linux = true, jsonLinuxOf(&x.State.Linux, x.State.Wire.Addr[0].Is4())
		*last = m
	case jsonUpdC:
		m.Compact, m.Linux = true, jsonLinuxOf(&x.UpdC.Linux, true)
		*last = m
	case jsonID:
		m.Compact = true
		*last = m
	}
}

type jsonCompact struct {
	Type    string `json:"type"`
	Creator string `json:"creatorid"`
}
