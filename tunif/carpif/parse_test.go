package carpif_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/tunif/carpif"
)

// packet4 is an IPv4 packet of that length by its header, with words of options.
func packet4(length byte, options []byte, payload []byte) []byte {
	return slices.Concat([]byte{0x45 + byte(len(options)/4), 0x10, 0, length, 0, 0, 0x40, 0, 254, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18}, options, payload)
}

func TestParseIPv4(t *testing.T) {
	for _, c := range []struct {
		name    string
		packet  []byte
		payload []byte // nil: refused
	}{
		{"plain", packet4(24, nil, []byte("carp")), []byte("carp")},
		{"options", packet4(28, make([]byte, 4), []byte("carp")), []byte("carp")},
		{"more behind it", packet4(24, nil, []byte("carp, padded")), []byte("carp")},
		{"no payload", packet4(20, nil, nil), []byte{}},
		{"longer by its header", packet4(25, nil, []byte("carp")), nil},
		{"shorter than its header", packet4(19, nil, []byte("carp")), nil},
		{"options cut off", packet4(24, make([]byte, 4), nil)[:23], nil},
		{"header cut off", packet4(24, nil, nil)[:19], nil},
		{"header of 16 bytes", append([]byte{0x44}, packet4(24, nil, []byte("carp"))[1:]...), nil},
		{"version 6", append([]byte{0x65}, packet4(24, nil, []byte("carp"))[1:]...), nil},
		{"nothing", nil, nil},
	} {
		got, ok := carpif.ParseIPv4(c.packet)
		if ok != (c.payload != nil) {
			t.Errorf("%s: %+v, %t", c.name, got, ok)
			continue
		}
		want := carp.Packet{
			Family: carp.Inet, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("224.0.0.18"), TTL: 254, Payload: c.payload,
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); ok && diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Whatever comes, the payload is a part of it.
func FuzzParse(f *testing.F) {
	f.Add(packet4(24, nil, []byte("carp")), []byte{})
	f.Add(packet4(28, make([]byte, 4), []byte("carp")), []byte{20, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 52, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b, oob []byte) {
		if p, ok := carpif.ParseIPv4(b); ok && (p.TTL < 0 || p.TTL > 255 || len(p.Payload) > len(b)-20 || !bytes.Contains(b, p.Payload)) {
			t.Errorf("%x: %+v", b, p)
		}
		if p, ok := carpif.ParseIPv6(b, oob); ok && (!bytes.Equal(p.Payload, b) || !p.Dst.Is6()) {
			t.Errorf("%x, %x: %+v", b, oob, p)
		}
	})
}
