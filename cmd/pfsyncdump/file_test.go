package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/test/corpus"
)

// run runs the program in this process; out is what it prints, counts the last line of stderr.
func run(t *testing.T, stdin io.Reader, args ...string) (out, stderr string, err error) {
	t.Helper()
	t.Setenv("TZ", "UTC")
	var stdout, errors bytes.Buffer
	err = app(stdin, &stdout, &errors).RunContext(t.Context(), append([]string{"pfsyncdump"}, separate(args)...))
	return stdout.String(), errors.String(), err
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func lines(s string) int { return strings.Count(s, "\n") }

// pcapng makes a capture of two interfaces: Ethernet and another link type.
func pcapng(t *testing.T, second layers.LinkType) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	other := pcapgo.DefaultNgInterface
	other.LinkType = second
	n, err := w.AddInterface(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range corpus.Frames(t, "openbsd80-clear-all.pcap") {
		for i, data := range map[int][]byte{0: f.Data, n: f.IP()} {
			ci := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(data), Length: len(data), InterfaceIndex: i}
			if err := w.WritePacket(ci, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPcapngWithSeveralLinkTypes(t *testing.T) {
	out, stderr, err := run(t, nil, "-r", write(t, pcapng(t, layers.LinkTypeRaw)))
	if err != nil {
		t.Fatal(err)
	}
	if lines(out) != 2 || strings.Count(out, "CLR ST creatorid: a1a1a1a1\n") != 2 {
		t.Errorf("printed\n%s", out)
	}
	if !strings.HasPrefix(stderr, "pfsyncdump: 2 packets ") {
		t.Errorf("stderr %s", stderr)
	}
}

func TestLinkTypesThatCannotCarryPFSync(t *testing.T) {
	name := write(t, pcapng(t, 105))
	_, _, err := run(t, nil, "-r", name)
	want := "link type 105 is not one that carries pfsync: Ethernet, raw IP, Linux cooked or PFSYNC expected"
	if err == nil || !strings.HasPrefix(err.Error(), name+": packet ") || !strings.Contains(err.Error(), want+"; ") {
		t.Errorf("pcapng: %v, want %s", err, want)
	}
	b := corpus.Capture(t, "openbsd80-tcp.pcap")
	b[20] = 105
	name = write(t, b)
	if _, _, err = run(t, nil, "-r", name); err == nil || err.Error() != name+": "+want {
		t.Errorf("pcap: %v, want %s", err, want)
	}
}

func TestFileThatEndsWithinAPacket(t *testing.T) {
	whole := corpus.Capture(t, "openbsd80-clear-all.pcap")
	twice := append(bytes.Clone(whole), whole[24:]...)
	for _, n := range []int{1, 15, 16, 50} { // bytes of the second packet: within its header, before and within its data
		name := write(t, twice[:len(whole)+n])
		out, stderr, err := run(t, nil, "-r", name)
		if want := name + ": packet 2: the file ends within it; 1 packet (0 of another version, 0 malformed, 0 cut off by the capture), 0 not pfsync"; err == nil || err.Error() != want {
			t.Errorf("%d bytes: error %v, want %s", n, err, want)
		}
		if lines(out) != 1 || stderr != "" { // main prints the error
			t.Errorf("%d bytes: printed %s%s", n, out, stderr)
		}
	}
}

func TestCompressedAndShortFrames(t *testing.T) {
	b := corpus.Capture(t, "openbsd80-clear-all.pcap")
	b[24+12]++ // its original length: one byte more than captured
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out, stderr, err := run(t, nil, "-r", write(t, z.Bytes()))
	if err != nil || lines(out) != 1 || !strings.Contains(stderr, "0 cut off") {
		t.Errorf("all of pfsync is there: %v\n%s%s", err, out, stderr)
	}
	b = append(b[:24+8], append([]byte{70, 0, 0, 0}, b[24+12:24+16+70]...)...)
	out, stderr, err = run(t, nil, "-r", write(t, b))
	if err != nil || !strings.Contains(out, "cut off by the capture") || !strings.Contains(stderr, "1 cut off") {
		t.Errorf("pfsync is cut off: %v\n%s%s", err, out, stderr)
	}
}

func TestOtherTrafficIsCounted(t *testing.T) {
	b := corpus.Capture(t, "openbsd80-clear-all.pcap")
	b[24+16+14+9] = 17
	out, stderr, err := run(t, nil, "-r", write(t, b))
	want := "pfsyncdump: 0 packets (0 of another version, 0 malformed, 0 cut off by the capture), 1 not pfsync\n"
	if err != nil || out != "" || stderr != want {
		t.Errorf("%v\n%s%s", err, out, cmp.Diff(want, stderr))
	}
}

func TestInterruptEndsAReadFromAPipe(t *testing.T) {
	pr, pw := io.Pipe()
	defer pw.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	done := make(chan error)
	go func() { done <- app(pr, &stdout, &stderr).RunContext(ctx, []string{"pfsyncdump", "-r", "-"}) }()
	if _, err := pw.Write(corpus.Capture(t, "openbsd80-clear-all.pcap")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("error %v", err)
	}
	if !strings.HasPrefix(stderr.String(), "pfsyncdump: ") {
		t.Errorf("no counts: %q", stderr.String())
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestOptionsAsForTcpdump(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-nvc1", "-n -v -c 1"},
		{"-rFILE -vvv", "-r FILE -v -v -v"},
		{"-lnieth0 -s0 -tttt", "-l -n -i eth0 -s 0 -t -t -t -t"},
		{"-c 1 -r - -e", "-c 1 -r - -e"},
		{"-r -v", "-r -v"}, // getopt takes it for the file
		{"-n tcp -c1", "-n tcp -c1"},
		{"-- -c1", "-- -c1"},
		{"--help -c", "--help -c"},
	} {
		if got := strings.Join(separate(strings.Fields(c.args)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
}

func TestWhatComesThroughAPipeIsPrintedAtOnce(t *testing.T) {
	capture, captureEnd := io.Pipe()
	printed, stdout := io.Pipe()
	done := make(chan error)
	go func() {
		err := app(capture, stdout, io.Discard).RunContext(t.Context(), []string{"pfsyncdump", "-r", "-"})
		stdout.Close()
		done <- err
	}()
	if _, err := captureEnd.Write(corpus.Capture(t, "openbsd80-clear-all.pcap")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(printed).ReadString('\n') // the capture goes on
	if err != nil || !strings.Contains(line, "CLR ST") {
		t.Errorf("printed %q, %v", line, err)
	}
	captureEnd.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOutputThatFailsIsAnError(t *testing.T) {
	var stderr bytes.Buffer
	name := write(t, corpus.Capture(t, "openbsd80-clear-all.pcap"))
	err := app(nil, failingWriter{}, &stderr).RunContext(t.Context(), []string{"pfsyncdump", "-r", name})
	if err == nil || !strings.HasPrefix(err.Error(), "output: short write; ") {
		t.Errorf("error %v", err)
	}
}
