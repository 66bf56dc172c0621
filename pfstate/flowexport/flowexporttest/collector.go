// Package flowexporttest is a collector for tests. What exporters send is decoded by a
// library that shares no code with them.
package flowexporttest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
)

// Message is a datagram as the library reads it.
type Message struct {
	Version   uint16
	Domain    uint32 // version 9: source id
	Sequence  uint32
	Len       int // in bytes
	Templates int
	Records   []Record
}

// Record is a flow.
type Record struct {
	Src, Dst       netip.AddrPort
	Proto, Reason  uint8
	Packets, Bytes uint64
	Start, End     time.Time // to the millisecond
}

// String is src > dst proto reason packets/bytes.
func (r Record) String() string {
	return fmt.Sprintf("%v > %v %d reason %d %d/%d", r.Src, r.Dst, r.Proto, r.Reason, r.Packets, r.Bytes)
}

// Collector takes what exporters send. It is for one goroutine.
type Collector struct {
	conn      *net.UDPConn
	templates netflow.NetFlowTemplateSystem
}

// Listen opens a collector at an address, in the caller's network namespace.
func Listen(addr netip.AddrPort) (*Collector, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	return &Collector{conn, netflow.CreateTemplateSystem()}, nil
}

// Addr is where it listens.
func (c *Collector) Addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close ends it.
func (c *Collector) Close() error { return c.conn.Close() }

// Next waits for a message. Whatever is wrong with it is an error: also that the template
// of its records has not come before.
func (c *Collector) Next(patience time.Duration) (m Message, err error) {
	buf := make([]byte, 1<<16)
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return m, err
	}
	if m.Len, err = c.conn.Read(buf); err != nil {
		return m, err
	}
	var v9 netflow.NFv9Packet
	var v10 netflow.IPFIXPacket
	if err := netflow.DecodeMessageVersion(bytes.NewBuffer(buf[:m.Len]), c.templates, &v9, &v10); err != nil {
		return m, fmt.Errorf("%x: %w", buf[:m.Len], err)
	}
	sets, booted, at := v10.FlowSets, time.Time{}, int64(v10.ExportTime)
	m.Version, m.Domain, m.Sequence = v10.Version, v10.ObservationDomainId, v10.SequenceNumber
	if v9.Version == 9 {
		m.Version, m.Domain, m.Sequence = v9.Version, v9.SourceId, v9.SequenceNumber
		sets, at = v9.FlowSets, int64(v9.UnixSeconds)
		booted = time.Unix(at, 0).Add(-time.Duration(v9.SystemUptime) * time.Millisecond)
	} else if int(v10.Length) != m.Len {
		return m, fmt.Errorf("length %d of %d bytes", v10.Length, m.Len)
	}
	if off := time.Since(time.Unix(at, 0)); off.Abs() > time.Minute {
		return m, fmt.Errorf("exported %v ago", off)
	}
	for _, set := range sets {
		switch set := set.(type) {
		case netflow.TemplateFlowSet:
			m.Templates += len(set.Records)
		case netflow.DataFlowSet:
			for _, values := range set.Records {
				r, err := record(values, booted)
				if err != nil {
					return m, err
				}
				m.Records = append(m.Records, r)
			}
		default:
			return m, fmt.Errorf("a set that is a %T", set)
		}
	}
	if n := m.Templates + len(m.Records); m.Version == 9 && int(v9.Count) != n {
		return m, fmt.Errorf("count %d of %d records", v9.Count, n)
	}
	return m, nil
}

// record reads the fields by their numbers in IANA's registry.
func record(values netflow.DataRecord, booted time.Time) (r Record, err error) {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	for _, f := range values.Values {
		b, ok := f.Value.([]byte)
		if !ok || f.PenProvided {
			return r, fmt.Errorf("field %d is a %T", f.Type, f.Value)
		}
		n := uint64(0)
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		switch f.Type {
		case netflow.IPFIX_FIELD_sourceIPv4Address, netflow.IPFIX_FIELD_sourceIPv6Address:
			src, _ = netip.AddrFromSlice(b)
		case netflow.IPFIX_FIELD_destinationIPv4Address, netflow.IPFIX_FIELD_destinationIPv6Address:
			dst, _ = netip.AddrFromSlice(b)
		case netflow.IPFIX_FIELD_sourceTransportPort:
			srcPort = uint16(n)
		case netflow.IPFIX_FIELD_destinationTransportPort:
			dstPort = uint16(n)
		case netflow.IPFIX_FIELD_protocolIdentifier:
			r.Proto = uint8(n)
		case netflow.IPFIX_FIELD_flowEndReason:
			r.Reason = uint8(n)
		case netflow.IPFIX_FIELD_packetDeltaCount:
			r.Packets = n
		case netflow.IPFIX_FIELD_octetDeltaCount:
			r.Bytes = n
		case netflow.IPFIX_FIELD_flowStartMilliseconds:
			r.Start = time.UnixMilli(int64(n))
		case netflow.IPFIX_FIELD_flowEndMilliseconds:
			r.End = time.UnixMilli(int64(n))
		case netflow.NFV9_FIELD_FIRST_SWITCHED:
			r.Start = booted.Add(time.Duration(n) * time.Millisecond)
		case netflow.NFV9_FIELD_LAST_SWITCHED:
			r.End = booted.Add(time.Duration(n) * time.Millisecond)
		default:
			return r, fmt.Errorf("field %d is not expected", f.Type)
		}
	}
	r.Src, r.Dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	return r, nil
}
