package ifconfig_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

func pfsync0() ifconfig.Interface {
	return ifconfig.Interface{
		Name: "pfsync0", Index: 9, Flags: ifconfig.FlagUp | ifconfig.FlagRunning, MTU: 1500,
		Groups: []string{"carp", "pfsync"}, Status: "active",
		PFSync: &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, SyncOK: true, Creator: 0x1a2b3c4d},
	}
}

func sis0() ifconfig.Interface {
	return ifconfig.Interface{
		Name: "sis0", Index: 2, MTU: 1500, LLAddr: "52:54:00:aa:00:01", Groups: []string{"egress"},
		Flags: ifconfig.FlagUp | ifconfig.FlagBroadcast | ifconfig.FlagRunning | ifconfig.FlagSimplex | ifconfig.FlagMulticast,
		Media: "Ethernet autoselect (1000baseT full-duplex)", Status: "active",
		Inet: []ifconfig.Address{
			{Prefix: netip.MustParsePrefix("10.0.0.254/24"), Broadcast: netip.MustParseAddr("10.0.0.255")},
			{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Peer: netip.MustParseAddr("10.0.0.2")},
		},
		Inet6: []ifconfig.Address{
			{Prefix: netip.MustParsePrefix("fe80::5054:ff:feaa:1/64"), ScopeID: 2},
			{Prefix: netip.MustParsePrefix("2001:db8::1/64"), Marks: []string{"tentative", "autoconf"}},
		},
	}
}

// linuxPeer is in sync, and one more OpenBSD box has everything wrong.
func linuxPeer() ifconfig.Peer {
	return ifconfig.Peer{Addr: netip.MustParseAddr("192.168.254.253"), Creator: 0x0b5b3f2a, Kind: "linux", State: "up",
		Age: ifconfig.Seconds(449 * time.Millisecond), States: 1200, Sync: "yes", Problems: []string{}}
}

func brokenPeer() ifconfig.Peer {
	return ifconfig.Peer{Addr: netip.MustParseAddr("fe80::1%sis2"), Kind: "version-5", State: "dead", Age: ifconfig.Seconds(75 * time.Second),
		Sync: "unknown", Problems: []string{"does not hear us", "speaks version 5, which is not understood"}}
}

