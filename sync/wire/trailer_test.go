package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

const (
	epochA = "0123456789abcdef"
	seqA   = "000000000000002a"
)

func TestParseTrailer(t *testing.T) {
	const noSuch = "0000000000000000"
	for _, c := range []struct {
		name, b string
		err     error
		text    string
		want    wire.Trailer // without Attrs
		attrs   string
	}{
		{name: "without attributes", b: "70664c7801000018" + epochA + seqA, want: wire.Trailer{Epoch: 0x0123456789abcdef, Seq: 42}},
		{name: "flags and attributes", b: "70664c780181001c" + epochA + seqA + "c8000004",
			want: wire.Trailer{Flags: wire.FlagAnswer | 0x80, Epoch: 0x0123456789abcdef, Seq: 42}, attrs: "c8000004"},
		{name: "attributes are not looked at", b: "70664c7801000019" + epochA + seqA + "ff",
			want: wire.Trailer{Epoch: 0x0123456789abcdef, Seq: 42}, attrs: "ff"},
		{name: "nothing", err: wire.ErrNoTrailer, text: "no trailer"},
		{name: "three bytes of the magic", b: "70664c", err: wire.ErrNoTrailer, text: "no trailer"},
		{name: "first byte of the magic", b: "71664c7801000018" + epochA + seqA, err: wire.ErrNoTrailer, text: "no trailer"},
		{name: "last byte of the magic", b: "70664c7901000018" + epochA + seqA, err: wire.ErrNoTrailer, text: "no trailer"},
		{name: "magic alone", b: "70664c78", err: wire.ErrShort, text: "trailer: too short: 4 of 24 bytes"},
		{name: "no length", b: "70664c78010000", err: wire.ErrShort, text: "trailer: too short: 7 of 24 bytes"},
		{name: "version 0", b: "70664c7800000018" + epochA + seqA, err: wire.ErrVersion,
			text: "trailer: version not supported: 0 instead of 1"},
		{name: "version before length", b: "70664c7802000000", err: wire.ErrVersion,
			text: "trailer: version not supported: 2 instead of 1"},
		{name: "no epoch", b: "70664c7801000008", err: wire.ErrLength, text: "trailer: length does not fit: says 8 bytes of 8"},
		{name: "half a sequence", b: "70664c7801000017" + epochA + seqA[:14], err: wire.ErrLength,
			text: "trailer: length does not fit: says 23 bytes of 23"},
		{name: "length less than the trailer has", b: "70664c7801000018" + epochA + seqA + "c8000004", err: wire.ErrLength,
			text: "trailer: length does not fit: says 24 bytes of 28"},
		{name: "length more than the trailer has", b: "70664c7801000019" + epochA + seqA, err: wire.ErrLength,
			text: "trailer: length does not fit: says 25 bytes of 24"},
		{name: "epoch 0", b: "70664c7801000018" + noSuch + seqA, err: wire.ErrValue,
			text: "trailer: invalid value: epoch 0, sequence 42", want: wire.Trailer{Seq: 42}},
		{name: "sequence 0", b: "70664c7801000018" + epochA + noSuch, err: wire.ErrValue,
			text: "trailer: invalid value: epoch 123456789abcdef, sequence 0", want: wire.Trailer{Epoch: 0x0123456789abcdef}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := wire.ParseTrailer(unhex(t, c.b))
			if !errors.Is(err, c.err) || (err != nil && err.Error() != c.text) {
				t.Fatalf("error %v, want %v %q", err, c.err, c.text)
			}
			if attrs := hex.EncodeToString(got.Attrs); attrs != c.attrs {
				t.Errorf("attributes %s, want %s", attrs, c.attrs)
			}
			got.Attrs = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextAttr(t *testing.T) {
	for _, c := range []struct {
		name, b    string
		err        error
		text       string
		typ        wire.AttrType
		body, rest string
	}{
		{name: "another behind it", b: "0400000c" + seqA + "c800", typ: wire.AttrOldest, body: seqA, rest: "c800"},
		{name: "reserved byte is not looked at", b: "04ff000c" + seqA, typ: wire.AttrOldest, body: seqA},
		{name: "unknown, without body", b: "c8000004" + "01", typ: 200, rest: "01"},
		{name: "unknown, odd", b: "c8000007" + "aabbcc" + "01", typ: 200, body: "aabbcc", rest: "01"},
		{name: "type 0 is unknown", b: "00000004", typ: 0},
		{name: "longer than known", b: "0100000e" + "a1a1a1a100000000" + "ffff", typ: wire.AttrHello, body: "a1a1a1a100000000ffff"},
		{name: "nothing", err: wire.ErrShort, text: "attribute: too short: 0 of 4 bytes"},
		{name: "half a head", b: "040000", err: wire.ErrShort, text: "attribute: too short: 3 of 4 bytes"},
		{name: "length less than the head", b: "04000003", err: wire.ErrLength, typ: wire.AttrOldest,
			text: "oldest: length does not fit: says 3 bytes of 4"},
		{name: "length 0", b: "c8000000" + seqA, err: wire.ErrLength, typ: 200,
			text: "attribute 200: length does not fit: says 0 bytes of 12"},
		{name: "length more than there is", b: "0400000c" + seqA[:14], err: wire.ErrLength, typ: wire.AttrOldest,
			text: "oldest: length does not fit: says 12 bytes of 11"},
		{name: "largest length", b: "0400ffff" + seqA, err: wire.ErrLength, typ: wire.AttrOldest,
			text: "oldest: length does not fit: says 65535 bytes of 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			typ, body, rest, err := wire.NextAttr(unhex(t, c.b))
			if !errors.Is(err, c.err) || (err != nil && err.Error() != c.text) {
				t.Fatalf("error %v, want %v %q", err, c.err, c.text)
			}
			if typ != c.typ || hex.EncodeToString(body) != c.body || hex.EncodeToString(rest) != c.rest {
				t.Errorf("%v, body %x, rest %x; want %v, %s, %s", typ, body, rest, c.typ, c.body, c.rest)
			}
			if cap(body) != len(body) {
				t.Error("what is appended to the body overwrites the next attribute")
			}
		})
	}
}

// Each attribute at the edge of what it may be long.
func TestNextAttrRefusesBodiesThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		typ   wire.AttrType
		size  int // least
		entry int // 0: longer ones are read by their prefix
	}{
		{wire.AttrHello, 8, 0}, {wire.AttrHeard, 0, 16}, {wire.AttrDigest, 16, 0}, {wire.AttrOldest, 8, 0},
		{wire.AttrResend, 8, 12}, {wire.AttrAskDigests, 8, 0}, {wire.AttrDigests, 4, 8}, {wire.AttrAskList, 8, 2},
		{wire.AttrList, 4, 20}, {wire.AttrAsk, 8, 12}, {wire.AttrHave, 4, 8}, {wire.AttrSame, 136, 0}, {wire.AttrAuth, 20, 0},
	} {
		if !c.typ.Known() {
			t.Errorf("%v is not known", c.typ)
		}
		for n := range c.size + 3*max(c.entry, 1) + 1 {
			b := append([]byte{uint8(c.typ), 0, 0, uint8(wire.AttrLen + n)}, make([]byte, n)...)
			var want error
			text := ""
			switch {
			case n < c.size:
				want, text = wire.ErrShort, fmt.Sprintf("%v: too short: %d of %d bytes", c.typ, n, c.size)
			case c.entry != 0 && (n-c.size)%c.entry != 0:
				want, text = wire.ErrLength, fmt.Sprintf("%v: length does not fit: %d bytes are no list of %d each", c.typ, n-c.size, c.entry)
			}
			typ, body, rest, err := wire.NextAttr(append(b, 0xff))
			if !errors.Is(err, want) || (err != nil && err.Error() != text) {
				t.Errorf("%v with %d bytes: %v, want %q", c.typ, n, err, text)
			}
			if typ != c.typ || (err != nil && (body != nil || rest != nil)) || (err == nil && (len(body) != n || len(rest) != 1)) {
				t.Errorf("%v with %d bytes: %v, body %x, rest %x", c.typ, n, typ, body, rest)
			}
		}
	}
	if wire.AttrType(0).Known() || wire.AttrType(14).Known() || wire.AttrType(255).Known() {
		t.Error("attributes are known that are none")
	}
}

