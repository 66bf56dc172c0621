package peer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Box is a BSD with pf and pfsync. It takes what it hears as its kernel does, answers
// at once, and begins nothing by itself: New, Moved, Gone, Flush and Join are what
// happens on it. All may be called by any goroutine.
type Box struct {
	*System
	HostID uint32
	Send   func(packet []byte)
	Mute   bool // it takes all in and answers nothing

	mu         sync.Mutex
	states     map[ID]*State
	interfaces map[string]bool
	fibs       int32
	counts     map[string]int
	heard      []string
	waiting    map[ID]bool // for INS_ACK
	bulk       string
	asked      time.Time // when it asked for all
	request    time.Time // when it was asked for all
}

// NewBox is a box without states and with one interface, em0.
func NewBox(y *System, host uint32, send func([]byte)) *Box {
	return &Box{System: y, HostID: host, Send: send, states: map[ID]*State{}, interfaces: map[string]bool{"all": true, "em0": true},
		fibs: 1, counts: map[string]int{}, waiting: map[ID]bool{}}
}

// States are those it has, by id.
func (b *Box) States() map[ID]State {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[ID]State{}
	for id, s := range b.states {
		all[id] = *s
	}
	return all
}

// Heard takes the messages heard since the last call, as text.
func (b *Box) Heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	heard := b.heard
	b.heard = nil
	return heard
}

// Complaints are the error counters that are not 0, as netstat -s -p pfsync has them.
func (b *Box) Complaints() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(b.counts)) {
		if name != "ipackets" && name != "stale" {
			all = append(all, fmt.Sprintf("%d %s", b.counts[name], name))
		}
	}
	return fmt.Sprint(all)
}

// Count is one of the kernel's counters.
func (b *Box) Count(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[name]
}

// Bulk is how far its own request has come: "", sent, bulk, done.
func (b *Box) Bulk() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bulk
}

// Waits tells whether the first packet of id is held.
func (b *Box) Waits(id ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting[id]
}

// AddTables gives it routing tables, numbered from 0.
func (b *Box) AddTables(n int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fibs = n
}

// Forget begins to count anew.
func (b *Box) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts, b.heard = map[string]int{}, nil
}

// Restart empties the box, as a boot does.
func (b *Box) Restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states, b.counts, b.waiting, b.bulk, b.heard = map[ID]*State{}, map[string]int{}, map[ID]bool{}, "", nil
}

// New makes states by traffic and tells them.
func (b *Box) New(all ...State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range all {
		kept, _ := b.read(b.Whole(s)) // what the system can say of it
		kept.Flags &^= flagAck
		b.states[s.ID] = &kept
		if s.Flags&flagAck != 0 {
			b.waiting[s.ID] = true
		}
	}
	b.each(b.Ins, all)
}

// Moved is traffic that moves states on.
func (b *Box) Moved(all ...State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range all {
		kept := *b.states[s.ID]
		kept.Src, kept.Dst, kept.Timeout = s.Src, s.Dst, s.Timeout
		b.states[s.ID] = &kept
	}
	b.Send(b.Packet(b.Progress(all...)))
}

// Restore gives it a state without a word.
func (b *Box) Restore(s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states[s.ID] = &s
}

// Gone is the end of states.
func (b *Box) Gone(ids ...ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.states, id)
	}
	b.Send(b.Packet(b.Ids(DelC, ids...)))
}

// Flush is pfctl -F states, of one interface unless that is "".
func (b *Box) Flush(ifName string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.states, func(_ ID, s *State) bool { return ifName == "" || s.IfName == ifName })
	b.Send(b.Packet(b.Clear(ifName, b.HostID)))
}

// Join asks for all states, as at the start.
func (b *Box) Join() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bulk, b.asked = "sent", time.Now()
	b.Send(b.Packet(b.Ids(Req, ID{})))
}

// Say sends a packet with these sections.
func (b *Box) Say(sections ...Section) { b.Send(b.Packet(sections...)) }

// each sends as many packets as it takes.
func (b *Box) each(action byte, all []State) {
	for part := range slices.Chunk(all, (1500-64-4)/b.State) {
		b.Send(b.Packet(each(action, b.Whole, part)))
	}
}

func (b *Box) answer(sections ...Section) {
	if !b.Mute {
		b.Send(b.Packet(sections...))
	}
}

const (
	flagNoSync = 0x0008
	flagAck    = 0x0010
)

// Size is what the kernel knows of an action's messages; 0: unknown.
func (b *Box) Size(action byte) int {
	switch action {
	case Clr:
		return 20
	case UpdC:
		return 84
	case Ack, Req, DelC, Bus:
		return 12
	}
	switch {
	case action == Del && (b.words || b.System == FreeBSD13):
		return b.State
	case action == TDB && !b.words:
		return 48
	case action == TDB6 && b.words:
		return 52
	}
	if y := b.of(action); y != nil {
		return y.State
	}
	return 0
}

