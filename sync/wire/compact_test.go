package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// compactFields are what a compact attribute says, in the vectors' words.
func compactFields(typ wire.AttrType, body []byte) (any, error) {
	creator, b, err := wire.ParseCompact(typ, body)
	if err != nil {
		return nil, err
	}
	all := []any{}
	if typ == wire.AttrDelete {
		for i := range len(b) / wire.DeletedLen {
			all = append(all, hex64(wire.DeletedAt(b, creator, i).State))
		}
		b = nil
	}
	for len(b) > 0 {
		if typ == wire.AttrUpdate {
			var u wire.UpdC
			if b, err = wire.NextUpdate(creator, b, &u); err != nil {
				return nil, err
			}
			f := object{"id": hex64(u.ID.State), "src": u.Src.State, "dst": u.Dst.State, "timeout": u.Timeout}
			progressFields(f, &u.Src, &u.Dst, &u.Linux)
			all = append(all, f)
			continue
		}
		var s pfstate.State
		if b, err = wire.NextState(creator, b, &s); err != nil {
			return nil, err
		}
		all = append(all, compactState(&s))
	}
	return object{"creatorid": hex32(creator), "states": all}, nil
}

func compactKey(t pfstate.Tuple) object {
	return object{"src": t.Src.String(), "dst": t.Dst.String(), "sport": t.SrcPort, "dport": t.DstPort}
}

func compactState(s *pfstate.State) object {
	before, reply := s.Tuples()
	f := object{
		"id": hex64(s.ID.State), "proto": s.Proto, "src": s.Src.State, "dst": s.Dst.State, "timeout": s.Timeout,
		"key": compactKey(before), "expire": s.Expire / time.Second, "direction": s.Direction.String(),
	}
	if after := reply.Reversed(); after != before {
		f["translated"] = compactKey(after)
	}
	if s.Wire.RDomain|s.Stack.RDomain != 0 {
		f["zones"] = []uint16{s.Stack.RDomain, s.Wire.RDomain}
	}
	if s.Creation > 0 {
		f["creation"] = s.Creation / time.Second
	}
	if usual := s.Proto == pfstate.ProtoTCP; (s.Flags == pfstate.FlagSloppy) != usual || !usual && s.Flags != 0 {
		f["state_flags"] = s.Flags
	}
	progressFields(f, &s.Src, &s.Dst, &s.Linux)
	return f
}

func progressFields(f object, src, dst *pfstate.Peer, x *pfstate.Linux) {
	has := func(field pfstate.LinuxFields) bool { return x.Has&field != 0 }
	if src.WScale|dst.WScale != 0 {
		f["wscale"] = []int{int(src.WScale), int(dst.WScale)}
	}
	if has(pfstate.HasTCP) {
		f["tcp"] = []int{int(x.TCP[0]), int(x.TCP[1])}
	}
	if has(pfstate.HasStatus) {
		f["status"] = x.Status
	}
	if x.Mark != 0 {
		f["mark"] = hex32(x.Mark)
	}
	if src.Scrub.Valid || dst.Scrub.Valid {
		f["tags"] = []string{hex32(src.Scrub.TSMod), hex32(dst.Scrub.TSMod)}
	}
	if has(pfstate.HasLabels) {
		f["labels"] = hex.EncodeToString(x.Rare.Labels[:])
	}
	if has(pfstate.HasHelper) {
		f["helper"] = x.Rare.HelperName()
	}
	if has(pfstate.HasMaster) {
		m := x.Rare.MasterTuple([12]byte(x.Rare.Master.Src[4:]) == [12]byte{})
		f["master"] = object{"proto": x.Rare.Master.Proto, "src": m.Src.String(), "dst": m.Dst.String(), "sport": m.SrcPort, "dport": m.DstPort}
	}
	if has(pfstate.HasSeqAdj) {
		f["seqadj"] = each(make([]byte, 2), 1, func(i int) object {
			a := x.Rare.SeqAdj[i]
			return object{"pos": a.Pos, "before": a.Before, "after": a.After}
		})
	}
}

