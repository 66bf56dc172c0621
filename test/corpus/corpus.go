// Package corpus holds packets for tests: captures of real kernels and vectors
// made from the layouts. README.md tells where they come from. Adding a capture is
// adding a file.
package corpus

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

//go:embed *.pcap vectors/*.json carp
var files embed.FS

// Captures lists the capture files by name.
func Captures(t testing.TB) []string { return glob(t, "*.pcap") }

// CARP lists the captures of CARP adverts by name; AllFrames has none of them.
func CARP(t testing.TB) []string { return glob(t, "carp/*.pcap") }

// CARPVectors is a JSON document of adverts with what their digest was made of.
func CARPVectors(t testing.TB) []byte { return Capture(t, "carp/vectors.json") }

// Capture is the content of one capture file.
func Capture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Frame is one frame of a capture.
type Frame struct {
	File string
	N    int // from 1, as in CONTENTS.txt
	Time time.Time
	Link layers.LinkType // 1 Ethernet; 246 pfsync: an IP packet of OpenBSD, FreeBSD's begins behind the IP header
	Data []byte
}

// IP is the IPv4 packet in f, cut to the length it states; nil if there is none: ARP in
// captures of CARP, what FreeBSD shows on pfsync0.
func (f Frame) IP() []byte {
	b := f.Data
	if f.Link == layers.LinkTypeEthernet {
		b = b[14:]
	}
	if b[0]>>4 != 4 {
		return nil
	}
	return b[:int(b[2])<<8|int(b[3])]
}

// Payload is what follows the IP header, or all that there is without one: in captures
// of pfsync, a pfsync packet.
func (f Frame) Payload() []byte {
	ip := f.IP()
	if ip == nil {
		return f.Data
	}
	return ip[int(ip[0]&0x0f)*4:]
}

// Frames reads one capture file.
func Frames(t testing.TB, name string) []Frame {
	t.Helper()
	r, err := pcapgo.NewReader(bytes.NewReader(Capture(t, name)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var frames []Frame
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatalf("%s: frame %d: %v", name, len(frames)+1, err)
		}
		frames = append(frames, Frame{
			File: name, N: len(frames) + 1, Time: info.Timestamp, Link: r.LinkType(), Data: data,
		})
	}
}

// AllFrames reads every capture file.
func AllFrames(t testing.TB) []Frame {
	t.Helper()
	var all []Frame
	for _, name := range Captures(t) {
		all = append(all, Frames(t, name)...)
	}
	if len(all) == 0 {
		t.Fatal("no frames in the corpus")
	}
	return all
}

// Vector is a message or a packet with the fields that it was made from.
type Vector struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`          // message, frame (a packet without IP header); README.md has those of trailers
	Action int             `json:"action_number"` // -1: several
	Fields json.RawMessage `json:"fields"`
	Size   int             `json:"size"`
	Hex    string          `json:"hex"`
}

// Bytes is the vector in wire format.
func (v Vector) Bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil || len(b) != v.Size {
		t.Fatalf("%s: %d bytes, size %d: %v", v.Name, len(b), v.Size, err)
	}
	return b
}

// Vectors reads all vectors of a dialect (openbsd6, freebsd1301, freebsd1400, freebsd1500) or of the trailer (trailer1).
func Vectors(t testing.TB, dialect string) []Vector {
	t.Helper()
	var all []Vector
	for _, name := range glob(t, path.Join("vectors", dialect+"_*.json")) {
		b, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var vs []Vector
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, vs...)
	}
	if len(all) == 0 {
		t.Fatalf("no vectors of %s in the corpus", dialect)
	}
	return all
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	entries, err := files.ReadDir(path.Dir(pattern))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name := path.Join(path.Dir(pattern), e.Name())
		if ok, err := path.Match(pattern, name); err != nil {
			t.Fatal(err)
		} else if ok {
			names = append(names, name)
		}
	}
	return names
}
