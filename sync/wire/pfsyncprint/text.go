package pfsyncprint

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// text writes packets in the words of OpenBSD's tcpdump.
type text struct {
	b       *bytes.Buffer
	verbose int
	zone    *time.Location
	prefix  string // of each line of verbosity 0
}

func (t *text) begin(at time.Time, src, dst netip.Addr) {
	t.prefix = at.In(t.zone).Format("15:04:05.000000") + " "
	if src.IsValid() && !src.IsUnspecified() { // on pfsync0 OpenBSD has no source
		t.prefix += src.String()
		if t.verbose > 0 {
			t.prefix += " > " + dst.String()
		}
		t.prefix += ": "
	}
}

func (t *text) header(h *wire.Header) {
	length := ""
	t.prefix += "PFSYNC"
	if h != nil {
		t.prefix += fmt.Sprintf("v%d", h.Version)
		length = fmt.Sprintf(" len %d", h.Len)
	}
	if t.verbose > 0 {
		t.b.WriteString(t.prefix + length + "\n")
	}
}

func (t *text) otherVersion(h *wire.Header) {
	if t.verbose == 0 {
		t.line(fmt.Sprintf("len %d", h.Len))
	}
}

func (t *text) section(s wire.Section) {
	if t.verbose > 0 {
		fmt.Fprintf(t.b, "    act %s count %d\n", s.Name(), s.Count)
	}
}

func (t *text) skipped(s wire.Section) {
	t.item(s.Action, fmt.Sprintf("skipped: %d messages of %d bytes", s.Count, s.Size))
}

func (t *text) message(x *wire.Message, bad error) {
	switch {
	case bad != nil:
		t.item(x.Action, idText(x)+" malformed: "+bad.Error())
	case x.Action == wire.ActClr:
		text := fmt.Sprintf("creatorid: %08x", x.Clr.Creator)
		if name := x.Clr.IfName.String(); name != "" {
			text += " interface: " + escape(name)
		}
		t.item(x.Action, text)
	case x.Action == wire.ActBus:
		s := int64(x.Bus.EndTime / time.Second)
		t.item(x.Action, fmt.Sprintf("creatorid: %08x age: %02d:%02d:%02d status: %v",
			x.Bus.Creator, s/3600, s/60%60, s%60, x.Bus.Status))
	case x.Action == wire.ActTDB || x.Action == wire.ActOldTDB:
		t.item(x.Action, fmt.Sprintf("spi: 0x%08x rpl: %d cur_bytes: %d", x.TDB.SPI, x.TDB.Replay, x.TDB.Bytes))
	case x.Action.HasState():
		t.state(x)
	default:
		t.item(x.Action, idText(x))
	}
	if u := &x.UpdC; bad == nil && x.Action == wire.ActUpdC && t.verbose > 2 {
		proto := protoOf(u.Timeout)
		t.item(x.Action, fmt.Sprintf("timeout=%v %s %s", u.Timeout, peer("src", &u.Src, proto), peer("dst", &u.Dst, proto)))
	}
}

// idText is the id of a message's state.
func idText(x *wire.Message) string {
	id := x.StateID()
	return fmt.Sprintf("id: %016x creatorid: %08x", id.State, id.Creator)
}

func (t *text) state(x *wire.Message) {
	s := &x.State
	if t.verbose == 0 {
		t.item(x.Action, idText(x)+" "+s.String())
		return
	}
	t.b.WriteString(s.Format(t.verbose))
	t.b.WriteByte('\n')
	if t.verbose > 2 {
		t.item(x.Action, fmt.Sprintf("timeout=%v state_flags=0x%04x sync_flags=0x%02x updates=%d",
			s.Timeout, uint16(s.Flags), s.SyncFlags, s.Updates))
	}
}

func (t *text) trailer(r *wire.Trailer, bare bool) {
	if !bare && t.verbose == 0 {
		return
	}
	text := fmt.Sprintf("trailer epoch %016x seq %d", r.Epoch, r.Seq)
	if r.Flags&wire.FlagAnswer != 0 {
		text += " answer"
	}
	if r.Flags&wire.FlagHeir != 0 {
		text += " heir"
	}
	if r.Flags&wire.FlagPair != 0 {
		text += " pair"
	}
	if other := r.Flags &^ (wire.FlagAnswer | wire.FlagHeir | wire.FlagPair); other != 0 {
		text += fmt.Sprintf(" flags 0x%02x", uint8(other))
	}
	var names []string
	for rest := r.Attrs; len(rest) > 0; {
		typ, _, next, err := wire.NextAttr(rest)
		if err != nil {
			break
		}
		names = append(names, typ.String())
		rest = next
	}
	if names != nil {
		text += " attributes: " + strings.Join(names, ", ")
	}
	t.summary(text)
}

func (t *text) attribute(typ wire.AttrType, body []byte) error {
	text, err := attr(typ, body, t.verbose)
	if err == nil && t.verbose > 1 {
		t.b.WriteString("\t" + text + "\n")
	}
	return err
}

func (t *text) foreign(n int, why error, bare bool) {
	if bare || t.verbose > 0 {
		t.summary(fmt.Sprintf("%d bytes behind the packet: %v", n, why))
	}
}

func (t *text) nothing() {
	if t.verbose == 0 {
		t.line("no messages")
	}
}

func (t *text) malformed(err error) { t.summary("malformed: " + err.Error()) }

func (t *text) cut() {
	if t.verbose == 0 {
		t.line("... cut off by the capture")
		return
	}
	t.b.WriteString("    ...\n")
}

func (t *text) end() {}

// item prints one message.
func (t *text) item(a wire.Action, text string) {
	if t.verbose == 0 {
		t.line(a.String() + " " + text)
		return
	}
	t.b.WriteString("\t" + text + "\n")
}

// line prints a line of verbosity 0.
func (t *text) line(text string) { t.b.WriteString(t.prefix + " " + text + "\n") }

// summary prints a line about the packet.
func (t *text) summary(text string) {
	if t.verbose == 0 {
		t.line(text)
		return
	}
	t.b.WriteString("    " + text + "\n")
}

// protoOf is the protocol that a class of timeouts is for: a compressed update has no other word of it.
func protoOf(t pfstate.Timeout) uint8 {
	switch {
	case t <= pfstate.TCPClosedTimeout:
		return pfstate.ProtoTCP
	case t == pfstate.ICMPFirstPacket || t == pfstate.ICMPErrorReply:
		return pfstate.ProtoICMP
	}
	return pfstate.ProtoUDP
}

func peer(name string, p *pfstate.Peer, proto uint8) string {
	text := name + "=" + p.State.Name(proto)
	if proto == pfstate.ProtoTCP {
		text += fmt.Sprintf(" %s.seqlo=%d %s.seqhi=%d %s.max_win=%d", name, p.SeqLo, name, p.SeqHi, name, p.MaxWin)
	}
	return text
}

// escape replaces what could disturb a terminal.
func escape(s string) string {
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
