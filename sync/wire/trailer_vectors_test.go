package wire_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// The fields of a trailer, under the names they have in the vectors.
type (
	trailerFields struct {
		Flags uint8        `json:"flags"`
		Epoch string       `json:"epoch"`
		Seq   uint64       `json:"seq"`
		Attrs []attrFields `json:"attributes"`
	}
	attrFields struct {
		Type uint8  `json:"type"`
		Name string `json:"name"`
		Body any    `json:"body"`
	}
	heardFields struct {
		Epoch string `json:"epoch"`
		Seq   uint64 `json:"seq"`
	}
	rangeFields struct {
		First uint64 `json:"first"`
		Count uint32 `json:"count"`
	}
	listedFields struct {
		ID        string `json:"id"`
		CreatorID string `json:"creatorid"`
		Said      string `json:"said"`
	}
	saidFields struct {
		ID        string `json:"id"`
		CreatorID string `json:"creatorid"`
		SrcState  uint8  `json:"src_state"`
		DstState  uint8  `json:"dst_state"`
		SrcWScale uint8  `json:"src_wscale"`
		DstWScale uint8  `json:"dst_wscale"`
		Timeout   uint8  `json:"timeout"`
		Said      string `json:"said"`
		Bucket    int    `json:"bucket"`
	}
)

type object = map[string]any

// fieldsOfTrailer is what was decoded, in the vectors' words.
func fieldsOfTrailer(t *testing.T, b []byte) trailerFields {
	t.Helper()
	trailer, err := wire.ParseTrailer(b)
	if err != nil {
		t.Fatal(err)
	}
	f := trailerFields{Flags: uint8(trailer.Flags), Epoch: hex64(trailer.Epoch), Seq: trailer.Seq, Attrs: []attrFields{}}
	for rest := trailer.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := fieldsOfAttr(typ, body)
		if err != nil {
			t.Fatal(err)
		}
		f.Attrs = append(f.Attrs, attrFields{uint8(typ), typ.String(), fields})
		rest = next
	}
	return f
}

// each collects what the entries of a list are, size bytes each.
func each[T any](b []byte, size int, at func(i int) T) []T {
	all := []T{}
	for i := range len(b) / size {
		all = append(all, at(i))
	}
	return all
}

func fieldsOfAttr(typ wire.AttrType, body []byte) (any, error) {
	switch typ {
	case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
		return compactFields(typ, body)
	case wire.AttrHello:
		h, err := wire.ParseHello(body)
		return object{"creatorid": hex32(h.Creator), "features": hex32(h.Features)}, err
	case wire.AttrHeard:
		return object{"heard": each(body, wire.HeardLen, func(i int) heardFields {
			h := wire.HeardAt(body, i)
			return heardFields{hex64(h.Epoch), h.Seq}
		})}, nil
	case wire.AttrDigest:
		d, err := wire.ParseDigest(body)
		return object{"states": d.States, "sum": hex64(d.Sum)}, err
	case wire.AttrDigests, wire.AttrHave:
		first, sums, err := wire.ParseDigests(body)
		return object{"first": first, "sums": each(sums, wire.SumLen, func(i int) string { return hex64(wire.SumAt(sums, i)) })}, err
	case wire.AttrList:
		bucket, flags, entries, err := wire.ParseList(body)
		return object{
			"bucket": bucket, "first": flags&wire.ListFirst != 0, "last": flags&wire.ListLast != 0,
			"states": each(entries, wire.ListedLen, func(i int) listedFields {
				l := wire.ListedAt(entries, i)
				return listedFields{hex64(l.ID.State), hex32(l.ID.Creator), hex64(l.Said)}
			}),
		}, err
	case wire.AttrSame:
		epoch, bits, err := wire.ParseSame(body)
		buckets := []int{}
		for k := range wire.Buckets {
			if bits[k/8]>>(k%8)&1 != 0 {
				buckets = append(buckets, k)
			}
		}
		return object{"epoch": hex64(epoch), "buckets": buckets}, err
	case wire.AttrAuth:
		a, err := wire.ParseAuth(body)
		return object{"hint": hex.EncodeToString(a.Hint[:]), "mac": hex.EncodeToString(a.MAC[:])}, err
	}
	if !typ.Known() {
		return object{"bytes": hex.EncodeToString(body)}, nil
	}
	epoch, rest, err := wire.ParseEpoch(body)
	switch typ {
	case wire.AttrOldest:
		return object{"seq": epoch}, err
	case wire.AttrResend:
		return object{"epoch": hex64(epoch), "ranges": each(rest, wire.ResendLen, func(i int) rangeFields {
			return rangeFields(wire.RangeAt(rest, i))
		})}, err
	case wire.AttrAskDigests:
		return object{"epoch": hex64(epoch)}, err
	case wire.AttrAskList:
		return object{"epoch": hex64(epoch), "buckets": each(rest, wire.BucketLen, func(i int) int {
			k, _ := wire.BucketAt(rest, i)
			return k
		})}, err
	case wire.AttrAsk:
		return object{"epoch": hex64(epoch), "states": each(rest, wire.IDLen, func(i int) idFields {
			id, _ := wire.ParseID(rest[i*wire.IDLen:]) // has its length
			return idFields{hex64(id.State), hex32(id.Creator)}
		})}, err
	}
	return nil, fmt.Errorf("%v: no fields", typ)
}

