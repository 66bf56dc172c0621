package carp_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/carp/carptest"
)

// forged is an advert of another host for carp0, as good as it can be.
func forged(change func(*carp.Advert)) []byte {
	a := carp.Advert{Version: 2, Type: 1, VHID: 1, AuthLen: 7, AdvBase: 1, Counter: 1 << 63}
	a.Digest = carp.NewSigner("foo", 1, []netip.Prefix{outside}, nil).Sign(a.Counter)
	if change != nil {
		change(&a)
	}
	return a.Append(nil)
}

func multicast(payload []byte) carp.Packet {
	return carp.Packet{
		Family: carp.Inet, Src: netip.MustParseAddr("10.0.0.99"), Dst: netip.MustParseAddr("224.0.0.18"),
		TTL: 255, Payload: payload,
	}
}

// counters are all by name.
func (f *firewall) counters() map[string]uint64 {
	f.rig.t.Helper()
	all, err := f.host.Counters()
	check(f.rig.t, err)
	m := map[string]uint64{}
	for _, c := range all {
		m[c.Name] = c.Value
	}
	return m
}

// less is what has been counted since before.
func less(now, before map[string]uint64) map[string]uint64 {
	d := map[string]uint64{}
	for k, v := range now {
		if v != before[k] {
			d[k] = v - before[k]
		}
	}
	return d
}

func TestBadPacketsAreCountedAndChangeNothing(t *testing.T) {
	type count = map[string]uint64
	cases := map[string]struct {
		change func(*carp.Packet)
		want   count
	}{
		"TTL":              {func(p *carp.Packet) { p.TTL = 254 }, count{"carp_badttl": 1}},
		"short":            {func(p *carp.Packet) { p.Payload = p.Payload[:35] }, count{"carp_badlen": 1}},
		"empty":            {func(p *carp.Packet) { p.Payload = nil }, count{"carp_badlen": 1}},
		"checksum":         {func(p *carp.Packet) { p.Payload[20] ^= 1 }, count{"carp_badsum": 1}},
		"vhid":             {func(p *carp.Packet) { p.Payload = forged(func(a *carp.Advert) { a.VHID = 9 }) }, count{"carp_badvhid": 1}},
		"version":          {func(p *carp.Packet) { p.Payload = forged(func(a *carp.Advert) { a.Version = 3 }) }, count{"carp_badver": 1}},
		"digest":           {func(p *carp.Packet) { p.Payload = forged(func(a *carp.Advert) { a.Digest[19] ^= 1 }) }, count{"carp_badauth": 1}},
		"counter":          {func(p *carp.Packet) { p.Payload = forged(func(a *carp.Advert) { a.Counter++ }) }, count{"carp_badauth": 1}},
		"unicast to group": {func(p *carp.Packet) { p.Dst = netip.MustParseAddr("10.0.0.253") }, count{"carp_badvhid": 1}},
		"VRRP": {func(p *carp.Packet) {
			p.Payload = []byte{0x21, 1, 100, 1, 0, 1, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
		},
			count{"carp_badlen": 1, "carp_vrrp": 1}},
		"vhid of another network": {nil, count{}},
	}
	pair(t, func(r *rig, a, b *firewall) {
		for name, c := range cases {
			for _, f := range []*firewall{a, b} {
				before, was := f.counters(), f.status("carp0")
				p := multicast(forged(nil))
				if c.change == nil { // vhid 1 is on sis0
					f.sys.Inject("sis1", p)
					c.want = count{"carp_badvhid": 1}
				} else {
					c.change(&p)
					f.sys.Inject("sis0", p)
				}
				c.want["carp_ipackets"] = 1
				synctest.Wait()
				if diff := cmp.Diff(c.want, less(f.counters(), before)); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", name, f.sys.Name, diff)
				}
				if diff := cmp.Diff(was, f.status("carp0"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
					t.Errorf("%s, %s has changed:\n%s", name, f.sys.Name, diff)
				}
			}
		}
		// None of them has held off the backup's timer.
		a.sys.PowerOff()
		a.stop()
		for range 34 {
			after(100 * time.Millisecond)
			p := multicast(forged(func(a *carp.Advert) { a.Digest[0] ^= 1 }))
			b.sys.Inject("sis0", p)
		}
		after(slack)
		b.has("under bad packets", carp.Master, carp.Master)
		// And the good one is good.
		b.sys.Inject("sis0", multicast(forged(nil)))
		synctest.Wait()
		b.has("better master", carp.Backup, carp.Master)
	})
}

func TestOwnAdvertsLooped(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		before := a.counters()
		own := a.sys.Calls(carptest.Send)
		for _, c := range own {
			if c.Device == "carp0" {
				a.sys.Inject("sis0", multicast(c.Advert))
				synctest.Wait()
				break
			}
		}
		want := map[string]uint64{"carp_ipackets": 1, "carp_badauth": 1, "carp_looped": 1}
		if diff := cmp.Diff(want, less(a.counters(), before)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		a.has("looped", carp.Master, carp.Master)
	})
}

