// Package wireshark runs the dissector of share/wireshark in tshark, for tests, and
// tells what the same fields are by our own decoder.
package wireshark

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// dissector lies there, seen from the folder of any test package.
const dissector = "../../share/wireshark/pfsync.lua"

// Frame is a captured frame.
type Frame struct {
	Name   string // for error messages
	Link   layers.LinkType
	Data   []byte
	Length int // of the whole frame; 0: Data is all of it
}

// Fields are the values of fields, without "pfsync." in front of their names, in the
// order of the packet.
type Fields map[string][]string

// marks are fields without a value: expert items. Those that are there get the value
// "1", once.
var marks = []string{"malformed", "cut", "unknown", "bad_ttl"}

// separator is a byte that tshark writes between values, and that is in none.
const separator = "|"

// Dissect gives the fields of each frame, as tshark prints them, and the Info column
// as "info". A complaint of tshark or Lua fails the test.
func Dissect(t testing.TB, frames []Frame, names []string) []Fields {
	t.Helper()
	if err := lab.Require("tshark"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(dissector); err != nil { // lets go test know of what the result depends
		t.Fatal(err)
	}
	args := []string{
		"-X", "lua_script:" + dissector, "-r", write(t, frames), "-T", "fields",
		"-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=" + separator, "-e", "_ws.col.Info", "-e", "_ws.lua.error",
	}
	names = append(append([]string(nil), names...), marks...)
	for _, name := range names {
		args = append(args, "-e", "pfsync."+name)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // without the user's settings
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "Running as user ") && strings.TrimSpace(line) != "" {
			t.Errorf("tshark: %s", line)
		}
	}
	rows := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if len(rows) != len(frames) {
		t.Fatalf("tshark printed %d lines of %d frames", len(rows), len(frames))
	}
	all := make([]Fields, len(rows))
	for i, row := range rows {
		values := strings.Split(row, "\t")
		if len(values) != 2+len(names) {
			t.Fatalf("%s: %d values for %d fields: %q", frames[i].Name, len(values), 2+len(names), row)
		}
		if values[1] != "" || strings.Contains(row, "Lua Error") {
			t.Errorf("%s: Lua complains: %s", frames[i].Name, row)
		}
		all[i] = Fields{"info": {values[0]}}
		for k, name := range names {
			switch v := values[2+k]; {
			case v == "":
			case k >= len(names)-len(marks):
				all[i][name] = []string{"1"}
			default:
				all[i][name] = strings.Split(v, separator)
			}
		}
	}
	return all
}

// Names are all fields of the dissector, as tshark lists them.
func Names(t testing.TB) []string {
	t.Helper()
	if err := lab.Require("tshark"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-G", "fields", "-X", "lua_script:"+dissector)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark -G fields: %v", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if columns := strings.Split(line, "\t"); len(columns) > 2 && columns[0] == "F" {
			if name, ok := strings.CutPrefix(columns[2], "pfsync."); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// write writes frames as pcapng.
func write(t testing.TB, frames []Frame) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "frames.pcapng")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pcapgo.NewNgWriter(f, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[layers.LinkType]int{layers.LinkTypeRaw: 0}
	for i, frame := range frames {
		id, ok := ids[frame.Link]
		if !ok {
			if id, err = w.AddInterface(pcapgo.NgInterface{LinkType: frame.Link}); err != nil {
				t.Fatal(err)
			}
			ids[frame.Link] = id
		}
		info := gopacket.CaptureInfo{
			Timestamp: time.Unix(int64(i), 0), CaptureLength: len(frame.Data), Length: max(frame.Length, len(frame.Data)), InterfaceIndex: id,
		}
		if err := w.WritePacket(info, frame.Data); err != nil {
			t.Fatalf("%s: %v", frame.Name, err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return name
}

// add appends a value as tshark prints it: hexadecimal numbers with all their digits.
func (f Fields) add(name, format string, value ...any) {
	f[name] = append(f[name], fmt.Sprintf(format, value...))
}
