package pfsyncprint_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

var at = time.Date(2026, 11, 21, 12, 1, 7, 104512e3, time.UTC)

// ip puts an IPv4 header in front of a payload.
func ip(payload []byte) []byte {
	h := []byte{0x45, 0x10, 0, 0, 0, 0, 0x40, 0, 255, 240, 0, 0, 10, 9, 0, 1, 224, 0, 0, 240}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	return append(h, payload...)
}

// packet is a pfsync packet with these sections.
func packet(sections ...byte) []byte {
	return append(wire.Header{Version: 6, Len: uint16(wire.HeaderLen + len(sections))}.Append(nil), sections...)
}

func printed(t *testing.T, verbose int, link layers.LinkType, cut bool, data []byte) (string, pfsyncprint.Counts) {
	t.Helper()
	var b bytes.Buffer
	p := pfsyncprint.New(&b, verbose, time.UTC)
	if err := p.Frame(at, link, data, cut); err != nil {
		t.Fatal(err)
	}
	return b.String(), p.Counts()
}

func TestPacketsThatAreNotAsTheyShouldBe(t *testing.T) {
	id := []byte{0, 0, 0, 0, 0, 0, 1, 1, 0xc0, 0xff, 0xee, 1}
	del := append([]byte{7, 3, 0, 1}, id...)
	s := pfstate.Default()
	s.ID, s.Timeout = pfstate.ID{State: 0x101, Creator: 0xc0ffee01}, 77
	badState := append([]byte{13, 66, 0, 1}, wire.AppendState(wire.OpenBSD6, nil, &s)...)
	fragment := ip(packet(del...))
	fragment[6] = 0x20
	malformed := pfsyncprint.Counts{Packets: 1, Malformed: 1}
	for _, c := range []struct {
		name    string
		data    []byte
		cut     bool
		want    string // %s is the time
		verbose string // with -v
		counts  pfsyncprint.Counts
	}{
		{
			name: "no messages", data: ip(packet()), counts: pfsyncprint.Counts{Packets: 1},
			want:    "10.9.0.1: PFSYNCv6 no messages\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 20\n",
		}, {
			name: "foreign bytes", data: ip(append(packet(del...), 1, 2, 3)), counts: pfsyncprint.Counts{Packets: 1},
			want: "10.9.0.1: PFSYNCv6 DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 36\n    act DEL ST COMP count 1\n" +
				"\tid: 0000000000000101 creatorid: c0ffee01\n    3 bytes behind the packet: no trailer\n",
		}, {
			name: "too short", data: ip(packet()[:19]), counts: malformed,
			want:    "10.9.0.1: PFSYNC malformed: header: too short: 19 of 20 bytes\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNC\n    malformed: header: too short: 19 of 20 bytes\n",
		}, {
			name: "NetBSD", data: ip(append([]byte{4}, packet(del...)[1:]...)),
			counts:  pfsyncprint.Counts{Packets: 1, OtherVersion: 1},
			want:    "10.9.0.1: PFSYNCv4 len 36\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv4 len 36\n",
		}, {
			name: "header too long", data: ip(packet(del...)[:30]), counts: malformed,
			want:    "10.9.0.1: PFSYNCv6 malformed: header: length does not fit: says 36 bytes, packet has 30\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 36\n    malformed: header: length does not fit: says 36 bytes, packet has 30\n",
		}, {
			name: "cut off in the second message", cut: true, data: ip(packet(append([]byte{7, 3, 0, 2}, append(id, id...)...)...))[:20+20+4+12+5],
			counts: pfsyncprint.Counts{Packets: 1, Cut: 1},
			want: "10.9.0.1: PFSYNCv6 DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n" +
				"%s10.9.0.1: PFSYNCv6 ... cut off by the capture\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 48\n    act DEL ST COMP count 2\n" +
				"\tid: 0000000000000101 creatorid: c0ffee01\n    ...\n",
		}, {
			name: "cut off in the header", cut: true, data: ip(packet(del...))[:30], counts: pfsyncprint.Counts{Packets: 1, Cut: 1},
			want:    "10.9.0.1: PFSYNC ... cut off by the capture\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNC\n    ...\n",
		}, {
			name: "section too long", data: ip(packet(append(del, 7, 3, 0, 9)...)), counts: malformed,
			want: "10.9.0.1: PFSYNCv6 DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n" +
				"%s10.9.0.1: PFSYNCv6 malformed: section DEL ST COMP: length does not fit: 9 messages of 12 bytes in 0 bytes\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 40\n    act DEL ST COMP count 1\n\tid: 0000000000000101 creatorid: c0ffee01\n" +
				"    malformed: section DEL ST COMP: length does not fit: 9 messages of 12 bytes in 0 bytes\n",
		}, {
			name: "unknown action", data: ip(packet(0x90, 1, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2)), counts: pfsyncprint.Counts{Packets: 1},
			want:    "10.9.0.1: PFSYNCv6 UNKNOWN id 144 skipped: 2 messages of 4 bytes\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 32\n    act UNKNOWN id 144 count 2\n\tskipped: 2 messages of 4 bytes\n",
		}, {
			name: "bytes behind the last section", data: ip(packet(append(del, 9, 9)...)), counts: malformed,
			want: "10.9.0.1: PFSYNCv6 DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n" +
				"%s10.9.0.1: PFSYNCv6 malformed: 2 bytes behind the last section\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 38\n    act DEL ST COMP count 1\n\tid: 0000000000000101 creatorid: c0ffee01\n" +
				"    malformed: 2 bytes behind the last section\n",
		}, {
			name: "value refused", data: ip(packet(append(badState, del...)...)), counts: malformed,
			want: "10.9.0.1: PFSYNCv6 INS ST id: 0000000000000101 creatorid: c0ffee01 malformed: timeout: invalid value 77\n" +
				"%s10.9.0.1: PFSYNCv6 DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNCv6 len 304\n    act INS ST count 1\n" +
				"\tid: 0000000000000101 creatorid: c0ffee01 malformed: timeout: invalid value 77\n" +
				"    act DEL ST COMP count 1\n\tid: 0000000000000101 creatorid: c0ffee01\n",
		}, {
			name: "fragment", data: fragment, counts: malformed,
			want:    "10.9.0.1: PFSYNC malformed: a fragment of an IP packet\n",
			verbose: "10.9.0.1 > 224.0.0.240: PFSYNC\n    malformed: a fragment of an IP packet\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for verbose, want := range []string{c.want, c.verbose} {
				want = "%s" + want
				got, counts := printed(t, verbose, layers.LinkTypeRaw, c.cut, c.data)
				if diff := cmp.Diff(strings.ReplaceAll(want, "%s", "12:01:07.104512 "), got); diff != "" {
					t.Errorf("verbosity %d (-want +got):\n%s", verbose, diff)
				}
				if counts != c.counts {
					t.Errorf("verbosity %d: counts %+v, want %+v", verbose, counts, c.counts)
				}
			}
		})
	}
}