func TestAttributeValuesRefused(t *testing.T) {
	digests := func(b []byte) error { _, _, err := wire.ParseDigests(b); return err }
	list := func(b []byte) error { _, _, _, err := wire.ParseList(b); return err }
	for _, c := range []struct {
		name  string
		parse func([]byte) error
		b     []byte
		err   error
		text  string
	}{
		{"all buckets", digests, append([]byte{0, 0, 0, 0}, make([]byte, 8*1024)...), nil, ""},
		{"last bucket", digests, append([]byte{3, 0xff, 0, 0}, make([]byte, 8)...), nil, ""},
		{"one more than all", digests, append([]byte{0, 0, 0, 0}, make([]byte, 8*1025)...), wire.ErrValue,
			"digests: invalid value: 1025 buckets from 0 on, of 1024"},
		{"one behind the last", digests, append([]byte{3, 0xff, 0, 0}, make([]byte, 16)...), wire.ErrValue,
			"digests: invalid value: 2 buckets from 1023 on, of 1024"},
		{"far behind", digests, []byte{0xff, 0xff, 0, 0}, wire.ErrValue, "digests: invalid value: 0 buckets from 65535 on, of 1024"},
		{"list of the last bucket", list, []byte{3, 0xff, 3, 0}, nil, ""},
		{"list of none", list, []byte{4, 0, 3, 0}, wire.ErrValue, "list: invalid value: bucket 1024 of 1024"},
	} {
		if err := c.parse(c.b); !errors.Is(err, c.err) || (err != nil && err.Error() != c.text) {
			t.Errorf("%s: %v, want %q", c.name, err, c.text)
		}
	}
	for k, want := range map[uint16]bool{0: true, 1023: true, 1024: false, 65535: false} {
		if got, ok := wire.BucketAt(binary.BigEndian.AppendUint16([]byte{9, 9}, k), 1); got != int(k) || ok != want {
			t.Errorf("bucket %d: %d, %v", k, got, ok)
		}
	}
}