// rewriteCompact writes what it reads.
func rewriteCompact(w *wire.CompactWriter, typ wire.AttrType, body []byte) error {
	creator, b, err := wire.ParseCompact(typ, body)
	if err != nil {
		return err
	}
	fits := true
	if typ == wire.AttrDelete {
		for i := range len(b) / wire.DeletedLen {
			fits = fits && w.Delete(wire.DeletedAt(b, creator, i))
		}
		b = nil
	}
	var u wire.UpdC
	var s pfstate.State
	for len(b) > 0 {
		if typ == wire.AttrUpdate {
			if b, err = wire.NextUpdate(creator, b, &u); err != nil {
				return err
			}
			fits = fits && w.Update(&u)
			continue
		}
		if b, err = wire.NextState(creator, b, &s); err != nil {
			return err
		}
		fits = fits && w.State(typ, &s)
	}
	if !fits {
		return errors.New("does not fit")
	}
	return nil
}

func TestCompactSaidIsThatOfTheVectors(t *testing.T) {
	n := 0
	for _, v := range corpus.Vectors(t, "trailer1") {
		if v.Kind != "said_compact" {
			continue
		}
		n++
		var f struct {
			saidFields
			Fields uint8    `json:"fields"`
			TCP    [2]uint8 `json:"tcp"`
			Status uint8    `json:"status"`
			Mark   string   `json:"mark"`
			Labels string   `json:"labels"`
		}
		if err := json.Unmarshal(v.Fields, &f); err != nil {
			t.Fatal(err)
		}
		id := pfstate.ID{State: parse64(t, f.ID, 64), Creator: uint32(parse64(t, f.CreatorID, 32))}
		src := pfstate.Peer{State: pfstate.PeerState(f.SrcState), WScale: f.SrcWScale}
		dst := pfstate.Peer{State: pfstate.PeerState(f.DstState), WScale: f.DstWScale}
		x := pfstate.Linux{Has: pfstate.HasMark, Status: f.Status, TCP: f.TCP, Mark: uint32(parse64(t, f.Mark, 32))}
		copy(x.Rare.Labels[:], unhex(t, f.Labels))
		for bit, has := range map[uint8]pfstate.LinuxFields{2: pfstate.HasTCP, 4: pfstate.HasStatus, 0x20: pfstate.HasLabels} {
			if f.Fields&bit != 0 {
				x.Has |= has
			}
		}
		x.Has |= pfstate.HasHelper | pfstate.HasSeqAdj // which do not count
		if got := hex64(wire.SaidCompact(id, &src, &dst, pfstate.Timeout(f.Timeout), &x)); got != f.Said {
			t.Errorf("%s: said %s, want %s", v.Name, got, f.Said)
		}
		if plain := hex64(wire.Said(id, &src, &dst, pfstate.Timeout(f.Timeout))); (plain == f.Said) != (f.Fields == 0) {
			t.Errorf("%s: pf's form is called %s, the compact one %s", v.Name, plain, f.Said)
		}
	}
	if n < 5 {
		t.Errorf("%d vectors", n)
	}
}

func tcpState(nat bool) pfstate.State {
	s := pfstate.Default()
	s.ID = pfstate.ID{State: 1, Creator: 2}
	s.Proto, s.Flags, s.Timeout = pfstate.ProtoTCP, pfstate.FlagSloppy, pfstate.TCPEstablishedTimeout
	s.Src = pfstate.Peer{State: pfstate.TCPEstablished, WScale: 0x87}
	s.Dst = pfstate.Peer{State: pfstate.TCPEstablished, WScale: 0x89}
	s.Expire = 432000 * time.Second
	orig := pfstate.Tuple{Src: netip.MustParseAddr("10.1.0.2"), Dst: netip.MustParseAddr("10.2.0.2"), SrcPort: 40000, DstPort: 443}
	reply := orig.Reversed()
	if nat {
		reply.Dst, reply.DstPort = netip.MustParseAddr("192.0.2.1"), 5001
	}
	s.SetTuples(orig, reply, 0)
	s.Linux = pfstate.Linux{Has: pfstate.HasMark | pfstate.HasTCP, TCP: [2]uint8{3, 3}}
	return s
}

