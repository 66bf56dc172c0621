package wireshark_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
	"github.com/pfsync-linux/pfsync/test/corpus"
	"github.com/pfsync-linux/pfsync/test/wireshark"
)

// header is that of a packet with that many bytes behind it.
func header(version uint8, n int) []byte {
	return wire.Header{Version: version, Len: uint16(wire.HeaderLen + n)}.Append(nil)
}

// vectors are all vectors as packets, by name.
func vectors(t testing.TB) (names []string, packets [][]byte) {
	t.Helper()
	add := func(name string, b []byte) { names, packets = append(names, name), append(packets, b) }
	for _, dialect := range []string{"openbsd6", "freebsd1301", "freebsd1400", "freebsd1500"} {
		version := uint8(wire.Version)
		if dialect != "openbsd6" {
			version = wire.VersionFreeBSD
		}
		for _, v := range corpus.Vectors(t, dialect) {
			b := v.Bytes(t)
			if v.Kind == "message" {
				s := append([]byte{uint8(v.Action), uint8(len(b) / 4), 0, 1}, b...)
				b = append(header(version, len(s)), s...)
			}
			add(dialect+" "+v.Name, b)
		}
	}
	for _, v := range corpus.Vectors(t, "trailer1") {
		switch v.Kind {
		case "frame":
			add(v.Name, v.Bytes(t))
		case "trailer", "newer":
			add(v.Name, append(header(6, 0), v.Bytes(t)...))
		}
	}
	tdb := wire.TDB{Dst: wire.NewSockaddr(wire.OpenBSD6, netip.MustParseAddr("2001:db8::9")), Replay: 1 << 40, RDomain: 7}
	body := tdb.Append([]byte{uint8(wire.ActTDB), wire.TDBLen / 4, 0, 1})
	add("TDB of IPv6", append(header(6, len(body)), body...))
	body = []byte{0x90, 1, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8}
	add("unknown action", append(header(6, len(body)), body...))
	add("foreign bytes", append(header(6, 0), "not a trailer"...))
	return names, packets
}

// everything is each packet of the corpus, in a frame.
func everything(t testing.TB) (frames []wireshark.Frame, payloads [][]byte) {
	t.Helper()
	for _, f := range corpus.AllFrames(t) {
		frame := wireshark.Frame{Name: fmt.Sprintf("%s %d", f.File, f.N), Link: f.Link, Data: f.Data}
		if f.IP() == nil {
			frame = wireshark.Packet(frame.Name, f.Payload())
		} else if f.Link != layers.LinkTypeEthernet { // Wireshark does not know PFSYNC
			frame.Link, frame.Data = pfsyncprint.Portable(f.Link, f.Data)
		}
		frames, payloads = append(frames, frame), append(payloads, f.Payload())
	}
	names, packets := vectors(t)
	for i, b := range packets {
		frames, payloads = append(frames, wireshark.Packet(names[i], b)), append(payloads, b)
	}
	return frames, payloads
}

func TestDissectorAgreesWithOurDecoder(t *testing.T) {
	frames, payloads := everything(t)
	wireshark.Agree(t, frames, payloads)
}

// What one shows of the corpus and the other does not know of is an oversight.
func TestEveryFieldIsSeen(t *testing.T) {
	frames, payloads := everything(t)
	ours := map[string]bool{}
	for _, b := range payloads {
		f, err := wireshark.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		for name := range f {
			ours[name] = true
		}
	}
	all := wireshark.Names(t)
	shown := map[string]bool{}
	for _, f := range wireshark.Dissect(t, frames, all) {
		for name := range maps.Keys(f) {
			shown[name] = true
		}
	}
	for _, f := range freebsd(t) {
		for name := range f.got {
			shown[name] = true
		}
	}
	for _, name := range all {
		switch {
		case slices.Contains([]string{"addr_raw", "cut", "malformed", "bad_ttl"}, name): // of broken packets
		case !shown[name]:
			t.Errorf("pfsync.%s is never shown", name)
		}
		delete(ours, name)
	}
	for name := range ours {
		t.Errorf("pfsync.%s: the dissector has no such field", name)
	}
}

func TestInfoColumn(t *testing.T) {
	id := make([]byte, 12)
	two := slices.Concat([]byte{7, 3, 0, 2}, id, id, []byte{5, 3, 0, 1}, id)
	w := wire.BeginTrailer(append(header(6, len(two)), two...), 0, 1, 2)
	w.Hello(wire.Hello{})
	w.AskDigests(1)
	frames := []wireshark.Frame{
		wireshark.Packet("messages", append(header(6, len(two)), two...)), wireshark.Packet("trailer", w.End()),
		wireshark.Packet("nothing", header(6, 0)), wireshark.Packet("another version", header(7, 0)), wireshark.Packet("short", []byte{6}),
	}
	want := []string{
		"PFSYNCv6 DEL ST COMP×2, UPD ST REQ", "PFSYNCv6 DEL ST COMP×2, UPD ST REQ, hello, ask digests", "PFSYNCv6", "PFSYNCv7", "PFSYNC",
	}
	for i, f := range wireshark.Dissect(t, frames, nil) {
		if got := f["info"][0]; got != want[i] {
			t.Errorf("%s: %q, want %q", frames[i].Name, got, want[i])
		}
	}
}

