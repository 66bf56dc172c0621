package conntrack_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
)

// attributes are those of an entry as the kernel gives them, made by foreign code.
func attributes(t testing.TB, r raw, more ...func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(1, func(e *netlink.AttributeEncoder) error { return r.Orig.encode(r.Proto, e) })
	e.Nested(2, func(e *netlink.AttributeEncoder) error { return r.Reply.encode(r.Proto, e) })
	e.Uint32(12, 0xabcd)
	e.Uint32(3, r.Status)
	if r.Timeout != 0 {
		e.Uint32(7, r.Timeout)
	}
	if r.TCP != nil {
		e.Nested(4, func(e *netlink.AttributeEncoder) error {
			e.Nested(1, func(e *netlink.AttributeEncoder) error {
				e.Uint8(1, r.TCP.State)
				e.Bytes(4, []byte{r.TCP.Flags[0], 0})
				e.Bytes(5, []byte{r.TCP.Flags[1], 0})
				return nil
			})
			return nil
		})
	}
	for _, f := range more {
		f(e)
	}
	attrs, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return attrs
}

// event is a datagram as the kernel sends it.
func event(t testing.TB, typ uint16, flags netlink.HeaderFlags, port uint32, r raw, more ...func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	attrs := attributes(t, r, more...)
	m := netlink.Message{
		Header: netlink.Header{Length: uint32(20 + len(attrs)), Type: netlink.HeaderType(1<<8 | typ), Flags: flags, PID: port},
		Data:   append([]byte{family(r.Orig.Src), 0, 0, 0}, attrs...),
	}
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// flowOf is an answered flow of proto between the addresses.
func flowOf(proto uint8, src, dst string) raw {
	r := raw{Proto: proto, Status: confirmed | seenReply, Timeout: 60}
	r.Orig = rawTuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)}
	r.Reply = r.Orig.plain(proto)
	if proto == 6 {
		r.TCP = &rawTCP{State: 3}
	}
	return r
}

func newCodec() *conntrack.Codec {
	c := conntrack.NewCodec([16]byte{1, 2, 3}, 9)
	c.Own(1234)
	return c
}

