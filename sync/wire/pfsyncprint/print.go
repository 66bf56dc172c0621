package pfsyncprint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncfilter"
)

// Counts tells what became of the frames.
type Counts struct {
	Packets      uint64 // pfsync packets, the following four included
	OtherVersion uint64 // neither OpenBSD's version 6 nor FreeBSD's 5: only named
	Malformed    uint64 // printed as far as possible, with the reason
	Cut          uint64 // the capture does not have all of them
	LeftOut      uint64 // by the filter: not printed
	NotPFSync    uint64 // frames with something else: not printed
}

func (c Counts) String() string {
	s, leftOut := "s", ""
	if c.Packets == 1 {
		s = ""
	}
	if c.LeftOut > 0 {
		leftOut = fmt.Sprintf("%d left out by the filter, ", c.LeftOut)
	}
	return fmt.Sprintf("%d packet%s (%d of another version, %d malformed, %d cut off by the capture), %s%d not pfsync",
		c.Packets, s, c.OtherVersion, c.Malformed, c.Cut, leftOut, c.NotPFSync)
}

// Printed is the number of packets that have been printed.
func (c Counts) Printed() uint64 { return c.Packets - c.LeftOut }

// format is a way to write packets. Its methods are called in the order of what is in
// the packet, between begin and end; they append to the printer's buffer.
type format interface {
	begin(at time.Time, src, dst netip.Addr)
	header(h *wire.Header)                     // nil: there is no whole one
	otherVersion(h *wire.Header)               // nothing else is known of it
	section(s wire.Section)                    // its messages follow
	skipped(s wire.Section)                    // instead of its messages
	message(x *wire.Message, bad error)        // of a bad one Action and ID are set
	trailer(t *wire.Trailer, bare bool)        // bare: the packet has no messages
	attribute(a wire.AttrType, b []byte) error // of the trailer; nothing if a value is wrong
	compactSection(typ wire.AttrType)          // its messages follow
	compact(x *wire.Message, bad error)        // a compact message
	foreign(n int, why error, bare bool)       // bytes behind the packet that are no trailer
	nothing()                                  // neither messages nor anything behind them
	malformed(err error)                       // nothing that follows could be read
	cut()                                      // by the capture
	end()
}

// Printer prints frames. It is not safe for concurrent use.
type Printer struct {
	w      io.Writer
	format format
	filter *pfsyncfilter.Filter
	counts Counts
	buf    bytes.Buffer // of one frame

	src      netip.Addr // of the packet at hand
	bad      bool       // it is malformed
	messages int        // that it has
	selected int        // of them, by the filter
	message  wire.Message
}

// New prints text to w, one Write for each frame, with the times of zone.
func New(w io.Writer, verbose int, zone *time.Location) *Printer {
	p := &Printer{w: w}
	p.format = &text{b: &p.buf, verbose: verbose, zone: zone}
	return p
}

// NewJSON prints JSON to w: one object on a line, in one Write, for each packet.
// pfsyncdump(8) describes them.
func NewJSON(w io.Writer) *Printer {
	p := &Printer{w: w}
	p.format = &object{b: &p.buf}
	return p
}

// Select prints only the messages that f selects, and of packets without messages
// those that it selects; nil is for all.
func (p *Printer) Select(f *pfsyncfilter.Filter) { p.filter = f }

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
	p.src, p.bad, p.messages, p.selected = d.src, false, 0, 0
	p.format.begin(at, d.src, d.dst)
	p.packet(d)
	if p.bad {
		p.counts.Malformed++
	}
	if p.filter != nil && p.selected == 0 && (p.messages > 0 || !p.filter.Match(p.src, nil)) {
		p.counts.LeftOut++
		return nil
	}
	p.format.end()
	if _, err := p.w.Write(p.buf.Bytes()); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

