package ifconfig_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

func TestParseAddresses(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	inet := func(p string) ifconfig.AddressChange {
		return ifconfig.AddressChange{Op: ifconfig.AddressSet, Family: ifconfig.Inet, Prefix: prefix(p)}
	}
	inet6 := func(p string) ifconfig.AddressChange {
		return ifconfig.AddressChange{Op: ifconfig.AddressSet, Family: ifconfig.Inet6, Prefix: prefix(p)}
	}
	alias := func(a ifconfig.AddressChange) ifconfig.AddressChange { a.Op = ifconfig.AddressAlias; return a }
	remove := func(a ifconfig.AddressChange) ifconfig.AddressChange { a.Op = ifconfig.AddressDelete; return a }
	broadcast := func(a ifconfig.AddressChange, b string) ifconfig.AddressChange { a.Broadcast = addr(b); return a }
	peer := func(a ifconfig.AddressChange, p string) ifconfig.AddressChange { a.Peer = addr(p); return a }
	lifetimes := func(a ifconfig.AddressChange, preferred, valid *uint32) ifconfig.AddressChange {
		a.Preferred, a.Valid = preferred, valid
		return a
	}
	eui64 := inet6("2001:db8::/64")
	eui64.EUI64 = true
	for _, test := range []struct {
		words    string
		want     ifconfig.AddressChange
		warnings string
	}{
		// The customer's lines.
		{"inet 172.19.13.1/28", inet("172.19.13.1/28"), ""},
		{"inet 10.0.0.254 netmask 255.255.255.0", inet("10.0.0.254/24"), ""},

		{"inet 10.0.0.1 netmask 0xffffff00", inet("10.0.0.1/24"), ""},
		{"inet 10.0.0.1 netmask ffffff00", inet("10.0.0.1/24"), ""},
		{"netmask 255.255.255.0 10.0.0.1", inet("10.0.0.1/24"), ""},
		{"10.0.0.1 prefixlen 32", inet("10.0.0.1/32"), ""},
		{"inet 10.0.0.1 255.255.255.0", inet("10.0.0.1/24"), ""},
		{"inet 10.0.0.1 0xffffff00 10.0.0.127", broadcast(inet("10.0.0.1/24"), "10.0.0.127"), ""},
		{"inet 10.0.0.1/24 10.0.0.255", broadcast(inet("10.0.0.1/24"), "10.0.0.255"), ""},
		{"inet 10.0.0.1/24 broadcast 10.0.0.0", broadcast(inet("10.0.0.1/24"), "10.0.0.0"), ""},
		{"inet 10.0.0.1 10.0.0.2", peer(inet("10.0.0.1/32"), "10.0.0.2"), ""},
		{"inet 10.0.0.1 10.0.0.2 netmask 255.255.255.255", peer(inet("10.0.0.1/32"), "10.0.0.2"), ""},
		{"inet 10.0.0.1/24 alias", alias(inet("10.0.0.1/24")), ""},
		{"inet alias 10.0.0.1/24", alias(inet("10.0.0.1/24")), ""},
		{"alias 10.0.0.1/24", alias(inet("10.0.0.1/24")), ""},
		{"inet 10.0.0.1 -alias", remove(inet("10.0.0.1/32")), ""},
		{"10.0.0.1/24 delete", remove(inet("10.0.0.1/32")), ""},
		{"inet 10.0.0.1 netmask 255.0.0.0 remove", remove(inet("10.0.0.1/32")), ""},
		{"inet -alias", ifconfig.AddressChange{Op: ifconfig.AddressDelete, Family: ifconfig.Inet}, ""},
		{"inet6 delete", ifconfig.AddressChange{Op: ifconfig.AddressDelete, Family: ifconfig.Inet6}, ""},
		{"inet 10.0.0.1", inet("10.0.0.1/8"), "no netmask for 10.0.0.1, using 255.0.0.0"},
		{"inet 172.19.13.1", inet("172.19.13.1/16"), "no netmask for 172.19.13.1, using 255.255.0.0"},
		{"inet 192.168.0.1 up", inet("192.168.0.1/24"), "no netmask for 192.168.0.1, using 255.255.255.0"},

		{"inet6 2001:db8::1", inet6("2001:db8::1/64"), ""},
		{"inet6 2001:db8::1/48 alias", alias(inet6("2001:db8::1/48")), ""},
		{"inet6 2001:db8::1 prefixlen 126", inet6("2001:db8::1/126"), ""},
		{"inet6 fe80::1%sis0/64", inet6("fe80::1/64"), ""},
		{"inet6 2001:db8::1 2001:db8::2", peer(inet6("2001:db8::1/128"), "2001:db8::2"), ""},
		{"inet6 2001:db8::/64 eui64", eui64, ""},
		{"inet6 2001:db8::1 vltime 600 pltime 60", lifetimes(inet6("2001:db8::1/64"), new(uint32(60)), new(uint32(600))), ""},
		{"inet6 2001:db8::1 pltime 0 vltime infty", lifetimes(inet6("2001:db8::1/64"), new(uint32(0)), new(ifconfig.Forever)), ""},
	} {
		t.Run(test.words, func(t *testing.T) {
			got, err := ifconfig.ParseWords("sis0", strings.Fields(test.words))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]ifconfig.AddressChange{test.want}, got.Addresses, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if w := strings.Join(got.Warnings, "; "); w != test.warnings {
				t.Errorf("warnings %q, want %q", w, test.warnings)
			}
		})
	}
}

