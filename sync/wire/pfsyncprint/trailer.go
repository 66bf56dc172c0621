package pfsyncprint

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/sync/wire"
)

// attr is what an attribute says; from verbosity 3 on the entries of long lists too,
// on lines of their own. The error is about a value.
func attr(typ wire.AttrType, body []byte, verbose int) (string, error) {
	switch typ {
	case wire.AttrHello:
		h, err := wire.ParseHello(body)
		text := fmt.Sprintf("%v creatorid: %08x", typ, h.Creator)
		if h.Features != 0 {
			text += fmt.Sprintf(" features: 0x%08x", h.Features)
		}
		return text, err
	case wire.AttrHeard:
		return typ.String() + " " + list(body, wire.HeardLen, func(i int) string {
			h := wire.HeardAt(body, i)
			return fmt.Sprintf("epoch: %016x seq: %d", h.Epoch, h.Seq)
		}), nil
	case wire.AttrDigest:
		d, err := wire.ParseDigest(body)
		return fmt.Sprintf("%v states: %d sum: %016x", typ, d.States, d.Sum), err
	case wire.AttrDigests, wire.AttrHave:
		first, sums, err := wire.ParseDigests(body)
		n := len(sums) / wire.SumLen
		return fmt.Sprintf("%v buckets: %s", typ, span(uint64(first), uint64(n))) +
			lines(verbose, n, func(i int) string {
				return fmt.Sprintf("bucket: %d sum: %016x", first+i, wire.SumAt(sums, i))
			}), err
	case wire.AttrList:
		return listed(body, verbose)
	case wire.AttrSame:
		epoch, bits, err := wire.ParseSame(body)
		return fmt.Sprintf("%v epoch: %016x buckets: %s", typ, epoch, spans(bits)), err
	case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
		creator, _, err := wire.ParseCompact(typ, body)
		return fmt.Sprintf("%v creatorid: %08x", typ, creator), err
	case wire.AttrAuth:
		a, err := wire.ParseAuth(body)
		return fmt.Sprintf("%v hint: %x code: %x", typ, a.Hint, a.MAC), err
	}
	if !typ.Known() {
		return fmt.Sprintf("%v skipped: %d bytes", typ, len(body)), nil
	}
	return request(typ, body, verbose)
}

// request is what the attributes say that begin with an epoch, or are as short.
func request(typ wire.AttrType, body []byte, verbose int) (string, error) {
	epoch, rest, err := wire.ParseEpoch(body)
	if typ == wire.AttrOldest {
		return fmt.Sprintf("%v seq: %d", typ, epoch), err
	}
	text := fmt.Sprintf("%v epoch: %016x", typ, epoch)
	switch typ {
	case wire.AttrResend:
		text += " packets: " + list(rest, wire.ResendLen, func(i int) string {
			r := wire.RangeAt(rest, i)
			return span(r.First, uint64(r.Count))
		})
	case wire.AttrAskList:
		text += " buckets: " + list(rest, wire.BucketLen, func(i int) string {
			k, ok := wire.BucketAt(rest, i)
			if !ok && err == nil {
				err = badBucket(typ, k)
			}
			return strconv.Itoa(k)
		})
	case wire.AttrAsk:
		n := len(rest) / wire.IDLen
		text += fmt.Sprintf(" states: %d", n) + lines(verbose, n, func(i int) string {
			id, _ := wire.ParseID(rest[i*wire.IDLen:]) // has its length
			return fmt.Sprintf("id: %016x creatorid: %08x", id.State, id.Creator)
		})
	}
	return text, err
}

func listed(body []byte, verbose int) (string, error) {
	bucket, flags, entries, err := wire.ParseList(body)
	text := fmt.Sprintf("%v bucket: %d", wire.AttrList, bucket)
	if flags&wire.ListFirst != 0 {
		text += " first"
	}
	if flags&wire.ListLast != 0 {
		text += " last"
	}
	n := len(entries) / wire.ListedLen
	return text + fmt.Sprintf(" states: %d", n) + lines(verbose, n, func(i int) string {
		l := wire.ListedAt(entries, i)
		return fmt.Sprintf("id: %016x creatorid: %08x said: %016x", l.ID.State, l.ID.Creator, l.Said)
	}), err
}

// list is the entries of b, size bytes each.
func list(b []byte, size int, entry func(i int) string) string {
	if len(b) < size {
		return "none"
	}
	var all []string
	for i := range len(b) / size {
		all = append(all, entry(i))
	}
	return strings.Join(all, ", ")
}

// lines is n entries, if they are wanted, below the line of their attribute.
func lines(verbose, n int, entry func(i int) string) string {
	var b strings.Builder
	if verbose > 2 {
		for i := range n {
			b.WriteString("\n\t  " + entry(i))
		}
	}
	return b.String()
}

// span is n numbers from first on.
func span(first, n uint64) string {
	switch last := first + n - 1; {
	case n == 0:
		return "none"
	case n == 1:
		return strconv.FormatUint(first, 10)
	case last < first: // more than there can be
		return fmt.Sprintf("%d-", first)
	default:
		return fmt.Sprintf("%d-%d", first, last)
	}
}

// spans is the numbers of the bits that are set.
func spans(bits []byte) string {
	var all []string
	set := func(k int) bool { return k < len(bits)*8 && bits[k/8]>>(k%8)&1 != 0 }
	for k := 0; k < len(bits)*8; k++ {
		first := k
		for set(k) {
			k++
		}
		if k > first {
			all = append(all, span(uint64(first), uint64(k-first)))
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}