// of is the system in whose format states of an action are, its own or an older FreeBSD's; nil: it is none.
func (b *Box) of(action byte) *System {
	for _, y := range Systems() {
		if y.Version == b.Version && y.actions <= b.actions && (action == y.Ins || action == y.Upd) {
			return y
		}
	}
	return nil
}

// Hear takes a packet of the sync link, from the pfsync header on.
func (b *Box) Hear(ttl byte, p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts["ipackets"]++
	be := binary.BigEndian
	switch {
	case ttl != 255:
		b.counts["badttl"]++
		return
	case len(p) < 20:
		b.counts["hdrops"]++
		return
	case p[0] != b.Version:
		b.counts["badver"]++
		return
	case int(be.Uint16(p[2:])) > len(p):
		b.counts["badlen"]++
		return
	}
	p = p[20:be.Uint16(p[2:])]
	for len(p) >= 4 {
		action, size, n := p[0], b.Size(p[0]), int(be.Uint16(p[2:]))
		stride := size
		if b.words {
			stride = int(p[1]) * 4
		}
		p = p[4:]
		switch {
		case b.EOF && action == EOF:
			if len(p) > 0 {
				b.counts["badlen"]++
			}
			return
		case size == 0 && (!b.words || stride == 0 || n == 0):
			b.counts["badact"]++
			return
		case stride*n > len(p):
			b.counts["badlen"]++
			return
		case size > 0 && stride >= size:
			b.section(action, stride, p[:stride*n])
		}
		p = p[stride*n:]
	}
}

// section takes the messages of one action; the answers to them go out as a packet.
func (b *Box) section(action byte, stride int, body []byte) {
	var acks, requests []ID
	var updates, stale []State
	for m := range slices.Chunk(body, stride) {
		id := ID{binary.BigEndian.Uint64(m), binary.BigEndian.Uint32(m[8:])}
		switch action {
		case Ack:
			b.note("INS_ACK %x", id.State)
			delete(b.waiting, id)
		case DelC, Del:
			if action == Del {
				s, _ := b.read(m)
				id = s.ID
			}
			b.note("DEL_C %x", id.State)
			if b.states[id] == nil {
				b.counts["badstate"]++
			}
			delete(b.states, id)
		case Req:
			b.note("UPD_REQ %x", id.State)
			switch s := b.states[id]; {
			case id == ID{}:
				b.serve()
			case s == nil:
				b.counts["badstate"]++
			case s.Flags&flagNoSync == 0:
				updates = append(updates, *s)
			}
		case Clr:
			b.clear(text(m[:16]), binary.BigEndian.Uint32(m[16:]))
		case Bus:
			b.bus(binary.BigEndian.Uint32(m[4:]), m[8])
			return // only the first is looked at
		case UpdC:
			id.Creator = binary.BigEndian.Uint32(m[72:])
			b.note("UPD_C %x %d:%d", id.State, m[8+24], m[40+24])
			switch {
			case m[80] >= b.timeouts || m[8+24] > 12 || m[40+24] > 12:
				b.counts["badval"]++
			case b.states[id] == nil:
				requests = append(requests, id)
			case b.merge(id, readEnd(m[8:]), readEnd(m[40:]), m[80]):
				stale = append(stale, *b.states[id])
			}
		default: // a whole state, or what makes no difference
			y := b.of(action)
			if y == nil {
				continue
			}
			ack, old := b.whole(y, action == y.Ins, m)
			if ack != (ID{}) {
				acks = append(acks, ack)
			}
			if old {
				s, _ := y.read(m)
				stale = append(stale, *b.states[s.ID])
			}
		}
	}
	for _, s := range []Section{b.Ids(Ack, acks...), b.Progress(stale...), b.Ids(Req, requests...)} {
		if len(s.Messages) > 0 {
			b.answer(s)
		}
	}
	if len(updates) > 0 && !b.Mute {
		b.each(b.Upd, updates)
	}
}

func (b *Box) note(format string, args ...any) {
	b.heard = append(b.heard, fmt.Sprintf(format, args...))
}

// whole takes a whole state, and gives its id if that is to be acknowledged, and whether it was stale.
func (b *Box) whole(y *System, insert bool, m []byte) (ack ID, old bool) {
	s, bad := y.read(m)
	name := "UPD"
	if insert {
		name = "INS"
	}
	b.note("%s %x %d:%d", name, s.ID.State, s.Src.State, s.Dst.State)
	switch {
	case bad != "":
		b.counts["badval"]++
		b.note("refused: %s", bad)
		return ID{}, false
	case b.states[s.ID] != nil && insert:
		if !b.Rewrite { // there is such an id
			b.counts["badact"]++
		}
		return ID{}, false
	case b.states[s.ID] != nil:
		return ID{}, b.merge(s.ID, s.Src, s.Dst, s.Timeout)
	}
	why, silent := b.refuses(y, &s)
	if why != "" {
		b.note("not imported: %s", why)
		if !silent && insert && !b.Rewrite {
			b.counts["badact"]++
		} else if !silent && !insert {
			b.counts["badstate"]++
		}
		return ID{}, false
	}
	if s.Flags&flagAck != 0 {
		s.Flags &^= flagAck
		ack = s.ID
	}
	s.Packets, s.Bytes = [2]uint64{}, [2]uint64{}
	b.states[s.ID] = &s
	return ack, false
}