func TestTrailersThatAreNotAsTheyShouldBe(t *testing.T) {
	const trailer = "trailer epoch 0123456789abcdef seq 42"
	good := []byte{0x70, 0x66, 0x4c, 0x78, 1, 0, 0, 24, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 0, 0, 0, 0, 0, 0, 42}
	with := func(change func(b []byte), attrs ...byte) []byte {
		b := append(bytes.Clone(good), attrs...)
		b[7] = byte(len(b))
		if change != nil {
			change(b)
		}
		return b
	}
	del := append([]byte{7, 3, 0, 1}, make([]byte, 12)...)
	deleted := []string{"DEL ST COMP id: 0000000000000000 creatorid: 00000000"}
	fine, malformed := pfsyncprint.Counts{Packets: 1}, pfsyncprint.Counts{Packets: 1, Malformed: 1}
	for _, c := range []struct {
		name     string
		sections []byte
		behind   []byte
		cut      bool
		want     []string // the lines of verbosity 0
		verbose  []string // those of 2 behind the sections
		counts   pfsyncprint.Counts
	}{
		{"foreign bytes", nil, []byte("trailer"), false, []string{"7 bytes behind the packet: no trailer"},
			[]string{"    7 bytes behind the packet: no trailer"}, fine},
		{"newer version", nil, with(func(b []byte) { b[4] = 2 }), false,
			[]string{"24 bytes behind the packet: trailer: version not supported: 2 instead of 1"},
			[]string{"    24 bytes behind the packet: trailer: version not supported: 2 instead of 1"}, fine},
		{"newer version behind messages", del, with(func(b []byte) { b[4] = 2 }), false, deleted,
			[]string{"    24 bytes behind the packet: trailer: version not supported: 2 instead of 1"}, fine},
		{"magic alone", nil, good[:4], false, []string{"malformed: trailer: too short: 4 of 24 bytes"},
			[]string{"    malformed: trailer: too short: 4 of 24 bytes"}, malformed},
		{"lying length", nil, with(func(b []byte) { b[7]++ }), false,
			[]string{"malformed: trailer: length does not fit: says 25 bytes of 24"},
			[]string{"    malformed: trailer: length does not fit: says 25 bytes of 24"}, malformed},
		{"sequence 0", del, with(func(b []byte) { b[23] = 0 }), false,
			append(deleted[:1:1], "malformed: trailer: invalid value: epoch 123456789abcdef, sequence 0"),
			[]string{"    malformed: trailer: invalid value: epoch 123456789abcdef, sequence 0"}, malformed},
		{"attribute too long", nil, with(nil, 200, 0, 0, 4, 4, 0, 0, 13, 1), false,
			[]string{trailer + " attributes: attribute 200", "malformed: oldest: length does not fit: says 13 bytes of 5"},
			[]string{"    " + trailer + " attributes: attribute 200", "\tattribute 200 skipped: 0 bytes",
				"    malformed: oldest: length does not fit: says 13 bytes of 5"}, malformed},
		{"attribute too short, behind messages", del, with(nil, 1, 0, 0, 4), false,
			append(deleted[:1:1], "malformed: hello: too short: 0 of 8 bytes"),
			[]string{"    " + trailer, "    malformed: hello: too short: 0 of 8 bytes"}, malformed},
		{"first of two values refused, one after it is not", nil,
			with(nil, 9, 0, 0, 8, 4, 0, 0, 0, 8, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 4, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 9), false,
			[]string{trailer + " attributes: list, ask list, oldest", "malformed: list: invalid value: bucket 1024 of 1024"},
			[]string{"    " + trailer + " attributes: list, ask list, oldest", "\toldest seq: 9",
				"    malformed: list: invalid value: bucket 1024 of 1024"}, malformed},
		{"bucket asked for that does not exist", nil, with(nil, 8, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0), false,
			[]string{trailer + " attributes: ask list", "malformed: ask list: invalid value: bucket 1024 of 1024"},
			[]string{"    " + trailer + " attributes: ask list", "    malformed: ask list: invalid value: bucket 1024 of 1024"}, malformed},
		{"ranges that say nothing", nil,
			with(nil, 5, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0,
				255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 2), false,
			[]string{trailer + " attributes: resend"},
			[]string{"    " + trailer + " attributes: resend",
				"\tresend epoch: 0000000000000001 packets: none, 18446744073709551615-"}, fine},
		{"malformed messages and trailer", []byte{7, 3, 0, 1}, good[:4], false,
			[]string{"malformed: section DEL ST COMP: length does not fit: 1 messages of 12 bytes in 0 bytes",
				"malformed: trailer: too short: 4 of 24 bytes"},
			[]string{"    malformed: section DEL ST COMP: length does not fit: 1 messages of 12 bytes in 0 bytes",
				"    malformed: trailer: too short: 4 of 24 bytes"}, malformed},
		{"cut off in the magic", nil, good[:3], true, []string{"... cut off by the capture"}, []string{"    ..."},
			pfsyncprint.Counts{Packets: 1, Cut: 1}},
		{"cut off in the attributes", del, with(func(b []byte) { b[7] = 36 }, 4, 0, 0, 12, 0), true,
			append(deleted[:1:1], "... cut off by the capture"), []string{"    ..."}, pfsyncprint.Counts{Packets: 1, Cut: 1}},
		{"cut off, of a newer version", nil, with(func(b []byte) { b[4] = 2 }), true,
			[]string{"24 bytes behind the packet: trailer: version not supported: 2 instead of 1"},
			[]string{"    24 bytes behind the packet: trailer: version not supported: 2 instead of 1"}, fine},
		{"all of it there in a frame that was cut", nil, good, true, []string{trailer}, []string{"    " + trailer}, fine},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := ip(append(packet(c.sections...), c.behind...))
			want := ""
			for _, line := range c.want {
				want += "12:01:07.104512 10.9.0.1: PFSYNCv6 " + line + "\n"
			}
			got, counts := printed(t, 0, layers.LinkTypeRaw, c.cut, data)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("verbosity 0 (-want +got):\n%s", diff)
			}
			if counts != c.counts {
				t.Errorf("counts %+v, want %+v", counts, c.counts)
			}
			got, counts = printed(t, 2, layers.LinkTypeRaw, c.cut, data)
			if want := strings.Join(c.verbose, "\n") + "\n"; !strings.HasSuffix(got, "\n"+want) {
				t.Errorf("verbosity 2:\n%s\nwant at its end\n%s", got, want)
			}
			if counts != c.counts {
				t.Errorf("verbosity 2: counts %+v, want %+v", counts, c.counts)
			}
		})
	}
}

