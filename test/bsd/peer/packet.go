package peer

import (
	"encoding/binary"
	"net/netip"
)

// Actions whose numbers all have.
const (
	Clr  = 0
	Ack  = 2
	UpdC = 4
	Req  = 5
	Del  = 6
	DelC = 7
	Bus  = 10
	TDB  = 11 // FreeBSD's, and the older one of OpenBSD
	EOF  = 12
	TDB6 = 15 // OpenBSD's
)

// Section is a subheader with its messages.
type Section struct {
	Action   byte
	Messages [][]byte
}

// Packet is a pfsync packet: these sections in this order, as its kernel ends it.
func (y *System) Packet(sections ...Section) []byte {
	b := y.Open(sections...)
	if y.EOF {
		b = append(b, EOF, 0, 0, 1)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	}
	return b
}

// Open is Packet without an EOF section.
func (y *System) Open(sections ...Section) []byte {
	b := make([]byte, 20)
	b[0] = y.Version
	for _, s := range sections {
		words := byte(0)
		if y.words && len(s.Messages) > 0 {
			words = byte(len(s.Messages[0]) / 4)
		}
		b = append(b, s.Action, words, byte(len(s.Messages)>>8), byte(len(s.Messages)))
		for _, m := range s.Messages {
			b = append(b, m...)
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func each[T any](action byte, write func(T) []byte, all []T) Section {
	s := Section{Action: action}
	for _, x := range all {
		s.Messages = append(s.Messages, write(x))
	}
	return s
}

// Inserts, Updates, Progress, Ids, Clear, BulkStatus and SA are sections of the messages of that kind.
func (y *System) Inserts(all ...State) Section { return each(y.Ins, y.Whole, all) }
func (y *System) Updates(all ...State) Section { return each(y.Upd, y.Whole, all) }

func (y *System) Progress(all ...State) Section {
	return each(UpdC, func(s State) []byte {
		b := make([]byte, 84)
		binary.BigEndian.PutUint64(b, s.ID.State)
		putEnd(b[8:], &s.Src)
		putEnd(b[40:], &s.Dst)
		binary.BigEndian.PutUint32(b[72:], s.ID.Creator)
		b[80] = s.Timeout
		return b
	}, all)
}

func (y *System) Ids(action byte, all ...ID) Section {
	return each(action, func(id ID) []byte {
		b := binary.BigEndian.AppendUint64(nil, id.State)
		return binary.BigEndian.AppendUint32(b, id.Creator)
	}, all)
}

func (y *System) Clear(ifName string, creator uint32) Section {
	b := make([]byte, 20)
	copy(b[:15], ifName)
	binary.BigEndian.PutUint32(b[16:], creator)
	return Section{Clr, [][]byte{b}}
}

// BulkStart and BulkEnd are the status of a bulk update.
const (
	BulkStart = 1
	BulkEnd   = 2
)

func (y *System) BulkStatus(creator uint32, status byte, seconds uint32) Section {
	b := binary.BigEndian.AppendUint32(nil, creator)
	b = binary.BigEndian.AppendUint32(b, seconds)
	return Section{Bus, [][]byte{append(b, status, 0, 0, 0)}}
}

func (y *System) SA(spi uint32, dst netip.Addr, replay uint32) Section {
	be := binary.BigEndian
	b := be.AppendUint32(nil, spi)
	sa := make([]byte, 28)
	sa[0], sa[1] = 16, 2
	copy(sa[4:], dst.AsSlice())
	b = append(b, sa...)
	if y.Version == 6 {
		b = be.AppendUint64(b, uint64(replay))
	} else {
		b = be.AppendUint32(b, replay)
	}
	b = be.AppendUint64(b, 4711)
	b = append(b, 50, 0, 0, 0)
	if y.Version == 6 {
		return Section{TDB6, [][]byte{b}}
	}
	return Section{TDB, [][]byte{b}}
}
