package pfsyncprint

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// The attributes of a trailer, in JSON. Each begins with its type.

type jsonHello struct {
	Type     string `json:"type"`
	Creator  string `json:"creatorid"`
	Features string `json:"features"`
}

type jsonSeq struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

type jsonHeard struct {
	Type  string    `json:"type"`
	Heard []jsonSeq `json:"heard"`
}

type jsonDigest struct {
	Type   string `json:"type"`
	States uint32 `json:"states"`
	Sum    string `json:"sum"`
}

type jsonOldest struct {
	Type string `json:"type"`
	Seq  uint64 `json:"seq"`
}

type jsonRange struct {
	First uint64 `json:"first"`
	Count uint32 `json:"count"`
}

type jsonResend struct {
	Type    string      `json:"type"`
	Epoch   string      `json:"epoch"`
	Packets []jsonRange `json:"packets"`
}

type jsonAskDigests struct {
	Type  string `json:"type"`
	Epoch string `json:"epoch"`
}

type jsonDigests struct {
	Type  string   `json:"type"`
	First int      `json:"first"` // bucket
	Sums  []string `json:"sums"`
}

type jsonBuckets struct {
	Type    string `json:"type"`
	Epoch   string `json:"epoch"`
	Buckets []int  `json:"buckets"`
}

type jsonListed struct {
	ID      string `json:"id"`
	Creator string `json:"creatorid"`
	Said    string `json:"said,omitempty"`
}

type jsonList struct {
	Type   string       `json:"type"`
	Bucket int          `json:"bucket"`
	First  bool         `json:"first"`
	Last   bool         `json:"last"`
	States []jsonListed `json:"states"`
}

type jsonAsk struct {
	Type   string       `json:"type"`
	Epoch  string       `json:"epoch"`
	States []jsonListed `json:"states"`
}

type jsonAuth struct {
	Type string `json:"type"`
	Hint string `json:"hint"`
	Code string `json:"code"`
}

type jsonUnknown struct {
	Type    string `json:"type"`
	Skipped int    `json:"skipped"` // bytes
}

// jsonAttr is an attribute. The error is about a value.
func jsonAttr(typ wire.AttrType, body []byte) (any, error) {
	name := attrName(typ)
	switch typ {
	case wire.AttrHello:
		h, err := wire.ParseHello(body)
		return jsonHello{name, hex32(h.Creator), hex32(h.Features)}, err
	case wire.AttrHeard:
		return jsonHeard{name, entries(body, wire.HeardLen, func(i int) jsonSeq {
			h := wire.HeardAt(body, i)
			return jsonSeq{hex64(h.Epoch), h.Seq}
		})}, nil
	case wire.AttrDigest:
		d, err := wire.ParseDigest(body)
		return jsonDigest{name, d.States, hex64(d.Sum)}, err
	case wire.AttrDigests, wire.AttrHave:
		first, sums, err := wire.ParseDigests(body)
		return jsonDigests{name, first, entries(sums, wire.SumLen, func(i int) string { return hex64(wire.SumAt(sums, i)) })}, err
	case wire.AttrList:
		bucket, flags, listed, err := wire.ParseList(body)
		return jsonList{
			name, bucket, flags&wire.ListFirst != 0, flags&wire.ListLast != 0,
			entries(listed, wire.ListedLen, func(i int) jsonListed {
				l := wire.ListedAt(listed, i)
				return jsonListed{hex64(l.ID.State), hex32(l.ID.Creator), hex64(l.Said)}
			}),
		}, err
	case wire.AttrSame:
		epoch, bits, err := wire.ParseSame(body)
		return jsonBuckets{name, hex64(epoch), set(bits)}, err
	case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
		creator, _, err := wire.ParseCompact(typ, body)
		return jsonCompact{name, hex32(creator)}, err
	case wire.AttrAuth:
		a, err := wire.ParseAuth(body)
		return jsonAuth{name, fmt.Sprintf("%x", a.Hint), fmt.Sprintf("%x", a.MAC)}, err
	}
	if !typ.Known() {
		return jsonUnknown{name, len(body)}, nil
	}
	return jsonRequest(typ, name, body)
}

// jsonRequest is an attribute that begins with an epoch, or is as short.
func jsonRequest(typ wire.AttrType, name string, body []byte) (any, error) {
	epoch, rest, err := wire.ParseEpoch(body)
	switch typ {
	case wire.AttrOldest:
		return jsonOldest{name, epoch}, err
	case wire.AttrResend:
		return jsonResend{name, hex64(epoch), entries(rest, wire.ResendLen, func(i int) jsonRange {
			return jsonRange(wire.RangeAt(rest, i))
		})}, err
	case wire.AttrAskList:
		buckets := entries(rest, wire.BucketLen, func(i int) int {
			k, ok := wire.BucketAt(rest, i)
			if !ok && err == nil {
				err = badBucket(typ, k)
			}
			return k
		})
		return jsonBuckets{name, hex64(epoch), buckets}, err
	case wire.AttrAsk:
		return jsonAsk{name, hex64(epoch), entries(rest, wire.IDLen, func(i int) jsonListed {
			id, _ := wire.ParseID(rest[i*wire.IDLen:]) // has its length
			return jsonListed{ID: hex64(id.State), Creator: hex32(id.Creator)}
		})}, err
	}
	return jsonAskDigests{name, hex64(epoch)}, err
}

func badBucket(typ wire.AttrType, k int) error {
	return fmt.Errorf("%v: %w: bucket %d of %d", typ, wire.ErrValue, k, wire.Buckets)
}

// entries are those of a list with size bytes each, never nil.
func entries[T any](b []byte, size int, entry func(i int) T) []T {
	all := make([]T, len(b)/size)
	for i := range all {
		all[i] = entry(i)
	}
	return all
}

// set is the numbers of the bits that are set, never nil.
func set(bits []byte) []int {
	all := []int{}
	for k := range len(bits) * 8 {
		if bits[k/8]>>(k%8)&1 != 0 {
			all = append(all, k)
		}
	}
	return all
}