func TestTheBroadcastAddressIsTheLastOfANetworkThatHasOne(t *testing.T) {
	for words, want := range map[string]string{
		"inet 172.19.13.1/28":                 "172.19.13.15",
		"inet 10.0.0.1/30":                    "10.0.0.3",
		"inet 10.0.0.1/31":                    "invalid IP",
		"inet 10.0.0.1/32":                    "invalid IP",
		"inet 10.0.0.1/0":                     "255.255.255.255",
		"inet 10.0.0.1/24 10.0.1.1":           "invalid IP",
		"inet 10.0.0.1/24 broadcast 10.0.0.0": "10.0.0.0",
		"inet6 2001:db8::1/64":                "invalid IP",
	} {
		c, err := ifconfig.ParseWords("sis0", strings.Fields(words))
		if err != nil {
			t.Fatalf("%s: %v", words, err)
		}
		if got := c.Addresses[0].BroadcastAddr().String(); got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}

func TestParseLinuxWords(t *testing.T) {
	for _, test := range []struct {
		line     string
		want     ifconfig.Change
		warnings string
	}{
		{"sis0 lladdr 52:54:0:AA:0:1", ifconfig.Change{Linux: ifconfig.Linux{LLAddr: new("52:54:00:aa:00:01")}}, ""},
		{"sis0 ether random", ifconfig.Change{Linux: ifconfig.Linux{LLAddr: new("random")}}, ""},
		{"sis0 description up", ifconfig.Change{Linux: ifconfig.Linux{Description: new("up")}}, ""},
		{"sis0 descr a -descr", ifconfig.Change{Linux: ifconfig.Linux{Description: new("")}}, ""},
		{"pfsync0 description sync group wan", ifconfig.Change{Linux: ifconfig.Linux{Description: new("sync"), Group: new("wan")}}, ""},
		{"pfsync0 version openbsd", ifconfig.Change{Version: new("openbsd")}, ""},
		{"pfsync0 version 1301", ifconfig.Change{Version: new("1301")}, ""},
		{"pfsync0 -version pair", ifconfig.Change{Version: new(""), Pair: new(true)}, ""},
		{"pfsync0 listen", ifconfig.Change{Listen: new(true)}, ""},
		{"pfsync0 listen -listen", ifconfig.Change{Listen: new(false)}, ""},
		{"pfsync0 -pair", ifconfig.Change{Pair: new(false)}, ""},
		{"sis0 -group lan group wan", ifconfig.Change{Linux: ifconfig.Linux{Ungroup: new("lan"), Group: new("wan")}}, ""},
		{"sis0 -arp promisc down name wan", ifconfig.Change{Up: new(false), Linux: ifconfig.Linux{ARP: new(false), Promisc: new(true), Rename: new("wan")}}, ""},
		{"sis0 inet6 autoconf", ifconfig.Change{Linux: ifconfig.Linux{Autoconf: new(true)}}, ""},
		{"sis0 -inet6", ifconfig.Change{Linux: ifconfig.Linux{NoInet6: true}}, ""},
		{"vlan7 create vnetid 7 parent sis0 up", ifconfig.Change{Create: true, Up: new(true), Linux: ifconfig.Linux{VNetID: new(7), Parent: new("sis0")}}, ""},
		{"vlan7 vlan 7 vlandev sis0", ifconfig.Change{Linux: ifconfig.Linux{VNetID: new(7), Parent: new("sis0")}}, ""},
		{"bridge0 create add sis0 addm sis1 del sis2", ifconfig.Change{Create: true, Linux: ifconfig.Linux{Add: []string{"sis0", "sis1"}, Del: []string{"sis2"}}}, ""},
		{"pair0 create patch pair1", ifconfig.Change{Create: true, Linux: ifconfig.Linux{Patch: new("pair1")}}, ""},
		{"vether0 destroy", ifconfig.Change{Destroy: true}, ""},
		{"sis0 media autoselect up", ifconfig.Change{Up: new(true)}, "media: has no effect on Linux (use ethtool -s sis0)"},
		{"sis0 rdomain 0 -tso", ifconfig.Change{}, "rdomain: has no effect on Linux (leave it out); -tso: has no effect on Linux (use ethtool)"},
	} {
		t.Run(test.line, func(t *testing.T) {
			words := strings.Fields(test.line)
			got, err := ifconfig.ParseWords(words[0], words[1:])
			if err != nil {
				t.Fatal(err)
			}
			if w := strings.Join(got.Warnings, "; "); w != test.warnings {
				t.Errorf("warnings %q, want %q", w, test.warnings)
			}
			test.want.Interface, got.Warnings = words[0], nil
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseRefusesLinuxWords(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"sis0 inet 10.0.0.1/33", "10.0.0.1/33: prefix length 33: too large (0 to 32)"},
		{"sis0 inet 10.0.0.256", "10.0.0.256: bad value (not an address)"},
		{"sis0 inet 10.0.0.1/x", "10.0.0.1/x: prefix length x: invalid (0 to 32)"},
		{"sis0 inet 10.0.0.1/24 netmask 255.255.255.0", "10.0.0.1/24: has a length, and there is another one on the line"},
		{"sis0 inet 10.0.0.1/24 255.255.255.0", "255.255.255.0: both prefix and mask"},
		{"sis0 inet 10.0.0.1 netmask 255.0.255.0", "netmask 255.0.255.0: has ones behind zeros"},
		{"sis0 inet 10.0.0.1 netmask 24", "netmask 24: not a netmask (like 255.255.255.0 or 0xffffff00)"},
		{"sis0 inet 10.0.0.1 255.255.255.0 wan", "wan: bad value"},
		{"sis0 inet 10.0.0.1 24", "24: bad value (did you mean '10.0.0.1/24'?)"},
		{"sis0 inet6 2001:db8::1 64", "64: bad value (did you mean '2001:db8::1/64'?)"},
		{"sis0 alias 10.0.0.1/24 alias 10.0.0.2/24", "10.0.0.2/24: bad value (one address on a line)"},
		{"sis0 -a", "-a: bad value (options stand before the interface)"},
		{"sis0 inet 10.0.0.1 255.255.255.0 10.0.0.255 10.0.0.2", "10.0.0.2: bad value (an address, its netmask and its broadcast address are there already)"},
		{"sis0 inet 10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.3: bad value (one word too many)"},
		{"sis0 inet 10.0.0.1 10.0.0.1", "10.0.0.1: the destination must be another address"},
		{"sis0 inet 2001:db8::1", "2001:db8::1: not an IPv4 address (ifconfig sis0 inet6 2001:db8::1)"},
		{"sis0 inet6 10.0.0.1/24", "10.0.0.1/24: not an IPv6 address (ifconfig sis0 inet 10.0.0.1/24)"},
		{"sis0 inet6 fe80::1%sis1", "fe80::1%sis1: belongs to sis1, not to sis0"},
		{"sis0 inet 0.0.0.0/0", "0.0.0.0/0: not the address of a host"},
		{"sis0 inet 224.0.0.240/24", "224.0.0.240/24: not the address of a host"},
		{"sis0 inet6 ff02::1", "ff02::1: not the address of a host"},
		{"sis0 inet6 ::ffff:10.0.0.1", "::ffff:10.0.0.1: not the address of a host"},
		{"sis0 inet6 2001:db8::1 netmask 255.0.0.0", "netmask 255.0.0.0: not for inet6 (use prefixlen)"},
		{"sis0 inet6 2001:db8::1/129", "2001:db8::1/129: prefix length 129: too large (0 to 128)"},
		{"sis0 inet6 2001:db8::1/64 eui64", "2001:db8::1: eui64 makes the last 64 bits, which must be zero"},
		{"sis0 inet6 2001:db8::1 vltime 0", "vltime 0: too small (1 to 4294967294, or infty)"},
		{"sis0 inet6 2001:db8::1 vltime 1 pltime 2", "pltime: longer than vltime"},
		{"sis0 inet6 2001:db8::1 anycast", "anycast: not supported on Linux (leave it out: a router has the anycast address of each of its networks by itself)"},
		{"sis0 pltime 5", "pltime 5: for inet6 only"},
		{"sis0 netmask 255.255.255.0", "netmask: no address on the line (ifconfig sis0 inet ADDRESS ...)"},
		{"sis0 alias", "alias: no address on the line (ifconfig sis0 inet ADDRESS ...)"},
		{"sis0 autoconf", "autoconf: for inet6 only (ifconfig sis0 inet6 autoconf; for inet use your system's DHCP client)"},
		{"sis0 inet6 2001:db8::1 -inet6", "-inet6: contradicts 2001:db8::1 on the same line"},
		{"sis0 inet6 autoconf -inet6", "-inet6: contradicts autoconf on the same line"},
		{"sis0 lladdr 52:54", "lladdr 52:54: not a link-layer address (like 52:54:00:aa:00:01)"},
		{"sis0 lladdr 52:54:00:aa:00:0g", "lladdr 52:54:00:aa:00:0g: 0g is not a byte in hexadecimal (like 52:54:00:aa:00:01)"},
		{"sis0 lladdr 53:54:00:aa:00:01", "lladdr 53:54:00:aa:00:01: a group address; an interface's begins with an even number"},
		{"sis0 description " + strings.Repeat("x", 64), "description " + strings.Repeat("x", 60) + "...: too long (64 bytes, at most 63)"},
		{"sis0 group wan1", "group wan1: setifgroup: group names may not end in a digit"},
		{"sis0 group egress", "group egress: made of the interfaces that hold a default route (ip route add default ...)"},
		{"sis0 group wan -group wan", "-group wan: contradicts group wan on the same line"},
		{"sis0 name a/b", "name a/b: not the name of an interface"},
		{"sis0 create", "sis0: SIOCIFCREATE: only bridgeN, carpN, pairN, pfsync0, vetherN, vlanN can be created (use ip link add sis0 type ...)"},
		{"sis0 destroy", "sis0: SIOCIFDESTROY: only bridgeN, carpN, pairN, pfsync0, vetherN, vlanN can be destroyed (use ip link delete sis0)"},
		{"vlan7 destroy 10.0.0.1/24", "destroy: contradicts an address on the same line"},
		{"vlan7 vnetid 4095", "vnetid 4095: too large (1 to 4094)"},
		{"vlan7 parent vlan7", "parent vlan7: must be another interface"},
		{"sis0 vnetid 7", "vnetid: sis0 is not a vlan interface (ifconfig vlan7 create vnetid 7 parent INTERFACE)"},
		{"sis0 add sis1", "add: sis0 is not a bridge interface (ifconfig bridge0 create add INTERFACE)"},
		{"sis0 patch sis1", "patch: sis0 is not a pair interface (ifconfig pair0 create patch pair1)"},
		{"sis0 rdomain 1", "rdomain 1: not supported on Linux (use a VRF or a network namespace)"},
		{"sis0 debug", "debug: not supported on Linux (use ethtool -s sis0 msglvl)"},
		{"pfsync0 version 7", "version 7: unsupported, choose one of openbsd 1301 1400 1500"},
		{"pfsync0 alias", "alias: not possible on pfsync0"},
		{"pfsync0 lladdr random", "lladdr: not possible on pfsync0"},
		{"alias sis0", "alias: the interface comes first (ifconfig INTERFACE alias)"},
	} {
		t.Run(test.line, func(t *testing.T) {
			if _, err := ifconfig.Parse(strings.Fields(test.line)); err == nil || err.Error() != test.want {
				t.Errorf("error %q, want %q", err, test.want)
			}
		})
	}
}

// The words of spec/operator-interface.md 1.6.
func TestEveryRefusedWordSaysWhatToDo(t *testing.T) {
	for hint, words := range map[string]string{
		"not supported on Linux (use ip link add type bond)":                                    "trunkport trunkproto laggport laggproto",
		"not supported on Linux (use ip tunnel)":                                                "tunnel deletetunnel keepalive",
		"not supported on Linux (use wpa_supplicant or iw)":                                     "nwid join wpa wpakey wpaprotos wpaakms chan scan nwkey",
		"not supported on Linux (use wg(8))":                                                    "wgkey wgport wgpeer wgendpoint wgaip wgpsk wgpka wgrtable",
		"not supported on Linux (use pfsyncd --export)":                                         "flowsrc flowdst pflowproto",
		"not supported on Linux (one vhid has one master)":                                      "-balancing",
		"not supported on Linux (use keepalived)":                                               "vrrpver vrrpprio vrrpinterval",
		"not supported on Linux (run the net-tools ifconfig (/sbin/ifconfig))":                  "hw txqueuelen pointopoint mem_start irq",
		"sis0 is not a vlan interface (ifconfig vlan7 create vnetid 7 parent INTERFACE)":        "vlan -vlan vnetid -vnetid parent -parent vlandev -vlandev",
		"sis0 is not a bridge interface (ifconfig bridge0 create add INTERFACE)":                "add del addm deletem stp span -stp -span",
		"not supported on Linux (adverts of IPv6 go to the group ff02::12)":                     "peer6 mcast6",
		"sis0 is not a pfsync interface":                                                        "syncdev syncif syncpeer maxupd defer -defer version bulk push key",
		"not supported on Linux (use sysctl net.ipv6.conf.sis0.use_tempaddr and addr_gen_mode)": "temporary soii",
	} {
		for word := range strings.FieldsSeq(words) {
			_, err := ifconfig.ParseWords("sis0", []string{"up", word, "1"})
			if want := word + ": " + hint; err == nil || err.Error() != want {
				t.Errorf("%s: error %q, want %q", word, err, want)
			}
		}
	}
}

func TestMergeKeepsTheOrderOfAddresses(t *testing.T) {
	var c ifconfig.Change
	for n, line := range []string{"inet 10.0.0.1/24 descr a", "inet alias 10.0.0.2/24 descr b", "inet6 2001:db8::1 media x", "up"} {
		later, err := ifconfig.ParseWords("sis0", strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			c = later
		} else {
			c.Merge(later)
		}
	}
	var got []string
	for _, a := range c.Addresses {
		got = append(got, string(a.Op)+" "+a.String())
	}
	want := []string{"set inet 10.0.0.1/24", "alias inet 10.0.0.2/24", "set inet6 2001:db8::1/64"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if *c.Description != "b" || c.Up == nil || len(c.Warnings) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestTheDaemonGetsItsOwnPartOfAChange(t *testing.T) {
	c, err := ifconfig.ParseWords("pfsync0", strings.Fields("up description sync group wan"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ifconfig.Change{Interface: "pfsync0", Up: new(true)}, c.ForDaemon()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
