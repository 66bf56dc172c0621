package ifconfig_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// plain lets go-cmp compare addresses.
var plain = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

func virtual(op ifconfig.AddressOp, prefix string) ifconfig.AddressChange {
	p := netip.MustParsePrefix(prefix)
	family := ifconfig.Inet
	if p.Addr().Is6() {
		family = ifconfig.Inet6
	}
	return ifconfig.AddressChange{Op: op, Family: family, Prefix: p}
}

func TestCarpWords(t *testing.T) {
	foo := ifconfig.NewPass("foo")
	peer, none := netip.MustParseAddr("10.0.0.253"), netip.Addr{}
	for _, test := range []struct {
		line string
		want ifconfig.Change
	}{
		{"carp0 create", ifconfig.Change{Interface: "carp0", Create: true}},
		{"carp0 destroy", ifconfig.Change{Interface: "carp0", Destroy: true}},
		{"carp0 down", ifconfig.Change{Interface: "carp0", Up: new(false)}},
		{"carp0 vhid 1 pass foo 10.0.0.1/24", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{
			VHID: new(1), Pass: &foo, Addresses: []ifconfig.AddressChange{virtual("set", "10.0.0.1/24")}}}},
		{"carp0 inet 10.0.0.1 netmask 255.255.255.0 broadcast 10.0.0.255 vhid 1 pass foo", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{
			VHID: new(1), Pass: &foo, Addresses: []ifconfig.AddressChange{virtual("set", "10.0.0.1/24")}}}},
		{"carp0 inet6 alias 2001:db8::1/64 carpdev sis0 carppeer 10.0.0.253 advbase 0 advskew 254", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{
			CarpDev: new("sis0"), CarpPeer: &peer, AdvBase: new(0), AdvSkew: new(254), Addresses: []ifconfig.AddressChange{virtual("alias", "2001:db8::1/64")}}}},
		{"carp0 -carpdev -carppeer state master", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{
			CarpDev: new(""), CarpPeer: &none, State: "master"}}},
		{"carp0 carpnodes 3:100 balancing none", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{VHID: new(3), AdvSkew: new(100)}}},
		{"carp0 -alias 10.0.0.1 group wan description gateway lladdr 2:0:0:0:0:1", ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{
			Group: new("wan"), Description: new("gateway"), LLAddr: new("02:00:00:00:00:01"), Addresses: []ifconfig.AddressChange{virtual("delete", "10.0.0.1/32")}}}},
		{"sis0 inet 10.0.0.1/24 vhid 1 pass foo alias", ifconfig.Change{Interface: "sis0", Carp: &ifconfig.CarpChange{
			VHID: new(1), Pass: &foo, Addresses: []ifconfig.AddressChange{virtual("alias", "10.0.0.1/24")}}}},
		{"sis0 vhid 1 advskew 100 pass foo alias 10.0.0.1/24", ifconfig.Change{Interface: "sis0", Carp: &ifconfig.CarpChange{
			VHID: new(1), Pass: &foo, AdvSkew: new(100), Addresses: []ifconfig.AddressChange{virtual("alias", "10.0.0.1/24")}}}},
		{"sis0 inet vhid 1 pass foo", ifconfig.Change{Interface: "sis0", Carp: &ifconfig.CarpChange{VHID: new(1), Pass: &foo}}},
		{"sis0 vhid 1 state BACKUP peer 10.0.0.253", ifconfig.Change{Interface: "sis0", Carp: &ifconfig.CarpChange{VHID: new(1), State: "backup", CarpPeer: &peer}}},
		{"sis0 vhid 1 mcast", ifconfig.Change{Interface: "sis0", Carp: &ifconfig.CarpChange{VHID: new(1), CarpPeer: &none}}},
	} {
		cmd, err := ifconfig.Parse(strings.Fields(test.line))
		if err != nil || cmd.Change == nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		if diff := cmp.Diff(test.want, *cmd.Change, plain); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.line, diff)
		}
	}
}

func TestCarpRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"carp0 vhid 0":                           "vhid 0: too small (1 to 255)",
		"carp0 vhid 256":                         "vhid 256: too large (1 to 255)",
		"carp0 advskew x":                        "advskew x: invalid (0 to 254)",
		"carp0 advbase 255":                      "advbase 255: too large (0 to 254)",
		"carp0 vhid":                             "'vhid' requires argument",
		"carp0 pass vhid 1":                      "'pass' requires argument (found keyword 'vhid')",
		"carp0 advskw 1":                         "advskw: bad value (did you mean 'advskew'?)",
		"carp0 state up":                         "'state' requires argument (found keyword 'up')",
		"carp0 state slave":                      "state slave: unknown state (master, backup or init)",
		"carp0 carpdev carp1":                    "carpdev carp1: neither a carp nor a pfsync interface can carry adverts",
		"carp0 carpdev lo":                       "carpdev lo: nobody is heard on a loopback interface",
		"carp0 carppeer 2001:db8::1":             "carppeer 2001:db8::1: only IPv4 addresses supported for the carppeer",
		"carp0 carppeer 224.0.0.19":              "carppeer 224.0.0.19: not the address of a host (-carppeer goes back to the group 224.0.0.18)",
		"carp0 carpnodes 1:0,2:100":              "carpnodes 1:0,2:100: several nodes are OpenBSD's load balancing, which Linux has not (one vhid has one master: a carp interface for each vhid)",
		"carp0 balancing ip":                     "balancing ip: not supported on Linux (one vhid has one master: balancing none, and a carp interface for each vhid)",
		"carp0 inet6 fe80::1/64":                 "fe80::1: a link-local address cannot be shared (both firewalls would have it at once)",
		"carp0 10.0.0.1 10.0.0.9":                "10.0.0.1: a virtual address has neither a destination nor eui64, pltime or vltime",
		"carp0 mtu 1400":                         "mtu: not supported on Linux (a carp interface has that of its carpdev)",
		"carp0 carpdemote 1":                     "carpdemote: of a group, not of an interface (ifconfig -g carp carpdemote N)",
		"carp0 destroy vhid 1":                   "destroy: contradicts words of carp on the same line",
		"carp0 syncdev sis2":                     "syncdev: carp0 is not a pfsync interface",
		"carp0 lladdr random":                    "lladdr random: a virtual address has no random one",
		"carp0 peer6 fe80::1":                    "peer6: not supported on Linux (adverts of IPv6 go to the group ff02::12)",
		"pfsync0 vhid 1":                         "vhid: not possible on pfsync0",
		"sis0 carpdev sis1 vhid 1":               "carpdev: sis0 is not a carp interface (ifconfig carp0 carpdev ...)",
		"sis0 advskew 100 10.0.0.1/24":           "advskew requires vhid (ifconfig sis0 vhid N ...)",
		"sis0 pass foo":                          "passwd requires vhid (ifconfig sis0 vhid N ...)",
		"sis0 state master":                      "state requires vhid (ifconfig sis0 vhid N ...)",
		"-g carp carpdemote 129":                 "carp: invalid carp demotion: too large (0 to 128)",
		"-g carp carpdemote x":                   "carp: invalid carp demotion: invalid (0 to 128)",
		"-g carp carpdemote 1 2":                 "2: bad value (one word too many)",
		"-g carp up":                             "up: bad value (behind -g GROUP stands carpdemote or -carpdemote)",
		"-g carp0":                               "-g carp0: setifgroup: group names may not end in a digit",
		"carp0 vhid 1 vrrpver 3":                 "vrrpver: not supported on Linux (use keepalived)",
		"carp0 vhid 1 pass foo 10.0.0.1/24 10.9": "10.9: bad value (not an address)",
	} {
		if _, err := ifconfig.Parse(strings.Fields(line)); err == nil || err.Error() != want {
			t.Errorf("%s:\nerror %v,\nwant  %s", line, err, want)
		}
	}
}

func TestCarpdemote(t *testing.T) {
	for line, want := range map[string]ifconfig.Command{
		"-g carp":                {Group: "carp"},
		"-g carp carpdemote":     {Group: "carp", Demote: new(1)},
		"-g carp -carpdemote 50": {Group: "carp", Demote: new(-50)},
		"-g wan carpdemote 128":  {Group: "wan", Demote: new(128)},
	} {
		got, err := ifconfig.Parse(strings.Fields(line))
		if diff := cmp.Diff(want, got, plain); err != nil || diff != "" {
			t.Errorf("%s: %v: -want +got:\n%s", line, err, diff)
		}
	}
}

// What a kernel of the BSDs cuts silently is cut here too, and said.
func TestTheRestOfALongPasswordIsCut(t *testing.T) {
	c, err := ifconfig.ParseWords("carp0", []string{"vhid", "1", "pass", "twenty bytes are too many"})
	if err != nil || c.Carp.Pass.Secret() != "twenty bytes are to" || len(c.Warnings) != 1 {
		t.Errorf("%v: %q, %q", err, c.Carp.Pass.Secret(), c.Warnings)
	}
}

func TestAPasswordIsNotPrinted(t *testing.T) {
	c, err := ifconfig.ParseWords("carp0", []string{"vhid", "1", "pass", "mekmitasdigoat"})
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(asJSON), fmt.Sprintf("%v %+v %#v %s", c, c.Carp, c.Carp.Pass, *c.Carp.Pass)} {
		if strings.Contains(text, "mekmitasdigoat") {
			t.Errorf("%s", text)
		}
	}
}

func TestLinesOfACarpFileAreOneChange(t *testing.T) {
	var c ifconfig.Change
	for _, line := range []string{"inet 10.0.0.1/24 vhid 1", "pass foo carpdev sis0", "inet6 2001:db8::1/64", "advskew 100", "advskew 50"} {
		later, err := ifconfig.ParseWords("carp0", strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		c.Interface = later.Interface
		c.Merge(later)
	}
	want := ifconfig.Change{Interface: "carp0", Carp: &ifconfig.CarpChange{VHID: new(1), Pass: new(ifconfig.NewPass("foo")), CarpDev: new("sis0"), AdvSkew: new(50),
		Addresses: []ifconfig.AddressChange{virtual("set", "10.0.0.1/24"), virtual("set", "2001:db8::1/64")}}}
	if diff := cmp.Diff(want, c, plain); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
