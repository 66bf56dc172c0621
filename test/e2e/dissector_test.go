package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
	"github.com/pfsync-linux/pfsync/test/wireshark"
)

// What two of our daemons say while one joins the other, and under traffic, is captured
// by pfsyncdump -w; the dissector shows it as our own decoder does.
func TestDissectorAgreesOnTheLabsTraffic(t *testing.T) {
	l := newLab(t)
	tr := startTraffic(t, l)
	startA(t, l)
	add(t, tr, 5, traffic.Kinds()...)

	file := filepath.Join(t.TempDir(), "sync.pcapng")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	dump := exec.CommandContext(ctx, l.A.Program("pfsyncdump"), "-i", lab.Sync, "-w", file, "-c", "60")
	var stderr bytes.Buffer
	dump.Stderr = &stderr
	if err := l.A.Start(dump); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the head of the capture", func() error { // it is written before the first packet
		if b, err := os.ReadFile(file); err != nil || len(b) == 0 {
			return fmt.Errorf("%d bytes, %v", len(b), err)
		}
		return nil
	})
	joinB(t, l)
	waitSynced(t, l.B)
	add(t, tr, 5, traffic.Kinds()...)
	tr.Close()
	if err := dump.Wait(); err != nil { // the digests alone make a packet a second
		t.Fatalf("pfsyncdump: %v: %s", err, stderr.String())
	}

	var frames []wireshark.Frame
	var payloads [][]byte
	for i, data := range captured(t, file) {
		frames = append(frames, wireshark.Frame{Name: fmt.Sprintf("packet %d", i+1), Link: layers.LinkTypeRaw, Data: data})
		payloads = append(payloads, data[int(data[0]&0x0f)*4:])
	}
	shown := map[string]bool{}
	for _, f := range wireshark.Agree(t, frames, payloads) {
		for name := range f {
			shown[name] = true
		}
	}
	// States in pf's form are in test/wireshark: two of ours tell them in compact messages.
	for _, name := range []string{"bus.status", "id", "trailer.seq", "heard.seq", "digest.sum", "compact.fields", "linux.tcp_flags"} {
		if !shown[name] {
			t.Errorf("pfsync.%s is in none of %d packets", name, len(frames))
		}
	}
}

// captured are the IP packets in a file of pfsyncdump.
func captured(t *testing.T, name string) [][]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeRaw {
		t.Errorf("link type %v, want raw IP", r.LinkType())
	}
	var all [][]byte
	for {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
}