func (p *Printer) packet(d datagram) {
	if d.fragment {
		p.format.header(nil)
		p.malformed(errors.New("a fragment of an IP packet"))
		return
	}
	h, rest, err := wire.ParseHeader(d.payload)
	cut := d.cut && (errors.Is(err, wire.ErrShort) || errors.Is(err, wire.ErrLength))
	if cut {
		p.counts.Cut++
	}
	if errors.Is(err, wire.ErrShort) {
		p.format.header(nil)
		p.stop(err, cut)
		return
	}
	p.format.header(&h)
	switch {
	case errors.Is(err, wire.ErrVersion):
		p.counts.OtherVersion++
		p.format.otherVersion(&h)
		return
	case cut:
		rest = d.payload[wire.HeaderLen:]
	case err != nil:
		p.malformed(err)
		return
	}
	p.sections(&h, rest, cut)
	if !cut {
		p.behind(wire.Behind(d.payload), len(rest) == 0, d.cut)
	}
}

// sections prints all that follows the header.
func (p *Printer) sections(h *wire.Header, rest []byte, cut bool) {
	for len(rest) >= wire.SubheaderLen {
		s, next, err := h.NextSection(rest)
		if err != nil && cut && errors.Is(err, wire.ErrLength) {
			s.Body, err = rest[wire.SubheaderLen:], nil // what there is of it
		}
		if err != nil {
			p.malformed(err)
			return
		}
		p.section(s)
		if rest = next; s.End() {
			break
		}
	}
	switch {
	case cut:
		p.format.cut()
	case len(rest) > 0:
		p.malformed(fmt.Errorf("%d bytes behind the last section", len(rest)))
	}
}

// section prints its messages.
func (p *Printer) section(s wire.Section) {
	begun := false
	begin := func() {
		if !begun {
			p.format.section(s)
		}
		begun = true
	}
	if p.filter == nil {
		begin()
	}
	if s.End() {
		return
	}
	if s.Skipped() {
		if p.selects(&wire.Message{Action: s.Action}) {
			begin()
			p.format.skipped(s)
		}
		return
	}
	for i := range s.Count {
		m := s.Message(i)
		if m == nil {
			return // cut off here
		}
		x := &p.message
		err := s.Dialect.Parse(s.Action, m, x)
		if err != nil {
			p.bad = true
			x = idOnly(x) // the rest is that of an earlier message
		}
		if p.selects(x) {
			begin()
			p.format.message(x, err)
		}
	}
}

// selects tells whether a message is to be printed.
func (p *Printer) selects(x *wire.Message) bool {
	p.messages++
	if p.filter != nil && !p.filter.Match(p.src, x) {
		return false
	}
	p.selected++
	return true
}

// idOnly is a message with no more than the id of x.
func idOnly(x *wire.Message) *wire.Message {
	return &wire.Message{
		Action: x.Action, Dialect: x.Dialect, ID: x.ID, State: pfstate.State{ID: x.State.ID}, UpdC: wire.UpdC{ID: x.UpdC.ID},
	}
}

// behind prints what lies behind the packet: the trailer of a Linux sender. bare
// tells that the packet had no messages.
func (p *Printer) behind(b []byte, bare, cut bool) {
	t, err := wire.ParseTrailer(b)
	switch {
	case len(b) == 0:
		if bare {
			p.format.nothing()
		}
	case err == nil:
		p.trailer(t, bare)
	case cut && !errors.Is(err, wire.ErrVersion) && !errors.Is(err, wire.ErrValue):
		p.counts.Cut++
		p.format.cut()
	case errors.Is(err, wire.ErrNoTrailer), errors.Is(err, wire.ErrVersion): // somebody else's, a newer sender's
		p.format.foreign(len(b), err, bare)
	default:
		p.malformed(err)
	}
}

func (p *Printer) trailer(t wire.Trailer, bare bool) {
	p.format.trailer(&t, bare && !hasCompact(&t))
	var bad error // first reason
	for rest := t.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if bad == nil {
			bad = err
		}
		if err != nil {
			break
		}
		if err := p.format.attribute(typ, body); bad == nil {
			bad = err
		}
		if compactActions[typ] != 0 {
			if err := p.compact(typ, body); bad == nil {
				bad = err
			}
		}
		rest = next
	}
	if bad != nil {
		p.malformed(bad)
	}
}

// stop tells why nothing more is printed of a packet.
func (p *Printer) stop(err error, cut bool) {
	if cut {
		p.format.cut()
		return
	}
	p.malformed(err)
}

func (p *Printer) malformed(err error) {
	p.bad = true
	p.format.malformed(err)
}