// throughJSON makes fields comparable with a vector's: numbers stay as they are written.
func throughJSON(t *testing.T, fields any) any {
	t.Helper()
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTrailerVectorsDecodeToTheirFields(t *testing.T) {
	known := map[string]bool{}
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "trailer" && v.Kind != "newer" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			got := fieldsOfTrailer(t, v.Bytes(t))
			if diff := cmp.Diff(throughJSON(t, v.Fields), throughJSON(t, got)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			for _, a := range got.Attrs {
				known[a.Name] = true
			}
		})
	}
	for typ := range 256 {
		if a := wire.AttrType(typ); a.Known() && !known[a.String()] {
			t.Errorf("no vector of %v", a)
		}
	}
}

func TestTrailerVectorsEncodeBackByteForByte(t *testing.T) {
	var r rewriter
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "trailer" && v.Kind != "frame" {
			continue
		}
		want := v.Bytes(t)
		behind := wire.Behind(want)
		if v.Kind == "trailer" {
			behind = want
		}
		trailer, err := wire.ParseTrailer(behind)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		packet := bytes.Clone(want[:len(want)-len(behind)])
		if got, err := r.trailer(packet, trailer); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s (-want +got):\n%s", v.Name, cmp.Diff(want, got))
		}
	}
}

// frameFields are those of a whole packet.
type frameFields struct {
	Sections string          `json:"sections_hex"`
	Trailer  json.RawMessage `json:"trailer"`
	Keys     []string        `json:"mac_keys"` // one for each Auth
}

func TestPacketsWithTrailersDecodeToTheirFields(t *testing.T) {
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "frame" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			var want frameFields
			if err := json.Unmarshal(v.Fields, &want); err != nil {
				t.Fatal(err)
			}
			b := v.Bytes(t)
			_, rest, err := wire.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(rest); got != want.Sections {
				t.Errorf("sections %s, want %s", got, want.Sections)
			}
			got := fieldsOfTrailer(t, wire.Behind(b))
			if diff := cmp.Diff(throughJSON(t, want.Trailer), throughJSON(t, got)); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
			// The codes are the last len(Keys) attributes, 24 bytes each, and each the end of its own.
			for i, text := range want.Keys {
				end := len(b) - (len(want.Keys)-1-i)*(wire.AttrLen+wire.AuthLen)
				key := unhex(t, text)
				code := func(b []byte, n int) []byte {
					mac := hmac.New(sha256.New, key)
					mac.Write(b)
					return mac.Sum(nil)[:n]
				}
				a, err := wire.ParseAuth(b[end-wire.AuthLen : end])
				if err != nil {
					t.Fatal(err)
				}
				if want := code(b[:end-wire.MACLen], wire.MACLen); !bytes.Equal(a.MAC[:], want) {
					t.Errorf("code %d is %x, want %x", i, a.MAC, want)
				}
				if want := code([]byte("pfsync key hint"), len(a.Hint)); !bytes.Equal(a.Hint[:], want) {
					t.Errorf("hint %d is %x, want %x", i, a.Hint, want)
				}
			}
		})
	}
}

func parse64(t *testing.T, s string, bits int) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, bits)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSaidAndBucketAreThoseOfTheVectors(t *testing.T) {
	n := 0
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "said" {
			continue
		}
		n++
		var f saidFields
		if err := json.Unmarshal(v.Fields, &f); err != nil {
			t.Fatal(err)
		}
		id := pfstate.ID{State: parse64(t, f.ID, 64), Creator: uint32(parse64(t, f.CreatorID, 32))}
		src := pfstate.Peer{State: pfstate.PeerState(f.SrcState), WScale: f.SrcWScale, SeqLo: 1, MSS: 2} // the others do not count
		dst := pfstate.Peer{State: pfstate.PeerState(f.DstState), WScale: f.DstWScale, SeqHi: 3, MaxWin: 4}
		if got := hex64(wire.Said(id, &src, &dst, pfstate.Timeout(f.Timeout))); got != f.Said {
			t.Errorf("%s: said %s, want %s", v.Name, got, f.Said)
		}
		if got := wire.Bucket(id); got != f.Bucket {
			t.Errorf("%s: bucket %d, want %d", v.Name, got, f.Bucket)
		}
	}
	if n < 10 {
		t.Errorf("%d vectors", n)
	}
}

// The digest of a packet that tells of one state, and of nothing before, is that state's.
func TestDigestIsTheSumOfWhatWasSaid(t *testing.T) {
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Name != "frame_insert_digest" {
			continue
		}
		var x wire.Message
		if n, err := parseAll(v.Bytes(t), &x); n != 1 || err != nil {
			t.Fatalf("%d messages, %v", n, err)
		}
		trailer, err := wire.ParseTrailer(wire.Behind(v.Bytes(t)))
		if err != nil {
			t.Fatal(err)
		}
		_, body, _, err := wire.NextAttr(trailer.Attrs)
		if err != nil {
			t.Fatal(err)
		}
		s := &x.State
		want := wire.Digest{States: 1, Sum: wire.Said(s.ID, &s.Src, &s.Dst, s.Timeout)}
		if got, err := wire.ParseDigest(body); got != want || err != nil {
			t.Errorf("digest %+v, %v, want %+v", got, err, want)
		}
		return
	}
	t.Error("no frame_insert_digest in the vectors")
}

// States with successive ids, as the kernel's are not but others' are, spread evenly.
func TestBucketsSpreadSuccessiveIDs(t *testing.T) {
	var count [wire.Buckets]int
	for i := range uint64(100 * wire.Buckets) {
		count[wire.Bucket(pfstate.ID{State: 0x6b0174a500000000 + i, Creator: 0xa1a1a1a1})]++
	}
	for k, n := range count {
		if n < 90 || n > 110 {
			t.Errorf("bucket %d has %d states of 100", k, n)
		}
	}
}
