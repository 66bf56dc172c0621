// Package pfsynclayer lets github.com/google/gopacket read and write pfsync.
// Importing it registers the layer for IP protocol 240 and for captures with link
// type PFSYNC (LINKTYPE_PFSYNC 246, DLT_PFSYNC 18 and 121), and one for the trailer
// behind it.
//
// gopacket is for captures and tests; daemons read packets with package wire.
package pfsynclayer

import (
	"errors"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

const layerType = 1000 + pfstate.ProtoPFSync // and the next one: gopacket leaves 1000 to 1999 to others

// LayerTypePFSync is the layer type of pfsync.
var LayerTypePFSync = register()

// Link types of a capture on pfsync0.
const (
	LinkTypePFSync        layers.LinkType = 246 // in files
	LinkTypePFSyncOpenBSD layers.LinkType = 18
	LinkTypePFSyncFreeBSD layers.LinkType = 121
)

func register() gopacket.LayerType {
	decoder := gopacket.DecodeFunc(decode)
	t := gopacket.RegisterLayerType(layerType, gopacket.LayerTypeMetadata{Name: "PFSync", Decoder: decoder})
	layers.IPProtocolMetadata[pfstate.ProtoPFSync] = layers.EnumMetadata{DecodeWith: decoder, Name: "PFSync", LayerType: t}
	for _, link := range []layers.LinkType{LinkTypePFSync, LinkTypePFSyncOpenBSD, LinkTypePFSyncFreeBSD} {
		layers.LinkTypeMetadata[link] = layers.EnumMetadata{DecodeWith: gopacket.DecodeFunc(decodeLink), Name: "PFSync"}
	}
	return t
}

// PFSync is a pfsync packet. As a DecodingLayer it reuses its memory.
type PFSync struct {
	layers.BaseLayer // the payload is what lies behind the header's length
	Version          uint8
	Length           uint16 // of header and sections
	Checksum         [16]byte
	Sections         []wire.Section
}

// LayerType is LayerTypePFSync.
func (p *PFSync) LayerType() gopacket.LayerType { return LayerTypePFSync }

// CanDecode is LayerTypePFSync.
func (p *PFSync) CanDecode() gopacket.LayerClass { return LayerTypePFSync }

// NextLayerType is LayerTypeTrailer when there is a trailer behind the packet, malformed
// ones included, a payload when there is something else.
func (p *PFSync) NextLayerType() gopacket.LayerType { return behind(p.Payload) }

// DecodeFromBytes reads a packet. What wire.ParseHeader and wire.NextSection refuse is
// an error, with p as far as it could be read. A packet that the capture has cut off sets df truncated.
func (p *PFSync) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	*p = PFSync{BaseLayer: layers.BaseLayer{Contents: data}, Sections: p.Sections[:0]}
	h, rest, err := wire.ParseHeader(data)
	p.Version, p.Length, p.Checksum = h.Version, h.Len, h.Cksum
	if err != nil {
		if errors.Is(err, wire.ErrShort) || errors.Is(err, wire.ErrLength) {
			df.SetTruncated()
		}
		return fmt.Errorf("pfsync: %w", err)
	}
	p.Contents, p.Payload = data[:h.Len], data[h.Len:]
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			return fmt.Errorf("pfsync: %w", err)
		}
		p.Sections = append(p.Sections, s)
		if s.End() {
			if len(rest) > 0 {
				return fmt.Errorf("pfsync: %w: %d bytes behind EOF", wire.ErrLength, len(rest))
			}
			break
		}
	}
	return nil
}

// SerializeTo writes the packet in front of what is in b. With FixLengths the
// header's length and the sections' counts follow from the bodies, and are set in
// p; there is no checksum to compute.
func (p *PFSync) SerializeTo(b gopacket.SerializeBuffer, opts gopacket.SerializeOptions) error {
	n := wire.HeaderLen
	for i := range p.Sections {
		s := &p.Sections[i]
		if s.Size < 0 || p.Version == wire.Version && (s.Size%4 != 0 || s.Size/4 > 255) {
			return fmt.Errorf("pfsync: section %v: messages of %d bytes are not 0 to 255 words", s.Action, s.Size)
		}
		if opts.FixLengths && s.Size > 0 {
			s.Count = len(s.Body) / s.Size
		}
		if s.Count < 0 || s.Count > 65535 || len(s.Body) != s.Count*s.Size {
			return fmt.Errorf("pfsync: section %v: %d messages of %d bytes have %d bytes",
				s.Action, s.Count, s.Size, len(s.Body))
		}
		n += wire.SubheaderLen + len(s.Body)
	}
	if n > wire.MaxLen {
		return fmt.Errorf("pfsync: %d bytes are more than %d", n, wire.MaxLen)
	}
	if opts.FixLengths {
		p.Length = uint16(n)
	}
	front, err := b.PrependBytes(n)
	if err != nil {
		return fmt.Errorf("pfsync: %w", err)
	}
	to := wire.Header{Version: p.Version, Len: p.Length, Cksum: p.Checksum}.Append(front[:0])
	for _, s := range p.Sections {
		words := uint8(0)
		if p.Version == wire.Version {
			words = uint8(s.Size / 4)
		}
		to = append(to, s.Number(), words, uint8(s.Count>>8), uint8(s.Count))
		to = append(to, s.Body...)
	}
	return nil
}

func decode(data []byte, b gopacket.PacketBuilder) error {
	p := &PFSync{}
	err := p.DecodeFromBytes(data, b)
	if len(data) >= wire.HeaderLen {
		b.AddLayer(p)
	}
	next := p.NextLayerType()
	if err != nil || next == gopacket.LayerTypeZero {
		return err
	}
	return b.NextDecoder(next)
}

// decodeLink reads a capture made on pfsync0: OpenBSD 8 shows the IP packet there,
// older systems and FreeBSD begin at the pfsync header. Its first byte is the version.
func decodeLink(data []byte, b gopacket.PacketBuilder) error {
	if len(data) > 0 {
		switch data[0] >> 4 {
		case 4:
			return layers.LayerTypeIPv4.Decode(data, b)
		case 6:
			return layers.LayerTypeIPv6.Decode(data, b)
		}
	}
	return decode(data, b)
}