func TestKindsOfEvents(t *testing.T) {
	const created = netlink.Create | netlink.Excl
	r := flowOf(17, "10.1.0.1", "10.2.0.1")
	expired := r
	expired.Timeout = 0
	for name, c := range map[string]struct {
		b    []byte
		want []pfstate.Change
	}{
		"new":                   {event(t, 0, created, 0, r), []pfstate.Change{{Kind: pfstate.Created}}},
		"new by a program":      {event(t, 0, created, 77, r), []pfstate.Change{{Kind: pfstate.Created}}},
		"update":                {event(t, 0, 0, 0, r), []pfstate.Change{{Kind: pfstate.Updated}}},
		"expired":               {event(t, 2, 0, 0, expired), []pfstate.Change{{Kind: pfstate.Deleted, Expired: true}}},
		"removed by a packet":   {event(t, 2, 0, 0, r), []pfstate.Change{{Kind: pfstate.Deleted}}},
		"removed by a program":  {event(t, 2, 0, 77, r), []pfstate.Change{{Kind: pfstate.Deleted}}},
		"expired for a program": {event(t, 2, 0, 77, expired), []pfstate.Change{{Kind: pfstate.Deleted}}},
		"own":                   {event(t, 0, created, 1234, r), nil},
		"own delete":            {event(t, 2, 0, 1234, r), nil},
		"of another subsystem":  {event(t, 0x200, 0, 0, r), nil},
		"two in one": {append(event(t, 0, created, 0, r), event(t, 0, 0, 0, r)...),
			[]pfstate.Change{{Kind: pfstate.Created}, {Kind: pfstate.Updated}}},
	} {
		t.Run(name, func(t *testing.T) {
			var b pfstate.Batch[pfstate.Change]
			newCodec().Events(&b, c.b, 0)
			var got []pfstate.Change
			for _, c := range b.Items {
				if c.Ref != 0xabcd {
					t.Errorf("ref %x", c.Ref)
				}
				got = append(got, pfstate.Change{Kind: c.Kind, Expired: c.Expired})
			}
			if diff := cmp.Diff(c.want, got, sameAddr); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWhatIsIgnoredIsCounted(t *testing.T) {
	neighbour := flowOf(58, "fe80::1", "fe80::2")
	neighbour.Orig.Type = 135
	unconfirmed := flowOf(17, "10.1.0.1", "10.2.0.1")
	unconfirmed.Status = seenReply
	strange := flowOf(6, "10.1.0.1", "10.2.0.1")
	strange.TCP = &rawTCP{State: 12}
	toLoopback := flowOf(6, "10.1.0.1", "10.2.0.1")
	toLoopback.Reply.Src = netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		b       []byte
		counter string
	}{
		"pfsync":                  {event(t, 0, 0, 0, flowOf(240, "10.0.0.1", "224.0.0.240")), "ignored_protocol"},
		"igmp":                    {event(t, 0, 0, 0, flowOf(2, "10.0.0.1", "224.0.0.22")), "ignored_protocol"},
		"carp":                    {event(t, 0, 0, 0, flowOf(112, "10.0.0.1", "224.0.0.18")), "ignored_protocol"},
		"neighbour solicitation":  {event(t, 0, 0, 0, neighbour), "ignored_neighbour"},
		"loopback":                {event(t, 0, 0, 0, flowOf(6, "127.0.0.1", "127.0.0.2")), "ignored_loopback"},
		"loopback, IPv6":          {event(t, 0, 0, 0, flowOf(17, "::1", "::1")), "ignored_loopback"},
		"redirected to loopback":  {event(t, 0, 0, 0, toLoopback), "ignored_loopback"},
		"unconfirmed":             {event(t, 0, 0, 0, unconfirmed), "ignored_unconfirmed"},
		"TCP state of the future": {event(t, 0, 0, 0, strange), "ignored_unknown"},
		"own":                     {event(t, 0, 0, 1234, unconfirmed), "events_own"},
		"cut":                     {event(t, 0, 0, 0, unconfirmed)[:40], "malformed"},
		"no tuple":                {event(t, 0, 0, 0, raw{Orig: rawTuple{Src: netip.IPv4Unspecified()}}), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			codec := newCodec()
			var b pfstate.Batch[pfstate.Change]
			codec.Events(&b, c.b, 0)
			if len(b.Items) != 0 {
				t.Errorf("reported: %v", b.Items)
			}
			for _, got := range codec.Counters() {
				want := uint64(0)
				if got.Name == c.counter {
					want = 1
				}
				if got.Value != want {
					t.Errorf("%s = %d, want %d", got.Name, got.Value, want)
				}
			}
		})
	}
}

func TestAccountingAndAge(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	b := event(t, 2, 0, 0, flowOf(17, "10.1.0.1", "10.2.0.1"), func(e *netlink.AttributeEncoder) {
		for typ, n := range map[uint16]uint64{9: 10, 10: 20} {
			e.Nested(typ, func(e *netlink.AttributeEncoder) error {
				e.Uint64(1, n)
				e.Uint64(2, 100*n)
				return nil
			})
		}
		e.Nested(20, func(e *netlink.AttributeEncoder) error {
			e.Uint64(1, uint64(start.UnixNano()))
			return nil
		})
		e.Bytes(999, []byte("an attribute of a newer kernel"))
	})
	var got pfstate.Batch[pfstate.Change]
	newCodec().Events(&got, b, start.Add(90*time.Second+time.Millisecond).UnixNano())
	if len(got.Items) != 1 {
		t.Fatalf("%d changes, want 1", len(got.Items))
	}
	s := &got.Items[0].State
	if s.Creation != 90*time.Second || s.Packets != [2]uint64{10, 20} || s.Bytes != [2]uint64{1000, 2000} {
		t.Errorf("age %v, packets %v, bytes %v", s.Creation, s.Packets, s.Bytes)
	}
}

func TestIDsAreStable(t *testing.T) {
	id := func(codec *conntrack.Codec, r raw) pfstate.ID {
		var b pfstate.Batch[pfstate.Change]
		codec.Events(&b, event(t, 0, 0, 0, r), 0)
		return b.Items[0].State.ID
	}
	r := flowOf(17, "10.1.0.1", "10.2.0.1")
	first := id(newCodec(), r)
	later := r
	later.Status |= assured
	later.Timeout = 5
	if got := id(newCodec(), later); got != first || first.Creator != 9 {
		t.Errorf("id %v, want %v by 9", got, first)
	}
	changed := map[string]raw{"zone": r, "protocol": flowOf(136, "10.1.0.1", "10.2.0.1"), "address": flowOf(17, "10.1.0.2", "10.2.0.1")}
	zoned := r
	zoned.Orig.Zone = 3
	changed["zone"] = zoned
	for what, r := range changed {
		if id(newCodec(), r) == first {
			t.Errorf("another %s has the same id", what)
		}
	}
	other := conntrack.NewCodec([16]byte{9}, 9)
	other.Own(1234)
	if id(other, r) == first {
		t.Error("another key gives the same id")
	}
	s := pfstate.Default()
	s.Proto = 17
	orig := pfstate.Tuple{Src: r.Orig.Src, Dst: r.Orig.Dst}
	s.SetTuples(orig, orig.Reversed(), 0)
	if got := conntrack.NewID([16]byte{1, 2, 3}, 9)(&s, 0xabcd); got != first {
		t.Errorf("NewID gives %v, want %v", got, first)
	}
}

// imported decodes what an insert of s asks the kernel for.
func imported(t *testing.T, s *pfstate.State) raw {
	t.Helper()
	b, err := newCodec().AppendInsert(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeRaw(b[16:])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAnyPairOfPeersBecomesATCPState: pf may send pairs that conntrack never makes.
func TestAnyPairOfPeersBecomesATCPState(t *testing.T) {
	const none, first, second = 0, 1, 2 // who closed
	for _, c := range []struct {
		src, dst pfstate.PeerState
		state    uint8
		closer   int
		status   uint32
	}{
		{0, 0, 0, none, confirmed},
		{2, 0, 1, none, confirmed},
		{2, 1, 1, none, confirmed},
		{4, 0, 1, none, confirmed},
		{0, 2, 2, none, confirmed | seenReply},
		{4, 2, 2, none, confirmed | seenReply},
		{2, 4, 2, none, confirmed | seenReply},
		{4, 3, 2, none, confirmed | seenReply},
		{2, 2, 9, none, confirmed | seenReply},
		{4, 4, 3, none, confirmed | seenReply | assured},
		{5, 6, 3, none, confirmed | seenReply | assured},
		{7, 4, 4, first, confirmed | seenReply | assured},
		{4, 7, 4, second, confirmed | seenReply | assured},
		{7, 2, 4, first, confirmed | seenReply | assured},
		{9, 4, 5, first, confirmed | seenReply | assured},
		{4, 9, 5, second, confirmed | seenReply | assured},
		{7, 7, 6, first, confirmed | seenReply | assured},
		{9, 7, 6, first, confirmed | seenReply | assured},
		{7, 9, 6, second, confirmed | seenReply | assured},
		{8, 10, 6, second, confirmed | seenReply | assured},
		{9, 9, 7, none, confirmed | seenReply | assured},
		{9, 10, 7, none, confirmed | seenReply | assured},
		{10, 10, 8, none, confirmed | seenReply | assured},
	} {
		s := tabletest.TCP(1)
		s.Src.State, s.Dst.State = c.src, c.dst
		r := imported(t, &s)
		closer := none
		for i, flags := range r.TCP.Flags {
			if flags&0x04 != 0 {
				closer = i + 1
			}
			if flags&0x08 == 0 {
				t.Errorf("%d/%d: window checks are on in direction %d", c.src, c.dst, i)
			}
		}
		if r.TCP.State != c.state || closer != c.closer || r.Status != c.status {
			t.Errorf("%d/%d: state %d closer %d status %x, want %d %d %x", c.src, c.dst, r.TCP.State, closer, r.Status, c.state, c.closer, c.status)
		}
	}
}

func TestTimeoutOfAnImport(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*pfstate.State)
		want   uint32
	}{
		"as announced":           {func(s *pfstate.State) { s.Expire = 77 * time.Second }, 77},
		"a part is a whole":      {func(s *pfstate.State) { s.Expire = 100 * time.Millisecond }, 1},
		"a century":              {func(s *pfstate.State) { s.Expire = 1<<63 - 1 }, 1<<32 - 1},
		"local, TCP established": {func(*pfstate.State) {}, 432000},
		"local, TCP closed":      {func(s *pfstate.State) { s.Src.State, s.Dst.State = 10, 10 }, 10},
		"local, UDP":             {func(s *pfstate.State) { *s = tabletest.UDP(1); s.Expire = 0 }, 30},
		"local, UDP stream":      {func(s *pfstate.State) { *s = tabletest.UDP(1); s.Expire, s.Dst.State = 0, 2 }, 120},
		"local, GRE":             {func(s *pfstate.State) { s.Proto, s.Dst.State = 47, 2 }, 180},
		"local, SCTP":            {func(s *pfstate.State) { s.Proto, s.Dst.State = 132, 2 }, 210},
		"local, other":           {func(s *pfstate.State) { s.Proto, s.Dst.State = 50, 1 }, 600},
	} {
		s := tabletest.TCP(1)
		s.Expire = 0
		c.change(&s)
		if got := imported(t, &s).Timeout; got != c.want {
			t.Errorf("%s: %d s, want %d", name, got, c.want)
		}
	}
}

func TestStatesOfEitherDirectionAreImported(t *testing.T) {
	out := tabletest.Translated(tabletest.TCP(1), 5000)
	in := out
	in.Direction = pfstate.In
	orig, reply := out.Tuples()
	in.SetTuples(orig, reply, 0)
	if diff := cmp.Diff(imported(t, &out), imported(t, &in), sameAddr); diff != "" {
		t.Errorf("-out +in:\n%s", diff)
	}
}

func TestUnsupportedStatesAreRefused(t *testing.T) {
	six := tabletest.Flow(1, true)
	for name, change := range map[string]func(*pfstate.State){
		"synproxy, source":      func(s *pfstate.State) { s.Src.State = pfstate.TCPProxySrc },
		"synproxy, destination": func(s *pfstate.State) { s.Dst.State = pfstate.TCPProxyDst },
		"modulated":             func(s *pfstate.State) { s.Dst.SeqDiff = 1 },
		"af-to":                 func(s *pfstate.State) { s.Wire.Addr[0], s.Wire.Addr[1] = six.Src, six.Dst },
		"two routing domains":   func(s *pfstate.State) { s.Wire.RDomain, s.Stack.RDomain = 1, 2 },
		"GRE key translated":    func(s *pfstate.State) { s.Proto, s.Wire.Port[1] = 47, 9 },
		"ICMP error":            func(s *pfstate.State) { s.Proto, s.Wire.Port[0], s.Stack.Port[0] = 1, 3, 3 },
		"ICMP type translated":  func(s *pfstate.State) { s.Proto, s.Wire.Port[0], s.Stack.Port[0] = 1, 13, 8 },
		"ICMPv6 over IPv4":      func(s *pfstate.State) { s.Proto, s.Wire.Port[0], s.Stack.Port[0] = 58, 128, 128 },
	} {
		s := tabletest.TCP(1)
		change(&s)
		b, err := newCodec().AppendInsert([]byte("x"), &s)
		if !errors.Is(err, pfstate.ErrUnsupported) || len(b) != 1 {
			t.Errorf("%s: %v, %d bytes written; want ErrUnsupported and none", name, err, len(b)-1)
		}
	}
}

// TestNoDeleteWithoutATuple: such a message would flush the kernel's table.
func TestNoDeleteWithoutATuple(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, src := range []netip.Addr{{}, four, six} {
		for _, dst := range []netip.Addr{{}, four, six} {
			for proto := range 256 {
				s := pfstate.Default()
				s.Proto = uint8(proto)
				s.SetTuples(pfstate.Tuple{Src: src, Dst: dst}, pfstate.Tuple{Src: dst, Dst: src}, 0)
				b, err := newCodec().AppendDelete(nil, &s, uint32(proto))
				if err != nil {
					if !errors.Is(err, pfstate.ErrUnsupported) || len(b) != 0 {
						t.Fatalf("%v > %v proto %d: %v and %d bytes", src, dst, proto, err, len(b))
					}
					continue
				}
				r, err := decodeRaw(b[16:])
				if err != nil || r.Orig.Src != src || r.Orig.Dst != dst || r.Proto != uint8(proto) {
					t.Fatalf("%v > %v proto %d: delete of %+v, %v", src, dst, proto, r.Orig, err)
				}
			}
		}
	}
}

func TestErrnosHaveMeanings(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.ENOMEM: pfstate.ErrTableFull, unix.ENOSPC: pfstate.ErrTableFull, unix.EEXIST: pfstate.ErrClash, unix.ENOENT: pfstate.ErrNoState,
		unix.EINVAL: pfstate.ErrUnsupported, unix.EOPNOTSUPP: pfstate.ErrUnsupported, unix.EPERM: unix.EPERM, unix.EIO: unix.EIO,
		unix.ERANGE: pfstate.ErrUnsupported, unix.EPROTONOSUPPORT: pfstate.ErrUnsupported, unix.EAFNOSUPPORT: pfstate.ErrUnsupported,
		unix.EBUSY: unix.EBUSY, unix.ETIMEDOUT: unix.ETIMEDOUT, unix.EAGAIN: unix.EAGAIN,
	} {
		if got := conntrack.RefusedBy(errno); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
		if got := conntrack.RefusedBy(errno); errors.Is(want, errno) {
			for _, other := range []error{pfstate.ErrTableFull, pfstate.ErrClash, pfstate.ErrNoState, pfstate.ErrUnsupported} {
				if errors.Is(got, other) {
					t.Errorf("%v: %v", errno, got)
				}
			}
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	codec := newCodec()
	r := flowOf(6, "10.1.0.1", "10.2.0.1")
	datagram := event(t, 0, 0, 0, r)
	var b pfstate.Batch[pfstate.Change]
	b.Items = make([]pfstate.Change, 0, 4)
	if n := testing.AllocsPerRun(1000, func() {
		b.Items = b.Items[:0]
		codec.Events(&b, datagram, 0)
	}); n != 0 || len(b.Items) != 1 {
		t.Errorf("event: %v allocations, %d changes", n, len(b.Items))
	}
	s, out := tabletest.Translated(tabletest.TCP(1), 5000), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(1000, func() {
		for _, f := range []func([]byte, *pfstate.State) ([]byte, error){codec.AppendInsert, codec.AppendUpdate} {
			if _, err := f(out, &s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := codec.AppendDelete(out, &s, 1); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("insert, update, delete: %v allocations", n)
	}
}

// FuzzEvents: no datagram makes the parser panic; what it reports can be looked
// up and deleted again, or is refused, but never flushes.
func FuzzEvents(f *testing.F) {
	for _, r := range []raw{flowOf(6, "10.1.0.1", "10.2.0.1"), flowOf(58, "fd00::1", "fd00::2"), flowOf(47, "10.1.0.1", "10.2.0.1")} {
		f.Add(event(f, 0, netlink.Create, 0, r))
		f.Add(event(f, 2, 0, 0, r))
	}
	for _, d := range captured(f, eventsFile) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		codec := newCodec()
		var b pfstate.Batch[pfstate.Change]
		codec.Events(&b, datagram, 0)
		for _, c := range b.Items {
			if c.State.ID.State == 0 {
				t.Error("id 0")
			}
			_ = c.State.String()
			named(t, codec, &c)
		}
	})
}

// named checks that the messages about a reported state name an entry.
func named(t *testing.T, codec *conntrack.Codec, c *pfstate.Change) {
	t.Helper()
	for _, out := range [][]byte{
		must(codec.AppendDelete(nil, &c.State, c.Ref)), must(codec.AppendInsert(nil, &c.State)),
	} {
		if out == nil {
			continue
		}
		if r, err := decodeRaw(out[16:]); err != nil || !r.Orig.Src.IsValid() || !r.Orig.Dst.IsValid() {
			t.Errorf("%v is named %+v: %v", &c.State, r.Orig, err)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		return nil
	}
	return b
}

func BenchmarkParseEvent(b *testing.B) {
	codec := newCodec()
	datagram := event(b, 0, 0, 0, flowOf(6, "10.1.0.1", "10.2.0.1"))
	var batch pfstate.Batch[pfstate.Change]
	b.ReportAllocs()
	for b.Loop() {
		batch.Items = batch.Items[:0]
		codec.Events(&batch, datagram, 0)
	}
}

func BenchmarkEncodeInsert(b *testing.B) {
	codec := newCodec()
	s, out := tabletest.Translated(tabletest.TCP(1), 5000), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.AppendInsert(out, &s); err != nil {
			b.Fatal(err)
		}
	}
}