func TestAttributeParsersRefuseShortBodies(t *testing.T) {
	for want, parse := range map[string]func([]byte) error{
		"hello: too short: 7 of 8 bytes":    func(b []byte) error { _, err := wire.ParseHello(b[:7]); return err },
		"digest: too short: 15 of 16 bytes": func(b []byte) error { _, err := wire.ParseDigest(b[:15]); return err },
		"epoch: too short: 7 of 8 bytes":    func(b []byte) error { _, _, err := wire.ParseEpoch(b[:7]); return err },
		"digests: too short: 3 of 4 bytes":  func(b []byte) error { _, _, err := wire.ParseDigests(b[:3]); return err },
		"list: too short: 3 of 4 bytes":     func(b []byte) error { _, _, _, err := wire.ParseList(b[:3]); return err },
		"same: too short: 135 of 136 bytes": func(b []byte) error { _, _, err := wire.ParseSame(b[:135]); return err },
		"auth: too short: 19 of 20 bytes":   func(b []byte) error { _, err := wire.ParseAuth(b[:19]); return err },
	} {
		if err := parse(make([]byte, 200)); !errors.Is(err, wire.ErrShort) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// rewriter writes trailers that were read. It keeps the lists' memory.
type rewriter struct {
	heard   []wire.Heard
	ranges  []wire.Range
	sums    []uint64
	buckets []uint16
	listed  []wire.Listed
	ids     []pfstate.ID
	compact wire.CompactWriter
	whole   bool // compact messages are copied: they may be written in several ways
}

// trailer writes t behind packet, without the attributes that are not known.
func (r *rewriter) trailer(packet []byte, t wire.Trailer) ([]byte, error) {
	w := wire.BeginTrailer(packet, t.Flags, t.Epoch, t.Seq)
	for rest := t.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			return nil, err
		}
		if err := r.attr(&w, typ, body); err != nil {
			return nil, err
		}
		rest = next
	}
	if b := w.End(); len(b) == w.Len() {
		return b, nil
	}
	return nil, errors.New("Len is not the length of what End gives")
}

func (r *rewriter) attr(w *wire.TrailerWriter, typ wire.AttrType, body []byte) error {
	switch typ {
	case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
		r.compact.Reset(1400)
		if err := rewriteCompact(&r.compact, typ, body); err != nil && !r.whole {
			return err
		}
		if r.whole {
			w.Attr(typ, body)
		} else {
			w.Compact(r.compact.Bytes())
		}
	case wire.AttrHello:
		h, err := wire.ParseHello(body)
		if err != nil {
			return err
		}
		w.Hello(h)
	case wire.AttrHeard:
		r.heard = r.heard[:0]
		for i := range len(body) / wire.HeardLen {
			r.heard = append(r.heard, wire.HeardAt(body, i))
		}
		w.Heard(r.heard)
	case wire.AttrDigest:
		d, err := wire.ParseDigest(body)
		if err != nil {
			return err
		}
		w.Digest(d)
	case wire.AttrDigests, wire.AttrHave:
		first, sums, err := wire.ParseDigests(body)
		if err != nil {
			return err
		}
		r.sums = r.sums[:0]
		for i := range len(sums) / wire.SumLen {
			r.sums = append(r.sums, wire.SumAt(sums, i))
		}
		w.Digests(typ, first, r.sums)
	case wire.AttrList:
		bucket, flags, entries, err := wire.ParseList(body)
		if err != nil {
			return err
		}
		r.listed = r.listed[:0]
		for i := range len(entries) / wire.ListedLen {
			r.listed = append(r.listed, wire.ListedAt(entries, i))
		}
		w.List(bucket, flags, r.listed)
	case wire.AttrSame:
		epoch, bits, err := wire.ParseSame(body)
		if err != nil {
			return err
		}
		w.Same(epoch, bits)
	case wire.AttrAuth:
		a, err := wire.ParseAuth(body)
		if err != nil {
			return err
		}
		w.Auth(a)
	case wire.AttrOldest, wire.AttrResend, wire.AttrAskDigests, wire.AttrAskList, wire.AttrAsk:
		epoch, rest, err := wire.ParseEpoch(body)
		if err != nil {
			return err
		}
		r.forEpoch(w, typ, epoch, rest)
	}
	return nil
}

