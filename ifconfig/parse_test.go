package ifconfig_test

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

func TestParseAcceptsWhatBSDAccepts(t *testing.T) {
	peer := netip.MustParseAddr("10.0.0.2")
	show := func(d ifconfig.Display) ifconfig.Command { return ifconfig.Command{Display: d} }
	change := func(c ifconfig.Change) ifconfig.Command { return ifconfig.Command{Change: &c} }
	for _, test := range []struct {
		args string
		want ifconfig.Command
	}{
		{"", show(ifconfig.Display{})},
		{"-a", show(ifconfig.Display{})},
		{"-a inet6", show(ifconfig.Display{Family: ifconfig.Inet6})},
		{"-A", show(ifconfig.Display{Aliases: true})},
		{"-aA inet", show(ifconfig.Display{Aliases: true, Family: ifconfig.Inet})},
		{"-C", ifconfig.Command{Cloners: true}},
		{"--help", ifconfig.Command{Help: true}},
		{"pfsync0", show(ifconfig.Display{Name: "pfsync0", Aliases: true})},
		{"--json pfsync", show(ifconfig.Display{Name: "pfsync", Aliases: true, JSON: true})},
		{"--style openbsd pfsync0", show(ifconfig.Display{Name: "pfsync0", Aliases: true, Style: ifconfig.StyleOpenBSD})},
		{"--style=both", show(ifconfig.Display{Style: ifconfig.StyleBoth})},
		{"sis0 inet", show(ifconfig.Display{Name: "sis0", Aliases: true, Family: ifconfig.Inet})},

		// The customer's lines.
		{"pfsync0 syncdev fxp0", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("fxp0")})},
		{"pfsync0 syncpeer 10.0.0.2 syncdev enc0", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("enc0"), Syncpeer: &peer})},
		{"pfsync0 up syncdev sis2", change(ifconfig.Change{Interface: "pfsync0", Up: new(true), Syncdev: new("sis2")})},

		{"pfsync0 create", change(ifconfig.Change{Interface: "pfsync0", Create: true})},
		{"pfsync0 create up", change(ifconfig.Change{Interface: "pfsync0", Create: true, Up: new(true)})},
		{"pfsync0 destroy", change(ifconfig.Change{Interface: "pfsync0", Destroy: true})},
		{"pfsync0 down", change(ifconfig.Change{Interface: "pfsync0", Up: new(false)})},
		{"pfsync0 syncif em0", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("em0")})},
		{"pfsync0 -syncdev", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("")})},
		{"pfsync0 -syncif -syncpeer", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new(""), Syncpeer: new(netip.Addr)})},
		{"pfsync0 syncpeer ff12::f0", change(ifconfig.Change{Interface: "pfsync0", Syncpeer: new(netip.MustParseAddr("ff12::f0"))})},
		{"pfsync0 syncpeer fe80::1%enc0 syncdev enc0", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("enc0"), Syncpeer: new(netip.MustParseAddr("fe80::1%enc0"))})},
		{"pfsync0 syncpeer ::ffff:10.0.0.2", change(ifconfig.Change{Interface: "pfsync0", Syncpeer: &peer})},
		{"pfsync0 syncpeer 224.0.0.240", change(ifconfig.Change{Interface: "pfsync0", Syncpeer: new(netip.Addr)})},
		{"pfsync0 maxupd 64 -defer syncdev sis2 up", change(ifconfig.Change{Interface: "pfsync0", Up: new(true),
			Syncdev: new("sis2"), MaxUpd: new(64), Defer: new(false)})},
		{"pfsync0 maxupd 0", change(ifconfig.Change{Interface: "pfsync0", MaxUpd: new(1)})},
		{"pfsync0 maxupd 255 defer", change(ifconfig.Change{Interface: "pfsync0", MaxUpd: new(255), Defer: new(true)})},
		{"pfsync0 bulk", change(ifconfig.Change{Interface: "pfsync0", Bulk: true})},
		{"pfsync0 push", change(ifconfig.Change{Interface: "pfsync0", Push: true})},
		{"pfsync0 bulk up syncdev sis2", change(ifconfig.Change{Interface: "pfsync0", Up: new(true), Syncdev: new("sis2"), Bulk: true})},
		{"pfsync0 mtu 9000", change(ifconfig.Change{Interface: "pfsync0", MTU: new(9000)})},
		{"pfsync0 inet up", change(ifconfig.Change{Interface: "pfsync0", Up: new(true)})},
		{"br-lan mtu 1400 down", change(ifconfig.Change{Interface: "br-lan", MTU: new(1400), Up: new(false)})},

		{"pfsync0 up syncdev sis2 key /etc/pfsync.key", change(ifconfig.Change{Interface: "pfsync0", Up: new(true), Syncdev: new("sis2"),
			Key: &ifconfig.Key{File: "/etc/pfsync.key"}})},
		{"pfsync0 key k", change(ifconfig.Change{Interface: "pfsync0", Key: &ifconfig.Key{File: "k"}})},
		{"pfsync0 -key", change(ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)})},

		// The last one wins.
		{"pfsync0 -key key /etc/a key /etc/b", change(ifconfig.Change{Interface: "pfsync0", Key: &ifconfig.Key{File: "/etc/b"}})},
		{"pfsync0 key /etc/a -key", change(ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)})},
		{"pfsync0 syncdev sis1 up syncdev sis2 down", change(ifconfig.Change{Interface: "pfsync0", Up: new(false), Syncdev: new("sis2")})},
		{"pfsync0 syncdev sis1 -syncdev", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("")})},
		// A word that is a keyword of other systems can be an interface's name.
		{"pfsync0 syncdev span", change(ifconfig.Change{Interface: "pfsync0", Syncdev: new("span")})},
	} {
		t.Run(test.args, func(t *testing.T) {
			got, err := ifconfig.Parse(strings.Fields(test.args))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseRefusesWithOneClearLine(t *testing.T) {
	const usage = " (usage: ifconfig [-aAC] [-M lladdr] [-g group] [--json] [--style openbsd|freebsd|both] [interface] [family] [words])"
	for _, test := range []struct{ args, want string }{
		{"pfsync0 syncdev", "'syncdev' requires argument"},
		{"pfsync0 up maxupd", "'maxupd' requires argument"},
		{"pfsync0 syncpeer syncdev enc0", "'syncpeer' requires argument (found keyword 'syncdev')"},
		{"pfsync0 mtu up", "'mtu' requires argument (found keyword 'up')"},
		{"pfsync0 maxupd 300", "maxupd 300: too large (0 to 255)"},
		{"pfsync0 maxupd -1", "maxupd -1: too small (0 to 255)"},
		{"pfsync0 maxupd x", "maxupd x: invalid (0 to 255)"},
		{"pfsync0 maxupd 99999999999999999999", "maxupd 99999999999999999999: too large (0 to 255)"},
		{"pfsync0 maxupd 0x10", "maxupd 0x10: invalid (0 to 255)"},
		{"pfsync0 mtu 307", "mtu 307: too small (308 to 65535)"},
		{"pfsync0 mtu 65536", "mtu 65536: too large (308 to 65535)"},
		{"sis0 mtu 67", "mtu 67: too small (68 to 2147483647)"},
		{"pfsync0 synccdev sis2", "synccdev: bad value (did you mean 'syncdev'?)"},
		{"pfsync0 sincdev eth2", "sincdev: bad value (did you mean 'syncdev'?)"},
		{"pfsync0 upp", "upp: bad value (did you mean 'up'?)"},
		{"pfsync0 nonsense", "nonsense: bad value"},
		{"pfsync0 up inet", "inet: bad value (the address family stands directly behind the interface)"},
		{"pfsync0 up --json", "--json: bad value (options stand before the interface)"},
		{"pfsync0 up create", "create: must be the first word behind the interface"},
		{"pfsync0 create up destroy", "destroy: contradicts create on the same line"},
		{"pfsync0 10.0.0.1/24", "pfsync0: SIOCAIFADDR: Operation not supported (pfsync0 takes no address; give it to the syncdev)"},
		{"pfsync0 inet6 fe80::1", "pfsync0: SIOCAIFADDR: Operation not supported (pfsync0 takes no address; give it to the syncdev)"},
		{"pfsync1 create", "pfsync1: only pfsync0 is supported"},
		{"pfsync1 destroy", "pfsync1: only pfsync0 is supported"},
		{"averyveryverylongname0 up", "interface name 'averyveryverylongname0' too long"},
		{"averyveryverylongname0", "interface name 'averyveryverylongname0' too long"},
		{"pfsync0 syncdev averyveryverylongname0", "syncdev averyveryverylongname0: interface name too long"},
		{"pfsync0 syncdev pfsync0", "syncdev pfsync0: pfsync0 cannot be its own syncdev"},
		{"pfsync0 syncdev a/b", "syncdev a/b: not the name of an interface"},
		{"pfsync0 syncdev lo", "syncdev lo: no peer is reached over lo"},
		{"pfsync0 syncpeer fwb", "syncpeer fwb: error in parsing address string: not an IP address (host names are not supported yet)"},
		{"pfsync0 syncpeer 2001:db8::1%sis2", "syncpeer 2001:db8::1%sis2: not link-local (leave %sis2 out)"},
		{"pfsync0 syncpeer fe80::1%", "syncpeer fe80::1%: error in parsing address string: not an IP address (host names are not supported yet)"},
		{"pfsync0 syncpeer fe80::1%a/b", "syncpeer fe80::1%a/b: what is behind % is not the name of an interface"},
		{"pfsync0 syncpeer ::1", "syncpeer ::1: a loopback address is no other firewall's"},
		{"pfsync0 syncpeer ff01::f0", "syncpeer ff01::f0: a loopback address is no other firewall's"},
		{"pfsync0 syncpeer ::", "syncpeer ::: not the address of a host (-syncpeer goes back to the multicast group)"},
		{"pfsync0 syncpeer 0.0.0.0", "syncpeer 0.0.0.0: not the address of a host (-syncpeer goes back to the multicast group)"},
		{"pfsync0 syncpeer 127.0.0.1", "syncpeer 127.0.0.1: a loopback address is no other firewall's"},
		{"pfsync0 syncpeer 255.255.255.255", "syncpeer 255.255.255.255: neither the address of a host nor a multicast group"},
		{"pfsync0 destroy push", "destroy: contradicts push on the same line"},
		{"sis0 push", "push: sis0 is not a pfsync interface"},
		{"pfsync0 destroy bulk", "destroy: contradicts bulk on the same line"},
		{"pfsync0 syncdev bulk", "'syncdev' requires argument (found keyword 'bulk')"},
		{"bulk pfsync0", "bulk: the interface comes first (ifconfig pfsync0 bulk)"},
		{"sis0 bulk", "bulk: sis0 is not a pfsync interface"},
		{"pfsync0 up key", "'key' requires argument"},
		{"pfsync0 key up", "'key' requires argument (found keyword 'up')"},
		{"pfsync0 key " + strings.Repeat("x", 4096), "key " + strings.Repeat("x", 60) + "...: file name too long"},
		{"pfsync0 key /etc/a\x00b", `key "/etc/a\x00b": not the name of a file`},
		{"pfsync0 destroy key /etc/pfsync.key", "destroy: contradicts key on the same line"},
		{"key /etc/pfsync.key", "key: the interface comes first (ifconfig pfsync0 key)"},
		{"sis0 key /etc/pfsync.key", "key: sis0 is not a pfsync interface"},
		{"sis0 syncdev sis2", "syncdev: sis0 is not a pfsync interface"},
		{"pfsync0 netmask 255.0.0.0", "netmask: not possible on pfsync0"},
		{"sis0 txqueuelen 100", "txqueuelen: not supported on Linux (run the net-tools ifconfig (/sbin/ifconfig))"},
		{"pfsync0 destroy up", "destroy: contradicts up on the same line"},
		{"pfsync0 syncdev sis2 destroy", "destroy: contradicts syncdev on the same line"},
		{"up pfsync0", "up: the interface comes first (ifconfig pfsync0 up)"},
		{"syncdev sis2 pfsync0", "syncdev: the interface comes first (ifconfig pfsync0 syncdev)"},
		{"-syncdev pfsync0", "-syncdev: the interface comes first (ifconfig pfsync0 -syncdev)"},
		{"pfsync0 Up", "Up: bad value (did you mean 'up'?)"},
		{"pfsync0 SYNCDEV sis2", "SYNCDEV: bad value (did you mean 'syncdev'?)"},
		{"pfsync0 syncdev=eth2", "syncdev=eth2: bad value (did you mean 'syncdev eth2'?)"},
		{"pfsync0 Syncdev=Eth2", "Syncdev=Eth2: bad value (did you mean 'syncdev Eth2'?)"},
		{"pfsync0 up=yes", "up=yes: bad value (did you mean 'up'?)"},
		{"pfsync0 " + strings.Repeat("x", 61), strings.Repeat("x", 60) + "...: bad value"},
		{"pfsync0 " + strings.Repeat("x", 60), strings.Repeat("x", 60) + ": bad value"},
		{"pfsync0 " + strings.Repeat("x", 59) + "\u00e4", strings.Repeat("x", 59) + "...: bad value"},
		{"-C foo", "foo: nothing goes with -C" + usage},
		{"--json -C", "-C: goes with no other option" + usage},
		{"-aC", "-C: goes with no other option" + usage},
		{"-x", "-x: unknown option" + usage},
		{"-", "-: unknown option" + usage},
		{"--nope", "--nope: unknown option" + usage},
		{"-a pfsync0", "pfsync0: -a and -A take an address family only" + usage},
		{"-g", "'-g' requires argument"},
		{"-a -g carp", "-g: goes with no other option (" + ifconfig.ErrUsage.Error() + ")"},
		{"-M", "'-M' requires argument"},
		{"-M 52:54:00", "-M 52:54:00: not a link-layer address (like 52:54:00:aa:00:01)"},
		{"-M 52:54:00:aa:00:01 sis0", "-M: goes with nothing else" + usage},
		{"--style", "'--style' requires argument"},
		{"--style green", "style green: unknown, choose openbsd, freebsd or both"},
		{"--json pfsync0 up", "up: --json and --style are for displays" + usage},
	} {
		t.Run(test.args, func(t *testing.T) {
			_, err := ifconfig.Parse(strings.Fields(test.args))
			if err == nil || err.Error() != test.want {
				t.Errorf("error %q, want %q", err, test.want)
			}
			if strings.HasSuffix(test.want, usage) && !errors.Is(err, ifconfig.ErrUsage) {
				t.Error("the error does not wrap ErrUsage")
			}
		})
	}
}

func TestErrorsDoNotDisturbATerminal(t *testing.T) {
	for _, args := range [][]string{{"pfsync0", "\x1b[2J"}, {"pfsync0", "syncdev", "a\nb"}, {"a\tb", "up"}, {"pfsync0", ""}, {""}, {"--\x07"}} {
		_, err := ifconfig.Parse(args)
		if err == nil {
			t.Errorf("%q: accepted", args)
		} else if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q: error %q", args, err)
		}
	}
}

func TestEveryKeywordParses(t *testing.T) {
	arguments := map[string]string{"": "", "interface": "sis2", "number": "5", "address": "10.0.0.2", "file": "/etc/pfsync.key",
		"text": "up", "group": "wan", "version": "openbsd", "mask": "255.255.255.0", "seconds": "60", "lladdr": "2:0:0:0:0:1", "option": "autoselect",
		"password": "foo", "state": "backup", "vhid:advskew": "1:0", "mode": "none"}
	for _, name := range []string{"pfsync0", "sis0", "vlan7", "pair0", "bridge0", "vether0", "carp0"} {
		list := ifconfig.Keywords(name)
		if len(list) < 3 {
			t.Fatalf("%s: keywords %v", name, list)
		}
		for _, k := range list {
			line := k.Word + " " + arguments[k.Arg]
			switch k.Word {
			case "mtu":
				line = "mtu 576"
			case "rdomain", "fib":
				line = k.Word + " 0"
			case "alias", "netmask", "prefixlen", "broadcast":
				line += " 10.0.0.1"
			case "eui64":
				line = "inet6 2001:db8::/64 eui64"
			case "pltime", "vltime":
				line = "inet6 2001:db8::1 " + line
			case "autoconf", "-autoconf":
				line = "inet6 " + line
			case "pass", "advbase", "advskew", "state", "peer", "mcast":
				line = "vhid 1 " + line
			}
			if _, err := ifconfig.ParseWords(name, strings.Fields(line)); err != nil {
				t.Errorf("%s %s: %v", name, line, err)
			}
		}
	}
}

func TestValidateRefusesWhatParseRefuses(t *testing.T) {
	v6, group := netip.MustParseAddr("fe80::1%a\x1b"), netip.MustParseAddr("240.0.0.240")
	for _, test := range []struct {
		change ifconfig.Change
		want   string
	}{
		{ifconfig.Change{}, `interface name "": bad value`},
		{ifconfig.Change{Interface: "averyveryverylongname0"}, "interface name 'averyveryverylongname0' too long"},
		{ifconfig.Change{Interface: "pfsync7"}, "pfsync7: only pfsync0 is supported"},
		{ifconfig.Change{Interface: "sis0", Bulk: true}, "sis0: not a pfsync interface"},
		{ifconfig.Change{Interface: "sis0", Push: true}, "sis0: not a pfsync interface"},
		{ifconfig.Change{Interface: "pfsync0", Bulk: true, Destroy: true}, "destroy: contradicts bulk on the same line"},
		{ifconfig.Change{Interface: "sis0", Defer: new(true)}, "sis0: not a pfsync interface"},
		{ifconfig.Change{Interface: "sis0", Key: new(ifconfig.Key)}, "sis0: not a pfsync interface"},
		{ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key), Destroy: true}, "destroy: contradicts key on the same line"},
		{ifconfig.Change{Interface: "pfsync0", Up: new(false), Destroy: true}, "destroy: contradicts down on the same line"},
		{ifconfig.Change{Interface: "pfsync0", Create: true, Destroy: true}, "destroy: contradicts create on the same line"},
		{ifconfig.Change{Interface: "pfsync0", Linux: ifconfig.Linux{Promisc: new(true)}}, "pfsync0: only description and group can be set by the kernel"},
		{ifconfig.Change{Interface: "sis0", Create: true}, "sis0: SIOCIFCREATE: only bridgeN, carpN, pairN, pfsync0, vetherN, vlanN can be created (use ip link add sis0 type ...)"},
		{ifconfig.Change{Interface: "sis0", Linux: ifconfig.Linux{Addresses: []ifconfig.AddressChange{{}}}}, `address: operation "": unknown`},
		{ifconfig.Change{Interface: "sis0", Linux: ifconfig.Linux{Addresses: []ifconfig.AddressChange{{Op: ifconfig.AddressSet, Family: ifconfig.Inet}}}},
			"inet: no address"},
		{ifconfig.Change{Interface: "sis0", Linux: ifconfig.Linux{Addresses: []ifconfig.AddressChange{{Op: ifconfig.AddressSet, Family: ifconfig.Inet,
			Prefix: netip.MustParsePrefix("2001:db8::1/64")}}}}, "2001:db8::1: not of family inet"},
		{ifconfig.Change{Interface: "pfsync0", MaxUpd: new(0)}, "maxupd 0: too small (1 to 255)"},
		{ifconfig.Change{Interface: "pfsync0", MaxUpd: new(256)}, "maxupd 256: too large (1 to 255)"},
		{ifconfig.Change{Interface: "pfsync0", MTU: new(-1)}, "mtu -1: too small (308 to 65535)"},
		{ifconfig.Change{Interface: "pfsync0", Syncdev: new("a b")}, "syncdev a b: not the name of an interface"},
		{ifconfig.Change{Interface: "pfsync0", Syncpeer: &v6}, `syncpeer "fe80::1%a\x1b": what is behind % is not the name of an interface`},
		{ifconfig.Change{Interface: "pfsync0", Syncpeer: &group}, "syncpeer 240.0.0.240: neither the address of a host nor a multicast group"},
	} {
		if err := test.change.Validate(); err == nil || err.Error() != test.want {
			t.Errorf("error %q, want %q", err, test.want)
		}
	}
}