// What one more message takes; the bounds are the protocol's promise.
func TestCompactMessagesAreSmall(t *testing.T) {
	size := func(add func(*wire.CompactWriter) bool) int {
		var w wire.CompactWriter
		w.Reset(1400)
		if !add(&w) {
			t.Fatal("does not fit")
		}
		one := len(w.Bytes())
		if !add(&w) {
			t.Fatal("does not fit")
		}
		return len(w.Bytes()) - one
	}
	insert, nat := tcpState(false), tcpState(true)
	marked := tcpState(true)
	marked.Linux.Mark = 0x10
	upd := wire.UpdC{ID: insert.ID, Src: insert.Src, Dst: insert.Dst, Timeout: insert.Timeout, Linux: insert.Linux}
	for _, c := range []struct {
		name string
		most int
		add  func(*wire.CompactWriter) bool
	}{
		{"insert", 36, func(w *wire.CompactWriter) bool { return w.State(wire.AttrInsert, &insert) }},
		{"insert with NAT", 48, func(w *wire.CompactWriter) bool { return w.State(wire.AttrInsert, &nat) }},
		{"insert with NAT and mark", 56, func(w *wire.CompactWriter) bool { return w.State(wire.AttrInsert, &marked) }},
		{"update", 20, func(w *wire.CompactWriter) bool { return w.Update(&upd) }},
		{"delete", 12, func(w *wire.CompactWriter) bool { return w.Delete(insert.ID) }},
	} {
		n := size(c.add)
		t.Logf("%s: %d bytes", c.name, n)
		if n > c.most {
			t.Errorf("%s: %d bytes, want at most %d", c.name, n, c.most)
		}
	}
}

func TestMalformedCompactMessages(t *testing.T) {
	var w wire.CompactWriter
	w.Reset(1400)
	s := tcpState(true)
	w.State(wire.AttrInsert, &s)
	entry := bytes.Clone(w.Bytes()[wire.AttrLen+wire.CompactLen:])
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(entry)
		copy(c[at:], b)
		return c
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
		goOn bool
	}{
		"empty":                {nil, wire.ErrShort, false},
		"length of 0":          {[]byte{0}, wire.ErrShort, false},
		"cut":                  {entry[:len(entry)-1], wire.ErrLength, false},
		"shorter than fields":  {append([]byte{entry[0] - 1}, entry[1:len(entry)-1]...), wire.ErrShort, false},
		"fields without bytes": {change(1, 0x7f, 0xff), wire.ErrShort, false},
		"id 0":                 {change(3, 0, 0, 0, 0, 0, 0, 0, 0), wire.ErrValue, true},
		"peer state":           {change(12, 0xf0), wire.ErrValue, true},
		"timeout":              {change(13, 99), wire.ErrValue, true},
	} {
		var got pfstate.State
		rest, err := wire.NextState(7, c.b, &got)
		if !errors.Is(err, c.want) || (rest != nil) != c.goOn {
			t.Errorf("%s: rest %v, error %v, want %v and to go on %v", name, rest, err, c.want, c.goOn)
		}
	}
	var u wire.UpdC
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"short":  {[]byte{10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x44}, wire.ErrShort},
		"fields": {[]byte{11, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 0x44, 2}, wire.ErrShort},
		"value":  {[]byte{11, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 2}, wire.ErrValue},
	} {
		if _, err := wire.NextUpdate(7, c.b, &u); !errors.Is(err, c.want) {
			t.Errorf("update, %s: %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := wire.ParseCompact(wire.AttrInsert, []byte{1, 2, 3}); !errors.Is(err, wire.ErrShort) {
		t.Errorf("creatorid cut: %v", err)
	}
}

func TestTerseIsWhatCompactMessagesCanSay(t *testing.T) {
	for name, change := range map[string]func(*pfstate.State){
		"":           func(*pfstate.State) {},
		"sequence":   func(s *pfstate.State) { s.Src.SeqLo = 1 },
		"window":     func(s *pfstate.State) { s.Dst.MaxWin = 1 },
		"modulated":  func(s *pfstate.State) { s.Dst.SeqDiff = 1 },
		"scrub":      func(s *pfstate.State) { s.Dst.Scrub.Valid = true },
		"rule":       func(s *pfstate.State) { s.Rule = 3 },
		"interface":  func(s *pfstate.State) { s.IfName = pfstate.NewIfName("em0") },
		"route":      func(s *pfstate.State) { s.Route.Kind = 1 },
		"rtable":     func(s *pfstate.State) { s.RTable[0] = 1 },
		"direction":  func(s *pfstate.State) { s.Direction = pfstate.InOut },
		"tos":        func(s *pfstate.State) { s.SetTOS = 1 },
		"no address": func(s *pfstate.State) { s.Wire.Addr[0] = netip.Addr{} },
		"af-to":      func(s *pfstate.State) { s.Wire.Addr[0] = netip.MustParseAddr("2001:db8::1") },
	} {
		s := tcpState(false)
		change(&s)
		if got := wire.Terse(&s); got != (name == "") {
			t.Errorf("%q: Terse is %v", name, got)
		}
	}
}

// FuzzCompact: what parses is written so that it parses to the same, and nothing panics.
func FuzzCompact(f *testing.F) {
	for _, v := range corpus.Vectors(f, "trailer1") {
		if v.Kind != "trailer" && v.Kind != "newer" {
			continue
		}
		trailer, err := wire.ParseTrailer(v.Bytes(f))
		if err != nil {
			f.Fatal(err)
		}
		for rest := trailer.Attrs; len(rest) > 0; {
			typ, body, next, err := wire.NextAttr(rest)
			if err != nil {
				break
			}
			if typ >= wire.AttrInsert && typ <= wire.AttrDelete {
				f.Add(uint8(typ), body)
			}
			rest = next
		}
	}
	equal := cmp.Options{cmpopts.EquateComparable(netip.Addr{})}
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		a := wire.AttrInsert + wire.AttrType(typ%4)
		creator, b, err := wire.ParseCompact(a, body)
		if err != nil {
			return
		}
		var w wire.CompactWriter
		w.Reset(4096)
		for a != wire.AttrDelete && len(b) > 0 {
			var s, again pfstate.State
			var u, uAgain wire.UpdC
			var rest []byte
			if a == wire.AttrUpdate {
				rest, err = wire.NextUpdate(creator, b, &u)
			} else {
				rest, err = wire.NextState(creator, b, &s)
			}
			if err != nil && rest == nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
			if err != nil {
				continue
			}
			w.Reset(4096)
			ok := a == wire.AttrUpdate && w.Update(&u) || a != wire.AttrUpdate && w.State(a, &s)
			if !ok {
				t.Fatal("does not fit")
			}
			_, entries, err := wire.ParseCompact(a, w.Bytes()[wire.AttrLen:])
			if err != nil {
				t.Fatal(err)
			}
			if a == wire.AttrUpdate {
				if _, err := wire.NextUpdate(creator, entries, &uAgain); err != nil {
					t.Fatal(err)
				}
			} else if _, err := wire.NextState(creator, entries, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(u, uAgain, equal) + cmp.Diff(s, again, equal); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			x := &s.Linux
			if wire.SaidCompact(s.ID, &s.Src, &s.Dst, s.Timeout, x) != wire.SaidCompact(s.ID, &again.Src, &again.Dst, again.Timeout, &again.Linux) {
				t.Fatal("both ends call it by other names")
			}
		}
	})
}

