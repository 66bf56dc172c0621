package pfsyncprint_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncfilter"
	"github.com/pfsync-linux/pfsync/sync/wire/pfsyncprint"
)

func TestFilterSelectsMessages(t *testing.T) {
	del := func(id byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 1, id, 0xc0, 0xff, 0xee, 1} }
	two := packet(slices.Concat([]byte{7, 3, 0, 2}, del(1), del(2), []byte{5, 3, 0, 1}, del(3))...)
	broken := packet(slices.Concat([]byte{7, 3, 0, 1}, del(1), []byte{7, 3, 0, 9})...)
	trailer := wire.BeginTrailer(slices.Clone(two), 0, 1, 2)
	withTrailer := trailer.End()
	const line, act = "12:01:07.104512 10.9.0.1: PFSYNCv6 ", "12:01:07.104512 10.9.0.1 > 224.0.0.240: PFSYNCv6 len "
	const second = "id: 0000000000000102 creatorid: c0ffee01\n"
	for _, c := range []struct {
		name, filter string
		data         []byte
		want         string
		verbose      string
	}{
		{"one of three", "id 102", two, line + "DEL ST COMP " + second, act + "64\n    act DEL ST COMP count 2\n\t" + second},
		{"with its trailer", "id 102", withTrailer, line + "DEL ST COMP " + second,
			act + "64\n    act DEL ST COMP count 2\n\t" + second + "    trailer epoch 0000000000000001 seq 2\n"},
		{"none", "id 109", two, "", ""},
		{"none of a broken packet", "id 102", broken, "", ""},
		{"a broken packet", "id 101", broken,
			line + "DEL ST COMP id: 0000000000000101 creatorid: c0ffee01\n" +
				line + "malformed: section DEL ST COMP: length does not fit: 9 messages of 12 bytes in 0 bytes\n",
			act + "40\n    act DEL ST COMP count 1\n\tid: 0000000000000101 creatorid: c0ffee01\n" +
				"    malformed: section DEL ST COMP: length does not fit: 9 messages of 12 bytes in 0 bytes\n"},
		{"no messages, by its sender", "peer 10.9.0.1", packet(), line + "no messages\n", act + "20\n"},
		{"no messages", "act del_c", packet(), "", ""},
		{"of another version", "peer 10.9.0.1", append([]byte{4}, packet()[1:]...),
			"12:01:07.104512 10.9.0.1: PFSYNCv4 len 20\n", "12:01:07.104512 10.9.0.1 > 224.0.0.240: PFSYNCv4 len 20\n"},
		{"skipped messages", "act 144", packet(0x90, 1, 0, 1, 1, 1, 1, 1), line + "UNKNOWN id 144 skipped: 1 messages of 4 bytes\n",
			act + "28\n    act UNKNOWN id 144 count 1\n\tskipped: 1 messages of 4 bytes\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for verbose, want := range []string{c.want, c.verbose} {
				f, err := pfsyncfilter.Parse(c.filter)
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				p := pfsyncprint.New(&b, verbose, at.Location())
				p.Select(f)
				if err := p.Frame(at, layers.LinkTypeRaw, ip(c.data), false); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, b.String()); diff != "" {
					t.Errorf("verbosity %d (-want +got):\n%s", verbose, diff)
				}
				if n := p.Counts().Printed(); p.Counts().Packets != 1 || (n == 1) != (want != "") {
					t.Errorf("counts %v", p.Counts())
				}
			}
		})
	}
}
