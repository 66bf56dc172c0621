package pfsyncprint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Counts tells what became of the frames.
type Counts struct {
	Packets      uint64 // pfsync packets, the following three included
	OtherVersion uint64 // not OpenBSD's version 6: only named
	Malformed    uint64 // printed as far as possible, with the reason
	Cut          uint64 // the capture does not have all of them
	NotPFSync    uint64 // frames with something else: not printed
}

func (c Counts) String() string {
	s := "s"
	if c.Packets == 1 {
		s = ""
	}
	return fmt.Sprintf("%d packet%s (%d of another version, %d malformed, %d cut off by the capture), %d not pfsync",
		c.Packets, s, c.OtherVersion, c.Malformed, c.Cut, c.NotPFSync)
}

// Printer prints frames. It is not safe for concurrent use.
type Printer struct {
	w       io.Writer
	verbose int
	zone    *time.Location
	counts  Counts
	buf     bytes.Buffer // of one frame
	bad     bool         // it is malformed
	prefix  string       // of each line of verbosity 0
	message wire.Message
}

// New prints to w, one Write for each frame, with the times of zone.
func New(w io.Writer, verbose int, zone *time.Location) *Printer {
	return &Printer{w: w, verbose: verbose, zone: zone}
}

// Counts returns what has been counted so far.
func (p *Printer) Counts() Counts { return p.counts }