func TestCompactMessagesAllocateNothing(t *testing.T) {
	s := tcpState(true)
	u := wire.UpdC{ID: s.ID, Src: s.Src, Dst: s.Dst, Timeout: s.Timeout, Linux: s.Linux}
	var w wire.CompactWriter
	w.Reset(1400)
	var got pfstate.State
	if n := testing.AllocsPerRun(10, func() {
		w.Reset(1400)
		if !wire.Terse(&s) || !w.State(wire.AttrInsert, &s) || !w.Update(&u) || !w.Delete(s.ID) {
			t.Error("does not fit")
		}
		for rest := w.Bytes(); len(rest) > 0; {
			typ, body, next, err := wire.NextAttr(rest)
			if err != nil {
				t.Error(err)
				return
			}
			rest = next
			creator, entries, _ := wire.ParseCompact(typ, body)
			switch typ {
			case wire.AttrInsert:
				_, err = wire.NextState(creator, entries, &got)
			case wire.AttrUpdate:
				_, err = wire.NextUpdate(creator, entries, &u)
			}
			if err != nil {
				t.Error(err)
			}
			wire.SaidCompact(got.ID, &got.Src, &got.Dst, got.Timeout, &got.Linux)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if diff := cmp.Diff(s, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func BenchmarkCompactWrite(b *testing.B) {
	s := tcpState(true)
	var w wire.CompactWriter
	w.Reset(1400)
	b.ReportAllocs()
	for b.Loop() {
		if !w.State(wire.AttrInsert, &s) {
			w.Reset(1400)
		}
	}
}

func BenchmarkCompactRead(b *testing.B) {
	s := tcpState(true)
	var w wire.CompactWriter
	w.Reset(1400)
	for w.State(wire.AttrInsert, &s) {
	}
	_, entries, _ := wire.ParseCompact(wire.AttrInsert, w.Bytes()[wire.AttrLen:])
	b.ReportAllocs()
	rest := entries
	for b.Loop() {
		if rest, _ = wire.NextState(2, rest, &s); len(rest) == 0 {
			rest = entries
		}
	}
}