func TestShortIPv6PacketsAndFamilies(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		before := a.counters()
		p := multicast(forged(nil)[:35])
		p.Family, p.Dst = carp.Inet6, netip.MustParseAddr("ff02::12")
		a.sys.Inject("sis0", p)
		synctest.Wait()
		want := map[string]uint64{"carp_ipackets6": 1, "carp_hdrops": 1}
		if diff := cmp.Diff(want, less(a.counters(), before)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestNotAllowed(t *testing.T) {
	pair(t, func(r *rig, a, b *firewall) {
		b.options(func(o *carp.Options) { o.Allow = false })
		b.has("not allowed", carp.Init, carp.Init)
		before := b.counters()
		b.sys.Inject("sis0", multicast(forged(nil)))
		synctest.Wait()
		want := map[string]uint64{"carp_ipackets": 1, "carp_notallowed": 1}
		if diff := cmp.Diff(want, less(b.counters(), before)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if why := b.status("carp0").Why; why != "net.inet.carp.allow is 0" {
			t.Errorf("why: %q", why)
		}
	})
}

// Whoever does not know the password changes nothing but counters, whatever is sent.
func FuzzHost(f *testing.F) {
	for _, a := range adverts(f) {
		f.Add(a.Payload(), uint8(255), true)
	}
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Hex), uint8(255), true)
		f.Add(unhex(f, v.Hex), uint8(64), false)
	}
	f.Fuzz(func(t *testing.T, payload []byte, ttl uint8, inet bool) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			secret := func(c *carp.Config) { c.Pass = "not in the corpus" }
			a, b := r.firewall("fwA", 254, 0, secret), r.firewall("fwB", 253, 100, secret)
			after(5 * time.Second)
			fixed := append([]byte(nil), payload...)
			if len(fixed) >= carp.AdvertLen { // let it come further
				fixed[0], fixed[1] = 0x21, 1
				fixed[6], fixed[7] = 0, 0
				var sum uint32
				for i := 0; i < carp.AdvertLen; i += 2 {
					sum += uint32(binary.BigEndian.Uint16(fixed[i:]))
				}
				for sum > 0xffff {
					sum = sum>>16 + sum&0xffff
				}
				binary.BigEndian.PutUint16(fixed[6:], ^uint16(sum))
			}
			for _, h := range []*firewall{a, b} {
				before := h.counters()
				for _, b := range [][]byte{payload, fixed} {
					p := multicast(b)
					p.TTL = int(ttl)
					if !inet {
						p.Family, p.Dst = carp.Inet6, netip.MustParseAddr("ff02::12")
					}
					h.sys.Inject("sis0", p)
				}
				synctest.Wait()
				got := less(h.counters(), before)
				if got["carp_ipackets"]+got["carp_ipackets6"] != 2 {
					t.Errorf("received: %v", got)
				}
				dropped := uint64(0)
				for _, n := range []string{"badttl", "hdrops", "badsum", "badver", "badlen", "badauth", "badvhid"} {
					dropped += got["carp_"+n]
				}
				if dropped != 2 {
					t.Errorf("dropped %d of 2: %v", dropped, got)
				}
			}
			a.has("fuzzed", carp.Master, carp.Master)
			b.has("fuzzed", carp.Backup, carp.Backup)
			after(5 * time.Second)
			a.has("later", carp.Master, carp.Master)
			b.has("later", carp.Backup, carp.Backup)
			if a.status("carp0").Changes != 2 || b.status("carp0").Changes != 1 {
				t.Error("states have changed")
			}
		})
	})
}
