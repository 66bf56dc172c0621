package flowexport

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// maxMessage is what fits into a datagram on every path of IPv6, and most of IPv4.
const maxMessage = 1280 - 40 - 8

// flow is one direction of a connection.
type flow struct {
	src, dst       netip.AddrPort
	proto, reason  uint8
	packets, bytes uint64
	start, end     time.Time
}

// field is one element of a record.
type field struct {
	element, length uint16 // as IANA's registry of IPFIX has them
	append          func(b []byte, f *flow, booted time.Time) []byte
}

// Elements of IANA's registry. Version 9 has the same numbers, as far as it goes.
const (
	octetDeltaCount          = 1
	packetDeltaCount         = 2
	protocolIdentifier       = 4
	sourceTransportPort      = 7
	sourceIPv4Address        = 8
	destinationTransportPort = 11
	destinationIPv4Address   = 12
	lastSwitched             = 21
	firstSwitched            = 22
	sourceIPv6Address        = 27
	destinationIPv6Address   = 28
	flowEndReason            = 136
	flowStartMilliseconds    = 152
	flowEndMilliseconds      = 153
)

func appendSource(b []byte, f *flow, _ time.Time) []byte {
	return append(b, f.src.Addr().AsSlice()...)
}

func appendDestination(b []byte, f *flow, _ time.Time) []byte {
	return append(b, f.dst.Addr().AsSlice()...)
}

// common are the fields of every record.
var common = []field{
	{sourceTransportPort, 2, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint16(b, f.src.Port())
	}},
	{destinationTransportPort, 2, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint16(b, f.dst.Port())
	}},
	{protocolIdentifier, 1, func(b []byte, f *flow, _ time.Time) []byte { return append(b, f.proto) }},
	{flowEndReason, 1, func(b []byte, f *flow, _ time.Time) []byte { return append(b, f.reason) }},
	{packetDeltaCount, 8, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint64(b, f.packets)
	}},
	{octetDeltaCount, 8, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint64(b, f.bytes)
	}},
}

// absolute are the times of IPFIX.
var absolute = []field{
	{flowStartMilliseconds, 8, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint64(b, uint64(f.start.UnixMilli()))
	}},
	{flowEndMilliseconds, 8, func(b []byte, f *flow, _ time.Time) []byte {
		return binary.BigEndian.AppendUint64(b, uint64(f.end.UnixMilli()))
	}},
}

// sinceBoot are those of version 9.
var sinceBoot = []field{
	{firstSwitched, 4, func(b []byte, f *flow, booted time.Time) []byte {
		return binary.BigEndian.AppendUint32(b, uptime(booted, f.start))
	}},
	{lastSwitched, 4, func(b []byte, f *flow, booted time.Time) []byte {
		return binary.BigEndian.AppendUint32(b, uptime(booted, f.end))
	}},
}

// uptime is the milliseconds from boot to t; they come round after 50 days. What began
// before, at another firewall, began at boot.
func uptime(booted, t time.Time) uint32 { return uint32(max(0, t.Sub(booted).Milliseconds())) }

// template is the layout of records of one family.
type template struct {
	id     uint16
	fields []field
	length int // of a record
}

func newTemplate(id uint16, source, destination field, times []field) template {
	t := template{id: id, fields: append(append([]field{source, destination}, common...), times...)}
	for _, f := range t.fields {
		t.length += int(f.length)
	}
	return t
}

// protocol is what differs between the two.
type protocol struct {
	version     uint16
	header      int
	templateSet uint16
	templates   [2]template // of IPv4 and IPv6
}

func newProtocol(version uint16, header int, templateSet uint16, times []field) protocol {
	return protocol{version, header, templateSet, [2]template{
		newTemplate(256, field{sourceIPv4Address, 4, appendSource}, field{destinationIPv4Address, 4, appendDestination}, times),
		newTemplate(257, field{sourceIPv6Address, 16, appendSource}, field{destinationIPv6Address, 16, appendDestination}, times),
	}}
}

const ipfixVersion = 10

func ipfix() protocol    { return newProtocol(ipfixVersion, 16, 2, absolute) }
func netflow9() protocol { return newProtocol(9, 20, 0, sinceBoot) }

const setHeader = 4

// message is a datagram being built.
type message struct {
	protocol
	booted  time.Time
	domain  uint32 // of IPFIX, and version 9's source id
	b       []byte // empty: nothing is in it
	set     int    // where the set that takes records begins, 0: none does
	of      int    // whose records those are
	flows   int
	records int // flows and templates

	sent  uint32 // messages, for version 9
	flown uint32 // flows in messages before this one, for IPFIX
}

// begin makes room for the header.
func (m *message) begin() {
	m.b = append(m.b[:0], make([]byte, m.header)...)
	m.set, m.flows, m.records = 0, 0, 0
}

// addTemplates adds the set that says how records look. It comes first in a message.
func (m *message) addTemplates() {
	m.begin()
	m.open(m.templateSet)
	for _, t := range m.templates {
		m.records++
		m.b = binary.BigEndian.AppendUint16(m.b, t.id)
		m.b = binary.BigEndian.AppendUint16(m.b, uint16(len(t.fields)))
		for _, f := range t.fields {
			m.b = binary.BigEndian.AppendUint16(m.b, f.element)
			m.b = binary.BigEndian.AppendUint16(m.b, f.length)
		}
	}
	m.close()
}

// add adds a record, if there is room.
func (m *message) add(f *flow) bool {
	of := 0
	if f.src.Addr().Is6() {
		of = 1
	}
	if len(m.b) == 0 {
		m.begin()
	}
	t := &m.templates[of]
	needed := t.length + 3 // and what fills the set up
	if m.set == 0 || m.of != of {
		needed += setHeader + 3
	}
	if len(m.b)+needed > maxMessage {
		return false
	}
	if m.set == 0 || m.of != of {
		m.close()
		m.open(t.id)
		m.of = of
	}
	m.flows++
	m.records++
	for i := range t.fields {
		m.b = t.fields[i].append(m.b, f, m.booted)
	}
	return true
}

func (m *message) open(id uint16) {
	m.set = len(m.b)
	m.b = binary.BigEndian.AppendUint16(m.b, id)
	m.b = append(m.b, 0, 0)
}

// close ends the set that is open: at a multiple of four, as version 9 wants it.
func (m *message) close() {
	if m.set == 0 {
		return
	}
	for (len(m.b)-m.set)%4 != 0 {
		m.b = append(m.b, 0)
	}
	binary.BigEndian.PutUint16(m.b[m.set+2:], uint16(len(m.b)-m.set))
	m.set = 0
}

// finish completes the message, and has the next one begin empty. What it returns is valid
// until then.
func (m *message) finish(now time.Time) []byte {
	m.close()
	head := binary.BigEndian.AppendUint16(m.b[:0], m.version)
	if m.version == ipfixVersion {
		head = binary.BigEndian.AppendUint16(head, uint16(len(m.b)))
		head = binary.BigEndian.AppendUint32(head, uint32(now.Unix()))
		head = binary.BigEndian.AppendUint32(head, m.flown)
	} else {
		head = binary.BigEndian.AppendUint16(head, uint16(m.records))
		head = binary.BigEndian.AppendUint32(head, uptime(m.booted, now))
		head = binary.BigEndian.AppendUint32(head, uint32(now.Unix()))
		head = binary.BigEndian.AppendUint32(head, m.sent)
	}
	binary.BigEndian.AppendUint32(head, m.domain)
	m.flown += uint32(m.flows)
	m.sent++
	whole := m.b
	m.b = m.b[:0]
	return whole
}