// refuses says why a state is not imported, and whether nothing is counted then.
func (b *Box) refuses(y *System, s *State) (why string, silent bool) {
	switch {
	case s.ID.Creator == 0:
		return "creatorid 0", b.Rewrite
	case !b.Rewrite && !b.interfaces[s.IfName]:
		return "no interface " + s.IfName, true
	case y == FreeBSD15 && s.IfName != "all" && !b.interfaces[s.OrigIf]:
		return "no interface " + s.OrigIf, true
	case y == FreeBSD13 && s.Hop.IsValid():
		return "a route without its rule", true // no ruleset is equal to a Linux box's
	case y.at.routeIf != 0 && s.Route != 0 && !b.interfaces[s.RouteIf]:
		return "no interface " + s.RouteIf, true
	case y.at.routeIf != 0 && s.RTable[0] != -1 && (s.RTable[0] < 0 || s.RTable[0] >= b.fibs):
		return fmt.Sprintf("no table %d", s.RTable[0]), false
	case b.sctp && s.Proto == 132 && !(s.Src.Scrub.Is && s.Dst.Scrub.Is):
		return "SCTP without tags", false
	}
	for _, other := range b.states {
		same := other.Proto == s.Proto && other.IfName == s.IfName && other.Direction == s.Direction && (other.Wire == s.Wire || other.Stack == s.Stack)
		if same && !(s.Proto == 6 && other.Src.State >= 9 && other.Dst.State >= 9) {
			return fmt.Sprintf("the connection is %x", other.ID.State), b.Rewrite
		}
	}
	return "", false
}

// merge takes what is said of a known state; stale: its own word is to go out.
func (b *Box) merge(id ID, src, dst End, timeout byte) (stale bool) {
	l := b.states[id]
	delete(b.waiting, id)
	behind := func(ours, theirs *End, dst bool) bool {
		if l.Proto != 6 {
			return ours.State > theirs.State
		}
		older := int32(ours.SeqLo-theirs.SeqLo) > 0
		switch {
		case ours.State > theirs.State:
			return dst || !(ours.State >= 11 && theirs.State < 11)
		case dst && !b.Rewrite:
			return ours.State >= 2 && older
		}
		return ours.State == theirs.State && older
	}
	oldSrc, oldDst := behind(&l.Src, &src, false), behind(&l.Dst, &dst, true)
	kept := *l
	if !oldSrc {
		kept.Src = src
	}
	if !oldDst || !b.Rewrite && !oldSrc { // an old bug of FreeBSD's
		kept.Dst = dst
	}
	if !(oldSrc && oldDst) {
		kept.Timeout = timeout
	}
	b.states[id] = &kept
	if oldSrc || oldDst {
		b.counts["stale"]++
	}
	return oldSrc || oldDst
}

func (b *Box) clear(ifName string, creator uint32) {
	b.note("CLR %s %08x", ifName, creator)
	if ifName != "" && !b.interfaces[ifName] {
		return
	}
	maps.DeleteFunc(b.states, func(id ID, s *State) bool { return id.Creator == creator && (ifName == "" || s.IfName == ifName) })
}

// serve tells all states: OpenBSD with the marks in the packets of the first and the
// last of them, FreeBSD in packets of their own.
func (b *Box) serve() {
	if b.Mute {
		return
	}
	b.request = time.Now()
	var all []State
	for _, s := range b.states {
		all = append(all, *s)
	}
	switch {
	case !b.Rewrite:
		b.answer(b.status(BulkStart))
		b.each(b.Upd, all)
		b.answer(b.status(BulkEnd))
	case len(all) == 0:
		b.answer(b.status(BulkEnd)) // without a start
	default:
		open := []Section{b.status(BulkStart)}
		for part := range slices.Chunk(all, 5) {
			if len(open) == 0 || len(open[len(open)-1].Messages) > 1 {
				b.answer(open...)
				open = nil
			}
			open = append(open, b.Updates(part...))
		}
		b.answer(append(open, b.status(BulkEnd))...)
	}
}

// status is a status of the bulk update that it serves.
func (b *Box) status(status byte) Section {
	seconds := uint32(0)
	if status == BulkEnd && !b.Rewrite {
		seconds = uint32(time.Since(b.request) / time.Second)
	}
	return b.BulkStatus(b.HostID, status, seconds)
}

func (b *Box) bus(seconds uint32, status byte) {
	b.note("BUS %d", status)
	switch {
	case status == BulkStart && b.bulk == "sent":
		b.bulk = "bulk"
	case status == BulkEnd && b.Rewrite && b.bulk == "bulk":
		b.bulk = "done"
	case status == BulkEnd && !b.Rewrite && (b.bulk == "sent" || b.bulk == "bulk") && !time.Now().Add(-time.Duration(seconds)*time.Second).Before(b.asked):
		b.bulk = "done"
	}
}