// forEpoch writes the attributes that begin with an epoch, or are as short.
func (r *rewriter) forEpoch(w *wire.TrailerWriter, typ wire.AttrType, epoch uint64, rest []byte) {
	switch typ {
	case wire.AttrOldest:
		w.Oldest(epoch)
	case wire.AttrAskDigests:
		w.AskDigests(epoch)
	case wire.AttrResend:
		r.ranges = r.ranges[:0]
		for i := range len(rest) / wire.ResendLen {
			r.ranges = append(r.ranges, wire.RangeAt(rest, i))
		}
		w.Resend(epoch, r.ranges)
	case wire.AttrAskList:
		r.buckets = r.buckets[:0]
		for i := range len(rest) / wire.BucketLen {
			k, _ := wire.BucketAt(rest, i)
			r.buckets = append(r.buckets, uint16(k))
		}
		w.AskList(epoch, r.buckets)
	case wire.AttrAsk:
		r.ids = r.ids[:0]
		for i := range len(rest) / wire.IDLen {
			id, err := wire.ParseID(rest[i*wire.IDLen:])
			if err != nil {
				panic(err)
			}
			r.ids = append(r.ids, id)
		}
		w.Ask(epoch, r.ids)
	}
}

// plain is a trailer that ParseTrailer and NextAttr take, as version 1 writes it: unknown
// attributes and what known ones have more are left out, what is reserved is zero.
func plain(b []byte) []byte {
	sizes := map[uint8]int{1: 8, 3: 16, 4: 8, 6: 8, 12: 136, 13: 20}
	reserved := map[uint8][]int{3: {4, 5, 6, 7}, 7: {2, 3}, 9: {3}, 11: {2, 3}}
	out := bytes.Clone(b[:24])
	for b = b[24:]; len(b) > 0; {
		n := int(b[2])<<8 | int(b[3])
		typ, body := b[0], bytes.Clone(b[4:n])
		b = b[n:]
		if typ < 1 || typ > 13 && typ < 16 || typ > 19 {
			continue
		}
		if size := sizes[typ]; size != 0 {
			body = body[:size]
		}
		for _, i := range reserved[typ] {
			body[i] = 0
		}
		out = append(out, typ, 0)
		out = append(binary.BigEndian.AppendUint16(out, uint16(4+len(body))), body...)
	}
	binary.BigEndian.PutUint16(out[6:], uint16(len(out)))
	return out
}

// What parses, is written again as it was.
func FuzzTrailer(f *testing.F) {
	for _, v := range corpus.Vectors(f, "trailer1") {
		switch v.Kind {
		case "trailer", "newer":
			f.Add(v.Bytes(f))
		case "frame":
			f.Add(wire.Behind(v.Bytes(f)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		trailer, err := wire.ParseTrailer(b)
		if err != nil {
			return
		}
		got, err := (&rewriter{whole: true}).trailer(nil, trailer)
		if !bytes.Equal(before, b) {
			t.Fatal("reading changed the trailer")
		}
		if err != nil {
			if !errors.Is(err, wire.ErrShort) && !errors.Is(err, wire.ErrLength) && !errors.Is(err, wire.ErrValue) {
				t.Fatalf("error %v is of no kind", err)
			}
			return
		}
		if want := plain(b); !bytes.Equal(got, want) {
			t.Fatalf("(-want +got):\n%s", cmp.Diff(want, got))
		}
	})
}

func TestReadingAndWritingTrailersAllocatesNothing(t *testing.T) {
	var r rewriter
	packet := make([]byte, 20, 1480)
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "trailer" && v.Kind != "newer" {
			continue
		}
		b := v.Bytes(t)
		var err error
		n := testing.AllocsPerRun(10, func() {
			var trailer wire.Trailer
			if trailer, err = wire.ParseTrailer(b); err == nil {
				_, err = r.trailer(packet, trailer)
			}
		})
		if n != 0 || err != nil {
			t.Errorf("%s: %v allocations, error %v", v.Name, n, err)
		}
	}
	s := testState()
	var sum uint64
	if n := testing.AllocsPerRun(10, func() {
		sum += wire.Said(s.ID, &s.Src, &s.Dst, s.Timeout) + uint64(wire.Bucket(s.ID))
	}); n != 0 {
		t.Errorf("Said and Bucket: %v allocations", n)
	}
	if n := testing.AllocsPerRun(10, func() { // most packets: a BSD's
		if _, err := wire.ParseTrailer(nil); err != wire.ErrNoTrailer {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("no trailer: %v allocations", n)
	}
}
