package pfsynclayer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// LayerTypeTrailer is the layer type of the trailer that Linux senders put behind
// their packets.
var LayerTypeTrailer = gopacket.RegisterLayerType(layerType+1,
	gopacket.LayerTypeMetadata{Name: "PFSyncTrailer", Decoder: gopacket.DecodeFunc(decodeTrailer)})

// Trailer is the layer behind PFSync. Its attributes are read with wire.NextAttr.
type Trailer struct {
	layers.BaseLayer // no payload
	wire.Trailer
}

// LayerType is LayerTypeTrailer.
func (t *Trailer) LayerType() gopacket.LayerType { return LayerTypeTrailer }

// CanDecode is LayerTypeTrailer.
func (t *Trailer) CanDecode() gopacket.LayerClass { return LayerTypeTrailer }

// NextLayerType: nothing follows.
func (t *Trailer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// DecodeFromBytes reads a trailer. What wire.ParseTrailer refuses is an error; one that
// the capture has cut off sets df truncated.
func (t *Trailer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) (err error) {
	t.BaseLayer = layers.BaseLayer{Contents: data}
	if t.Trailer, err = wire.ParseTrailer(data); err != nil {
		if errors.Is(err, wire.ErrShort) || errors.Is(err, wire.ErrLength) {
			df.SetTruncated()
		}
		return fmt.Errorf("pfsync: %w", err)
	}
	return nil
}

// SerializeTo writes the trailer in front of what is in b, which should be nothing.
// Its length is that of Attrs, with FixLengths or without.
func (t *Trailer) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	n := wire.TrailerLen + len(t.Attrs)
	if n > wire.MaxLen {
		return fmt.Errorf("pfsync: trailer of %d bytes, more than %d", n, wire.MaxLen)
	}
	front, err := b.PrependBytes(n)
	if err != nil {
		return fmt.Errorf("pfsync: %w", err)
	}
	wire.BeginTrailer(front[:0], t.Flags, t.Epoch, t.Seq) // has front's memory
	binary.BigEndian.PutUint16(front[6:], uint16(n))
	copy(front[wire.TrailerLen:], t.Attrs)
	return nil
}

// behind tells what lies behind a packet: a trailer, be it malformed, or bytes of
// another's or of another version.
func behind(b []byte) gopacket.LayerType {
	if len(b) == 0 {
		return gopacket.LayerTypeZero
	}
	if _, err := wire.ParseTrailer(b); errors.Is(err, wire.ErrNoTrailer) || errors.Is(err, wire.ErrVersion) {
		return gopacket.LayerTypePayload
	}
	return LayerTypeTrailer
}

func decodeTrailer(data []byte, b gopacket.PacketBuilder) error {
	t := &Trailer{}
	err := t.DecodeFromBytes(data, b)
	b.AddLayer(t)
	return err
}
