package wireshark

import (
	"errors"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// behind adds what lies behind a packet.
func (f Fields) behind(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	t, err := wire.ParseTrailer(b)
	switch {
	case errors.Is(err, wire.ErrNoTrailer):
		f.add("foreign", "%x", b)
		return nil
	case errors.Is(err, wire.ErrVersion):
		f.add("trailer.magic", "0x%08x", wire.TrailerMagic)
		f.add("trailer.version", "%d", b[4])
		f.add("foreign", "%x", b)
		return nil
	case err != nil:
		return err
	}
	f.add("trailer.magic", "0x%08x", wire.TrailerMagic)
	f.add("trailer.version", "%d", wire.TrailerVersion)
	f.add("trailer.flags", "0x%02x", uint8(t.Flags))
	f.flag("trailer.flags.answer", t.Flags&wire.FlagAnswer != 0)
	f.flag("trailer.flags.heir", t.Flags&wire.FlagHeir != 0)
	f.flag("trailer.flags.pair", t.Flags&wire.FlagPair != 0)
	f.add("trailer.len", "%d", len(b))
	f.add("trailer.epoch", "0x%016x", t.Epoch)
	f.add("trailer.seq", "%d", t.Seq)
	for rest := t.Attrs; len(rest) > 0; {
		typ, body, next, err := wire.NextAttr(rest)
		if err != nil {
			return err
		}
		f.add("attr.type", "%d", typ)
		f.add("attr.len", "%d", wire.AttrLen+len(body))
		if err := f.attr(typ, body); err != nil {
			return err
		}
		rest = next
	}
	return nil
}

func (f Fields) attr(typ wire.AttrType, b []byte) (err error) {
	switch typ {
	case wire.AttrHello:
		var h wire.Hello
		h, err = wire.ParseHello(b)
		f.creator(h.Creator)
		f.add("hello.features", "0x%08x", h.Features)
	case wire.AttrHeard:
		for i := range len(b) / wire.HeardLen {
			h := wire.HeardAt(b, i)
			f.add("heard.epoch", "0x%016x", h.Epoch)
			f.add("heard.seq", "%d", h.Seq)
		}
	case wire.AttrDigest:
		var d wire.Digest
		d, err = wire.ParseDigest(b)
		f.add("digest.states", "%d", d.States)
		f.add("digest.sum", "0x%016x", d.Sum)
	case wire.AttrDigests, wire.AttrHave:
		var first int
		var sums []byte
		first, sums, err = wire.ParseDigests(b)
		f.add("digests.first", "%d", first)
		for i := range len(sums) / wire.SumLen {
			f.add("digests.sum", "0x%016x", wire.SumAt(sums, i))
		}
	case wire.AttrList:
		err = f.list(b)
	case wire.AttrSame:
		var epoch uint64
		var bits []byte
		epoch, bits, err = wire.ParseSame(b)
		f.add("attr.epoch", "0x%016x", epoch)
		f.add("same.bits", "%x", bits)
	case wire.AttrAuth:
		var a wire.Auth
		a, err = wire.ParseAuth(b)
		f.add("auth.hint", "%x", a.Hint)
		f.add("auth.code", "%x", a.MAC)
	case wire.AttrInsert, wire.AttrState, wire.AttrUpdate, wire.AttrDelete:
		err = f.compact(typ, b)
	case wire.AttrOldest:
		var seq uint64
		seq, _, err = wire.ParseEpoch(b)
		f.add("oldest.seq", "%d", seq)
	case wire.AttrResend, wire.AttrAskDigests, wire.AttrAskList, wire.AttrAsk:
		err = f.request(typ, b)
	default:
		if len(b) > 0 {
			f.add("attr.body", "%x", b)
		}
	}
	return err
}

func (f Fields) list(b []byte) error {
	bucket, flags, entries, err := wire.ParseList(b)
	f.add("bucket", "%d", bucket)
	f.add("list.flags", "0x%02x", uint8(flags))
	f.flag("list.first", flags&wire.ListFirst != 0)
	f.flag("list.last", flags&wire.ListLast != 0)
	for i := range len(entries) / wire.ListedLen {
		l := wire.ListedAt(entries, i)
		f.id(l.ID)
		f.add("list.said", "0x%016x", l.Said)
	}
	return err
}

func (f Fields) request(typ wire.AttrType, b []byte) error {
	epoch, rest, err := wire.ParseEpoch(b)
	f.add("attr.epoch", "0x%016x", epoch)
	switch typ {
	case wire.AttrResend:
		for i := range len(rest) / wire.ResendLen {
			r := wire.RangeAt(rest, i)
			f.add("resend.first", "%d", r.First)
			f.add("resend.count", "%d", r.Count)
		}
	case wire.AttrAskList:
		for i := range len(rest) / wire.BucketLen {
			k, ok := wire.BucketAt(rest, i)
			f.add("bucket", "%d", k)
			if !ok {
				return wire.ErrValue
			}
		}
	case wire.AttrAsk:
		for i := range len(rest) / wire.IDLen {
			var id pfstate.ID
			if id, err = wire.ParseID(rest[i*wire.IDLen:]); err != nil {
				return err
			}
			f.id(id)
		}
	}
	return err
}
