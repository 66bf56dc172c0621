package link_test

import (
	"encoding/hex"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/pfsync-linux/pfsync/sync/link"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

func TestConfigCheck(t *testing.T) {
	tests := []struct{ syncdev, syncpeer, want string }{
		{"sis2", "", ""},
		{"", "", ""},
		{"sis2.100", "192.0.2.2", ""},
		{"sis2", "224.0.0.18", ""},
		{"sis2", "::ffff:192.0.2.2", ""},
		{"averyveryverylongname0", "", `syncdev "averyveryverylongname0": interface name is longer than 15 bytes`},
		{"a/b", "", `syncdev "a/b": character '/' cannot be in an interface name`},
		{"sis 2", "", `syncdev "sis 2": character ' ' cannot be in an interface name`},
		{"..", "", `syncdev "..": not an interface name`},
		{"sis2", "2001:db8::2", ""},
		{"sis2", "ff12::f0", ""},
		{"sis2", "ff12::f0%sis2", ""},
		{"sis2", "fe80::2", ""},
		{"sis2", "fe80::2%sis2", ""},
		{"", "fe80::2%sis2", ""},
		{"sis2", "fe80::2%sis3", "syncpeer fe80::2%sis3: is on sis3, and the syncdev is sis2; set both"},
		{"sis2", "2001:db8::2%sis2", "syncpeer 2001:db8::2%sis2: is not link-local, so it takes no %sis2"},
		{"sis2", "ff0e::f0%sis2", "syncpeer ff0e::f0%sis2: is not link-local, so it takes no %sis2"},
		{"sis2", "::", "syncpeer ::: is no host's address; use -syncpeer for multicast"},
		{"sis2", "::1", "syncpeer ::1: is a loopback address"},
		{"sis2", "ff01::f0", "syncpeer ff01::f0: is a loopback address"},
		{"sis2", "0.0.0.0", "syncpeer 0.0.0.0: is no host's address; use -syncpeer for multicast"},
		{"sis2", "127.0.0.1", "syncpeer 127.0.0.1: is a loopback address"},
		{"sis2", "255.255.255.255", "syncpeer 255.255.255.255: is a broadcast or reserved address"},
		{"sis2", "240.0.0.1", "syncpeer 240.0.0.1: is a broadcast or reserved address"},
	}
	for _, tt := range tests {
		c := link.Config{Syncdev: tt.syncdev}
		if tt.syncpeer != "" {
			c.Syncpeer = netip.MustParseAddr(tt.syncpeer)
		}
		got := ""
		if err := c.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("syncdev %q syncpeer %q: %q, want %q", tt.syncdev, tt.syncpeer, got, tt.want)
		}
	}
}

// What an interface can never do is refused at once when the interface is there,
// and is the reason of the status when it comes later.
func TestInterfaceThatCannot(t *testing.T) {
	tests := []struct {
		name, syncpeer, setUp, syncdev, want, reason string
	}{
		{
			name: "no multicast", setUp: "link set sis2 multicast off", syncdev: "sis2",
			want: "syncdev sis2: cannot multicast; set a syncpeer", reason: "no multicast",
		},
		{
			name: "no multicast needed", setUp: "link set sis2 multicast off", syncdev: "sis2", syncpeer: "192.0.2.2",
		},
		{
			name: "loopback", setUp: "link set lo up", syncdev: "lo", syncpeer: "192.0.2.2",
			want: "syncdev lo: is a loopback interface", reason: "loopback",
		},
		{
			name: "own address", setUp: "link set sis2 up", syncdev: "sis2", syncpeer: "192.0.2.1",
			want:   "syncpeer 192.0.2.1: is our own address on sis2; name the other firewall's",
			reason: "syncpeer is our own address",
		},
		{
			name: "broadcast", setUp: "link set sis2 up", syncdev: "sis2", syncpeer: "192.0.2.255",
			want:   "syncpeer 192.0.2.255: is a broadcast address on sis2; name the other firewall's",
			reason: "syncpeer is a broadcast address",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t)
			ip(t, w.a, tt.setUp)
			c := link.Config{Syncdev: tt.syncdev}
			if tt.syncpeer != "" {
				c.Syncpeer = netip.MustParseAddr(tt.syncpeer)
			}
			got := ""
			l := link.New(slog.New(slog.DiscardHandler), link.NetNS(w.a.Fd()))
			if err := l.Configure(c); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Configure: %q, want %q", got, tt.want)
			}
			if tt.reason == "" || tt.syncdev == "lo" { // lo cannot come later
				return
			}
			ip(t, w.a, "link set sis2 down")
			ip(t, w.a, "link set sis2 name other")
			if err := l.Configure(c); err != nil {
				t.Fatal(err)
			}
			labtest.Background(t, l.Run)
			awaitReason(t, l, "no such interface")
			ip(t, w.a, "link set other name sis2")
			awaitReason(t, l, tt.reason)
		})
	}
}

func TestStatusNamesTheAddressTheKernelSendsFrom(t *testing.T) {
	w := newWire(t)
	ip(t, w.a, "addr add 203.0.113.1/24 dev sis2")
	ip(t, w.a, "addr add 203.0.113.9/32 dev sis2 scope host")
	ip(t, w.b, "addr add 203.0.113.2/24 dev sis2")
	b := start(t, w.b, sis2)
	awaitUp(t, b)
	for _, peer := range []string{"", "192.0.2.2", "203.0.113.2"} {
		c := sis2
		if peer != "" {
			c.Syncpeer = netip.MustParseAddr(peer)
		}
		a := start(t, w.a, c)
		s := awaitUp(t, a)
		send(t, a, "x")
		if got := take(t, b, 1); got[0].Src != s.Addr {
			t.Errorf("peer %q: status says %v, packets come from %v", peer, s.Addr, got[0].Src)
		}
	}
}

func TestAppendHeader(t *testing.T) {
	// The checksum worked out by hand: the words add up to 0x32985.
	const want = "45100194000040" + "00" + "fff0" + "d677" + "c0000201" + "e00000f0"
	got := link.AppendHeader([]byte{0xee}, addrA, link.Group, 384)
	if got[0] != 0xee || hex.EncodeToString(got[1:]) != want {
		t.Errorf("%x, want ee%s", got, want)
	}
	var sum uint32
	for i := 1; i < len(got); i += 2 {
		sum += uint32(got[i])<<8 | uint32(got[i+1])
	}
	if sum>>16+sum&0xffff != 0xffff {
		t.Errorf("checksum is wrong: words sum up to %#x", sum)
	}
	if n := testing.AllocsPerRun(100, func() { got = link.AppendHeader(got[:0], addrA, addrB, 1400) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