func TestMessagesThatTheCapturesLack(t *testing.T) {
	var w wire.Writer
	w.Reset(1480)
	w.TDB(&wire.TDB{SPI: 0x1001, Replay: 16385, Bytes: 123456789012})
	w.Message(&wire.Message{Action: wire.ActOldTDB, TDB: wire.TDB{SPI: 1, Replay: 2, Bytes: 3}})
	w.Bus(wire.Bus{Creator: 1, EndTime: 3661 * time.Second, Status: 9})
	w.Clr(wire.Clr{Creator: 1, IfName: pfstate.NewIfName("\x1b[2Jsis0\nx")})
	want := `12:01:07.104512 10.9.0.1: PFSYNCv6 UPD TDB spi: 0x00001001 rpl: 16385 cur_bytes: 123456789012
12:01:07.104512 10.9.0.1: PFSYNCv6 UPD TDB OLD spi: 0x00000001 rpl: 2 cur_bytes: 3
12:01:07.104512 10.9.0.1: PFSYNCv6 BULK UPD STAT creatorid: 00000001 age: 01:01:01 status: UNKNOWN
12:01:07.104512 10.9.0.1: PFSYNCv6 CLR ST creatorid: 00000001 interface: \x1b[2Jsis0\nx
`
	got, _ := printed(t, 0, layers.LinkTypeRaw, false, ip(w.Finish()))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLinkTypes(t *testing.T) {
	payload := packet(append([]byte{7, 3, 0, 1}, make([]byte, 12)...)...)
	datagram := ip(payload)
	datagram6 := append([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), 240, 255, 0xfe, 0x80, 23: 1, 24: 0xff, 25: 0x12, 39: 0xf0}, payload...)
	vlan := append([]byte{1, 0, 0x5e, 0, 0, 0xf0, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 5, 8, 0}, datagram...)
	sll := append([]byte{0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0}, datagram...)
	sll2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 2, 6, 2, 0, 0, 0, 0, 1, 0, 0}, datagram...)
	const v4, v6, none = "10.9.0.1: PFSYNCv6", "fe80::1: PFSYNCv6", "PFSYNCv6"
	for _, c := range []struct {
		name string
		link layers.LinkType
		data []byte
		head string
	}{
		{"Ethernet with VLAN", 1, vlan, v4},
		{"raw", 101, datagram, v4},
		{"raw, IPv6", 101, datagram6, v6},
		{"raw, DLT 12", 12, datagram, v4},
		{"raw, DLT 14", 14, datagram, v4},
		{"IPv4", 228, datagram, v4},
		{"IPv6", 229, datagram6, v6},
		{"Linux cooked", 113, sll, v4},
		{"Linux cooked v2", 276 & 0xff, sll2, v4},
		{"BSD loopback", 0, append([]byte{2, 0, 0, 0}, datagram...), v4},
		{"PFSYNC with IP", 246, datagram, v4},
		{"PFSYNC without IP", 246, payload, none},
		{"PFSYNC of OpenBSD", 18, payload, none},
		{"PFSYNC of FreeBSD", 121, payload, none},
	} {
		got, counts := printed(t, 0, c.link, false, c.data)
		want := "12:01:07.104512 " + c.head + " DEL ST COMP id: 0000000000000000 creatorid: 00000000\n"
		if got != want || counts != (pfsyncprint.Counts{Packets: 1}) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, counts, want)
		}
	}
	for name, data := range map[string][]byte{
		"nothing": {}, "half an IP header": datagram[:10], "half an IPv6 header": datagram6[:20],
		"TCP": append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6}, make([]byte, 30)...),
	} {
		if got, counts := printed(t, 0, 101, false, data); got != "" || counts != (pfsyncprint.Counts{NotPFSync: 1}) {
			t.Errorf("%s: %q, %+v", name, got, counts)
		}
	}
	if got, counts := printed(t, 0, 20, false, sll2[:19]); got != "" || counts.NotPFSync != 1 {
		t.Errorf("short cooked v2: %q, %+v", got, counts)
	}
	err := pfsyncprint.New(nil, 0, time.UTC).Frame(at, 105, datagram, false)
	if want := "link type 105 is not one that carries pfsync: Ethernet, raw IP, Linux cooked or PFSYNC expected"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