func TestIPv6AndTTL(t *testing.T) {
	_, packets := vectors(t)
	b := packets[0]
	h := append([]byte{0x60, 0, 0, 0, uint8(len(b) >> 8), uint8(len(b)), 240, 255, 0xfe, 0x80, 23: 1, 0xff, 0x12, 39: 0xf0}, b...)
	ipv6 := wireshark.Frame{Name: "IPv6", Link: layers.LinkTypeRaw, Data: h}
	wireshark.Agree(t, []wireshark.Frame{ipv6}, [][]byte{b})
	ipv4, low6 := wireshark.Packet("TTL 254", b), ipv6
	ipv4.Data[8] = 254
	low6.Data = bytes.Clone(h)
	low6.Data[7] = 254
	for _, f := range wireshark.Dissect(t, []wireshark.Frame{ipv4, low6}, nil) {
		if f["bad_ttl"] == nil {
			t.Error("a TTL that is not 255 is not marked")
		}
	}
}

// What our decoder calls malformed the dissector marks so, and nothing else; it marks
// what the capture has cut off; and whatever the bytes are, there is no Lua error.
func TestBrokenPacketsAreMarked(t *testing.T) {
	_, payloads := everything(t)
	r := rand.New(rand.NewPCG(1, 2)) // the same each time
	var frames []wireshark.Frame
	for i := range 3000 {
		b := bytes.Clone(payloads[r.IntN(len(payloads))])
		frame := wireshark.Packet("", mutate(r, b))
		if i%5 == 0 {
			frame.Length = len(frame.Data)
			frame.Data = frame.Data[:20+r.IntN(len(frame.Data)-20)]
		}
		frame.Name = fmt.Sprintf("%d: %x of %d", i, frame.Data[20:], frame.Length)
		frames = append(frames, frame)
	}
	counts := map[string]int{}
	for i, f := range wireshark.Dissect(t, frames, []string{"version"}) {
		frame := frames[i]
		p := pfsyncprint.New(discard{}, 0, time.UTC)
		if err := p.Frame(time.Time{}, frame.Link, frame.Data, len(frame.Data) < frame.Length); err != nil {
			t.Fatal(err)
		}
		c := p.Counts()
		if c.OtherVersion > 0 {
			continue
		}
		bad, cut := f["malformed"] != nil, f["cut"] != nil
		switch {
		case frame.Length == 0 && (bad != (c.Malformed > 0) || cut):
			t.Errorf("%s: marked malformed: %v, cut off: %v; ours: %v", frame.Name, bad, cut, c)
		case frame.Length > 0 && !bad && !cut: // it knows how long the packet was, which ours does not
			t.Errorf("%s: not marked; ours: %v", frame.Name, c)
		}
		counts[fmt.Sprintf("malformed %v, cut %v", c.Malformed > 0, c.Cut > 0)]++
	}
	if len(counts) < 3 {
		t.Errorf("the packets are not broken enough: %v", counts)
	}
}

// pf refuses some values; the dissector knows the same limits.
func TestRefusedValues(t *testing.T) {
	state := pfstate.Default()
	state.ID, state.Proto = pfstate.ID{State: 1, Creator: 2}, pfstate.ProtoTCP
	tuple := pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2")}
	state.SetTuples(tuple, tuple.Reversed(), 0)
	whole := wire.AppendState(wire.OpenBSD6, nil, &state)
	small := (&wire.UpdC{ID: state.ID}).Append(wire.OpenBSD6, nil)
	var frames []wireshark.Frame
	var want []bool
	try := func(action wire.Action, message []byte, value uint8, at ...int) {
		m := bytes.Clone(message)
		for _, i := range at {
			m[i] = value
		}
		var x wire.Message
		want = append(want, wire.OpenBSD6.Parse(action, m, &x) != nil)
		s := append([]byte{uint8(action), uint8(len(m) / 4), 0, 1}, m...)
		frames = append(frames, wireshark.Packet(fmt.Sprintf("%v: %d at %v", action, value, at), append(header(6, len(s)), s...)))
	}
	values := []uint8{0, 1, 2, 3, 10, 12, 13, 19, 20, 24, 25, 28, 255}
	const src, dst, direction, timeout, family, wireFamily, stackFamily, creator = 128, 160, 252, 255, 250, 62, 102, 239
	for _, v := range values {
		for _, at := range []int{src, dst, direction, timeout, family, wireFamily, stackFamily, creator} {
			try(wire.ActIns, whole, v, at)
		}
		try(wire.ActUpd, whole, v, family, wireFamily, stackFamily)
		for _, at := range []int{32, 64, 80} { // states of src and dst, timeout
			try(wire.ActUpdC, small, v, at)
		}
	}
	without := bytes.Clone(whole)
	without[wireFamily], without[stackFamily] = 0, 0 // the message's family is meant
	for _, v := range values {
		try(wire.ActIns, without, v, family)
	}
	refused := 0
	for i, f := range wireshark.Dissect(t, frames, nil) {
		if got := f["malformed"] != nil; got != want[i] {
			t.Errorf("%s: marked malformed: %v, ours: %v", frames[i].Name, got, want[i])
		}
		if want[i] {
			refused++
		}
	}
	if refused == 0 || refused == len(frames) {
		t.Errorf("%d of %d refused", refused, len(frames))
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// mutate changes a packet a little: bytes, most often those that say what follows,
// and its length.
func mutate(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b))
		switch r.IntN(4) {
		case 0: // header and first subheader
			at = []int{2, 3, 20, 21, 22, 23}[r.IntN(6)]
		case 1: // what is behind
			at = max(0, len(b)-1-r.IntN(60))
		}
		if at >= len(b) {
			continue
		}
		switch r.IntN(3) {
		case 0:
			b[at] = uint8(r.Uint32())
		case 1:
			b[at]++
		default:
			b[at] = 0
		}
	}
	switch r.IntN(8) {
	case 0:
		return b[:1+r.IntN(len(b))]
	case 1:
		return append(b, make([]byte, r.IntN(40))...)
	}
	return b
}
