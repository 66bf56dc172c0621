package wireshark

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"
)

// Packet is a frame that holds one pfsync packet in IPv4.
func Packet(name string, payload []byte) Frame {
	h := []byte{0x45, 0x10, 0, 0, 0, 0, 0x40, 0, 255, 240, 0, 0, 10, 9, 0, 1, 224, 0, 0, 240}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	return Frame{Name: name, Link: layers.LinkTypeRaw, Data: append(h, payload...)}
}

// Agree fails the test unless the dissector shows each frame's payload, which is well
// formed, as our decoder does. It returns what the dissector shows.
func Agree(t testing.TB, frames []Frame, payloads [][]byte) []Fields {
	t.Helper()
	want, names := make([]Fields, len(frames)), map[string]bool{}
	for i, b := range payloads {
		var err error
		if want[i], err = Decode(b); err != nil {
			t.Fatalf("%s: our decoder: %v", frames[i].Name, err)
		}
		for name := range want[i] {
			names[name] = true
		}
	}
	var all []string
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	got := Dissect(t, frames, all)
	for i := range frames {
		if shown := got[i]; shown["malformed"] != nil || shown["cut"] != nil || shown["bad_ttl"] != nil {
			t.Errorf("%s: marked malformed %v, cut %v, bad ttl %v", frames[i].Name, shown["malformed"], shown["cut"], shown["bad_ttl"])
		}
		for name, values := range want[i] {
			if strings.Join(got[i][name], separator) != strings.Join(values, separator) {
				t.Errorf("%s: pfsync.%s: ours and the dissector's:\n%s", frames[i].Name, name, cmp.Diff(values, got[i][name]))
			}
		}
	}
	return got
}