type brokenPipe struct{}

var errPipe = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errPipe }

func TestOutputErrors(t *testing.T) {
	err := pfsyncprint.New(brokenPipe{}, 0, time.UTC).Frame(at, 101, ip(packet()), false)
	if !errors.Is(err, errPipe) {
		t.Errorf("error %v, want %v", err, errPipe)
	}
}

// Whatever a frame holds: no panic, no control characters, and each packet is seen.
func FuzzFrame(f *testing.F) {
	for i, frame := range corpus.AllFrames(f) {
		f.Add(uint8(frame.Link), i%2 == 0, frame.Data)
		f.Add(uint8(246), false, frame.Payload())
	}
	for _, b := range trailerPackets(f) {
		f.Add(uint8(246), false, b)
	}
	f.Fuzz(func(t *testing.T, link uint8, cut bool, data []byte) {
		if pfsyncprint.CheckLink(layers.LinkType(link)) != nil {
			return
		}
		var object bytes.Buffer
		p := pfsyncprint.NewJSON(&object)
		if err := p.Frame(at, layers.LinkType(link), data, cut); err != nil {
			t.Fatal(err)
		}
		if object.Len() > 0 && (!json.Valid(object.Bytes()) || bytes.IndexByte(object.Bytes(), '\n') != object.Len()-1) {
			t.Fatalf("not a line of JSON: %q", object.String())
		}
		for verbose := range 4 {
			got, counts := printed(t, verbose, layers.LinkType(link), cut, data)
			if counts != p.Counts() {
				t.Fatalf("counted %v, with JSON %v", counts, p.Counts())
			}
			if (got == "") != (counts.Packets == 0) {
				t.Fatalf("printed %q, counted %v", got, counts)
			}
			if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r > '~' }); i >= 0 {
				t.Fatalf("byte %#x in %q", got[i], got)
			}
		}
	})
}
