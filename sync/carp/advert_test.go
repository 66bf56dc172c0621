package carp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/test/corpus"
)

// vector is an advert of carp/vectors.json.
type vector struct {
	Kind, Source, Pass, Hex  string
	VHID                     uint8
	VIPs, VIPs6              []netip.Addr
	AdvBase, AdvSkew, Demote uint8
	HashedOrder              []netip.Addr `json:"hashed_order"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var all struct{ Vectors []vector }
	if err := json.Unmarshal(corpus.CARPVectors(t), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Vectors) < 18 {
		t.Fatalf("only %d vectors", len(all.Vectors))
	}
	return all.Vectors
}

func prefixes(addrs ...netip.Addr) (all []netip.Prefix) {
	for _, a := range addrs {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return all
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		b := unhex(t, v.Hex)
		a, err := carp.ParseAdvert(b)
		if err != nil {
			t.Errorf("%s: %v", v.Source, err)
			continue
		}
		want := carp.Advert{
			Version: 2, Type: 1, AuthLen: 7, VHID: v.VHID, AdvSkew: v.AdvSkew, AdvBase: v.AdvBase, Demote: v.Demote,
			Counter: a.Counter, Digest: a.Digest,
		}
		if strings.Contains(v.Source, "last word") {
			want.AdvBase, want.AdvSkew = 255, 255
		}
		if diff := cmp.Diff(want, a); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v.Source, diff)
		}
		if got := a.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("%s: written as %x, want %x", v.Source, got, b)
		}
		s := carp.NewSigner(v.Pass, v.VHID, prefixes(append(v.VIPs, v.VIPs6...)...), nil)
		if !s.Verify(a.Counter, a.Digest) {
			t.Errorf("%s: digest is refused", v.Source)
		}
		// The form with link-local addresses is accepted, never sent.
		if sent := s.Sign(a.Counter) == a.Digest; sent == strings.Contains(v.Source, "form with link-local") {
			t.Errorf("%s: sent in this form: %t", v.Source, sent)
		}
	}
}

// captured is what the vhids of the captures were configured with.
var captured = map[string][]struct {
	pass string
	vhid uint8
	addr string
}{
	"carp/openbsd80-carp.pcap": {{"mekmitasdigoat", 1, "10.1.0.254"}},
	"carp/freebsd13-carp.pcap": {{"mekmitasdigoat", 1, "10.1.0.254"}},
	"carp/ucarp-advert.pcap":   {{"foo", 1, "10.0.0.1"}},
	"carp/ucarp-advert-2.pcap": {{"bar", 2, "192.168.0.1"}, {"mekmitasdigoat12345", 255, "192.168.0.200"}},
}

// adverts are all of the captures.
func adverts(t testing.TB) (frames []corpus.Frame) {
	t.Helper()
	for _, name := range corpus.CARP(t) {
		for _, f := range corpus.Frames(t, name) {
			if f.Data[12] == 0x08 && f.Data[13] == 0x00 { // not ARP
				frames = append(frames, f)
			}
		}
	}
	return frames
}

func TestCapturedAdverts(t *testing.T) {
	count := map[string]int{}
	for _, f := range adverts(t) {
		a, err := carp.ParseAdvert(f.Payload())
		if err != nil {
			t.Errorf("%s frame %d: %v", f.File, f.N, err)
			continue
		}
		if got := a.Append(nil); !bytes.Equal(got, f.Payload()) {
			t.Errorf("%s frame %d: written as %x, want %x", f.File, f.N, got, f.Payload())
		}
		for _, c := range captured[f.File] {
			if c.vhid != a.VHID {
				continue
			}
			count[f.File]++
			good := carp.NewSigner(c.pass, c.vhid, prefixes(netip.MustParseAddr(c.addr)), nil)
			if !good.Verify(a.Counter, a.Digest) || good.Sign(a.Counter) != a.Digest {
				t.Errorf("%s frame %d: digest is not ours", f.File, f.N)
			}
			for name, bad := range map[string]*carp.Signer{
				"pass":    carp.NewSigner(c.pass+"x", c.vhid, prefixes(netip.MustParseAddr(c.addr)), nil),
				"vhid":    carp.NewSigner(c.pass, c.vhid+1, prefixes(netip.MustParseAddr(c.addr)), nil),
				"address": carp.NewSigner(c.pass, c.vhid, nil, nil),
				"lladdr":  carp.NewSigner(c.pass, c.vhid, prefixes(netip.MustParseAddr(c.addr)), carp.VirtualMAC(c.vhid)),
			} {
				if len(c.pass) >= carp.PassLen && name == "pass" {
					continue // cut
				}
				if bad.Verify(a.Counter, a.Digest) {
					t.Errorf("%s frame %d: accepted with another %s", f.File, f.N, name)
				}
			}
			if good.Verify(a.Counter+1, a.Digest) {
				t.Errorf("%s frame %d: accepted with another counter", f.File, f.N)
			}
		}
	}
	want := map[string]int{
		"carp/openbsd80-carp.pcap": 13, "carp/freebsd13-carp.pcap": 6, "carp/ucarp-advert.pcap": 8, "carp/ucarp-advert-2.pcap": 4,
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("adverts (-want +got):\n%s", diff)
	}
}

func TestDigestInput(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")
	local := netip.MustParseAddr("fe80::1%sis0")
	base := carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a, b), nil).Sign(7)
	hand := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		same bool
		s    *carp.Signer
	}{
		"20th character of the password": {true, carp.NewSigner("mekmitasdigoat123456", 1, prefixes(a, b), nil)},
		"other order":                    {true, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(b, a), nil)},
		"address twice":                  {true, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a, b, a), nil)},
		"mapped address":                 {true, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a, netip.AddrFrom16(b.As16())), nil)},
		"other mask":                     {true, carp.NewSigner("mekmitasdigoat12345", 1, []netip.Prefix{netip.PrefixFrom(a, 24), netip.PrefixFrom(b, 8)}, nil)},
		"link-local":                     {true, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a, b, local), nil)},
		"lladdr set by hand":             {false, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a, b), hand)},
		"one address less":               {false, carp.NewSigner("mekmitasdigoat12345", 1, prefixes(a), nil)},
	} {
		if same := c.s.Sign(7) == base; same != c.same {
			t.Errorf("%s: same digest %t, want %t", name, same, c.same)
		}
	}
}

func TestBadAdverts(t *testing.T) {
	good := unhex(t, vectors(t)[0].Hex)
	if _, err := carp.ParseAdvert(good[:35]); !errors.Is(err, carp.ErrShort) {
		t.Errorf("35 bytes: %v", err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := carp.ParseAdvert(bad); !errors.Is(err, carp.ErrChecksum) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	out := carp.Advert{AdvBase: 255, AdvSkew: 255}
	if !out.BowOut() || (carp.Advert{AdvBase: 255, AdvSkew: 254}).BowOut() {
		t.Error("bow out is advbase 255 and advskew 255")
	}
}

// What parses is written as it was read.
func FuzzAdvert(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Hex))
	}
	for _, a := range adverts(f) {
		f.Add(a.Payload())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := carp.ParseAdvert(b)
		if err != nil {
			return
		}
		b = bytes.Clone(b[:carp.AdvertLen])
		if b[6] == 0xff && b[7] == 0xff {
			b[6], b[7] = 0, 0 // both are zero in ones' complement
		}
		if again := a.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("written as %x, read from %x", again, b)
		}
	})
}

func TestAdvertsAllocateNothing(t *testing.T) {
	v := vectors(t)[0]
	b, s := unhex(t, v.Hex), carp.NewSigner(v.Pass, v.VHID, prefixes(v.VIPs...), nil)
	out := make([]byte, 0, carp.AdvertLen)
	if n := testing.AllocsPerRun(100, func() {
		a, err := carp.ParseAdvert(b)
		if err != nil || !s.Verify(a.Counter, a.Digest) {
			t.Fatal("refused")
		}
		a.Digest = s.Sign(a.Counter)
		out = a.Append(out[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