func printed(t *testing.T, i ifconfig.Interface, style ifconfig.Style) string {
	t.Helper()
	var b strings.Builder
	if err := ifconfig.Print(&b, []ifconfig.Interface{i}, style); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrint(t *testing.T) {
	withPeer := pfsync0()
	withPeer.PFSync = &ifconfig.PFSync{Syncdev: "enc0", Syncpeer: netip.MustParseAddr("10.0.0.2"), MaxUpd: 64, Defer: true}
	withPeer.Status = "bulk 43% (12s)"
	withKey, changing := pfsync0(), pfsync0()
	withKey.PFSync.Key = ifconfig.KeyOn
	changing.PFSync = &ifconfig.PFSync{MaxUpd: 128, Key: ifconfig.KeyChanging}
	down := pfsync0()
	down.Flags, down.Status, down.PFSync = 0, "no syncdev", &ifconfig.PFSync{MaxUpd: 128}
	byIPv6 := pfsync0()
	byIPv6.PFSync = &ifconfig.PFSync{Syncdev: "enc0", Syncpeer: netip.MustParseAddr("fe80::1%enc0"), MaxUpd: 128, Peers: []ifconfig.Peer{linuxPeer()}}
	byIPv6.PFSync.Peers[0].Addr = byIPv6.PFSync.Syncpeer
	group6 := pfsync0()
	group6.PFSync.Syncpeer = netip.MustParseAddr("ff12::f0")
	group := pfsync0()
	group.PFSync.Syncpeer = netip.MustParseAddr("224.0.0.240")
	peers := pfsync0()
	peers.PFSync.Peers = []ifconfig.Peer{linuxPeer(), brokenPeer()}
	alone := pfsync0()
	alone.PFSync.Peers = []ifconfig.Peer{}
	unplugged := alone
	unplugged.Flags, unplugged.Status = ifconfig.FlagUp, "no carrier"
	unplugged.PFSync = &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Peers: []ifconfig.Peer{}}
	gone := unplugged
	gone.PFSync = &ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Peers: []ifconfig.Peer{brokenPeer()}}
	unset := unplugged
	unset.PFSync = &ifconfig.PFSync{MaxUpd: 128, Peers: []ifconfig.Peer{brokenPeer()}}
	evil := ifconfig.Interface{Name: "x0", Index: 1, MTU: 1500, Description: "a\x1b[2J"}
	for _, test := range []struct {
		name  string
		iface ifconfig.Interface
		style ifconfig.Style
		want  string
	}{
		{"pfsync0", pfsync0(), "", `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 1
	groups: carp pfsync
	status: active
`},
		{"the multicast group is not shown as syncpeer", group, ifconfig.StyleOpenBSD, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	groups: carp pfsync
	status: active
`},
		{"IPv6's group", group6, ifconfig.StyleOpenBSD, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 syncpeer: ff12::f0 maxupd: 128 defer: off
	groups: carp pfsync
	status: active
`},
		{"a link-local syncpeer", byIPv6, ifconfig.StyleBoth, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: enc0 syncpeer: fe80::1%enc0 maxupd: 128 defer: off
	syncok: 0
	peer: fe80::1%enc0 creatorid: 0b5b3f2a linux up age: 0.4 states: 1200 insync: yes
	groups: carp pfsync
	status: active
`},
		{"syncpeer and defer", withPeer, ifconfig.StyleBoth, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: enc0 syncpeer: 10.0.0.2 maxupd: 64 defer: on
	syncok: 0
	groups: carp pfsync
	status: bulk 43% (12s)
`},
		{"a key", withKey, "", `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 1
	key: on
	groups: carp pfsync
	status: active
`},
		{"OpenBSD has no key", withKey, ifconfig.StyleOpenBSD, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	groups: carp pfsync
	status: active
`},
		{"a key without a syncdev", changing, "", `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	key: changing
	groups: carp pfsync
	status: active
`},
		{"unconfigured", down, "", `pfsync0: flags=0<> mtu 1500
	index 9 priority 0 llprio 3
	groups: carp pfsync
	status: no syncdev
`},
		{"peers, with what is wrong with them", peers, "", `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 1
	peer: 192.168.254.253 creatorid: 0b5b3f2a linux up age: 0.4 states: 1200 insync: yes
	peer: fe80::1%sis2 creatorid: unknown version-5 dead age: 75.0 states: 0 insync: unknown
		problem: does not hear us
		problem: speaks version 5, which is not understood
	groups: carp pfsync
	status: active
`},
		{"OpenBSD knows nothing of peers", peers, ifconfig.StyleOpenBSD, `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	groups: carp pfsync
	status: active
`},
		{"no peer", alone, "", `pfsync0: flags=41<UP,RUNNING> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 1
	peer: none heard
	groups: carp pfsync
	status: active
`},
		{"no peer, nor can there be one", unplugged, "", `pfsync0: flags=1<UP> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 0
	groups: carp pfsync
	status: no carrier
`},
		{"a peer heard before the link went", gone, "", `pfsync0: flags=1<UP> mtu 1500
	index 9 priority 0 llprio 3
	pfsync: syncdev: sis2 maxupd: 128 defer: off
	syncok: 0
	peer: fe80::1%sis2 creatorid: unknown version-5 dead age: 75.0 states: 0 insync: unknown
		problem: does not hear us
		problem: speaks version 5, which is not understood
	groups: carp pfsync
	status: no carrier
`},
		{"a peer heard before the syncdev was taken away", unset, "", `pfsync0: flags=1<UP> mtu 1500
	index 9 priority 0 llprio 3
	groups: carp pfsync
	status: no carrier
`},
		{"Ethernet", sis0(), "", `sis0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500
	lladdr 52:54:00:aa:00:01
	index 2 priority 0 llprio 3
	groups: egress
	media: Ethernet autoselect (1000baseT full-duplex)
	status: active
	inet 10.0.0.254 netmask 0xffffff00 broadcast 10.0.0.255
	inet 10.0.0.1 --> 10.0.0.2 netmask 0xffffffff
	inet6 fe80::5054:ff:feaa:1%sis0 prefixlen 64 scopeid 0x2
	inet6 2001:db8::1 prefixlen 64 tentative autoconf
`},
		{"FreeBSD's pfsync0", withKey, ifconfig.StyleFreeBSD, `pfsync0: flags=41<UP,RUNNING> metric 0 mtu 1500
	syncdev: sis2 maxupd: 128 defer: off version: openbsd
	syncok: 1
	groups: pfsync
`},
		{"FreeBSD's syncpeer", withPeer, ifconfig.StyleFreeBSD, `pfsync0: flags=41<UP,RUNNING> metric 0 mtu 1500
	syncdev: enc0 syncpeer: 10.0.0.2 maxupd: 64 defer: on version: openbsd
	syncok: 0
	groups: pfsync
`},
		{"FreeBSD's pfsync0 without a syncdev", down, ifconfig.StyleFreeBSD, `pfsync0: flags=0<> metric 0 mtu 1500
	maxupd: 128 defer: off version: openbsd
	syncok: 0
	groups: pfsync
`},
		{"FreeBSD's Ethernet", sis0(), ifconfig.StyleFreeBSD, `sis0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
	ether 52:54:00:aa:00:01
	inet 10.0.0.254 netmask 0xffffff00 broadcast 10.0.0.255
	inet 10.0.0.1 --> 10.0.0.2 netmask 0xffffffff
	inet6 fe80::5054:ff:feaa:1%sis0 prefixlen 64 scopeid 0x2
	inet6 2001:db8::1 prefixlen 64 tentative autoconf
	groups: egress
	media: Ethernet autoselect (1000baseT full-duplex)
	status: active
`},
		{"FreeBSD writes all digits of a netmask", ifconfig.Interface{Name: "x0", Inet: []ifconfig.Address{{Prefix: netip.MustParsePrefix("10.0.0.1/0")}}},
			ifconfig.StyleFreeBSD, `x0: flags=0<> metric 0 mtu 0
	inet 10.0.0.1 netmask 0x00000000
`},
		{"a description cannot disturb the terminal", evil, "", `x0: flags=0<> mtu 1500
	description: "a\x1b[2J"
	index 1 priority 0 llprio 3
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, printed(t, test.iface, test.style)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFlagsPrintInOrderOfTheirBits(t *testing.T) {
	if got, want := ifconfig.Flags(0x8bdf).String(), "8bdf<UP,BROADCAST,DEBUG,LOOPBACK,POINTOPOINT,RUNNING,NOARP,PROMISC,ALLMULTI,SIMPLEX,MULTICAST>"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSelect(t *testing.T) {
	first := sis0()
	first.Inet = first.Inet[:1]
	inet6Only := sis0()
	inet6Only.Inet = nil
	for _, test := range []struct {
		args string
		want []ifconfig.Interface
	}{
		{"", []ifconfig.Interface{first, pfsync0()}},
		{"-A", []ifconfig.Interface{sis0(), pfsync0()}},
		{"-a inet6", []ifconfig.Interface{inet6Only, pfsync0()}},
		{"sis0", []ifconfig.Interface{sis0()}},
		{"egress", []ifconfig.Interface{sis0()}},
		{"carp", []ifconfig.Interface{pfsync0()}},
		{"sis", []ifconfig.Interface{sis0()}},
	} {
		t.Run(test.args, func(t *testing.T) {
			cmd, err := ifconfig.Parse(strings.Fields(test.args))
			if err != nil {
				t.Fatal(err)
			}
			got, err := cmd.Display.Select([]ifconfig.Interface{sis0(), pfsync0()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	_, err := ifconfig.Display{Name: "sis7"}.Select([]ifconfig.Interface{sis0()})
	if !errors.Is(err, ifconfig.ErrNoInterface) || err.Error() != "sis7: no such interface" {
		t.Errorf("error %v", err)
	}
}

func TestPrintJSON(t *testing.T) {
	var b strings.Builder
	withPeers, noPeers := pfsync0(), pfsync0()
	withPeers.PFSync.Peers = []ifconfig.Peer{linuxPeer()}
	noPeers.PFSync = &ifconfig.PFSync{MaxUpd: 128}
	if err := ifconfig.PrintJSON(&b, []ifconfig.Interface{withPeers, noPeers, {Name: "lo", Index: 1, MTU: 65536,
		Inet: []ifconfig.Address{{Prefix: netip.MustParsePrefix("127.0.0.1/8")}}}}); err != nil {
		t.Fatal(err)
	}
	want := `{
	"schema": 1,
	"interfaces": [
		{
			"name": "pfsync0",
			"index": 9,
			"flags": [
				"UP",
				"RUNNING"
			],
			"flags_hex": "41",
			"mtu": 1500,
			"groups": [
				"carp",
				"pfsync"
			],
			"status": "active",
			"inet": [],
			"inet6": [],
			"pfsync": {
				"syncdev": "sis2",
				"syncpeer": "224.0.0.240",
				"maxupd": 128,
				"defer": false,
				"listen": false,
				"syncok": true,
				"creatorid": "1a2b3c4d",
				"key": "off",
				"peers": [
					{
						"address": "192.168.254.253",
						"creatorid": "0b5b3f2a",
						"kind": "linux",
						"state": "up",
						"age": 0.449,
						"states": 1200,
						"sync": "yes",
						"problems": []
					}
				]
			}
		},
		{
			"name": "pfsync0",
			"index": 9,
			"flags": [
				"UP",
				"RUNNING"
			],
			"flags_hex": "41",
			"mtu": 1500,
			"groups": [
				"carp",
				"pfsync"
			],
			"status": "active",
			"inet": [],
			"inet6": [],
			"pfsync": {
				"syncdev": "",
				"syncpeer": "224.0.0.240",
				"maxupd": 128,
				"defer": false,
				"listen": false,
				"syncok": false,
				"creatorid": "00000000",
				"key": "off",
				"peers": []
			}
		},
		{
			"name": "lo",
			"index": 1,
			"flags": [],
			"flags_hex": "0",
			"mtu": 65536,
			"groups": [],
			"inet": [
				{
					"address": "127.0.0.1",
					"prefixlen": 8
				}
			],
			"inet6": []
		}
	]
}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCreatorIDIsTheSameInEveryJSON(t *testing.T) {
	b, err := json.Marshal(ifconfig.PFSync{Syncdev: "sis2", MaxUpd: 128, Creator: 0xa1})
	if want := `{"syncdev":"sis2","maxupd":128,"defer":false,"syncok":false,"creatorid":"000000a1"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
	var back ifconfig.PFSync
	if err := json.Unmarshal(b, &back); err != nil || back.Creator != 0xa1 || back.Syncdev != "sis2" {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{`{"creatorid":"a1"}`, `{"creatorid":"0000000g"}`, `{"creatorid":161}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func ExamplePrint() {
	ifconfig.Print(os.Stdout, []ifconfig.Interface{pfsync0()}, ifconfig.StyleOpenBSD)
	// Output:
	// pfsync0: flags=41<UP,RUNNING> mtu 1500
	// 	index 9 priority 0 llprio 3
	// 	pfsync: syncdev: sis2 maxupd: 128 defer: off
	// 	groups: carp pfsync
	// 	status: active
}
