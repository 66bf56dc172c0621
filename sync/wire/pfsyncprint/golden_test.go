package pfsyncprint_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCapturesPrintAsTheirGoldenFiles(t *testing.T) {
	levels := []string{"0", "v", "vv", "vvv"}
	for _, name := range corpus.Captures(t) {
		for verbose, level := range levels {
			if level == "vv" { // all of it is in vvv
				continue
			}
			t.Run(name+"/"+level, func(t *testing.T) {
				var got bytes.Buffer
				p := pfsyncprint.New(&got, verbose, time.UTC)
				frames := corpus.Frames(t, name)
				for _, f := range frames {
					if err := p.Frame(f.Time, f.Link, f.Data, false); err != nil {
						t.Fatal(err)
					}
				}
				if c := p.Counts(); c != (pfsyncprint.Counts{Packets: uint64(len(frames))}) {
					t.Errorf("%d frames counted as %v", len(frames), c)
				}
				golden(t, strings.TrimSuffix(name, "pcap")+level+".golden", got.String())
			})
		}
	}
}

// What is printed does not depend on the version of IP, but for the addresses.
func TestCapturesPrintAlikeInIPv6(t *testing.T) {
	addrs := strings.NewReplacer("10.9.0.1", "fe80::1", "10.9.0.3", "fe80::3", "224.0.0.240", "ff12::f0")
	for _, name := range corpus.Captures(t) {
		for verbose, level := range map[int]string{0: "0", 1: "v"} {
			var four, six bytes.Buffer
			p4, p6 := pfsyncprint.New(&four, verbose, time.UTC), pfsyncprint.New(&six, verbose, time.UTC)
			for _, f := range corpus.Frames(t, name) {
				datagram := f.IP()
				if datagram == nil {
					continue
				}
				src, dst := netip.AddrFrom4([4]byte(datagram[12:])).String(), netip.AddrFrom4([4]byte(datagram[16:])).String()
				if src == "0.0.0.0" { // of OpenBSD's pfsync0
					continue
				}
				ethernet := append([]byte{0x33, 0x33, 0, 0, 0, 0xf0, 2, 0, 0, 0, 0, 1, 0x86, 0xdd}, ip6(addrs.Replace(src), addrs.Replace(dst), f.Payload())...)
				if err := errors.Join(p4.Frame(f.Time, layers.LinkTypeRaw, datagram, false), p6.Frame(f.Time, layers.LinkTypeEthernet, ethernet, false)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(addrs.Replace(four.String()), six.String()); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, level, diff)
			}
		}
	}
}

// ip6 is a packet of IPv6.
func ip6(src, dst string, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), pfstate.ProtoPFSync, 255}
	for _, a := range []string{src, dst} {
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	return append(b, payload...)
}

// golden compares with a file beside the captures.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("../../../test/corpus", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// trailerPackets are the vectors of the trailer: those that are no packets of their own
// behind a bare header.
func trailerPackets(t testing.TB) [][]byte {
	t.Helper()
	var all [][]byte
	for _, v := range corpus.Vectors(t, "trailer1") {
		switch v.Kind {
		case "frame":
			all = append(all, v.Bytes(t))
		case "trailer", "newer":
			all = append(all, append(packet(), v.Bytes(t)...))
		}
	}
	return all
}

func TestTrailersPrintAsTheirGoldenFiles(t *testing.T) {
	for verbose, level := range []string{"0", "v", "vv", "vvv"} {
		t.Run(level, func(t *testing.T) {
			var got bytes.Buffer
			p := pfsyncprint.New(&got, verbose, time.UTC)
			packets := trailerPackets(t)
			for i, b := range packets { // the seconds tell which
				if err := p.Frame(time.Unix(int64(i), 0), layers.LinkTypeRaw, ip(b), false); err != nil {
					t.Fatal(err)
				}
			}
			if c := p.Counts(); c != (pfsyncprint.Counts{Packets: uint64(len(packets))}) {
				t.Errorf("%d packets counted as %v", len(packets), c)
			}
			golden(t, "trailer1."+level+".golden", got.String())
		})
	}
}

// vv is OpenBSD's level with the ids.
func TestVerbosity2HasIDs(t *testing.T) {
	var v, vv bytes.Buffer
	f := corpus.Frames(t, "openbsd80-nat.pcap")[0]
	for verbose, w := range map[int]*bytes.Buffer{1: &v, 2: &vv} {
		if err := pfsyncprint.New(w, verbose, time.UTC).Frame(f.Time, f.Link, f.Data, false); err != nil {
			t.Fatal(err)
		}
	}
	var without strings.Builder
	ids := 0
	for line := range strings.Lines(vv.String()) {
		if strings.HasPrefix(line, "   id: ") {
			ids++
			continue
		}
		without.WriteString(line)
	}
	if ids != 2 {
		t.Errorf("%d ids, want 2", ids)
	}
	if diff := cmp.Diff(v.String(), without.String()); diff != "" {
		t.Errorf("-v and -vv without ids (-v +vv):\n%s", diff)
	}
}

func ExamplePrinter() {
	p := pfsyncprint.New(os.Stdout, 0, time.UTC)
	frame := append([]byte{0x45, 0x10, 0, 56, 0, 0, 0x40, 0, 255, 240, 0, 0, 10, 9, 0, 3, 224, 0, 0, 240},
		append([]byte{6, 0, 0, 36, 19: 0}, append([]byte{5, 3, 0, 1}, make([]byte, 12)...)...)...)
	at := time.Date(2026, 11, 21, 12, 1, 30, 102e3, time.UTC)
	if err := p.Frame(at, 101, frame, false); err != nil {
		fmt.Println(err)
	}
	fmt.Println(p.Counts())
	// Output:
	// 12:01:30.000102 10.9.0.3: PFSYNCv6 UPD ST REQ id: 0000000000000000 creatorid: 00000000
	// 1 packet (0 of another version, 0 malformed, 0 cut off by the capture), 0 not pfsync
}