// Frame prints a captured frame, if it is pfsync. cut tells that the frame was
// longer than data. The error is about the link type or from writing, never about
// what is in the frame.
func (p *Printer) Frame(at time.Time, link layers.LinkType, data []byte, cut bool) error {
	if err := CheckLink(link); err != nil {
		return err
	}
	d, ok := find(link, data, cut)
	if !ok {
		p.counts.NotPFSync++
		return nil
	}
	p.counts.Packets++
	p.buf.Reset()
	p.bad = false
	p.packet(at, d)
	if p.bad {
		p.counts.Malformed++
	}
	if _, err := p.w.Write(p.buf.Bytes()); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

func (p *Printer) packet(at time.Time, d datagram) {
	p.prefix = at.In(p.zone).Format("15:04:05.000000") + " "
	if d.src.IsValid() && !d.src.IsUnspecified() { // on pfsync0 OpenBSD has no source
		p.prefix += d.src.String()
		if p.verbose > 0 {
			p.prefix += " > " + d.dst.String()
		}
		p.prefix += ": "
	}
	if d.fragment {
		p.prefix += "PFSYNC"
		p.head("")
		p.malformed(errors.New("a fragment of an IP packet"))
		return
	}
	h, rest, err := wire.ParseHeader(d.payload)
	cut := d.cut && (errors.Is(err, wire.ErrShort) || errors.Is(err, wire.ErrLength))
	if cut {
		p.counts.Cut++
	}
	if errors.Is(err, wire.ErrShort) {
		p.prefix += "PFSYNC"
		p.head("")
		p.end(err, cut)
		return
	}
	p.prefix += fmt.Sprintf("PFSYNCv%d", h.Version)
	p.head(fmt.Sprintf(" len %d", h.Len))
	switch {
	case errors.Is(err, wire.ErrVersion):
		p.counts.OtherVersion++
		if p.verbose == 0 {
			p.line(fmt.Sprintf("len %d", h.Len))
		}
		return
	case cut:
		rest = d.payload[wire.HeaderLen:]
	case err != nil:
		p.malformed(err)
		return
	}
	p.sections(rest, cut)
	if !cut {
		p.behind(wire.Behind(d.payload), len(rest) == 0, d.cut)
	}
}

// sections prints all that follows the header.
func (p *Printer) sections(rest []byte, cut bool) {
	for len(rest) >= wire.SubheaderLen {
		s, next, err := wire.NextSection(rest)
		if err != nil && cut && errors.Is(err, wire.ErrLength) {
			s.Body, err = rest[wire.SubheaderLen:], nil // what there is of it
		}
		if err != nil {
			p.end(err, false)
			return
		}
		p.section(s)
		rest = next
	}
	switch {
	case cut:
		p.end(nil, true)
	case len(rest) > 0:
		p.malformed(fmt.Errorf("%d bytes behind the last section", len(rest)))
	}
}

// section prints its messages.
func (p *Printer) section(s wire.Section) {
	if p.verbose > 0 {
		fmt.Fprintf(&p.buf, "    act %v count %d\n", s.Action, s.Count)
	}
	if s.Skipped() {
		p.item(s.Action, fmt.Sprintf("skipped: %d messages of %d bytes", s.Count, s.Size))
		return
	}
	for i := range s.Count {
		m := s.Message(i)
		if m == nil {
			return // cut off here
		}
		if err := wire.OpenBSD6.Parse(s.Action, m, &p.message); err != nil {
			p.bad = true
			p.item(s.Action, p.id()+" malformed: "+err.Error())
			continue
		}
		p.printMessage()
	}
}

// id is the id of the message at hand.
func (p *Printer) id() string {
	x := &p.message
	id := x.ID
	switch {
	case x.Action.HasState():
		id = x.State.ID
	case x.Action == wire.ActUpdC:
		id = x.UpdC.ID
	}
	return fmt.Sprintf("id: %016x creatorid: %08x", id.State, id.Creator)
}

func (p *Printer) printMessage() {
	x := &p.message
	switch x.Action {
	case wire.ActClr:
		text := fmt.Sprintf("creatorid: %08x", x.Clr.Creator)
		if name := x.Clr.IfName.String(); name != "" {
			text += " interface: " + escape(name)
		}
		p.item(x.Action, text)
	case wire.ActBus:
		s := int64(x.Bus.EndTime / time.Second)
		p.item(x.Action, fmt.Sprintf("creatorid: %08x age: %02d:%02d:%02d status: %v",
			x.Bus.Creator, s/3600, s/60%60, s%60, x.Bus.Status))
	case wire.ActTDB, wire.ActOldTDB:
		p.item(x.Action, fmt.Sprintf("spi: 0x%08x rpl: %d cur_bytes: %d", x.TDB.SPI, x.TDB.Replay, x.TDB.Bytes))
	case wire.ActUpdC:
		p.item(x.Action, p.id())
		if p.verbose > 2 {
			u := &x.UpdC
			proto := protoOf(u.Timeout)
			p.item(x.Action, fmt.Sprintf("timeout=%v %s %s", u.Timeout, peer("src", &u.Src, proto), peer("dst", &u.Dst, proto)))
		}
	case wire.ActIns, wire.ActUpd, wire.ActDel:
		p.printState()
	default:
		p.item(x.Action, p.id())
	}
}

func (p *Printer) printState() {
	x := &p.message
	s := &x.State
	if p.verbose == 0 {
		p.item(x.Action, p.id()+" "+s.String())
		return
	}
	p.buf.WriteString(s.Format(p.verbose))
	p.buf.WriteByte('\n')
	if p.verbose > 2 {
		p.item(x.Action, fmt.Sprintf("timeout=%v state_flags=0x%04x sync_flags=0x%02x updates=%d",
			s.Timeout, uint16(s.Flags), s.SyncFlags, s.Updates))
	}
}

// head prints the packet's line, if there is one.
func (p *Printer) head(rest string) {
	if p.verbose > 0 {
		p.buf.WriteString(p.prefix + rest + "\n")
	}
}

// item prints one message.
func (p *Printer) item(a wire.Action, text string) {
	if p.verbose == 0 {
		p.line(a.String() + " " + text)
		return
	}
	p.buf.WriteString("\t" + text + "\n")
}

// line prints a line of verbosity 0.
func (p *Printer) line(text string) { p.buf.WriteString(p.prefix + " " + text + "\n") }

// end prints why nothing more is printed of a packet.
func (p *Printer) end(err error, cut bool) {
	switch {
	case !cut:
		p.malformed(err)
	case p.verbose == 0:
		p.line("... cut off by the capture")
	default:
		p.buf.WriteString("    ...\n")
	}
}

func (p *Printer) malformed(err error) {
	p.bad = true
	p.summary("malformed: " + err.Error())
}

// summary prints a line about the packet.
func (p *Printer) summary(text string) {
	if p.verbose == 0 {
		p.line(text)
		return
	}
	p.buf.WriteString("    " + text + "\n")
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
