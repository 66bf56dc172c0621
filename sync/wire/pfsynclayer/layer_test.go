package pfsynclayer_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsynclayer"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

func TestPacketsOfTheCorpus(t *testing.T) {
	for _, f := range corpus.AllFrames(t) {
		packet := gopacket.NewPacket(f.Data, f.Link, gopacket.Default)
		if e := packet.ErrorLayer(); e != nil {
			t.Fatalf("%s frame %d: %v", f.File, f.N, e.Error())
		}
		p, ok := packet.Layer(pfsynclayer.LayerTypePFSync).(*pfsynclayer.PFSync)
		if !ok {
			t.Fatalf("%s frame %d: layers %v", f.File, f.N, packet.Layers())
		}
		if packet.Layer(layers.LayerTypeIPv4) == nil && f.IP() != nil {
			t.Errorf("%s frame %d: no IP layer", f.File, f.N)
		}
		if !bytes.Equal(p.LayerContents(), f.Payload()) || len(p.Sections) == 0 {
			t.Errorf("%s frame %d: contents differ, %d sections", f.File, f.N, len(p.Sections))
		}
		want := bytes.Clone(p.LayerContents())
		p.Length = 0
		p.Sections[0].Count = 0
		b := gopacket.NewSerializeBuffer()
		if err := p.SerializeTo(b, gopacket.SerializeOptions{FixLengths: true}); err != nil {
			t.Fatalf("%s frame %d: %v", f.File, f.N, err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s frame %d:\n%x, want\n%x", f.File, f.N, b.Bytes(), want)
		}
	}
}

func TestDecodingLayerParserAllocatesNothing(t *testing.T) {
	var eth layers.Ethernet
	var ip layers.IPv4
	var p pfsynclayer.PFSync
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip, &p)
	var decoded []gopacket.LayerType
	parse := func(f corpus.Frame) {
		if err := parser.DecodeLayers(f.Data, &decoded); err != nil {
			t.Fatalf("%s frame %d: %v", f.File, f.N, err)
		}
	}
	frames := corpus.Frames(t, "openbsd80-tcp.pcap")
	messages := 0
	for _, f := range frames {
		parse(f)
		if len(decoded) != 3 || decoded[2] != pfsynclayer.LayerTypePFSync {
			t.Fatalf("%s frame %d: layers %v", f.File, f.N, decoded)
		}
		for _, s := range p.Sections {
			messages += s.Count
		}
	}
	if messages != 21 { // 2+2+2+4+2+2+4+2+1, by the list of the capture session
		t.Errorf("%d messages", messages)
	}
	if n := testing.AllocsPerRun(20, func() { parse(frames[0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBytesBehindThePacketAreItsPayload(t *testing.T) {
	b := gopacket.NewSerializeBuffer()
	p := &pfsynclayer.PFSync{Version: wire.Version, Sections: []wire.Section{{
		Action: wire.ActDelC, Size: wire.IDLen, Body: wire.AppendID(nil, pfstate.ID{State: 1, Creator: 2}),
	}}}
	ip := &layers.IPv4{Version: 4, TTL: 255, Protocol: pfstate.ProtoPFSync, SrcIP: []byte{10, 9, 0, 1}, DstIP: []byte{224, 0, 0, 240}}
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ip, p, gopacket.Payload("trailer"))
	if err != nil {
		t.Fatal(err)
	}
	packet := gopacket.NewPacket(b.Bytes(), layers.LayerTypeIPv4, gopacket.Default)
	if e := packet.ErrorLayer(); e != nil {
		t.Fatal(e.Error())
	}
	got, ok := packet.Layer(pfsynclayer.LayerTypePFSync).(*pfsynclayer.PFSync)
	if !ok || got.Length != 36 || len(got.Sections) != 1 || got.Sections[0].Count != 1 {
		t.Errorf("pfsync layer %+v", got)
	}
	if a := packet.ApplicationLayer(); a == nil || string(a.Payload()) != "trailer" {
		t.Errorf("payload %v", a)
	}
}

// bare is a header without sections, and what is behind it.
func bare(behind ...byte) []byte { return append([]byte{6, 0, 0, 20, 19: 0}, behind...) }

func TestTrailersOfTheVectors(t *testing.T) {
	for _, v := range corpus.Vectors(t, "trailer1") {
		var b []byte
		switch v.Kind {
		case "frame":
			b = v.Bytes(t)
		case "trailer", "newer":
			b = bare(v.Bytes(t)...)
		default:
			continue
		}
		packet := gopacket.NewPacket(b, pfsynclayer.LayerTypePFSync, gopacket.Default)
		if e := packet.ErrorLayer(); e != nil {
			t.Fatalf("%s: %v", v.Name, e.Error())
		}
		p, ok := packet.Layer(pfsynclayer.LayerTypePFSync).(*pfsynclayer.PFSync)
		if !ok || len(packet.Layers()) != 2 {
			t.Fatalf("%s: layers %v", v.Name, packet.Layers())
		}
		got, ok := packet.Layer(pfsynclayer.LayerTypeTrailer).(*pfsynclayer.Trailer)
		if !ok {
			t.Fatalf("%s: layers %v", v.Name, packet.Layers())
		}
		want, err := wire.ParseTrailer(wire.Behind(b))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Trailer); diff != "" {
			t.Errorf("%s: trailer (-want +got):\n%s", v.Name, diff)
		}
		if !bytes.Equal(got.LayerContents(), wire.Behind(b)) || len(got.LayerPayload()) != 0 {
			t.Errorf("%s: contents %x, payload %x", v.Name, got.LayerContents(), got.LayerPayload())
		}
		out := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true}, p, got); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if !bytes.Equal(out.Bytes(), b) {
			t.Errorf("%s:\n%x, want\n%x", v.Name, out.Bytes(), b)
		}
	}
}

func TestWhatIsBehindThePacket(t *testing.T) {
	trailer := wire.BeginTrailer(nil, 0, 1, 1)
	good := trailer.End()
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for _, c := range []struct {
		name      string
		b         []byte
		layer     gopacket.LayerType
		err       error
		truncated bool
	}{
		{"nothing", nil, pfsynclayer.LayerTypePFSync, nil, false},
		{"trailer", good, pfsynclayer.LayerTypeTrailer, nil, false},
		{"foreign bytes", []byte("trailer"), gopacket.LayerTypePayload, nil, false},
		{"another version", change(4, 2), gopacket.LayerTypePayload, nil, false},
		{"magic alone", good[:4], pfsynclayer.LayerTypeTrailer, wire.ErrShort, true},
		{"cut off", good[:23], pfsynclayer.LayerTypeTrailer, wire.ErrLength, true},
		{"epoch 0", change(15, 0), pfsynclayer.LayerTypeTrailer, wire.ErrValue, false},
	} {
		packet := gopacket.NewPacket(bare(c.b...), pfsynclayer.LayerTypePFSync, gopacket.Default)
		all := packet.Layers()
		e := packet.ErrorLayer()
		if c.err != nil {
			if e == nil || !errors.Is(e.Error(), c.err) {
				t.Errorf("%s: %v, want %v", c.name, e, c.err)
			}
			all = all[:len(all)-1]
		} else if e != nil {
			t.Errorf("%s: %v", c.name, e.Error())
		}
		if got := all[len(all)-1].LayerType(); got != c.layer || packet.Metadata().Truncated != c.truncated {
			t.Errorf("%s: last layer %v, truncated %v", c.name, got, packet.Metadata().Truncated)
		}
	}
}

func TestDecodingLayerParserReadsTrailersWithoutAllocating(t *testing.T) {
	var p pfsynclayer.PFSync
	var trailer pfsynclayer.Trailer
	parser := gopacket.NewDecodingLayerParser(pfsynclayer.LayerTypePFSync, &p, &trailer)
	var decoded []gopacket.LayerType
	w := wire.BeginTrailer(bare(), wire.FlagAnswer, 7, 8)
	w.Oldest(9)
	b := w.End()
	n := testing.AllocsPerRun(20, func() {
		if err := parser.DecodeLayers(b, &decoded); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || len(decoded) != 2 || trailer.Epoch != 7 || trailer.Seq != 8 || trailer.Flags != wire.FlagAnswer || len(trailer.Attrs) != 12 {
		t.Errorf("%v allocations, layers %v, trailer %+v", n, decoded, trailer.Trailer)
	}
}

func TestSerializeRefusesTrailersThatAreTooLong(t *testing.T) {
	for size, want := range map[int]string{65535 - 24: "", 65536 - 24: "pfsync: trailer of 65536 bytes, more than 65535"} {
		trailer := &pfsynclayer.Trailer{Trailer: wire.Trailer{Epoch: 1, Seq: 1, Attrs: make([]byte, size)}}
		err := trailer.SerializeTo(gopacket.NewSerializeBuffer(), gopacket.SerializeOptions{})
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%d bytes of attributes: %v, want %q", size, err, want)
		}
	}
}

func TestLinkTypePFSync(t *testing.T) {
	payload := corpus.Frames(t, "openbsd80-tcp.pcap")[0].Payload()
	for _, link := range []layers.LinkType{18, 121, 246} {
		packet := gopacket.NewPacket(payload, link, gopacket.Default) // no IP header: as of FreeBSD
		if packet.ErrorLayer() != nil || packet.Layer(pfsynclayer.LayerTypePFSync) == nil {
			t.Errorf("link type %d: %v", link, packet)
		}
	}
	packet := gopacket.NewPacket(nil, pfsynclayer.LinkTypePFSync, gopacket.Default)
	if e := packet.ErrorLayer(); e == nil || !errors.Is(e.Error(), wire.ErrShort) {
		t.Errorf("empty frame: %v", packet)
	}
}

func TestRefusedPackets(t *testing.T) {
	good := corpus.Frames(t, "openbsd80-tcp.pcap")[0].Payload()
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for _, c := range []struct {
		name      string
		b         []byte
		err       error
		truncated bool
		layer     bool
	}{
		{"short", good[:19], wire.ErrShort, true, false},
		{"version", change(0, 4), wire.ErrVersion, false, true},
		{"cut off", good[:len(good)-1], wire.ErrLength, true, true},
		{"section too long", change(23, 3), wire.ErrLength, false, true},
		{"bytes behind FreeBSD's end", []byte{5, 0, 0, 25, 19: 0, 20: 12, 23: 1, 24: 9}, wire.ErrLength, false, true},
		{"unknown without length", append([]byte{6, 0, 0, 24, 19: 0}, 0x90, 0, 0, 1), wire.ErrAction, false, true},
	} {
		packet := gopacket.NewPacket(c.b, pfsynclayer.LayerTypePFSync, gopacket.Default)
		e := packet.ErrorLayer()
		if e == nil || !errors.Is(e.Error(), c.err) {
			t.Errorf("%s: %v, want %v", c.name, e, c.err)
		}
		if got := packet.Metadata().Truncated; got != c.truncated {
			t.Errorf("%s: truncated %v", c.name, got)
		}
		if got := packet.Layer(pfsynclayer.LayerTypePFSync) != nil; got != c.layer {
			t.Errorf("%s: layer shown %v", c.name, got)
		}
	}
}

func TestSerializeRefuses(t *testing.T) {
	for want, c := range map[string]struct {
		sections []wire.Section
		fix      bool
	}{
		"pfsync: section DEL ST COMP: messages of 13 bytes are not 0 to 255 words": {
			sections: []wire.Section{{Action: wire.ActDelC, Size: 13, Count: 1, Body: make([]byte, 13)}}},
		"pfsync: section DEL ST COMP: messages of 1024 bytes are not 0 to 255 words": {
			sections: []wire.Section{{Action: wire.ActDelC, Size: 1024, Count: 1, Body: make([]byte, 1024)}}},
		"pfsync: section DEL ST COMP: 2 messages of 12 bytes have 12 bytes": {
			sections: []wire.Section{{Action: wire.ActDelC, Size: 12, Count: 2, Body: make([]byte, 12)}}},
		"pfsync: section DEL ST COMP: 1 messages of 12 bytes have 13 bytes": {
			fix: true, sections: []wire.Section{{Action: wire.ActDelC, Size: 12, Body: make([]byte, 13)}}},
		"pfsync: 66024 bytes are more than 65535": {
			fix: true, sections: []wire.Section{{Action: wire.ActDelC, Size: 12, Body: make([]byte, 66000)}}},
	} {
		p := &pfsynclayer.PFSync{Version: wire.Version, Sections: c.sections}
		err := p.SerializeTo(gopacket.NewSerializeBuffer(), gopacket.SerializeOptions{FixLengths: c.fix})
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Read what a packet says with gopacket.
func Example() {
	b := gopacket.NewSerializeBuffer()
	body := wire.AppendID(nil, pfstate.ID{State: 0x101, Creator: 0xc0ffee01})
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.IPv4{Version: 4, TTL: 255, Protocol: pfstate.ProtoPFSync, SrcIP: []byte{10, 9, 0, 1}, DstIP: []byte{224, 0, 0, 240}},
		&pfsynclayer.PFSync{Version: wire.Version, Sections: []wire.Section{{Action: wire.ActDelC, Size: wire.IDLen, Body: body}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	packet := gopacket.NewPacket(b.Bytes(), layers.LinkTypeRaw, gopacket.Default)
	if p, ok := packet.Layer(pfsynclayer.LayerTypePFSync).(*pfsynclayer.PFSync); ok {
		for _, s := range p.Sections {
			for i := range s.Count {
				id, _ := wire.ParseID(s.Message(i))
				fmt.Println(packet.NetworkLayer().NetworkFlow(), s.Action, id)
			}
		}
	}
	// Output:
	// 10.9.0.1->224.0.0.240 DEL ST COMP 0000000000000101/c0ffee01
}