func TestMergeLetsTheLaterWin(t *testing.T) {
	peer := netip.MustParseAddr("10.0.0.2")
	c := ifconfig.Change{Interface: "pfsync0", Create: true, Up: new(false), Syncdev: new("sis1"), MaxUpd: new(7)}
	c.Merge(ifconfig.Change{Interface: "pfsync0", Up: new(true), MTU: new(1400), Syncdev: new("sis2"), Syncpeer: &peer, Defer: new(true),
		Key: &ifconfig.Key{File: "/etc/pfsync.key"}, Bulk: true, Push: true})
	c.Merge(ifconfig.Change{Interface: "pfsync0"})
	want := ifconfig.Change{Interface: "pfsync0", Create: true, Up: new(true), MTU: new(1400), Syncdev: new("sis2"), Syncpeer: &peer,
		MaxUpd: new(7), Defer: new(true), Key: &ifconfig.Key{File: "/etc/pfsync.key"}, Bulk: true, Push: true}
	if diff := cmp.Diff(want, c, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"pfsync0 up syncdev sis2", "-a inet", "pfsync0 maxupd 300", "carp0 vhid 1 pass foo 10.0.0.1/24",
		"pfsync0 syncpeer 10.0.0.2 syncdev enc0 -defer", "--style both", "pfsync0 \x1b[2J", "sis0 inet6 fe80::1%sis0/64",
		"sis0 inet 10.0.0.1 0xffffff00 10.0.0.255 alias mtu 1400 description x group wan", "vlan7 create vnetid 7 parent sis0",
		"sis0 inet6 2001:db8::/64 eui64 vltime 60 -inet6", "bridge0 add sis0 del sis1 destroy", "sis0 -alias rdomain 1 lladdr 2:0:0:0:0:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		if len(args) > 0 && strings.HasPrefix(args[0], "--style=") {
			args = append([]string{"--style", args[0][len("--style="):]}, args[1:]...)
		}
		cmd, err := ifconfig.Parse(args)
		if err == nil {
			if cmd.Change != nil {
				if err := cmd.Change.Validate(); err != nil {
					t.Errorf("%q parses and does not validate: %v", args, err)
				}
			}
			return
		}
		named := func(word string) bool {
			if len(word) > 60 {
				return strings.HasSuffix(err.Error(), "too long") || strings.Contains(err.Error(), "...")
			}
			quoted := strconv.QuoteToASCII(word)
			return strings.Contains(err.Error(), word) || strings.Contains(err.Error(), quoted) ||
				strings.Contains(err.Error(), strings.Trim(quoted, `"`)) || clustered(word, err.Error())
		}
		if !slices.ContainsFunc(args, named) {
			t.Errorf("%q: error %q names no word", args, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %q is not one line", args, err)
		}
	})
}

// clustered reports whether text names one letter of an option word such as -ag.
func clustered(word, text string) bool {
	return strings.HasPrefix(word, "-") && strings.ContainsFunc(word[1:], func(r rune) bool { return strings.HasPrefix(text, "-"+string(r)+":") })
}
